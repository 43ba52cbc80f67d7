/* One kamsyncd without its sockets: events go in, actions come out through a table.
 *
 *     link bytes ──▶ frame ▶ msg ▶ owner (own transactions) ──▶ store: records
 *                                ▶ strays (lookup, verdict) ──▶ store: lookups; link: handovers
 *     store answers ──▶ strays, nodes ──▶ link: node table
 *
 * It reads no clock: each call brings `now`, in ms of any monotonic clock. It draws no random number, and never blocks.
 * Actions are carried out during the call; but no store answers before the call that asked has returned. */
#ifndef KAMSYNC_ENGINE_H
#define KAMSYNC_ENGINE_H

#include <jansson.h>
#include <stdint.h>

#include "counters.h"
#include "histogram.h"
#include "span.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* A line of the log. The text says everything; the fields repeat what programs look for. All of it is printable ASCII,
 * and bounded: out.c. */
struct log_entry {
    enum log_level level;
    const char *text;
    int node;            /* this node's id; 0: not known yet */
    const char *call_id; /* NULL: the line is about no call */
    const char *verdict; /* about a stray; else NULL */
    int owner;           /* with a verdict: the node that has the transaction, 0: none */
};

/* For a trace of the network (HEP): a message of a call on its way from one address to the next, or what was decided
 * about it. Borrowed. */
struct sighting {
    int node; /* this node's id */
    struct span call_id;
    const char *from, *to; /* "udp:192.0.2.1:5060", or without the transport */
    struct span bytes;     /* the SIP message, or the decision as text */
    bool decision;
};

/* A field of a call's record, or of an ended call in the archive: a name and its value, any bytes. */
struct pair {
    struct span name, value;
};

/* What a call_write() does, in one atomic step.
 *
 * Nothing is written to a call that has ended. A record follows one INVITE transaction ("tx"); another one with the
 * same name is a leg of that call. A leg takes the record over, and removes the other one's state ("ringing", "code"),
 * if that was not answered, and is this node's or nobody's; or if the leg itself was answered, or came first
 * ("trying") and goes on. After the end of a call a leg begins a new call if it came after that end, or was answered
 * and the ended call was not. Otherwise the result is CALL_FOREIGN, or CALL_OTHER, and a leg never ends another one's
 * call. */
enum call_mode {
    CALL_ADD,          /* adds to the record, or begins it */
    CALL_BEGIN,        /* begins it, or adds to it if its "node" is `node` or -1 (nobody), or it is not answered and has
                        * the same "tx"; otherwise writes nothing */
    CALL_TAKE,         /* adds, whatever its node: the pairs make it `node`'s */
    CALL_END,          /* adds, and appends the whole record to the archive: the call's only entry */
    CALL_END_ANSWERED, /* the same, but only of a call that was answered */
};

/* What the writer knows of the record, which spares the store work, and changes nothing else. */
enum call_known {
    KNOWN_NOTHING,
    KNOWN_NEW, /* (CALL_BEGIN) there is none yet. Only with `tx`, and `pairs` are the whole record; */
    KNOWN_OURS /* this node has written all of it, and had the answer. The same; of one that ends, `tx` names no others
                */
};

struct call_write {
    const char *key;
    const char *other; /* NULL, or (CALL_ADD) another key, used if the call's record is there and not at `key`; without
                        * a record at either nothing is written: CALL_ABSENT */
    enum call_mode mode;
    int node; /* the writing node; the record's own field "node" is one of the pairs */
    const struct pair *pairs;
    size_t count;
    int64_t ttl_ms;
    size_t weak;        /* this many of the last pairs are written only if the record lacks that name */
    bool first;         /* (CALL_BEGIN) the same "tx" does not suffice: another node may have that transaction */
    struct span dialog; /* (the two that end) only the dialog with this tag of the callee's has ended: the call ends
                         * with its last one, at the latest time. Empty: all have */
    const char *tx; /* that the call follows, if it is this node's own, as `pairs` say; else NULL. With it CALL_END ends
                     * no unanswered call while a leg of it goes on at another node; which others of the call this node
                     * has had may follow it then, each behind a newline: their marks are old */
    enum call_known known;    /* if it is mistaken, the store finds out */
    const struct pair *entry; /* (the two that end, KNOWN_OURS) the whole entry in the archive, duration_ms and pdd_ms
                               * included */
    size_t entry_count;
};

enum call_result {
    CALL_WRITTEN,
    CALL_OTHER,   /* the record's "node" is another; with CALL_BEGIN and CALL_TAKE nothing was written, else it was */
    CALL_OVER,    /* the call has ended: nothing was written */
    CALL_ABSENT,  /* of the two that end a call, and with `other`: there is no record */
    CALL_EARLY,   /* only of CALL_END_ANSWERED: the call was not answered */
    CALL_FOREIGN, /* with `dialog`: the call has no such dialog, nothing was written; or it is a leg (see above) */
    CALL_GOES_ON, /* with `dialog`: noted, as another dialog goes on; or a leg does, and the record is nobody's now */
    CALL_FAILED,  /* the store's answer is unknown, or it takes no writes */
    CALL_REFUSED  /* the store refuses this record, but not others */
};

/* What the engine needs from outside. All pointers passed are valid only during the call. */
struct engine_io {
    void *ctx;
    /* Sends one whole netstring in one write. */
    void (*link_write)(void *ctx, struct span bytes);
    /* Closes the connection to Kamailio and reconnects. engine_link_down() follows later. */
    void (*link_close)(void *ctx);
    /* Writes a transaction's record with that TTL, unless a newer one fences it off (record.h); answered by
     * engine_put_done() with the token. */
    void (*put)(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
    /* Reads a record; answered by engine_got() with the token. */
    void (*get)(void *ctx, const char *key, uint64_t token);
    /* Reads a record of the near replica, which may be behind; answered by engine_near_got() with the token. False: it
     * is away. NULL: there is none. */
    bool (*get_near)(void *ctx, const char *key, uint64_t token);
    /* Writes a value where none, or maybe an own one, is there; answered by engine_claimed() with the token. */
    void (*claim)(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
    /* Scans all keys in the store, one batch at a time, starting with cursor 0; answered by engine_scan_key() for each,
     * then engine_scanned(). */
    void (*scan)(void *ctx, uint64_t cursor);
    /* Writes this node's record; with announce, tells all others at once. No answer: the next heartbeat repairs it. */
    void (*beat)(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce);
    /* Reads all nodes' records; answered by engine_node() for each, then engine_nodes_read(). */
    void (*read_nodes)(void *ctx);
    /* Writes fields of a call's record; answered by engine_call_written() with the token. */
    void (*call_write)(void *ctx, const struct call_write *w, uint64_t token);
    /* Reads a call's record, or, if there is none, the one at the other key (if not NULL); answered by
     * engine_call_got() with the token. */
    void (*call_get)(void *ctx, const char *key, const char *other, uint64_t token);
    /* Scans the keys of all calls with that Call-ID, one batch at a time, starting with cursor 0; answered by
     * engine_call_key() for each, then engine_call_keys(), with the token. */
    void (*call_keys)(void *ctx, struct span call_id, uint64_t cursor, uint64_t token);
    /* Reads the archive of ended calls: the newest `count`, or with `after` (an id) the first `count` after that;
     * answered by engine_archived() with the token for each, oldest first, then once more with id NULL. */
    void (*archive)(void *ctx, const char *after, int count, uint64_t token);
    /* Sends a text to another node's kamsyncd, or to all others (node 0), if present: engine_message(). */
    void (*tell)(void *ctx, int node, const char *text);
    /* ms since 1970: for times shown to people, and for the age of a call that began elsewhere. */
    int64_t (*wall)(void *ctx);
    /* The answer to engine_ask(); the callee takes ownership. */
    void (*answer)(void *ctx, uint64_t client, json_t *answer);
    void (*log)(void *ctx, const struct log_entry *line);
    /* Shows a sighting; false: dropped. NULL: nobody wants to see them. */
    bool (*show)(void *ctx, const struct sighting *s);
    /* For kamsyncctl doctor: adds what only the outside knows of itself to that node's facts, and what is wrong there
     * (finding.h). sip: KAMSYNC_SIP, "" while Kamailio is away. NULL: nothing. */
    void (*examine)(void *ctx, int node, const char *sip, json_t *facts, json_t *found);
    /* Adds the names of what it looks at; NULL, too. */
    void (*examined)(void *ctx, json_t *names);
};

/* engine_new() and engine_configure() copy the strings. Times in ms. */
struct engine_conf {
    const char *name;       /* this node's name for people */
    const char *site;       /* where it stands; "": the cluster has one site */
    const char *secret;     /* for the proof of handovers, shared by the cluster */
    const char *old_secret; /* also accepted; "" for none */
    int64_t heartbeat_ms;
    int64_t node_ttl_ms;
    int64_t hang_ms;        /* Kamailio hangs if it acknowledges nothing for so long */
    int64_t lookup_ms;      /* how long a stray whose record is absent waits for it */
    int64_t store_wait_ms;  /* time until a stray whose lookup got no answer is given back */
    int64_t caller_wait_ms; /* how long a caller whose connection has ended with its node may take to come back */
    int64_t tx_ttl_ms;      /* TTL of a pending transaction's record; renewed at half of it */
    int64_t done_ttl_ms;    /* TTL of the record of one that is over */
    int64_t tx_max_ms;      /* time until a transaction without a final reply is given up */
    int64_t txns_max;       /* further ones are not tracked */
    bool claim_strict;      /* only one node may route an INVITE; else it is only checked whether another has it */
    int64_t call_max_ms;    /* time until a call without an end is ended */
    int64_t ended_ttl_ms;   /* TTL of an ended call's record */
    bool takeover;          /* take over dead nodes' transactions; if false, records have no request */
    int64_t beat_base;      /* first heartbeat number: higher than at any earlier start */
};

enum get_status { GET_FOUND, GET_ABSENT, GET_FAILED };
enum archive_status {
    ARCHIVE_FAILED,
    ARCHIVE_READ,
    ARCHIVE_GAP /* the same; but entries after the id that was given may have been removed before */
};
enum put_status {
    PUT_DONE,
    PUT_FENCED, /* another holder's newer record stays */
    PUT_FAILED, /* the store takes no writes, or its answer is unknown */
    PUT_REFUSED /* the store refuses this record, but not others */
};
enum claim_status {
    CLAIM_WON,
    CLAIM_LOST,
    CLAIM_FAILED,
    CLAIM_REFUSED /* the value there is no record, or the like */
};

struct engine;

/* NULL when out of memory. The table is copied. */
struct engine *engine_new(const struct engine_conf *conf, const struct engine_io *io, int64_t now);
void engine_free(struct engine *e);
/* Applies new settings, and has Kamailio read the keys file again; 0, or -ENOMEM: then the old ones stay. */
int engine_configure(struct engine *e, const struct engine_conf *conf, int64_t now);

/* The link to Kamailio. The tag names the connection; it must be unique and unpredictable. */
void engine_link_up(struct engine *e, const char *tag, int64_t now);
void engine_link_down(struct engine *e, int64_t now);
/* Bytes from Kamailio. 0, or negative if the framing is lost or the peer is not our Kamailio: the caller closes the
 * link.
 */
int engine_link_data(struct engine *e, const char *p, size_t n, int64_t now);

/* The store. While it is down, it gets no requests. */
void engine_store_up(struct engine *e, int64_t now);
void engine_store_down(struct engine *e, int64_t now);
/* record: the one in the store, if PUT_FENCED. */
void engine_put_done(struct engine *e, uint64_t token, enum put_status status, struct span record, int64_t now);
void engine_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
void engine_near_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
/* holder: the value in the store, if the claim is lost. */
void engine_claimed(struct engine *e, uint64_t token, enum claim_status status, struct span holder, int64_t now);
void engine_scan_key(struct engine *e, const char *key);
/* next: the cursor of the next batch, 0 after the last. */
void engine_scanned(struct engine *e, bool ok, uint64_t next, int64_t now);
void engine_node(struct engine *e, struct span record, int64_t now);
/* The same from the node's announcement, which need not be in the store. */
void engine_announced(struct engine *e, struct span record, int64_t now);
void engine_nodes_read(struct engine *e, bool ok, int64_t now);
void engine_call_written(struct engine *e, uint64_t token, enum call_result result, int64_t now);
void engine_call_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                     int64_t now);
void engine_call_key(struct engine *e, uint64_t token, const char *key);
/* next: as in engine_scanned(). */
void engine_call_keys(struct engine *e, uint64_t token, bool ok, uint64_t next, int64_t now);
/* status: of all of them, with id NULL; else not read. */
void engine_archived(struct engine *e, uint64_t token, const char *id, const struct pair *pairs, size_t count,
                     enum archive_status status, int64_t now);
void engine_message(struct engine *e, struct span text, int64_t now);
/* What this node had written is gone, though no connection broke: FLUSHALL, or the store was a replica for a moment. */
void engine_store_forgot(struct engine *e, int64_t now);

/* A question from kamsyncctl (proto/control.md), answered during the call or later, once. */
void engine_ask(struct engine *e, const json_t *request, uint64_t client, int64_t now);
/* That client is gone: it gets no more answers. */
void engine_forget_client(struct engine *e, uint64_t client);

/* All own transactions that can be moved are given to the other nodes, and so are those that begin later, until it is
 * switched off. NULL, or the reason why not, for people: then nothing has changed. */
const char *engine_evacuate(struct engine *e, bool on, int64_t now);

/* Call once per turn of the loop: writes what changed, sends what waits. */
void engine_flush(struct engine *e, int64_t now);
/* Call when engine_wait() ms have passed. */
void engine_tick(struct engine *e, int64_t now);
int64_t engine_wait(const struct engine *e, int64_t now);

/* Its visible state. */
struct engine_status {
    int node;         /* id, 0 before the first hello */
    const char *inc;  /* valid until the next call */
    bool link, store; /* connected */
    bool up;          /* Kamailio answers */
    bool settled;     /* own transactions are read back, and the other nodes are known */
    size_t txns;      /* own transactions */
    size_t dirty;     /* records of transactions and calls waiting to be written */
    size_t puts;      /* records under way to the store */
    size_t calls;     /* calls that this node has */
    size_t takeovers; /* orphans being taken over, or waiting for that */
    size_t strays;    /* lookups under way */
    size_t nodes;     /* other nodes that are alive */
    size_t queued;    /* frames waiting for Kamailio, */
    size_t queued_bytes;
    size_t txn_bytes, call_bytes; /* memory of the transactions, and texts of the calls */
    size_t early, early_bytes;    /* events that came too early */
};
void engine_status(const struct engine *e, struct engine_status *status);
const struct counters *engine_counters(const struct engine *e);
const struct histograms *engine_histograms(const struct engine *e);

#endif
