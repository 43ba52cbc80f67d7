/* The ask room: questions from Kamailio about strays and in-dialog requests, and from kamsyncctl. */
#ifndef KAMSYNC_ASK_IMPL_H
#define KAMSYNC_ASK_IMPL_H

#include "engine_parts.h"
#include "link_impl.h"
#include "own_impl.h"

/* strays.c: who owns the transaction, and what follows. */
/* This node now has the transaction of that key: strays that waited for it go to Kamailio. */
void strays_wake(struct engine *e, const char *key, int64_t now);
/* The transaction of that key cannot be taken over: strays that waited for it are handled in another way. */
void strays_despair(struct engine *e, const char *key);
/* The store's answer; false when the token is no stray's, or of one that was already given back. */
bool strays_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
/* The near replica's answer. */
void strays_near_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
/* The store's answer to the claim on an INVITE. False when the token is no stray's. */
bool strays_claimed(struct engine *e, uint64_t token, enum claim_status status, struct span holder, int64_t now);
void strays_take(struct engine *e, const struct arrived *a, int64_t now);
/* Another node's kamsyncd has written the record of that key again; or (NULL) all have answered the last barrier. */
void strays_look(struct engine *e, const char *key, int64_t now);
/* A Kamailio has died: what waits for its owner to act is looked up, before a takeover gives its caller up. */
void strays_death(struct engine *e, int64_t now);
/* The owner of that CANCEL, which all nodes got with that time, has acted. */
void strays_acted(struct engine *e, const char *at, int node, int64_t now);
void strays_tick(struct engine *e, int64_t now);
/* When strays_tick() is next due; INT64_MAX for never. */
int64_t strays_due(const struct engine *e);
void strays_clear(struct engine *e);

/* perhaps.c: requests sent to all Kamailios, since their owner is unknown. */
/* The number of other nodes to ask. */
size_t perhaps_nodes(const struct engine *e);
/* Relays the message through the store to nodes whose Kamailio cannot be reached; the rest of the handover is set. */
void perhaps_relay(struct engine *e, struct handover h, struct span msg);
/* Whether one more may be sent to all now; if so, counts it. */
bool perhaps_may(struct engine *e, int64_t now);
/* The time that names a new CANCEL to all; the caller frees it, NULL when out of memory. */
char *perhaps_at(struct engine *e);
/* This node's Kamailio has acted upon a CANCEL sent to all: tells the sender. */
void acted_tell(struct engine *e, const char *name, int64_t now);
/* Another node's Kamailio has. */
void acted_message(struct engine *e, const json_t *message, int64_t now);
/* The node known to have acted upon this node's CANCEL with that time; 0: none. */
int acted_by(const struct engine *e, const char *at);
void acted_clear(struct engine *e);

/* dialog.c: in-dialog requests that the script asks about. */
void dialog_ask(struct engine *e, const struct msg *m, int64_t now);
bool dialog_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now);
void dialog_tick(struct engine *e, int64_t now);
int64_t dialog_due(const struct engine *e);
void dialog_clear(struct engine *e);

/* shown.c: what this node tells kamsyncctl out of its own memory. */
#define CALLS_LIMIT 1000
json_t *shown_status(const struct engine *e);
/* This node and those that it sees. */
json_t *shown_nodes(const struct engine *e, int64_t now);
json_t *shown_evacuation(const struct engine *e, int64_t now);
/* Its part of the answer to a question that all nodes answer, and the name of the array in it; NULL: no such question.
 */
json_t *shown_part(const struct engine *e, const json_t *q, int64_t now, const char **list);
/* How many calls are wanted. */
size_t shown_limit(const json_t *q);
/* Whether the newest ones are wanted first. */
bool shown_newest(const json_t *q);
/* The Call-ID asked about; the caller frees *owned. */
struct span shown_call_id(const json_t *q, char **owned);

/* admin.c: kamsyncctl's questions; here those passed on by other nodes. */
void admin_asked(struct engine *e, const json_t *message, int64_t now);
void admin_answered(struct engine *e, const json_t *message, int64_t now);
bool admin_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count);
void admin_tick(struct engine *e, int64_t now);
int64_t admin_due(const struct engine *e);
void admin_clear(struct engine *e);

/* status.c: "up", "away" or "hangs". */
const char *kamailio_state(const struct engine *e);

/* doctor.c: kamsyncctl doctor. */
/* What this node says of itself. */
void doctor_own(const struct engine *e, const json_t *q, int64_t now, json_t *out);
/* Makes that an answer, adds another node's part to it, and ends it. */
void doctor_begin(const struct engine *e, json_t *answer);
void doctor_add(struct engine *e, json_t *answer, const json_t *part);
void doctor_finish(struct engine *e, json_t *answer);

#endif
