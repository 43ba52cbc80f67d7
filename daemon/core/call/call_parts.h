/* State of the call room in struct engine. */
#ifndef KAMSYNC_CALL_PARTS_H
#define KAMSYNC_CALL_PARTS_H

#include "engine.h"

struct call;
struct ending;
struct failover;
struct expiry;

/* The calls that this node knows, in lists by their next step. */
struct calls {
    struct call *by_name;
    struct call *dirty, *writing, *held;
    struct call *oldest; /* in the order of their last check */
    size_t count, at[4]; /* in total, and in each list */
    size_t bytes;        /* of their texts */
};

/* A BYE waits for its final reply, is ready to be looked up, is to be looked up again, soon or late, or waits for
 * the store. */
enum ending_place { ENDING_UNANSWERED, ENDING_READY, ENDING_AGAIN, ENDING_LATE, ENDING_ASKED, ENDING_PLACES };

struct endings {
    struct ending *place[ENDING_PLACES], *by_name;
    size_t asked; /* number that wait for the store */
    size_t bytes; /* of all texts */
};

/* Calls whose node is gone (failover.c): those being read are in front. */
struct failovers {
    struct failover *list;
    size_t count, reading;
};

/* Checks of calls that were not answered (expiry.c). */
struct expiries {
    struct expiry *list;
    size_t count;
};

#endif
