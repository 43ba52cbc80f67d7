/* The engine's inside, shared by engine.c, owner.c and strays.c; nobody else includes it. */
#ifndef KAMSYNC_ENGINE_IMPL_H
#define KAMSYNC_ENGINE_IMPL_H

#include "engine.h"
#include "frame.h"
#include "link.h"
#include "msg.h"
#include "nodes.h"
#include "txns.h"

struct stray;

struct engine {
    struct engine_conf conf; /* texts owned */
    struct engine_io io;
    struct counters count;
    struct frame_reader reader;
    struct link link;
    struct node self; /* id 0 before the first hello */
    char tag[64];     /* names this connection */
    bool hello;       /* this connection's Kamailio has said hello */
    bool store_up;
    int64_t next_beat_ms, next_janitor_ms;
    int64_t nodes_read_ms; /* when the node table was last read in full */
    struct nodes nodes;    /* the others */

    struct txns txns;
    size_t puts_under_way;
    int64_t rewrite_ms; /* when all records are written again, 0: not planned */

    int64_t events_read, strays_read; /* since hello, for the script's credit */
    bool ack_due;
    int64_t ack_n; /* number of the ack frame under way, 0 for none */

    struct stray *strays, *strays_by_token;
    size_t stray_count;
    uint64_t last_token;
};

/* engine.c */
__attribute__((format(printf, 3, 4))) void engine_log(struct engine *e, enum log_level level, const char *fmt, ...);
/* Printable copy of bytes from SIP, cut to fit; returns out. */
const char *printable(char *out, size_t size, struct span s);
/* Queues a frame made with number n, see link_push(). */
void engine_push(struct engine *e, int64_t n, char *payload, int64_t now);

/* owner.c: the transactions that this node owns. */
void owner_event(struct engine *e, const struct event *ev, int64_t now);
/* Gives changed records to the store, as many as may be under way. */
void owner_flush(struct engine *e, int64_t now);
/* The slow pass over all transactions. */
void owner_janitor(struct engine *e, int64_t now);

/* strays.c: whose is it, and what follows. */
void strays_take(struct engine *e, const struct msg *m, int64_t now);
void strays_tick(struct engine *e, int64_t now);
/* When strays_tick() is next due; INT64_MAX for never. */
int64_t strays_due(const struct engine *e);
void strays_clear(struct engine *e);

#endif
