/* Real stores in a real loop: Redis, with a redis-server of the test's own, or memory. */
#ifndef KAMSYNC_TEST_STORES_H
#define KAMSYNC_TEST_STORES_H

#include <sys/types.h>

#include "helper.h"
#include "io/store.h"

#define TOKENS 1000

struct redis_server {
    pid_t pid;
    int port;
};

/* One user of a store, and all that it was told. */
struct client {
    struct store *store;
    uv_loop_t *loop;
    uv_prepare_t prepare; /* flushes the store */
    bool up;
    unsigned answers[TOKENS]; /* how often each token was answered to its end */
    int results[TOKENS];      /* of a write, or the status of a reading */
    char *text;               /* the last record that was read, or that fenced a put; "": none */
    json_t *record;           /* last reading of a call: its fields, NULL for none */
    json_t *archive;          /* last reading of the archive: [id, fields] each */
    unsigned forgot;          /* so often the store said that it has */
    unsigned nodes;           /* records of nodes that were read, */
    unsigned nodes_read;      /* and how often all were */
    json_t *told;             /* texts, in order */
    json_t *keys;             /* of a scan */
    bool scanned;
    uint64_t next; /* cursor of the last part of a call's keys */
    char *logs;
    uint64_t token;        /* of the last question */
    enum call_known known; /* that the node knows of a call's record which it begins by its own transaction */
    void (*on_put)(struct client *c, uint64_t token); /* when a put is answered, NULL: nothing more */
};

/* Ends with the test's process, should that fail. */
struct redis_server redis_server_start(void);
void redis_server_stop(struct redis_server *r);
/* One command of another client, in words without blanks; its reply as text: integers in digits, lists with commas. */
__attribute__((format(printf, 2, 3))) char *redis_do(const struct redis_server *r, const char *fmt, ...);

/* The file of memory stores that are made from now on; "": none. */
extern const char *memory_state_file;
/* The near replica of Redis stores that are made from now on; 0: none. */
extern int near_port;

/* Waits for the store to be up. r: NULL for memory. user: "" for the default one; else with password "p". */
struct client *client_new(uv_loop_t *loop, const struct redis_server *r, int64_t cdr_max, const char *user);
/* Closes them all, and the loop. */
void clients_free(uv_loop_t *loop, struct client **list, size_t count);

/* Two nodes that share a Redis. */
struct two {
    struct redis_server r;
    uv_loop_t loop;
    struct client *c[2];
};

struct two *two_new(int64_t cdr_max);
void two_free(struct two *t);

/* Runs the loop until the client's last question, or that with this token, is answered. */
void client_wait(struct client *c);
bool wait_until(uv_loop_t *loop, bool (*condition)(void *arg), void *arg);

/* Asks; the answer comes later. Pairs as a JSON object of texts. */
void client_ask_write(struct client *c, const char *key, enum call_mode mode, int node, const char *pairs,
                      int64_t ttl_ms);
/* And waits for the answer. */
enum call_result client_write(struct client *c, const char *key, enum call_mode mode, int node, const char *pairs);
enum get_status client_get(struct client *c, const char *key);
/* A transaction's record. */
enum put_status client_put(struct client *c, const char *key, const char *record);
enum claim_status client_claim(struct client *c, const char *key, const char *value);
enum get_status client_read(struct client *c, const char *key);
bool client_archive(struct client *c, const char *after, int count);

/* Runs it with a store that keeps so many entries of the archive. */
void with_store(void (*test)(struct client *c), bool redis, int64_t cdr_max);
#define BOTH(suite, name, cdr_max)                                                                                     \
    Test(suite, name##_redis)                                                                                          \
    {                                                                                                                  \
        with_store(name, true, cdr_max);                                                                               \
    }                                                                                                                  \
    Test(suite, name##_memory)                                                                                         \
    {                                                                                                                  \
        with_store(name, false, cdr_max);                                                                              \
    }

#endif
