/* The store in Redis: one connection for commands, pipelined, and one that listens for what other nodes announce.
 *
 * Everything is asynchronous, and a NULL reply means "unknown": never "absent". */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "redis_command.h"
#include "redis_impl.h"

#define SCAN_COUNT 500    /* names that Redis looks at in one go: well under a ms */
#define MEMBERS_MAX 1024  /* node ids that are looked at; more than any node keeps */
#define COMPLAIN_MS 60000 /* the same refusal is said so often */
#define NODES_TTL_S 86400 /* the set of node ids; each beat renews it */

void redis_complain(struct redis *s, const redisReply *r)
{
    char line[300], why[sizeof(s->complained)];
    uint64_t now = uv_now(s->commands.loop);

    if (!r || r->type != REDIS_REPLY_ERROR)
        return;
    snprintf(why, sizeof(why), "%.*s", (int)strcspn(r->str, " "), r->str);
    if (strcmp(why, s->complained) == 0 && now - s->complained_ms < COMPLAIN_MS)
        return;
    memcpy(s->complained, why, sizeof(why));
    s->complained_ms = now;
    snprintf(line, sizeof(line), "redis refuses: %s", r->str);
    redis_clean(line);
    s->store.on.log(s->store.on.ctx, LOG_LEVEL_ERROR, line);
}

/* ---- records ---- */

static void on_put(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);

    (void)data;
    redis_conn_answered(&s->commands);
    redis_complain(s, reply);
    s->store.on.put_done(s->store.on.ctx, !redis_is_error(reply));
}

static bool send_put(struct redis *s, const char *key, const char *value, int64_t ttl_ms)
{
    struct buffer command = {0};

    if (!s->commands.is_ready)
        return false;
    command_begin(&command, 5);
    command_word(&command, span_of("SET"));
    command_word(&command, span_of(key));
    command_word(&command, span_of(value));
    command_word(&command, span_of("PX"));
    command_number(&command, ttl_ms);
    return command_send(&command, s->commands.ac, on_put, NULL);
}

static void redis_put(struct store *store, const char *key, const char *value, int64_t ttl_ms)
{
    struct redis *s = (struct redis *)store;

    if (send_put(s, key, value, ttl_ms))
        redis_conn_sent(&s->commands);
    else
        store->on.put_done(store->on.ctx, false);
}

static void on_get(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;
    enum get_status status = GET_FAILED;
    struct span value = {0};

    redis_conn_answered(&s->commands);
    redis_complain(s, r);
    if (r && r->type == REDIS_REPLY_NIL)
        status = GET_ABSENT;
    if (r && r->type == REDIS_REPLY_STRING) {
        status = GET_FOUND;
        value = (struct span){r->str, (size_t)r->len};
    }
    s->store.on.got(s->store.on.ctx, (uintptr_t)data, status, value);
}

static void redis_get(struct store *store, const char *key, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    void *data = (void *)(uintptr_t)token; /* a count of strays: 32 bits would do */

    if (!s->commands.is_ready || redisAsyncCommand(s->commands.ac, on_get, data, "GET %s", key) != REDIS_OK)
        store->on.got(store->on.ctx, token, GET_FAILED, (struct span){0});
    else
        redis_conn_sent(&s->commands);
}

/* ---- claims and searches ---- */

/* SET … NX GET (Redis 7.0): nil when the value was written, else the value that stands there. */
static void on_claim(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;
    enum claim_status status = CLAIM_FAILED;
    struct span holder = {0};

    redis_conn_answered(&s->commands);
    redis_complain(s, r);
    if (r && r->type == REDIS_REPLY_NIL)
        status = CLAIM_WON;
    if (r && r->type == REDIS_REPLY_STRING) {
        status = CLAIM_LOST;
        holder = (struct span){r->str, (size_t)r->len};
    }
    s->store.on.claimed(s->store.on.ctx, (uintptr_t)data, status, holder);
}

static void redis_claim(struct store *store, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct redis *s = (struct redis *)store;

    if (!s->commands.is_ready ||
        redisAsyncCommand(s->commands.ac, on_claim, (void *)(uintptr_t)token, "SET %s %s NX GET PX %lld", key, value,
                          (long long)ttl_ms) != REDIS_OK)
        store->on.claimed(store->on.ctx, token, CLAIM_FAILED, (struct span){0});
    else
        redis_conn_sent(&s->commands);
}

static bool is_scan_reply(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[0]->type == REDIS_REPLY_STRING &&
           r->element[1]->type == REDIS_REPLY_ARRAY;
}

static void on_scan(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;
    bool ok = is_scan_reply(r);

    (void)data;
    redis_conn_answered(&s->commands);
    redis_complain(s, r);
    for (size_t i = 0; ok && i < r->element[1]->elements; i++)
        if (r->element[1]->element[i]->type == REDIS_REPLY_STRING)
            s->store.on.scan_key(s->store.on.ctx, r->element[1]->element[i]->str);
    s->store.on.scanned(s->store.on.ctx, ok, ok ? strtoull(r->element[0]->str, NULL, 10) : 0);
}

static void redis_scan(struct store *store, uint64_t cursor)
{
    struct redis *s = (struct redis *)store;

    if (!s->commands.is_ready || redisAsyncCommand(s->commands.ac, on_scan, NULL, "SCAN %llu MATCH kamsync:* COUNT %d",
                                                   (unsigned long long)cursor, SCAN_COUNT) != REDIS_OK)
        store->on.scanned(store->on.ctx, false, 0);
    else
        redis_conn_sent(&s->commands);
}

/* ---- nodes ---- */

void redis_on_done(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);

    (void)data;
    redis_conn_answered(&s->commands);
    redis_complain(s, reply);
}

/* What stood where this node's beat goes: should it be another node's, the two have one id. Is it no longer there, the
 * store may have lost everything without any connection's end: FLUSHALL, a replica for a moment. */
static void on_own(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;

    redis_on_done(ac, reply, data);
    if (r && r->type == REDIS_REPLY_STRING) {
        s->own_there = true;
        s->store.on.node(s->store.on.ctx, (struct span){r->str, (size_t)r->len});
    } else if (r && r->type == REDIS_REPLY_NIL && s->own_there) {
        s->own_there = false;
        s->store.on.forgot(s->store.on.ctx);
    }
}

#define SEND(s, ...)                                                                                                   \
    do {                                                                                                               \
        if (redisAsyncCommand((s)->commands.ac, redis_on_done, NULL, __VA_ARGS__) == REDIS_OK)                         \
            redis_conn_sent(&(s)->commands);                                                                           \
    } while (0)

static void redis_beat(struct store *store, int id, const char *record, int64_t ttl_ms, bool announce)
{
    struct redis *s = (struct redis *)store;

    redis_hear(s, id);
    if (!s->commands.is_ready)
        return;
    if (redisAsyncCommand(s->commands.ac, on_own, NULL, "GET " KEY_NODE_PREFIX "%d", id) == REDIS_OK)
        redis_conn_sent(&s->commands);
    SEND(s, "SET " KEY_NODE_PREFIX "%d %s PX %lld", id, record, (long long)ttl_ms);
    SEND(s, "SADD " KEY_NODES " %d", id);
    SEND(s, "EXPIRE " KEY_NODES " %d", NODES_TTL_S);
    if (announce)
        SEND(s, "PUBLISH " KEY_NODES " %s", record);
}

static void end_reading(struct redis *s)
{
    s->reading_nodes = false;
    s->store.on.nodes_read(s->store.on.ctx, s->nodes_ok);
}

static void on_node(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;

    (void)data;
    redis_conn_answered(&s->commands);
    redis_complain(s, r);
    if (redis_is_error(r))
        s->nodes_ok = false;
    else if (r->type == REDIS_REPLY_STRING)
        s->store.on.node(s->store.on.ctx, (struct span){r->str, (size_t)r->len});
    if (--s->nodes_left == 0)
        end_reading(s);
}

static void on_members(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;

    (void)data;
    redis_conn_answered(&s->commands);
    redis_complain(s, r);
    s->nodes_ok = !redis_is_error(r) && r->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; s->nodes_ok && i < r->elements && i < MEMBERS_MAX; i++) {
        if (r->element[i]->type != REDIS_REPLY_STRING)
            continue;
        if (redisAsyncCommand(ac, on_node, NULL, "GET " KEY_NODE_PREFIX "%b", r->element[i]->str,
                              (size_t)r->element[i]->len) != REDIS_OK)
            continue;
        redis_conn_sent(&s->commands);
        s->nodes_left++;
    }
    if (s->nodes_left == 0)
        end_reading(s);
}

static void redis_read_nodes(struct store *store)
{
    struct redis *s = (struct redis *)store;

    if (!s->commands.is_ready || s->reading_nodes)
        return;
    if (redisAsyncCommand(s->commands.ac, on_members, NULL, "SMEMBERS " KEY_NODES) == REDIS_OK) {
        redis_conn_sent(&s->commands);
        s->reading_nodes = true;
    }
}

static void on_announced(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;

    (void)data;
    if (r && r->type == REDIS_REPLY_ARRAY && r->elements == 3 && r->element[2]->type == REDIS_REPLY_STRING)
        s->store.on.announced(s->store.on.ctx, (struct span){r->element[2]->str, (size_t)r->element[2]->len});
}

/* ---- connections ---- */

static void commands_ready(struct redis_conn *c)
{
    struct redis *s = c->data;

    s->reading_nodes = false;
    *s->complained = '\0';
    s->nodes_left = 0;
    redis_load_script(s);
    s->store.on.up(s->store.on.ctx);
}

static void commands_lost(struct redis_conn *c)
{
    struct redis *s = c->data;

    s->store.on.down(s->store.on.ctx);
    /* What was told to this node meanwhile waits in that connection, if the way was only cut for a while, and is too
     * old by now. */
    redis_conn_renew(&s->listener);
}

static void listener_ready(struct redis_conn *c)
{
    redisAsyncCommand(c->ac, on_announced, NULL, "SUBSCRIBE " KEY_NODES);
    redis_listen(c->data);
}

static void listener_lost(struct redis_conn *c)
{
    (void)c; /* node records are read with each beat as well, and what is told to a node may be lost */
}

static void redis_free(struct redis *s)
{
    free((char *)s->conf.user);
    free((char *)s->conf.password);
    free(s);
}

static void conn_closed(struct redis_conn *c)
{
    struct redis *s = c->data;

    if (++s->closed == 2)
        redis_free(s);
}

static void redis_flush(struct store *store)
{
    struct redis *s = (struct redis *)store;

    redis_conn_flush(&s->commands);
    redis_conn_flush(&s->listener);
}

static void redis_close(struct store *store)
{
    struct redis *s = (struct redis *)store;

    redis_conn_close(&s->commands);
    redis_conn_close(&s->listener);
}

/* A number behind that mark, if it is there; false when it is more than most. */
static bool take_number(char **at, char mark, unsigned long most, int *number)
{
    unsigned long n;

    if (**at != mark)
        return true;
    n = strtoul(*at + 1, at, 10);
    *number = (int)n;
    return n <= most;
}

int redis_conf_url(struct redis_conf *conf, const char *url)
{
    char *end;
    int n = 0;

    if (sscanf(url, "redis://[%255[^]]]%n", conf->host, &n) != 1 || n == 0) {
        n = 0;
        if (sscanf(url, "redis://%255[^]:/[]%n", conf->host, &n) != 1)
            return -EINVAL;
    }
    end = (char *)url + n;
    conf->port = 6379;
    conf->db = 0;
    if (!take_number(&end, ':', 65535, &conf->port) || !take_number(&end, '/', INT_MAX, &conf->db))
        return -EINVAL;
    return !*end && conf->port > 0 ? 0 : -EINVAL;
}

static void set_up(struct redis *s, struct redis_conn *c, uv_loop_t *loop, const char *role)
{
    *c = (struct redis_conn){.loop = loop,
                             .conf = &s->conf,
                             .on = &s->store.on,
                             .role = role,
                             .ready = c == &s->commands ? commands_ready : listener_ready,
                             .lost = c == &s->commands ? commands_lost : listener_lost,
                             .closed = conn_closed,
                             .data = s};
    redis_conn_start(c);
}

struct store *store_redis(uv_loop_t *loop, const struct redis_conf *conf, const struct store_events *on)
{
    static const struct store_ops ops = {redis_put,     redis_get,        redis_claim,      redis_scan,
                                         redis_beat,    redis_read_nodes, redis_call_write, redis_call_get,
                                         redis_archive, redis_tell,       redis_flush,      redis_close};
    struct redis *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->store = (struct store){&ops, *on};
    s->conf = *conf;
    s->conf.user = span_dup(span_of(conf->user));
    s->conf.password = span_dup(span_of(conf->password));
    if (!s->conf.user || !s->conf.password) {
        redis_free(s);
        return NULL;
    }
    set_up(s, &s->commands, loop, "commands");
    set_up(s, &s->listener, loop, "announcements");
    return &s->store;
}
