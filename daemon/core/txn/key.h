/* Keys in the store: all begin with the cluster's name, so that several clusters can share one. Bytes from SIP are
 * percent-encoded, so that two different Call-IDs never share a key and no byte can break one. The braces put one
 * call into one Redis Cluster slot. */
#ifndef KAMSYNC_KEY_H
#define KAMSYNC_KEY_H

#include "sip.h"

#define KEY_CLUSTER "kamsync" /* the cluster's default name, see key_cluster() */
#define KEY_CLUSTER_MAX 32
#define KEY_SHORT_MAX (KEY_CLUSTER_MAX + 32)

/* For key_short(), each behind "<cluster>:". */
#define KEY_NODES "nodes"   /* set of node ids; also the channel on which their changes are announced */
#define KEY_NODE "node:%d"  /* a node's heartbeat */
#define KEY_CDR "cdr"       /* stream of ended calls */
#define KEY_TO "to:%d"      /* channel to one kamsyncd, */
#define KEY_TO_ALL "to:all" /* or to all of them */
#define KEY_ALL "*"         /* all keys, for SCAN */

/* Whether the name is valid for a cluster: 1 to 32 letters, digits, '_', '-' and '.', so that it is no pattern and ends
 * at the colon. */
bool key_is_cluster(const char *name);
/* Sets the name of this process's cluster; call it before any key is made. */
void key_cluster(const char *name);

/* A key without a Call-ID; returns out. */
const char *key_short(char out[KEY_SHORT_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* <cluster>:tx:{<call-id>}:<cseq>:<branch>:<sent-by>, the last two from the caller's Via: this identifies the
 * transaction (RFC 3261 17.2.3). The host of sent-by is in lower case, and its port always present. The caller frees
 * it; NULL when out of memory. */
char *key_tx(struct span call_id, uint32_t cseq, struct span branch, struct span sent_by);

/* <cluster>:call:{<call-id>}:<from-tag>; without a tag: the common prefix of the keys of all calls with that Call-ID.
 * The caller frees it; NULL when out of memory. */
char *key_call(struct span call_id, struct span from_tag);

/* <cluster>:claim:{<call-id>}:<cseq>:<branch>:<sent-by>:new: the claim on the INVITE of that transaction. The caller
 * frees it; NULL when out of memory, or when tx_key is no transaction's. */
char *key_claim(const char *tx_key);

/* What a key of this cluster stands for. */
bool key_is_tx(const char *key);
bool key_is_call(const char *key);

#endif
