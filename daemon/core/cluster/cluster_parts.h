/* State of the cluster room in struct engine. */
#ifndef KAMSYNC_CLUSTER_PARTS_H
#define KAMSYNC_CLUSTER_PARTS_H

#include <jansson.h>

#include "nodes.h"

/* Of a search for what a dead node had: who takes it (sites.c). */
enum round {
    ROUND_SHARE, /* of its site, or of all if nobody of that lives, each its share */
    ROUND_SITE,  /* any of these */
    ROUND_ALL    /* any node */
};

/* The store, as this node sees it. */
struct store_seen {
    bool up;
    int64_t back_ms;  /* when it came back, or lost its data; 0: never */
    int64_t lost_ms;  /* when it went away */
    int64_t doubt_ms; /* until then an absent record may be one that its owner could not write */
};

/* Heartbeats and probes (peers.c). */
struct peers {
    int64_t next_beat_ms, next_probe_ms;
    uint64_t probes;     /* number sent; makes each one's branch unique */
    int64_t read_ms;     /* when the node table was last read in full */
    int64_t since_ms;    /* since when it is read without a gap; 0: not yet */
    bool ripe;           /* that is longer than the node TTL */
    int64_t own_beat;    /* this node's last heartbeat read back from the store; 0: none yet */
    int64_t own_seen_ms; /* when it was read */
    int64_t said_beat;   /* the first one of the node as it is now; 0: it stands in the store */
    bool unheard;        /* that one does not yet, or none has for long: nothing else is written */
    bool missed;         /* the last one is so old that others may think this node dead */
};

#define BARRIER_KEYS_MAX 64    /* records that one barrier asks about */
#define BARRIER_ASKERS_MAX 128 /* nodes that may wait for an answer: all of a large cluster */

/* A node that has raised a barrier and waits for the answer. */
struct asker {
    int from;
    int64_t n;
    json_t *keys; /* owned: records that the node did not find */
    bool marked;  /* the mark under way was sent after its call */
};

/* The last barrier, and those of others (barrier.c). */
struct barrier {
    int64_t n;     /* its number; keeps counting across starts of kamsyncd */
    int64_t at_ms; /* when it was sent */
    bool wanted;   /* another one is to be sent */
    json_t *keys;  /* owned: records that it will ask about; NULL: none */
    struct asker askers[BARRIER_ASKERS_MAX];
    size_t asker_count;
    int64_t mark;    /* the last mark sent to Kamailio */
    int64_t mark_ms; /* when it was sent; 0: none is under way */
};

/* Rows of the table in checks.c. */
enum check {
    CHECK_HELLO,
    CHECK_KEYS,
    CHECK_STRANGER,
    CHECK_SCRIPT,
    CHECK_EVAPI,
    CHECK_HANGS,
    CHECK_ADDRESS,
    CHECK_LEGS,
    CHECK_FRAMES,
    CHECK_TWICE,
    CHECK_SECRET,
    CHECK_VERSION,
    CHECK_PROBES,
    CHECK_NODES,
    CHECKS
};

/* What was seen to be wrong (advice.c), each with its time; 0: not yet. */
struct advice {
    int64_t said_ms[CHECKS];        /* when it was last logged */
    int64_t unread_ms, stranger_ms; /* hellos without a proof, or with a wrong one */
    char hello[128];                /* why the hello on this connection was not understood; "": it was, or none came */
    char frame[128];                /* the same of the last such message, */
    int64_t frame_ms;               /* and when */
    int64_t own_leg_ms;             /* when an INVITE last left from this node's own address; 0: never */
    struct node twin;               /* another node that has this node's id */
    int64_t twin_ms;
};

#define GROWS 12 /* rows in grows.c */

/* Counters that should not grow (grows.c): as last seen, and when each last grew; 0: never. */
struct grows {
    uint64_t seen[GROWS];
    int64_t at_ms[GROWS];
};

#endif
