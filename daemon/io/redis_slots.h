/* A Redis Cluster's map: which master has which of its 16384 slots, and what it says when the map was wrong. Pure. */
#ifndef KAMSYNC_REDIS_SLOTS_H
#define KAMSYNC_REDIS_SLOTS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "span.h"
#include "store_name.h"

#define SLOTS 16384
#define MASTERS_MAX 128
#define NO_MASTER UINT8_MAX

struct slot_map {
    struct store_host masters[MASTERS_MAX];
    size_t count;
    uint8_t of[SLOTS]; /* a master's place, or NO_MASTER */
};

/* Where a command has to go instead. */
struct redirect {
    bool ask; /* this one command only: the slot is on its way there */
    unsigned slot;
    struct store_host host;
};

/* Of the part in braces, if there is one and it is not empty. */
unsigned slot_of(struct span key);

void slots_clear(struct slot_map *m);
/* The place of that master, which is added if it is new; NO_MASTER: there are too many. */
uint8_t slots_master(struct slot_map *m, const struct store_host *host);
/* Reads the answer to CLUSTER SLOTS of that host, whose own name stands for one that is not known there. False: it is
 * no such answer, and the map is not as it was. */
bool slots_read(struct slot_map *m, const redisReply *r, const struct store_host *asked);
/* Reads "MOVED 3999 192.0.2.1:6379" or "ASK …". False: it is none. */
bool slots_redirect(struct redirect *to, const redisReply *r, const struct store_host *asked);

#endif
