/* The room ask: questions, of Kamailio about strays and requests within calls, and of kamsyncctl. */
#ifndef KAMSYNC_ASK_IMPL_H
#define KAMSYNC_ASK_IMPL_H

#include "engine_parts.h"
#include "link_impl.h"
#include "own_impl.h"

/* strays.c: whose is it, and what follows. */
/* The transaction of that key is this node's now: what waited for it goes to Kamailio. */
void strays_wake(struct engine *e, const char *key, int64_t now);
/* The transaction of that key cannot be taken over: what waits for it takes another way. */
void strays_despair(struct engine *e, const char *key);
/* The store's answer; false when the token is none of a stray, or of one that was given back already. */
bool strays_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
/* The store's answer to the claim on an INVITE; id 0 when there is no holder. False when the token is none of a stray.
 */
bool strays_claimed(struct engine *e, uint64_t token, enum claim_status status, const struct holder *h, int64_t now);
void strays_take(struct engine *e, const struct arrived *a, int64_t now);
/* Another node's kamsyncd has written the record of that key again; or (NULL) all have answered the last roll-call. */
void strays_look(struct engine *e, const char *key, int64_t now);
/* The owner of a CANCEL that all nodes have, by that time, has acted. */
void strays_acted(struct engine *e, const char *at, int node, int64_t now);
void strays_tick(struct engine *e, int64_t now);
/* When strays_tick() is next due; INT64_MAX for never. */
int64_t strays_due(const struct engine *e);
void strays_clear(struct engine *e);

/* perhaps.c: what is given to all Kamailios since nobody knows whose it is. */
/* How many other nodes there are to be asked. */
size_t perhaps_nodes(const struct engine *e);
/* Gives the message to those whose Kamailio cannot be reached, through the store; the rest of the handover is set. */
void perhaps_relay(struct engine *e, struct handover h, struct span msg);
/* Whether there may be one more now; if so it counts. */
bool perhaps_may(struct engine *e, int64_t now);
/* A new CANCEL's name for that; the caller frees it, NULL when memory is short. */
char *perhaps_at(struct engine *e);
/* This node's Kamailio has acted upon a CANCEL that all were given: whoever gave it is told. */
void acted_tell(struct engine *e, const char *name, int64_t now);
/* Another node's has. */
void acted_told(struct engine *e, const json_t *message, int64_t now);
/* The node that is known to have acted upon this node's CANCEL with that time; 0: none. */
int acted_by(const struct engine *e, const char *at);
void acted_clear(struct engine *e);

/* dialog.c: requests within a call that the script asks about. */
void dialog_ask(struct engine *e, const struct msg *m, int64_t now);
bool dialog_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now);
void dialog_tick(struct engine *e, int64_t now);
int64_t dialog_due(const struct engine *e);
void dialog_clear(struct engine *e);

/* admin.c: kamsyncctl's questions; here those that other nodes pass on. */
void admin_asked(struct engine *e, const json_t *message, int64_t now);
void admin_answered(struct engine *e, const json_t *message, int64_t now);
bool admin_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count);
void admin_tick(struct engine *e, int64_t now);
int64_t admin_due(const struct engine *e);
void admin_clear(struct engine *e);

#endif
