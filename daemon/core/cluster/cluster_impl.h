/* The cluster room: this node and the others, and their messages. */
#ifndef KAMSYNC_CLUSTER_IMPL_H
#define KAMSYNC_CLUSTER_IMPL_H

#include "engine_parts.h"
#include "finding.h"
#include "handover.h"

struct record;

/* peers.c: the other nodes. */
/* The store has lost this node's last heartbeats. */
void peers_own_lost(struct engine *e, int64_t now);
/* Does what is due until then. */
void peers_tick(struct engine *e, int64_t now, int64_t until);
int64_t peers_due(const struct engine *e);
/* The last time until then at which nodes are probed: what is due with them wakes nobody by itself. */
int64_t peers_probing(const struct engine *e, int64_t until);
/* Writes this node's record; with announce, tells all others at once. */
void peers_beat(struct engine *e, bool announce);
/* The others may think that this node, or its Kamailio, is dead: it beats, and nothing is written before that beat
 * stands in the store. */
void peers_appear(struct engine *e, int64_t now);
/* Whether that incarnation of the node is certainly dead. For a node never heard of, only after its heartbeat had time
 * to come. */
bool peers_dead(const struct engine *e, int id, const char *inc, int64_t now);
/* Gives Kamailio the node's entry of its table. */
void peers_tell(struct engine *e, const struct node *n, int64_t now);
/* A node has answered a probe. */
void peers_alive(struct engine *e, int id, int64_t now);
/* Kamailio has got a probe of that node; alive: it had the answer to the one before, and tells that of this one with
 * the next. */
void peers_answered(struct engine *e, int id, bool alive, int64_t now);

/* Who owns a record, as far as this node can tell; ACTED: nothing is left to do for a stray. */
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

/* barrier.c: whether all nodes that are up still see what their Kamailios do. */
/* What is known about a record that the store may lack. */
struct absence {
    bool said;       /* the store has answered "absent" at least once */
    bool sure;       /* also after a complete barrier: no kamsyncd knows of it */
    bool complete;   /* the barrier was complete when the lookup under way began */
    int64_t barrier; /* number of the barrier that it waits for; 0: none */
};
/* Before a lookup; and after its answer "absent": unless that is certain now, the lookup joins the next barrier,
 * which asks about the record with that key. */
void barrier_before(const struct engine *e, struct absence *a);
void barrier_absent(struct engine *e, struct absence *a, const char *key);
/* Another node raises a barrier; another node answers. */
void barrier_asked(struct engine *e, const json_t *message, int64_t now);
void barrier_answered(struct engine *e, const json_t *message, int64_t now);
/* Kamailio has reported all that happened before it got that mark. */
void barrier_marked(struct engine *e, int64_t mark, int64_t now);
/* Kamailio has reconnected: a mark under way is lost. */
void barrier_reset(struct engine *e);
void barrier_run(struct engine *e, int64_t now);
int64_t barrier_due(const struct engine *e);
void barrier_clear(struct engine *e);

/* sites.c: who of the survivors takes over what a dead node had. */
/* Whether the nodes stand in several sites. */
bool sites_several(const struct engine *e);
/* Whether the record with that key may be this node's in that round, whoever had it. */
bool sites_concern(const struct engine *e, const char *key, enum round round);
/* Whether it is, in that round, if that node had it (0: not known). */
bool sites_may_take(const struct engine *e, int node, const char *key, enum round round);
/* A living node of that node's site, which is to take it rather than this one; 0: there is none. */
int sites_heir(const struct engine *e, int node, const char *key);

/* messages.c: messages between kamsyncds, not by way of Kamailio (node 0: to all others). */
void message_send(struct engine *e, int node, json_t *message);
void message_handover(struct engine *e, int node, const char *base64);
void message_over(struct engine *e, int node, struct span name);
/* This node has taken over the call with its transaction. */
void message_taken(struct engine *e, struct span name, const char *tx);
/* A 2xx to that call's INVITE has gone to the caller past tm; to all nodes, since the call's node may have changed. */
void message_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at);
/* That node is to take this record over. */
void message_given(struct engine *e, int node, const char *key);
void message_unwritten(struct engine *e);
void message_left(struct engine *e);

/* checks.c: what may be wrong here, for kamsyncctl doctor and for the log. */
#define NEWS_MS 600000 /* what happened so long ago is no news */
/* Adds all that is wrong now, as this node sees it. */
void checks_run(const struct engine *e, int64_t now, json_t *found);
/* The names of all of them, and of what grows.c looks at. */
void checks_names(json_t *names);
/* Logs it, if it is wrong; other: of a check of the others. Whether it is. */
bool check_log(struct engine *e, enum check c, const struct node *other, int64_t now);
/* Whether the record has the proof of this cluster. */
bool check_is_proven(const struct engine *e, const struct node *n);

/* grows.c: counters that should not grow. */
void grows_tick(struct engine *e, int64_t now);
void grows_run(const struct engine *e, int64_t now, json_t *found);

/* advice.c: what is wrong, when it is seen. */
/* This node's address, which others have to use. */
void advice_address(struct engine *e, int64_t now);
bool advice_is_own(const struct engine *e, const char *sock);
/* An INVITE has left from that address. */
void advice_leg(struct engine *e, const char *sock, int64_t now);
/* Another node may have the same id: the record in this node's place may be its. */
void advice_twice(struct engine *e, const struct node *other, int64_t now);
/* A node of another version has appeared. */
void advice_version(struct engine *e, const struct node *other, int64_t now);
/* A node without a valid proof of this cluster announces itself. */
void advice_foreign(struct engine *e, const struct node *other, int64_t now);
/* The peer whose hello has that proof is not our Kamailio, or it cannot read the keys. */
void advice_proof(struct engine *e, const char *proof, int64_t now);
/* Kamailio has sent something that cannot be parsed. */
void advice_frame(struct engine *e, const char *why, int64_t now);

/* doubt.c */
/* For a while the absence of a record in the store proves nothing. */
void engine_doubt(struct engine *e, int64_t now);
/* The store refuses this one record, but not others: returns the time to the next try (ms). Counts. */
int64_t doubt_pause(unsigned *refusals);

#endif
