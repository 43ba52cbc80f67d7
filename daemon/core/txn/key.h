/* Keys in the store: all begin with the cluster's name, so that several clusters can share one. Bytes from SIP are
 * percent-encoded, so that two different Call-IDs never share a key and no byte can break one.
 *
 * A Redis Cluster puts what stands in braces into one slot, and only what lies in one slot is written in one step. So
 * there all names of a call, and the archive that its end goes to, begin with one of a few buckets:
 *
 *     0 buckets             kamsync:tx:{<call-id>}:…     kamsync:call:{<call-id>}:…     kamsync:cdr
 *     1 to KEY_BUCKETS      kamsync:{bNN}:tx:<call-id>:… kamsync:{bNN}:call:<call-id>:… kamsync:{bNN}:cdr
 *
 * NN is the Call-ID's CRC-16 modulo their number, in hex. */
#ifndef KAMSYNC_KEY_H
#define KAMSYNC_KEY_H

#include "sip.h"

#define KEY_CLUSTER "kamsync" /* the cluster's default name, see key_cluster() */
#define KEY_CLUSTER_MAX 32
#define KEY_SHORT_MAX (KEY_CLUSTER_MAX + 32)
#define KEY_BUCKETS 256 /* in a Redis Cluster */

/* For key_short(), each behind "<cluster>:". */
#define KEY_NODES "nodes"   /* the channel on which changes of nodes are announced */
#define KEY_LAYOUT "layout" /* which layout the store's names have */
#define KEY_TO "to:%d"      /* channel to one kamsyncd, */
#define KEY_TO_ALL "to:all" /* or to all of them */
#define KEY_ALL "*"         /* all keys, for SCAN */

/* Whether the name is valid for a cluster: 1 to 32 letters, digits, '_', '-' and '.', so that it is no pattern and ends
 * at the colon. */
bool key_is_cluster(const char *name);
/* Sets the name of this process's cluster; call it before any key is made. */
void key_cluster(const char *name);

/* Sets the number of buckets, up to KEY_BUCKETS; 0, as it is at first: the store is no Redis Cluster. */
void key_buckets(unsigned count);

/* The layout's version: another one's nodes find none of this one's records. */
const char *key_layout(void);

/* A key without a Call-ID; returns out. */
const char *key_short(char out[KEY_SHORT_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The set of node ids, and a node's heartbeat; all in one slot. They return out. */
const char *key_nodes(char out[KEY_SHORT_MAX]);
const char *key_node(char out[KEY_SHORT_MAX], int id);

/* <cluster>:tx:{<call-id>}:<cseq>:<branch>:<sent-by>, the last two from the caller's Via: this identifies the
 * transaction (RFC 3261 17.2.3). The host of sent-by is in lower case, and its port always present. The caller frees
 * it; NULL when out of memory. */
char *key_tx(struct span call_id, uint32_t cseq, struct span branch, struct span sent_by);

/* <cluster>:call:{<call-id>}:<from-tag>; without a tag: the common prefix of the keys of all calls with that Call-ID.
 * The caller frees it; NULL when out of memory. */
char *key_call(struct span call_id, struct span from_tag);

/* For SCAN: the keys of all transactions, or all calls, with that Call-ID. The caller frees it; NULL when out of
 * memory. */
char *key_tx_pattern(struct span call_id);
char *key_call_pattern(struct span call_id);

/* <cluster>:claim:{<call-id>}:<cseq>:<branch>:<sent-by>:new: the claim on the INVITE of that transaction. The caller
 * frees it; NULL when out of memory, or when tx_key is no transaction's. */
char *key_claim(const char *tx_key);

/* The archive, a stream of ended calls, that the end of the call with that key goes to; that of a bucket. Both return
 * out. */
const char *key_archive(char out[KEY_SHORT_MAX], const char *call_key);
const char *key_archive_of(char out[KEY_SHORT_MAX], unsigned bucket);
/* How many archives there are: one for each bucket, or one. */
unsigned key_archives(void);
/* That of a call's key, from 0 on. */
unsigned key_bucket(const char *call_key);

/* What a key of this cluster stands for. */
bool key_is_tx(const char *key);
bool key_is_call(const char *key);

#endif
