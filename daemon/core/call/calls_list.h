/* Shared by the files of calls: this node's calls, and the list that each is in. */
#ifndef KAMSYNC_CALLS_LIST_H
#define KAMSYNC_CALLS_LIST_H

#include "call.h"
#include "call_impl.h"

/* calls_list.c */
void calls_move(struct engine *e, struct call *c, enum call_place place);
/* The call is to be written. */
void calls_mark(struct engine *e, struct call *c);
/* The call is to be written at that time. */
void calls_hold(struct engine *e, struct call *c, int64_t until);
/* The call's transaction, which may live on, begins no new call. */
void calls_part(const struct engine *e, const struct call *c);
/* Removes the call and frees it. */
void calls_drop(struct engine *e, struct call *c);
/* It is another node's: keeps only what was added to it here, if anything. */
void calls_leave(struct engine *e, struct call *c);
/* By its name; NULL when this node does not know it, or (the others) when out of memory. */
struct call *calls_known(const struct engine *e, struct span name);
struct call *calls_add(struct engine *e, struct span name, int64_t at, int64_t now);
struct call *calls_find_or_add(struct engine *e, struct span name, int64_t at, int64_t now);
/* Its texts have changed. */
void calls_measure(struct engine *e, struct call *c);
/* From now on the call follows the transaction of that key. False when out of memory. */
bool calls_follow(struct engine *e, struct call *c, const char *tx, const char *src, const struct sip_id *id,
                  int64_t at);
/* Ends the call, unless another node has taken it over. */
void calls_conclude(struct engine *e, struct call *c, const char *how, const char *by, int64_t at);

/* legs.c */
/* The transaction that the call follows is this node's, and has no final reply yet. */
bool leg_rings(const struct engine *e, const struct call *c);
/* False for an in-dialog INVITE, or one that cannot be read. */
bool leg_read(const struct txn *t, struct sip_id *id);
/* calls_follow(), at the transaction's own time. */
bool leg_follow(struct engine *e, struct call *c, const struct txn *t, const struct sip_id *id);
/* Whether the call outlives the transaction that it follows, so that another INVITE of its name is a leg. */
bool leg_goes_on(const struct engine *e, const struct call *c);
/* Whether its transaction has died with this node's Kamailio, and may be taken over yet. */
bool leg_may_return(const struct engine *e, const struct call *c);
void leg_add(const struct engine *e, struct call *c, const struct txn *t);
/* That transaction, which may be a leg, rings. */
void leg_rang(const struct engine *e, const struct txn *t, int64_t at);
/* Applies the state of the transaction that the call has just begun to follow. */
void leg_catch_up(struct call *c, const struct txn *t, int64_t at);
/* The call's own transaction is over: the call follows a leg that continues. False when there is none. */
bool leg_next(struct engine *e, struct call *c);
/* The store says that the call has ended: drops it, unless an INVITE of its name has begun a new one. */
void calls_end(struct engine *e, struct call *c);
/* A leg was answered, maybe of a call that this node has left. Returns the call, which now follows the leg, or was
 * answered before; NULL: it has ended since. */
struct call *leg_answered(struct engine *e, struct txn *t, int64_t at);
/* Two phones of a fork have answered, or two legs: two dialogs. */
void leg_dialog(struct engine *e, struct call *c, const struct txn *t, struct span to_tag, int64_t at);

#endif
