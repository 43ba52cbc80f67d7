/* One kamsyncd without its sockets: events go in, actions come out through a table.
 *
 *     link bytes ──▶ frame ▶ msg ▶ owner (own transactions) ──▶ store: records
 *                                ▶ strays (lookup, verdict) ──▶ store: lookups; link: handovers
 *     store answers ──▶ strays, nodes ──▶ link: node table
 *
 * It knows no clock: each call brings `now`, in ms of any clock that only goes forward. It draws no random number, and
 * it does not block. Actions are carried out during the call; a store may answer at once, that is, from within the
 * call. */
#ifndef KAMSYNC_ENGINE_H
#define KAMSYNC_ENGINE_H

#include <stdint.h>

#include "counters.h"
#include "span.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* What the engine asks of the world. All pointers that are passed are valid during the call only. */
struct engine_io {
    void *ctx;
    /* Sends one whole netstring in one write. */
    void (*link_write)(void *ctx, struct span bytes);
    /* Writes a record that lives ttl_ms; answered by engine_put_done(). */
    void (*put)(void *ctx, const char *key, const char *value, int64_t ttl_ms);
    /* Reads a record; answered by engine_got() with the token. */
    void (*get)(void *ctx, const char *key, uint64_t token);
    /* Writes a value unless there is one; answered by engine_claimed() with the token. */
    void (*claim)(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
    /* Looks through the names of all transaction records, a part at a time, from cursor 0 on; answered by
     * engine_scan_key() for each, then engine_scanned(). */
    void (*scan)(void *ctx, uint64_t cursor);
    /* Writes this node's record; tells all others at once when announce. Not answered: the next beat repairs it. */
    void (*beat)(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce);
    /* Reads all nodes' records; answered by engine_node() for each, then engine_nodes_read(). */
    void (*read_nodes)(void *ctx);
    void (*log)(void *ctx, enum log_level level, const char *line);
};

/* Texts are copied by engine_new() and engine_configure(). Times in ms. */
struct engine_conf {
    const char *name;       /* what people call this node */
    const char *secret;     /* for the proof of handovers, shared by the cluster */
    const char *old_secret; /* also believed; "" for none */
    int64_t heartbeat_ms;
    int64_t node_ttl_ms;
    int64_t hang_ms;       /* Kamailio acknowledges nothing for so long: it hangs */
    int64_t lookup_ms;     /* how long a stray whose record is absent waits for it */
    int64_t store_wait_ms; /* after this a stray whose lookup got no answer is given back */
    int64_t tx_ttl_ms;     /* a pending transaction's record; renewed at half-time */
    int64_t done_ttl_ms;   /* the record of one that is over */
    int64_t tx_max_ms;     /* a transaction without a final reply is given up after this */
    bool claim_strict;     /* one node only may route an INVITE; else it is asked whether another has it already */
    bool takeover;         /* take the transactions of dead nodes over; without it records go without the request */
    int64_t beat_base;     /* where the count of beats starts: more than at any earlier start */
};

enum get_status { GET_FOUND, GET_ABSENT, GET_FAILED };
enum claim_status { CLAIM_WON, CLAIM_LOST, CLAIM_FAILED };

struct engine;

/* NULL when memory is short. The table is copied. */
struct engine *engine_new(const struct engine_conf *conf, const struct engine_io *io, int64_t now);
void engine_free(struct engine *e);
/* Takes other settings over and tells Kamailio the secrets again; 0 or -ENOMEM, then the old ones stay. */
int engine_configure(struct engine *e, const struct engine_conf *conf, int64_t now);

/* The link to Kamailio. The tag names the connection; no two may share one. */
void engine_link_up(struct engine *e, const char *tag, int64_t now);
void engine_link_down(struct engine *e, int64_t now);
/* Bytes from Kamailio. 0, or negative when the framing is lost: the caller closes the link. */
int engine_link_data(struct engine *e, const char *p, size_t n, int64_t now);

/* The store. While it is down nothing is asked of it. */
void engine_store_up(struct engine *e, int64_t now);
void engine_store_down(struct engine *e, int64_t now);
void engine_put_done(struct engine *e, bool ok, int64_t now);
void engine_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
/* holder is the value that stands there already when the claim is lost. */
void engine_claimed(struct engine *e, uint64_t token, enum claim_status status, struct span holder, int64_t now);
void engine_scan_key(struct engine *e, const char *key);
/* next: the cursor for the next part, 0 when that was the last. */
void engine_scanned(struct engine *e, bool ok, uint64_t next, int64_t now);
void engine_node(struct engine *e, struct span record, int64_t now);
void engine_nodes_read(struct engine *e, bool ok, int64_t now);

/* To be called once per turn of the loop: writes what changed, sends what waits. */
void engine_flush(struct engine *e, int64_t now);
/* To be called when engine_wait() ms have passed. */
void engine_tick(struct engine *e, int64_t now);
int64_t engine_wait(const struct engine *e, int64_t now);

/* What can be seen of it. */
struct engine_status {
    int node;           /* id, 0 before the first hello */
    const char *inc;    /* valid until the next call */
    bool link, store;   /* connected */
    bool up;            /* Kamailio answers */
    size_t txns, dirty; /* own transactions, and those whose record waits to be written */
    size_t puts;        /* records under way to the store */
    size_t takeovers;   /* orphans that are being taken over, or wait for it */
    size_t strays;      /* lookups under way */
    size_t nodes;       /* others that are alive */
    size_t queued;      /* frames that wait for Kamailio */
};
void engine_status(const struct engine *e, struct engine_status *status);
const struct counters *engine_counters(const struct engine *e);

#endif
