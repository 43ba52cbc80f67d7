/* Names of what kamsync keeps in the store: all begin with the cluster's, so that several can share one. Bytes from SIP
 * are percent-encoded, so that two different Call-IDs never share a key and no byte can spoil one. The braces put one
 * call into one Redis Cluster slot. */
#ifndef KAMSYNC_KEY_H
#define KAMSYNC_KEY_H

#include "sip.h"

#define KEY_CLUSTER "kamsync" /* the cluster's name, unless key_cluster() has said another one */
#define KEY_CLUSTER_MAX 32
#define KEY_SHORT_MAX (KEY_CLUSTER_MAX + 32)

/* For key_short(), each behind "<cluster>:". */
#define KEY_NODES "nodes"   /* set of node ids; also the channel on which their changes are announced */
#define KEY_NODE "node:%d"  /* a node's heartbeat */
#define KEY_CDR "cdr"       /* stream of ended calls */
#define KEY_TO "to:%d"      /* channels on which kamsyncds talk to one of them, */
#define KEY_TO_ALL "to:all" /* or to all */
#define KEY_ALL "*"         /* all names, for SCAN */

/* Whether a cluster may have that name: 1 to 32 letters, digits, '_', '-' and '.', so that it is no pattern and ends at
 * the colon. */
bool key_is_cluster(const char *name);
/* The name of the cluster that this process belongs to; before any name is made. */
void key_cluster(const char *name);

/* A name without a Call-ID; returns out. */
const char *key_short(char out[KEY_SHORT_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* <cluster>:tx:{<call-id>}:<cseq>:<branch>:<sent-by>, the last two of the caller's Via: it is the name of the
 * transaction (RFC 3261 17.2.3). The host of sent-by is in lower case, and its port always there. The caller frees it;
 * NULL when memory is short. */
char *key_tx(struct span call_id, uint32_t cseq, struct span branch, struct span sent_by);

/* <cluster>:call:{<call-id>}:<from-tag>; without a tag it is what the names of all calls with that Call-ID begin with.
 * The caller frees it; NULL when memory is short. */
char *key_call(struct span call_id, struct span from_tag);

/* <cluster>:claim:{<call-id>}:<cseq>:<branch>:<sent-by>:<incarnation>: who takes the transaction of that key over from
 * that incarnation. The caller frees it; NULL when memory is short or it is no key of a transaction. */
char *key_claim(const char *tx_key, const char *inc);

/* What this cluster's name stands for. */
bool key_is_tx(const char *key);
bool key_is_call(const char *key);

#endif
