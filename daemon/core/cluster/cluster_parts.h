/* What the room cluster keeps in struct engine. */
#ifndef KAMSYNC_CLUSTER_PARTS_H
#define KAMSYNC_CLUSTER_PARTS_H

#include <jansson.h>

#include "nodes.h"

/* The store, as this node sees it. */
struct store_seen {
    bool up;
    int64_t back_ms;  /* since when it is there again, or has forgotten all; 0: it never was away */
    int64_t lost_ms;  /* when it went away */
    int64_t doubt_ms; /* until then a record that is not there may be one that its owner could not write */
};

/* Beats and probes (peers.c). */
struct peers {
    int64_t next_beat_ms, next_probe_ms;
    uint64_t probes;     /* sent; makes each one's branch unique */
    int64_t read_ms;     /* when the node table was last read in full */
    int64_t since_ms;    /* since when it has been read without a gap; 0: not yet */
    bool ripe;           /* that is longer than a node may be silent */
    int64_t own_beat;    /* the last of this node's own beats that stood in the store, 0: none yet */
    int64_t own_seen_ms; /* when that was read */
    bool unheard;        /* none has been taken since the store came back, or for long: nothing else is written */
    bool missed;         /* it is so long ago that others may think this node dead */
};

#define ROLL_KEYS_MAX 64   /* records that one roll-call asks about */
#define ROLL_ASKERS_MAX 32 /* nodes that may wait for an answer */

/* A node that has called the roll, and has no answer yet. */
struct asker {
    int from;
    int64_t n;
    json_t *keys; /* owned: records that it did not find */
    bool marked;  /* the mark under way was sent behind its call */
};

/* The last roll-call, and those of others (rollcall.c). */
struct roll {
    int64_t n;     /* its number; counts on from one start of kamsyncd to the next */
    int64_t at_ms; /* when it was sent */
    bool wanted;   /* another one is to be sent, */
    json_t *keys;  /* about these; owned, NULL: none */
    struct asker askers[ROLL_ASKERS_MAX];
    size_t asker_count;
    int64_t mark;    /* the last one that Kamailio was given */
    int64_t mark_ms; /* when, 0: none is under way */
};

/* When each was last said (advice.c); 0: not yet. */
struct advice {
    int64_t address_ms, twice_ms, frame_ms, proof_ms, foreign_ms;
};

#endif
