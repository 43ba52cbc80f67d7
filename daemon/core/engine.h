/* One kamsyncd without its sockets: events go in, actions come out through a table.
 *
 *     link bytes ──▶ frame ▶ msg ▶ owner (own transactions) ──▶ store: records
 *                                ▶ strays (lookup, verdict) ──▶ store: lookups; link: handovers
 *     store answers ──▶ strays, nodes ──▶ link: node table
 *
 * It knows no clock: each call brings `now`, in ms of any clock that only goes forward. It draws no random number, and
 * it does not block. Actions are carried out during the call; but no store answers before the call that asked has
 * returned. */
#ifndef KAMSYNC_ENGINE_H
#define KAMSYNC_ENGINE_H

#include <jansson.h>
#include <stdint.h>

#include "counters.h"
#include "span.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* A part of a call's record, or of an ended call in the archive: a name and its value, any bytes. */
struct pair {
    struct span name, value;
};

/* What a call_write() does, all of it in one atomic step.
 *
 * Nothing is written to a call that has ended. A record lives by one INVITE transaction ("tx"); another one with the
 * same name is a leg of that call. A leg makes the record its own, and what the other one had come to ("ringing",
 * "code") goes, if that was not answered, and is this node's or nobody's, or if the leg itself was answered. After the
 * end of a call it begins a new one, if it came after that end ("trying"), or was answered and the one that ended was
 * not. Else it is CALL_FOREIGN, or CALL_OTHER, and a leg ends no other's. */
enum call_mode {
    CALL_ADD,          /* adds to the record, or begins it */
    CALL_BEGIN,        /* begins it, or adds to it when its "node" is `node` or -1 (nobody), or it is not answered and
                        * its "tx" is the same; else it stays as it is */
    CALL_TAKE,         /* adds, whoever's it was: the pairs make it `node`'s */
    CALL_END,          /* adds, and appends the whole record to the archive: the one entry of this call */
    CALL_END_ANSWERED, /* the same, but only of a call that was answered */
};

struct call_write {
    const char *key;
    const char *other; /* NULL, or (CALL_ADD) another key, if the call's record stands there and not at this one; where
                        * it stands at none of them nothing is written: CALL_ABSENT */
    enum call_mode mode;
    int node; /* who writes; the record's own field "node" is one of the pairs */
    const struct pair *pairs;
    size_t count;
    int64_t ttl_ms;
    size_t weak; /* the last so many pairs are written only where the record has none of that name */
    bool first;  /* (CALL_BEGIN) that it lives by the same transaction is no reason: another node may have that */
    struct span dialog; /* (the two that end) only that with this tag of the callee's has ended: the call ends with its
                         * last one, with the latest time. Empty: all have */
};

enum call_result {
    CALL_WRITTEN,
    CALL_OTHER, /* the record's "node" is another one; with CALL_BEGIN and CALL_TAKE nothing was written, else it was */
    CALL_OVER,  /* it has ended: nothing was written */
    CALL_ABSENT,  /* of the two that end a call, and with `other`: there is no record of it */
    CALL_EARLY,   /* only of CALL_END_ANSWERED: it was not answered */
    CALL_FOREIGN, /* with `dialog`: the call has none with that tag, nothing was written; or it is a leg (see above); */
    CALL_GOES_ON, /* it has, but another one goes on: noted */
    CALL_FAILED,  /* the store did not say, or takes no writes */
    CALL_REFUSED  /* it does not take this record, whatever it does with others */
};

/* What the engine asks of the world. All pointers that are passed are valid during the call only. */
struct engine_io {
    void *ctx;
    /* Sends one whole netstring in one write. */
    void (*link_write)(void *ctx, struct span bytes);
    /* Ends the connection to Kamailio, and connects anew. engine_link_down() follows later. */
    void (*link_close)(void *ctx);
    /* Writes a record that lives ttl_ms; answered by engine_put_done(), or engine_put_refused() with the token. */
    void (*put)(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
    /* Reads a record; answered by engine_got() with the token. */
    void (*get)(void *ctx, const char *key, uint64_t token);
    /* Writes a value unless there is one; answered by engine_claimed() with the token. */
    void (*claim)(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
    /* Looks through the names of all that stands in the store, a part at a time, from cursor 0 on; answered by
     * engine_scan_key() for each, then engine_scanned(). */
    void (*scan)(void *ctx, uint64_t cursor);
    /* Writes this node's record; tells all others at once when announce. Not answered: the next beat repairs it. */
    void (*beat)(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce);
    /* Reads all nodes' records; answered by engine_node() for each, then engine_nodes_read(). */
    void (*read_nodes)(void *ctx);
    /* Writes fields of a call's record; answered by engine_call_written() with the token. */
    void (*call_write)(void *ctx, const struct call_write *w, uint64_t token);
    /* Reads a call's record, or (not NULL) that at the other key, if there is none at this one; answered by
     * engine_call_got() with the token. */
    void (*call_get)(void *ctx, const char *key, const char *other, uint64_t token);
    /* Looks through the names of all calls with that Call-ID, a part at a time, from cursor 0 on; answered by
     * engine_call_key() for each, then engine_call_keys(), with the token. */
    void (*call_keys)(void *ctx, struct span call_id, uint64_t cursor, uint64_t token);
    /* Reads the archive of ended calls: the newest `count` ones, or with `after` (an id) the first `count` behind it;
     * answered by engine_archived() with the token for each, oldest first, then once more with id NULL. */
    void (*archive)(void *ctx, const char *after, int count, uint64_t token);
    /* Gives a text to another node's kamsyncd, or to all others (node 0), if they are there: engine_told(). */
    void (*tell)(void *ctx, int node, const char *text);
    /* ms since 1970: for times that people read, and for the age of a call that was begun elsewhere. */
    int64_t (*wall)(void *ctx);
    /* The answer to engine_ask(), which the callee owns. */
    void (*answer)(void *ctx, uint64_t client, json_t *answer);
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
    int64_t txns_max;      /* further ones are not tracked */
    bool claim_strict;     /* one node only may route an INVITE; else it is asked whether another has it already */
    int64_t call_max_ms;   /* a call that nobody ends is ended after this */
    int64_t ended_ttl_ms;  /* the record of a call that has ended */
    bool takeover;         /* take the transactions of dead nodes over; without it records go without the request */
    int64_t beat_base;     /* where the count of beats starts: more than at any earlier start */
};

enum get_status { GET_FOUND, GET_ABSENT, GET_FAILED };
enum claim_status {
    CLAIM_WON,
    CLAIM_LOST,
    CLAIM_FAILED,
    CLAIM_REFUSED /* what stands there is no text, or the like */
};

struct engine;

/* NULL when memory is short. The table is copied. */
struct engine *engine_new(const struct engine_conf *conf, const struct engine_io *io, int64_t now);
void engine_free(struct engine *e);
/* Takes other settings over, and has Kamailio read the file of keys again; 0 or -ENOMEM, then the old ones stay. */
int engine_configure(struct engine *e, const struct engine_conf *conf, int64_t now);

/* The link to Kamailio. The tag names the connection; no two may share one, and nobody may foresee it. */
void engine_link_up(struct engine *e, const char *tag, int64_t now);
void engine_link_down(struct engine *e, int64_t now);
/* Bytes from Kamailio. 0, or negative when the framing is lost, or it is not our Kamailio: the caller closes the link.
 */
int engine_link_data(struct engine *e, const char *p, size_t n, int64_t now);

/* The store. While it is down nothing is asked of it. */
void engine_store_up(struct engine *e, int64_t now);
void engine_store_down(struct engine *e, int64_t now);
/* ok: false when the store takes no writes, or did not say. */
void engine_put_done(struct engine *e, bool ok, int64_t now);
/* The store does not take this record, whatever it does with others. */
void engine_put_refused(struct engine *e, uint64_t token, int64_t now);
void engine_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
/* holder is the value that stands there already when the claim is lost. */
void engine_claimed(struct engine *e, uint64_t token, enum claim_status status, struct span holder, int64_t now);
void engine_scan_key(struct engine *e, const char *key);
/* next: the cursor for the next part, 0 when that was the last. */
void engine_scanned(struct engine *e, bool ok, uint64_t next, int64_t now);
void engine_node(struct engine *e, struct span record, int64_t now);
/* The same, as that node has announced it: that it stands in the store is not said. */
void engine_announced(struct engine *e, struct span record, int64_t now);
void engine_nodes_read(struct engine *e, bool ok, int64_t now);
void engine_call_written(struct engine *e, uint64_t token, enum call_result result, int64_t now);
void engine_call_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                     int64_t now);
void engine_call_key(struct engine *e, uint64_t token, const char *key);
/* next: as in engine_scanned(). */
void engine_call_keys(struct engine *e, uint64_t token, bool ok, uint64_t next, int64_t now);
void engine_archived(struct engine *e, uint64_t token, const char *id, const struct pair *pairs, size_t count, bool ok,
                     int64_t now);
void engine_told(struct engine *e, struct span text, int64_t now);
/* What this node had written is gone, though no connection broke: FLUSHALL, or it was a replica for a moment. */
void engine_store_forgot(struct engine *e, int64_t now);

/* A question of kamsyncctl's (proto/control.md), answered during the call or later, once. */
void engine_ask(struct engine *e, const json_t *request, uint64_t client, int64_t now);
/* That client has gone: it gets no answer any more. */
void engine_forget_client(struct engine *e, uint64_t client);

/* To be called once per turn of the loop: writes what changed, sends what waits. */
void engine_flush(struct engine *e, int64_t now);
/* To be called when engine_wait() ms have passed. */
void engine_tick(struct engine *e, int64_t now);
int64_t engine_wait(const struct engine *e, int64_t now);

/* What can be seen of it. */
struct engine_status {
    int node;         /* id, 0 before the first hello */
    const char *inc;  /* valid until the next call */
    bool link, store; /* connected */
    bool up;          /* Kamailio answers */
    size_t txns;      /* own transactions */
    size_t dirty;     /* records of transactions and calls that wait to be written */
    size_t puts;      /* those under way to the store */
    size_t calls;     /* that this node has */
    size_t takeovers; /* orphans that are being taken over, or wait for it */
    size_t strays;    /* lookups under way */
    size_t nodes;     /* others that are alive */
    size_t queued;    /* frames that wait for Kamailio */
};
void engine_status(const struct engine *e, struct engine_status *status);
const struct counters *engine_counters(const struct engine *e);

#endif
