/* What the room call keeps in struct engine. */
#ifndef KAMSYNC_CALL_PARTS_H
#define KAMSYNC_CALL_PARTS_H

#include "engine.h"

struct call;
struct ending;
struct heir;
struct lapse;

/* The calls that this node knows, in lists by what is to be done. */
struct calls {
    struct call *by_name;
    struct call *dirty, *writing, *held;
    struct call *oldest; /* in the order in which they were last looked at */
    size_t count, at[4]; /* in all, and in each place */
    size_t bytes;        /* of their texts */
};

/* A BYE waits for its final reply, is about to be looked at, has to be looked at once more, soon or late, or waits for
 * the store. */
enum ending_place { ENDING_UNANSWERED, ENDING_READY, ENDING_AGAIN, ENDING_LATE, ENDING_ASKED, ENDING_PLACES };

struct endings {
    struct ending *place[ENDING_PLACES], *by_name;
    size_t asked; /* how many wait for the store */
    size_t bytes; /* of all texts */
};

/* Calls whose node is gone (inherit.c): those being read stand in front. */
struct heirs {
    struct heir *list;
    size_t count, reading;
};

/* Questions about calls that nobody answered (lapse.c). */
struct lapses {
    struct lapse *list;
    size_t count;
};

#endif
