/* What the room own keeps in struct engine. */
#ifndef KAMSYNC_OWN_PARTS_H
#define KAMSYNC_OWN_PARTS_H

#include "engine.h"

struct early;
struct early_name;
struct left;
struct loss;
struct second;
struct takeover;

/* The search for orphans through all records, after a node has died. */
struct search {
    bool wanted;  /* begin (again) */
    bool calls;   /* for calls as well: a whole node is gone */
    bool learn;   /* for this node's own transactions too: this kamsyncd has just been started */
    bool running; /* a part is being read */
    bool all;     /* also those that are other survivors' share: the second time round */
    uint64_t cursor;
    int64_t again_ms; /* when the second time begins, 0: not planned */
};

/* What came before what it is about (early.c). */
struct early_events {
    struct early_name *by_name;
    struct early *oldest;   /* in the order in which they came */
    size_t count, bytes[2]; /* of those that are told again, and of those that are not */
};

/* What is left of Kamailios that are gone (left.c). */
struct legacy {
    struct left *list;
    size_t writing;
    int64_t dead_ms;  /* when this node's Kamailio was last found gone */
    int64_t again_ms; /* nothing is written before that */
};

/* What the owner writes (owner.c). */
struct owner {
    bool full;   /* there are too many transactions, and that was said */
    size_t puts; /* under way to the store */
};

/* When all records are written again (rewrite.c). */
struct rewrite {
    bool refused;      /* the store did not take something, and has taken nothing since: */
    int64_t try_ms;    /* when it is tried again */
    int64_t told_ms;   /* when all nodes were told of that, 0: not yet; */
    int64_t last_ms;   /* when all was last written so */
    int64_t all_ms;    /* when it is to be; 0: not planned */
    int64_t settle_ms; /* the same, since the store has come back */
};

struct takeovers {
    struct takeover *list, *by_key; /* waiting ones first */
    size_t count, active;
    size_t unanswered; /* done, but for the far end's answer */
    size_t fewer;      /* than at most may be under way, since Kamailio is slow */
};

/* INVITEs that two nodes have routed (second.c). */
struct seconds {
    struct second *list;
    size_t count, bytes;
};

#endif
