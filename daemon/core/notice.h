/* What a room has found out, and rooms above it act upon, of which it knows nothing: it posts a notice, and the hall
 * hands that out at once (notices.c), not later: a node that may have been thought dead has to ask before it writes
 * anything more. */
#ifndef KAMSYNC_NOTICE_H
#define KAMSYNC_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct event;

enum notice_type {
    NOTICE_EVENT,    /* own: an event that came too early is due; event */
    NOTICE_DEATH,    /* cluster: a Kamailio has died, or (whole) its host with it */
    NOTICE_DOUBTED,  /* cluster: others may have thought this node dead, or the store has forgotten what it claimed */
    NOTICE_ASKED,    /* cluster: another node waits for all that this one knows: it is to be written */
    NOTICE_HAS,      /* cluster: another node has written the record again; key */
    NOTICE_ALL_HERE, /* cluster: all have answered the last roll-call */
    NOTICE_STORE_REFUSES, /* call: the store takes no writes */
    NOTICE_STORE_TAKES,   /* call: it has taken one */
    NOTICE_TAKEN_OVER,    /* own: the transaction is this node's now; key */
    NOTICE_GIVEN_UP,      /* own: it cannot be taken over; key */
    NOTICE_ACTED          /* ask: the owner of a CANCEL that all nodes have, by that time, has acted; key, node */
};

struct notice {
    enum notice_type type;
    const char *key; /* of a transaction, or that time; borrowed, as all */
    struct event *event;
    bool whole;
    int node;
};

/* Set by the hall. */
typedef void notice_handler(struct engine *e, const struct notice *n, int64_t now);

#endif
