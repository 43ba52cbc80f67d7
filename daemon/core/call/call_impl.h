/* The call room: calls, from the first INVITE to the archive. */
#ifndef KAMSYNC_CALL_IMPL_H
#define KAMSYNC_CALL_IMPL_H

#include "engine_parts.h"
#include "msg.h"

struct call;

/* calls.c, calls_write.c, legs.c: the calls that this node knows. Times named `at` are ms since 1970. */
/* When the script saw the event, or now. */
int64_t calls_time(const struct engine *e, const struct event *ev);
/* A new INVITE, its replies, and its end without an answer. */
void calls_begin(struct engine *e, const struct txn *t, const struct sip_id *id, int64_t at, int64_t now);
void calls_reply(struct engine *e, struct txn *t, int code, struct span to_tag, int64_t at);
void calls_failed(struct engine *e, const struct txn *t, int64_t now);
/* A call of that name whose transaction is not kept, and why: a fixed text. tx is the key of its INVITE all the same.
 */
void calls_untracked(struct engine *e, struct span name, const char *tx, const char *src, const struct sip_id *id,
                     const char *why, int64_t at, int64_t now);
/* Another node has that transaction, and so the call. */
void calls_lose(struct engine *e, const struct txn *t);
/* This node has taken the INVITE's transaction over, and the call with it. */
void calls_take(struct engine *e, struct txn *t, int64_t now);
/* A call from its record: this node's own, or (take) one whose node is gone. False if known, or when out of memory. */
bool calls_read(struct engine *e, struct span name, const struct pair *pairs, size_t count, bool take, int64_t now);
void calls_set(struct engine *e, const struct event *ev, int64_t now);
/* By its name (call_name()); NULL when this node does not know it. */
const struct call *calls_find(const struct engine *e, struct span name);
/* The call that an in-dialog request belongs to, from either side. */
const struct call *calls_of_event(const struct engine *e, const struct event *ev);
/* The variables of the transaction's call, name to value, which the caller derefs; NULL when there are none. */
json_t *calls_vars(const struct engine *e, const struct txn *t);
/* A 2xx to its INVITE that this node's tm did not see; false when it is not this node's call. */
bool calls_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at);
/* The same from the transaction's record and the reply, which goes to the caller past tm: tells the call's node. */
void calls_passed(struct engine *e, const char *tx, struct span reply);
/* One of its dialogs has ended, which the store already knows. */
void calls_dialog_over(struct engine *e, struct span name, struct span tag, int64_t at);
/* The call has ended elsewhere. */
void calls_over(struct engine *e, struct span name);
/* Another node has taken over that transaction of the call. tx: NULL: unknown which. */
void calls_taken(struct engine *e, struct span name, const char *tx);
/* No other node has it. */
void calls_keep(struct engine *e, const struct txn *t);
/* This node's Kamailio was restarted: what other nodes have taken over is theirs. */
void calls_restarted(struct engine *e);
/* Its record is another node's for long, by another leg. */
bool calls_elsewhere(const struct call *c);
/* Writes changed records to the store, up to the limit under way. */
void calls_flush(struct engine *e);
bool calls_written(struct engine *e, uint64_t token, enum call_result result, int64_t now);
void calls_mark_all(struct engine *e);
/* Marks one call that may be written, if there is one. */
void calls_mark_one(struct engine *e);
void calls_janitor(struct engine *e, int64_t now);
void calls_clear(struct engine *e);

/* ending.c: a BYE, or the final reply to one, was seen here. */
void ending_bye(struct engine *e, const struct event *ev, int64_t now);
bool ending_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now);
bool ending_written(struct engine *e, uint64_t token, enum call_result result, int64_t now);
void ending_tick(struct engine *e, int64_t now);
int64_t ending_due(const struct engine *e);
/* How many are waiting. */
size_t ending_count(const struct engine *e);
void ending_clear(struct engine *e);

/* failover.c: calls whose node is gone. */
void failover_wait(struct engine *e, const char *key, enum round round);
bool failover_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                  int64_t now);
void failover_run(struct engine *e);
void failover_clear(struct engine *e);

/* expiry.c: calls that were not answered, and whose transaction no node has. */
/* Checks whether this is such a call, when it is time. */
void expiry_look(struct engine *e, const struct call *c, int64_t now);
/* The store's answer, if it is to such a check. */
void expiry_got(struct engine *e, uint64_t token, enum get_status status, int64_t now);
void expiry_clear(struct engine *e);

/* untracked.c: calls that are relayed but not tracked. */
/* The event's INVITE begins one; if it cannot be parsed, what can be read is kept. */
void untracked_begin(struct engine *e, const struct event *ev, struct span invite, const char *why, int64_t now);
/* The script reports one, and why. */
void untracked_told(struct engine *e, const struct event *ev, int64_t now);

#endif
