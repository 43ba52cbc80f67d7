/* What calls.c and calls_write.c share: a call of this node's, and the list that it stands in. */
#ifndef KAMSYNC_CALLS_H
#define KAMSYNC_CALLS_H

#include "call.h"
#include "engine_impl.h"

/* calls_write.c */
void calls_move(struct engine *e, struct call *c, enum call_place place);
/* It is to be written. */
void calls_mark(struct engine *e, struct call *c);
/* It is to be written then. */
void calls_hold(struct engine *e, struct call *c, int64_t until);

/* calls.c */
/* And frees it. */
void calls_drop(struct engine *e, struct call *c);
/* It is another node's: only what was added to it here stays, if anything was. */
void calls_leave(struct engine *e, struct call *c);

#endif
