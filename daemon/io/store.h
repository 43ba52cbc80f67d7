/* Where records live: Redis for a cluster, this process' memory for a single node. */
#ifndef KAMSYNC_STORE_H
#define KAMSYNC_STORE_H

#include <uv.h>

#include "engine.h"
#include "store_name.h"

/* What a store reports, each with the ctx given here. */
struct store_events {
    void *ctx;
    void (*up)(void *ctx);
    void (*down)(void *ctx);
    void (*put_done)(void *ctx, uint64_t token, enum put_status status, struct span record);
    void (*got)(void *ctx, uint64_t token, enum get_status status, struct span record);
    void (*got_near)(void *ctx, uint64_t token, enum get_status status, struct span record);
    void (*claimed)(void *ctx, uint64_t token, enum claim_status status, struct span holder);
    void (*scan_key)(void *ctx, const char *key);
    void (*scanned)(void *ctx, bool ok, uint64_t next);
    void (*node)(void *ctx, struct span record);
    void (*announced)(void *ctx, struct span record); /* by a node, maybe this one: it need not be in the store */
    void (*nodes_read)(void *ctx, bool ok);
    void (*call_written)(void *ctx, uint64_t token, enum call_result result);
    void (*call_got)(void *ctx, uint64_t token, enum get_status status, const struct pair *pairs, size_t count);
    void (*call_key)(void *ctx, uint64_t token, const char *key);
    void (*call_keys)(void *ctx, uint64_t token, bool ok, uint64_t next);
    void (*archived)(void *ctx, uint64_t token, const char *id, const struct pair *pairs, size_t count,
                     enum archive_status status);
    void (*told)(void *ctx, struct span text);
    void (*forgot)(void *ctx); /* this node's records are gone, without a broken connection */
    void (*log)(void *ctx, enum log_level level, const char *line);
};

struct store;

/* The same operations as in struct engine_io. */
struct store_ops {
    void (*put)(struct store *s, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
    void (*get)(struct store *s, const char *key, uint64_t token);
    void (*claim)(struct store *s, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
    void (*scan)(struct store *s, uint64_t cursor);
    void (*beat)(struct store *s, int id, const char *record, int64_t ttl_ms, bool announce);
    void (*read_nodes)(struct store *s);
    void (*call_write)(struct store *s, const struct call_write *w, uint64_t token);
    void (*call_get)(struct store *s, const char *key, const char *other, uint64_t token);
    void (*call_keys)(struct store *s, struct span call_id, uint64_t cursor, uint64_t token);
    void (*archive)(struct store *s, const char *after, int count, uint64_t token);
    void (*tell)(struct store *s, int node, const char *text);
    bool (*get_near)(struct store *s, const char *key, uint64_t token); /* NULL: it has no near replica */
    /* Sends queued commands; call it before the loop waits. */
    void (*flush)(struct store *s);
    /* Closes everything, so that the loop can end; the store frees itself when the last handle has closed. */
    void (*close)(struct store *s);
};

/* "" for none; the store copies all texts. */
struct redis_login {
    const char *user, *password;
};

/* Files and a name; "" for none. */
struct redis_tls_conf {
    const char *ca_file, *cert_file, *key_file, *server_name;
};

struct redis_conf {
    struct store_name name;
    struct redis_login login; /* where the name has none */
    struct redis_login sentinel_login;
    struct store_name near; /* a replica beside this node; of no host and no path: there is none */
    struct redis_login near_login;
    struct redis_tls_conf tls; /* used if the name says so */
    int64_t timeout_ms;        /* without an answer for so long the connection is closed */
    int64_t cdr_max;           /* ended calls kept in the archive, or a few more; 0: all */
};

/* What has been seen of the near replica (redis_near.c). */
struct near_facts {
    bool ready;
    char trouble[200]; /* why it is not; "": not known */
    char refused[200]; /* what it has said to a question since it is; "": no error */
    bool looked;       /* this node's own record was read there, */
    int64_t lag_ms;    /* and is so many ms old, in steps of the heartbeat; -1: there is none, or a very old one */
};

/* What has been seen of Redis (redis_facts.c), for store_checks.c. Times as of uv_now(). */
struct store_facts {
    const struct redis_conf *conf; /* NULL: the store is no Redis */
    bool ready;                    /* it takes commands */
    char trouble[200];             /* why it does not; "": not known */
    char refused[200];             /* the last error that it answered with, and when */
    int64_t refused_ms;
    int64_t cut_off_ms; /* when the connection for announcements was last lost alone; 0: never */
    char missing[250];  /* rights that this user lacks; "": none, or not known */
    char layout[16];    /* of the names that others have written, if it is not this node's; "" else */
    bool info;          /* the following was seen */
    char info_error[160];
    char policy[64];     /* maxmemory-policy; "": not known */
    int64_t used, limit; /* memory in bytes; -1: not known */
    int aof;             /* 0: it keeps no append-only file; -1: not known */
    bool disk_fails;
    uint64_t repeated; /* commands that a cluster had sent again (redis_route.c) */
    struct near_facts near;
    char said[5][128]; /* what the log says of each row that it has (store_checks.c) */
};

struct store {
    const struct store_ops *ops;
    struct store_events on;
    struct histogram round_trips; /* of one command at a time; empty without Redis */
    struct store_facts facts;     /* the same */
};

/* Whether a near replica is configured. */
static inline bool store_has_near(const struct redis_conf *conf)
{
    return conf && (conf->near.count || *conf->near.path);
}

/* store_checks.c: adds what is wrong with Redis, for that node. */
void store_checks(const struct store_facts *s, int64_t now, int node, json_t *found);
/* What to do about an error of Redis; NULL: that is not known. */
const char *store_advice(const char *error);
/* Logs, once each, those of them that nothing else makes known. */
void store_checks_log(struct store *s);

/* Both start by themselves and call on->up() once usable, never from within the call. NULL when out of
 * memory. */
struct store *store_redis(uv_loop_t *loop, const struct redis_conf *conf, const struct store_events *on);
/* state_file: the file that keeps its data, "" for none. */
struct store *store_memory(uv_loop_t *loop, int64_t cdr_max, const char *state_file, const struct store_events *on);

#endif
