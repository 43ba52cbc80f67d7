/* All takeovers under way. */
#ifndef KAMSYNC_TAKEOVERS_H
#define KAMSYNC_TAKEOVERS_H

#include "takeover_life.h"

/* Takes that transition: first the state changes, then the action runs. The takeover may have ended afterwards. */
void takeover_go(struct engine *e, struct takeover *t, enum takeover_event event, int64_t now);
/* The one that the store answers; NULL also if it has done so before. */
struct takeover *takeover_answer_to(const struct engine *e, uint64_t token);
/* NULL when there is none. By its key also a takeover that is done and only keeps its slot, which takeover_find()
 * frees.
 */
struct takeover *takeover_by_token(const struct engine *e, uint64_t token);
struct takeover *takeover_by_key(const struct engine *e, const char *key);
struct takeover *takeover_find(struct engine *e, const char *key);
/* NULL when out of memory. */
struct takeover *takeover_add(struct engine *e, const char *key, int64_t now);
/* Removes and frees it. */
void takeover_end(struct engine *e, struct takeover *t);
/* Kamailio has it: hands out the transaction, which the caller then owns. */
struct txn *takeover_hand_out(struct engine *e, struct takeover *t, int64_t now);

#endif
