/* What a room has found out for rooms above it, of which it knows nothing: it posts a notice, and the hall delivers
 * that at once (notices.c), not later: a node that may have been thought dead has to check before its next write.
 */
#ifndef KAMSYNC_NOTICE_H
#define KAMSYNC_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct event;

enum notice_type {
    NOTICE_EVENT,         /* own: an early event can be handled now; event */
    NOTICE_DEATH,         /* cluster: a Kamailio has died, or (whole) its host with it */
    NOTICE_DOUBTED,       /* cluster: others may have thought this node dead, or the store has lost its takeovers */
    NOTICE_ASKED,         /* cluster: another node waits until this one has written all that it knows */
    NOTICE_HAS,           /* cluster: another node has written the record again; key */
    NOTICE_ALL_HERE,      /* cluster: all nodes have answered the last barrier */
    NOTICE_STORE_REFUSES, /* call: the store has refused a write */
    NOTICE_STORE_TAKES,   /* call: the store has accepted a write */
    NOTICE_TAKEN_OVER,    /* own: this node owns the transaction now; key */
    NOTICE_UNANSWERED,    /* own: no far end has answered its takeover in time; key */
    NOTICE_GIVEN_UP,      /* own: it cannot be taken over; key */
    NOTICE_ACTED          /* ask: the owner of a CANCEL sent to all nodes with that time has acted; key, node */
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
