/* State of the own room in struct engine. */
#ifndef KAMSYNC_OWN_PARTS_H
#define KAMSYNC_OWN_PARTS_H

#include "buffer.h"
#include "cluster_parts.h"
#include "engine.h"

struct early;
struct early_name;
struct left;
struct revoked;
struct second;
struct takeover;

/* The search for orphans through all records, after a node has died. */
struct search {
    bool wanted;  /* to begin (again) */
    bool calls;   /* for calls as well: a whole node is gone */
    bool learn;   /* also for this node's own transactions: this kamsyncd has just started */
    bool running; /* a part is being read */
    enum round round;
    uint64_t cursor;
    int64_t begun_ms;
    int64_t again_ms; /* when the next round begins; 0: not planned */
};

/* Events that arrived before their transaction or call was known (early.c). */
struct early_events {
    struct early_name *by_name;
    struct early *oldest;   /* in order of arrival */
    size_t count, bytes[2]; /* of events that something repeats, and of those that nothing does */
};

/* What Kamailios that are gone have left (left.c). */
struct legacy {
    struct left *list;
    size_t writing;
    int64_t dead_ms;  /* when this node's Kamailio was last found dead */
    int64_t again_ms; /* no write before that time */
};

/* Why a living transaction is not given away at this moment. */
enum stay {
    STAY_NOT,
    STAY_UNWRITTEN,
    STAY_STATELESS,
    STAY_CANCELLED,
    STAY_PENDING,
    STAY_ADDRESS,
    STAY_CONNECTION,
    STAY_FAILED,
    STAY_CHANGES,
    STAY_RETURNED,
    STAY_REASONS
};

/* Giving all own transactions to other nodes (evacuate.c). */
struct evacuation {
    int64_t since_ms; /* since when; 0: not */
    int64_t next_ms;  /* when the next are given */
    uint64_t turn;    /* whose turn it is to get one */
    bool near;        /* only nodes of this node's own site get any */
};

#define PUTS_MAX 2048 /* limit of writes under way to the store */

/* Own transactions: how many, and the writes of their records (owner_write.c). */
struct owner {
    bool full;                    /* there are too many transactions, and that was logged */
    bool pendings;                /* the script reports transactions that have no branch yet */
    size_t puts;                  /* writes under way to the store */
    uint64_t last_put;            /* the number of the last one */
    uint64_t under_way[PUTS_MAX]; /* their tokens, each at the place of its number; 0: answered */
    int64_t retry_ms;             /* when the next postponed transaction is written; 0: none is */
    struct buffer record;         /* in which each record is written */
};

/* When all records are written again (resync.c). */
struct resync {
    bool refused;      /* the store has refused a write, and accepted none since */
    int64_t try_ms;    /* when the next trial write is due */
    int64_t told_ms;   /* when all nodes were told of the refusal; 0: not yet */
    int64_t last_ms;   /* when everything was last written again */
    unsigned again;    /* so often in short succession before */
    int64_t all_ms;    /* when it is next; 0: not planned */
    int64_t settle_ms; /* the second time after the store has come back; 0: not planned */
};

struct takeovers {
    struct takeover *list, *by_key; /* waiting ones first */
    size_t count, active;
    size_t unanswered; /* done except for the far end's answer */
    size_t fewer;      /* reduction of the limit, since Kamailio is slow */
};

/* INVITEs that two nodes have routed (second.c). */
struct seconds {
    struct second *list;
    size_t count, bytes;
};

#endif
