/* What the files of calls share: the calls of this node, and the list that each stands in. */
#ifndef KAMSYNC_CALLS_LIST_H
#define KAMSYNC_CALLS_LIST_H

#include "call.h"
#include "call_impl.h"

/* calls_list.c */
void calls_move(struct engine *e, struct call *c, enum call_place place);
/* It is to be written. */
void calls_mark(struct engine *e, struct call *c);
/* It is to be written then. */
void calls_hold(struct engine *e, struct call *c, int64_t until);
/* Its transaction, which may live on, begins no call any more. */
void calls_part(const struct engine *e, const struct call *c);
/* And frees it. */
void calls_drop(struct engine *e, struct call *c);
/* It is another node's: only what was added to it here stays, if anything was. */
void calls_leave(struct engine *e, struct call *c);
/* By its name; NULL when this node does not know it, or (the others) memory is short. */
struct call *calls_known(const struct engine *e, struct span name);
struct call *calls_add(struct engine *e, struct span name, int64_t at, int64_t now);
struct call *calls_find_or_add(struct engine *e, struct span name, int64_t at, int64_t now);
/* Its texts have changed. */
void calls_measure(struct engine *e, struct call *c);
/* The call lives by the transaction of that key from now on. False when memory is short. */
bool calls_follow(struct engine *e, struct call *c, const char *tx, const char *src, const struct sip_id *id,
                  int64_t at);
/* That is its end, unless another node has taken it over. */
void calls_conclude(struct engine *e, struct call *c, const char *how, const char *by, int64_t at);

/* legs.c */
/* False when it is an INVITE within a call, or cannot be read. */
bool leg_read(const struct txn *t, struct sip_id *id);
/* calls_follow(), at its own time. */
bool leg_follow(struct engine *e, struct call *c, const struct txn *t, const struct sip_id *id);
/* It is not over with the transaction that it lives by, so another INVITE of its name is a leg of it. */
bool leg_goes_on(const struct engine *e, const struct call *c);
void leg_add(const struct engine *e, struct call *c, const struct txn *t);
/* That transaction rings; it may be a leg. */
void leg_rang(const struct engine *e, const struct txn *t, int64_t at);
/* What is known of the transaction that the call has just begun to follow. */
void leg_catch_up(struct call *c, const struct txn *t, int64_t at);
/* The call's own transaction is over: a leg that goes on is the call's now. False when there is none. */
bool leg_next(struct engine *e, struct call *c);
/* The call has ended, the store says: it is dropped, unless an INVITE of its name has begun another one. */
void calls_end(struct engine *e, struct call *c);
/* A leg was answered, maybe one whose call this node has left: the call, which follows it now, or was answered before.
 * NULL: that has ended since. */
struct call *leg_answered(struct engine *e, struct txn *t, int64_t at);
/* Two phones of a fork have answered, or both legs: two dialogs. */
void leg_dialog(struct engine *e, struct call *c, const struct txn *t, struct span to_tag, int64_t at);

#endif
