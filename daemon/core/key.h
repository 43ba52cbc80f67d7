/* Names of what kamsync keeps in the store. Bytes from SIP are percent-encoded, so that two different
 * Call-IDs never share a key and no byte can spoil one. The braces put one call into one Redis Cluster slot. */
#ifndef KAMSYNC_KEY_H
#define KAMSYNC_KEY_H

#include "sip.h"

#define KEY_NODES "kamsync:nodes" /* set of node ids */
#define KEY_TX_PREFIX "kamsync:tx:"
#define KEY_CALL_PREFIX "kamsync:call:"
#define KEY_CDR "kamsync:cdr"           /* stream of ended calls */
#define KEY_TO_PREFIX "kamsync:to:"     /* + id or "all": channel on which kamsyncds talk to each other */
#define KEY_NODE_PREFIX "kamsync:node:" /* + id: the node's heartbeat */

/* kamsync:tx:{<call-id>}:<cseq>:<branch>. The caller frees it; NULL when memory is short. */
char *key_tx(struct span call_id, uint32_t cseq, struct span branch);

/* kamsync:call:{<call-id>}. The caller frees it; NULL when memory is short. */
char *key_call(struct span call_id);

/* kamsync:claim:{<call-id>}:<cseq>:<branch>:<incarnation>: who takes the transaction of that key over from that
 * incarnation. The caller frees it; NULL when memory is short or it is no key of a transaction. */
char *key_claim(const char *tx_key, const char *inc);

#endif
