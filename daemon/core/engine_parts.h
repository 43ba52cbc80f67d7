/* The engine's internals: the state of each room is a part of its own, and whoever uses that part uses the room
 * (tests/unit/arrows.py). No file outside the core includes this one. */
#ifndef KAMSYNC_ENGINE_PARTS_H
#define KAMSYNC_ENGINE_PARTS_H

#include "engine.h"
#include "ask_parts.h"
#include "call_parts.h"
#include "cluster_parts.h"
#include "link_parts.h"
#include "notice.h"
#include "own_parts.h"
#include "txns.h"

#define ALONG_MS 20 /* what is due so soon is done along with what is due now: each time the loop wakes costs */

struct engine {
    /* used by all rooms */
    struct engine_conf conf; /* texts owned */
    struct engine_io io;
    notice_handler *on_notice;
    struct counters count;
    struct histograms took;
    struct node self;    /* id 0 before the first hello */
    uint64_t last_token; /* of a question to the store; all are even, but for those of own records (owner_write.c) */
    int64_t turn_ms;     /* the last turn of the loop; 0: none yet */
    int64_t next_janitor_ms;
    bool learning; /* own transactions and calls are being read back: events of unknown ones wait */

    /* link */
    struct out out;
    struct trace trace;
    struct frame_reader reader;
    struct link link;
    struct contact contact;
    struct acks acks;

    /* cluster */
    struct store_seen store;
    struct peers peers;
    struct nodes nodes; /* the others */
    struct barrier barrier;
    struct advice advice;
    struct grows grows;

    /* txn */
    struct txns txns;

    /* call */
    struct calls calls;
    struct endings endings;
    struct failovers failovers;
    struct expiries expiries;

    /* own */
    struct owner owner;
    struct resync resync;
    struct search search;
    struct early_events early;
    struct takeovers takeovers;
    struct revoked *revoked; /* those that Kamailio has not yet acknowledged */
    struct seconds seconds;
    struct legacy left;
    struct evacuation evacuation;

    /* ask */
    struct strays strays;
    struct perhaps perhaps;
    struct questions questions;
    struct inquiry *pending;
};

static inline uint64_t engine_token(struct engine *e)
{
    return e->last_token += 2;
}

#endif
