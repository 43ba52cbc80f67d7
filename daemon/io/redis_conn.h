/* One connection to Redis or to a Sentinel that reconnects for ever: name lookup, connect, AUTH, SELECT, then ready;
 * lost, backoff, retry.
 *
 *     start ▶ (find) ▶ resolving ▶ connecting ▶ greeting ▶ READY
 *               ▲              └ failed: the next address of the name, if there is one
 *               │                                   │ error, or no answer for timeout_ms
 *               └───────── waiting (backoff) ◀──────┘ */
#ifndef KAMSYNC_REDIS_CONN_H
#define KAMSYNC_REDIS_CONN_H

#include <hiredis/async.h>
#include <uv.h>

#include "buffer.h"
#include "redis_tls.h"
#include "resolver.h"

struct redis;

/* What a command was answered with, NULL: nothing, as the connection has ended. */
typedef void redis_answer(struct redis *s, const redisReply *r, void *data);

/* Who waits for an answer: Redis answers in order. */
struct redis_asked {
    redis_answer *fn;
    void *data;
};

struct redis_conn {
    uv_loop_t *loop;
    const struct redis_login *login; /* as is what else is not owned: longer there than the connection */
    struct redis_tls *tls;           /* NULL: none */
    struct resolver *resolver;
    int64_t timeout_ms;
    int db;
    struct store_host host;
    const char *path;              /* of a Unix socket, in place of the host; "" for none */
    const struct store_events *on; /* for log lines */
    const char *role;              /* for log lines */
    void (*ready)(struct redis_conn *c);
    void (*lost)(struct redis_conn *c);   /* only after ready() */
    void (*closed)(struct redis_conn *c); /* after redis_conn_close(): everything is closed */
    struct histogram *round_trips;        /* NULL: not measured */
    bool pinged;                          /* when it is idle: else nobody would notice that it has fallen silent */
    void *data;
    /* Of a master that Sentinels know (redis_sentinel.c). find() looks for it before each attempt, and ends in
     * redis_conn_at(), redis_conn_retry() or redis_conn_again(), now or later. NULL: the host is known. */
    void (*find)(struct redis_conn *c);
    void *finder;
    bool is_master; /* or else it is not used: ROLE is asked */
    /* In place of a retry, whatever its reason, and of log lines; NULL for none. c->ac is still being used: begin
     * again by redis_conn_again() or redis_conn_retry(). */
    void (*over)(struct redis_conn *c, const char *why);
    char *trouble; /* where it says why it is not ready, of trouble_size bytes; NULL: nowhere */
    size_t trouble_size;

    redisAsyncContext *ac;   /* NULL unless connecting or connected */
    struct redis_peer *peer; /* owned: of TLS */
    struct asker asker;
    struct addresses addresses; /* of the name */
    size_t next_address;        /* tried when this one fails */
    char ip[64];                /* being tried, or connected to; "" for none */
    uv_timer_t timer;           /* backoff, then the watchdog */
    bool is_ready, closing;
    bool odd;     /* input was refused (redis_guard.c) */
    bool refused; /* it refused us, which was logged; until it is ready again */
    char refusal[200];
    char said[200];   /* why it cannot connect, as it was last logged */
    uint64_t said_ms; /* 0: not since it was ready */
    unsigned attempt;
    size_t pending;            /* unanswered commands */
    struct buffer out;         /* owned: those that redis_conn_flush() writes */
    struct redis_asked *asked; /* owned: a ring of asked_size, a power of 2 or 0, from asked_first on; */
    size_t asked_first, asked_count, asked_size; /* of redis_conn_send() */
    uint64_t ready_ms;                           /* since when it is ready */
    uint64_t progress_ms;                        /* when a command was last answered, or first pending */
    uint64_t measured_ns;                        /* when the command that is measured was sent; 0: none is */
    size_t measured_left;                        /* answers until its own, that one included */
};

/* The caller sets the fields above the empty line. */
void redis_conn_start(struct redis_conn *c);
/* The same without a first attempt, which redis_conn_again() makes. */
void redis_conn_open(struct redis_conn *c);
/* An attempt after so many ms; as of one that has not been refused yet. */
void redis_conn_again(struct redis_conn *c, uint64_t ms);
/* An attempt after the backoff. */
void redis_conn_retry(struct redis_conn *c);
/* What find() has found. */
void redis_conn_at(struct redis_conn *c, const struct store_host *host);
void redis_conn_close(struct redis_conn *c);
/* Writes queued commands. */
void redis_conn_flush(struct redis_conn *c);
/* Closes an established connection and makes a new one. */
void redis_conn_renew(struct redis_conn *c);

/* Host, address and port, or the path, for log lines. Returns out. */
const char *redis_conn_where(const struct redis_conn *c, char *out, size_t size);

/* redis_send.c: sends PING, for the watchdog. */
void redis_conn_ping(struct redis_conn *c);
/* Sends a command, in Redis' protocol, on a connection whose data is the struct redis; its answers come
 * in the order of sending. False: it is not sent, and fn is never called. */
bool redis_conn_send(struct redis_conn *c, struct span command, redis_answer *fn, void *data);
/* The same, and frees the command in either case. */
bool redis_conn_send_once(struct redis_conn *c, struct buffer *command, redis_answer *fn, void *data);

/* Bookkeeping for the watchdog: each command that expects one answer, and its answer. */
void redis_conn_sent(struct redis_conn *c);
void redis_conn_answered(struct redis_conn *c);

/* redis_guard.c: keeps from hiredis what would make it end the process. The context's data is the connection. */
void redis_guard(redisAsyncContext *ac);

#endif
