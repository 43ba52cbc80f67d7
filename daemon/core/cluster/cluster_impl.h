/* The room cluster: this node and the others, and what they tell each other. */
#ifndef KAMSYNC_CLUSTER_IMPL_H
#define KAMSYNC_CLUSTER_IMPL_H

#include "engine_parts.h"
#include "handover.h"

struct record;

/* peers.c: the other nodes. */
/* The store has lost this node's last beats. */
void peers_own_lost(struct engine *e, int64_t now);
void peers_tick(struct engine *e, int64_t now);
int64_t peers_due(const struct engine *e);
/* Writes this node's record; tells all others at once when announce. */
void peers_beat(struct engine *e, bool announce);
/* Whether that incarnation of the node is dead for sure. Of a node never heard of one cannot say so before its beat had
 * time to come. */
bool peers_dead(const struct engine *e, int id, const char *inc, int64_t now);
/* Gives Kamailio the node's line of its table. */
void peers_tell(struct engine *e, const struct node *n, int64_t now);
/* How the node is, in words. */
const char *node_state(const struct node *n);
/* A node has answered a probe. */
void peers_alive(struct engine *e, int id, int64_t now);

/* Who a record's owner is, as far as this node can tell; and (ACTED) that nothing is left to do for a stray. */
enum verdict {
    VERDICT_MINE,
    VERDICT_OWNER,
    VERDICT_ACTED,
    VERDICT_ORPHAN,
    VERDICT_DONE,
    VERDICT_UNKNOWN,
    VERDICT_UNAVAILABLE
};
enum verdict engine_judge(const struct engine *e, const struct record *r, int64_t now);

/* rollcall.c: whether all who are up still know what their Kamailios do. */
/* What is known of something that the store may not have. */
struct absence {
    bool said;     /* the store has said "absent" at least once, */
    bool sure;     /* also when asked after a roll-call: no kamsyncd knows of it */
    bool complete; /* the roll-call was, when the lookup under way was begun */
    int64_t roll;  /* its number; 0: not joined */
};
/* A lookup is begun; it says "absent": unless that is sure now, the next roll-call is joined, and asks about the record
 * with that key. */
void roll_before(const struct engine *e, struct absence *a);
void roll_absent(struct engine *e, struct absence *a, const char *key);
/* Another node calls; another node answers. */
void roll_asked(struct engine *e, const json_t *message, int64_t now);
void roll_answered(struct engine *e, const json_t *message, int64_t now);
/* Kamailio has told of all that happened before it got that mark. */
void roll_marked(struct engine *e, int64_t mark, int64_t now);
/* It is connected anew: a mark that was under way is lost. */
void roll_reset(struct engine *e);
void roll_run(struct engine *e, int64_t now);
int64_t roll_due(const struct engine *e);
void roll_clear(struct engine *e);

/* told.c: past the Kamailios, from kamsyncd to kamsyncd (node 0: to all others). */
void told_send(struct engine *e, int node, json_t *message);
void told_handover(struct engine *e, int node, const char *base64);
void told_over(struct engine *e, int node, struct span name);
/* This node has taken the call over with its transaction. */
void told_taken(struct engine *e, struct span name, const char *tx);
/* A 2xx to the INVITE of that call has gone to the caller past tm; to all, since whose it is may have changed. */
void told_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at);
void told_unwritten(struct engine *e);
void told_left(struct engine *e);

/* advice.c: what is wrong with Kamailio's configuration. */
/* This node's address, if others have to use it. */
void advice_address(struct engine *e, int64_t now);
/* What stood where this node's record goes may be another's. */
void advice_twice(struct engine *e, const struct node *other, int64_t now);
/* A node that is not proven to be of this cluster announces something. */
void advice_foreign(struct engine *e, const struct node *other, int64_t now);
/* What has that proof in its hello is not our Kamailio, or cannot read the keys. */
void advice_proof(struct engine *e, const char *proof, int64_t now);
/* Kamailio has said something that was not understood. */
void advice_frame(struct engine *e, const char *why, int64_t now);

/* doubt.c */
/* A record that is not in the store proves nothing for a while. */
void engine_doubt(struct engine *e, int64_t now);
/* The store does not take that one record, whatever it does with others: how long that waits (ms). Counts. */
int64_t doubt_pause(unsigned *refusals);

#endif
