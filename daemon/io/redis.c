/* The store in Redis: one connection for commands, pipelined, and one that subscribes to other nodes' announcements.
 *
 * Everything is asynchronous, and a NULL reply means "unknown", never "absent". */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ascii.h"
#include "count.h"
#include "redis_command.h"
#include "redis_impl.h"

#define MEMBERS_MAX 8192  /* limit of node ids that are read; more than any node keeps */
#define COMPLAIN_MS 60000 /* the same refusal is logged at this interval */
#define NODES_TTL_S 86400 /* the set of node ids; each heartbeat renews it */

void redis_complain(struct redis *s, const redisReply *r)
{
    const char *advice;
    char line[500], why[sizeof(s->complained)];
    uint64_t now = uv_now(s->loop);

    if (!r || r->type != REDIS_REPLY_ERROR)
        return;
    if (s->sentinels && strncmp(r->str, "READONLY ", 9) == 0)
        redis_conn_renew(&s->commands); /* it is no master any more: the Sentinels know who is */
    snprintf(s->store.facts.refused, sizeof(s->store.facts.refused), "%s", r->str);
    ascii_clean(s->store.facts.refused);
    s->store.facts.refused_ms = (int64_t)now;
    snprintf(why, sizeof(why), "%.*s", (int)strcspn(r->str, " "), r->str);
    if (strcmp(why, s->complained) == 0 && now - s->complained_ms < COMPLAIN_MS)
        return;
    memcpy(s->complained, why, sizeof(why));
    s->complained_ms = now;
    advice = store_advice(r->str);
    snprintf(line, sizeof(line), "redis refuses: %.280s%s%s", r->str, advice ? " -> " : "", advice ? advice : "");
    ascii_clean(line);
    s->store.on.log(s->store.on.ctx, LOG_LEVEL_ERROR, line);
}

/* Errors that concern the whole store: it takes no writes, or does not answer at all, which ends for all records at
 * once. Any other error concerns one record: WRONGTYPE (a value of another type); ERR; TRYAGAIN, MOVED and ASK, for
 * one slot; also NOPERM, since rights are given for commands and keys, so that some writes may succeed while others
 * fail for ever. UNKILLABLE is sent only to a client that kills a script. */
bool redis_is_own(const redisReply *r)
{
    static const char *const all[] = {"READONLY", "OOM",        "LOADING",    "NOAUTH",     "MISCONF",
                                      "BUSY",     "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN"};
    size_t n = r && r->type == REDIS_REPLY_ERROR ? strcspn(r->str, " ") : 0;

    for (size_t i = 0; i < COUNT(all); i++)
        if (strlen(all[i]) == n && strncmp(r->str, all[i], n) == 0)
            return false;
    return n > 0;
}

/* ---- scans ---- */

bool redis_is_scan(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[0]->type == REDIS_REPLY_STRING &&
           r->element[1]->type == REDIS_REPLY_ARRAY;
}

const char *redis_scanned_key(const redisReply *r, size_t i)
{
    const redisReply *keys = r->element[1];

    return i < keys->elements && keys->element[i]->type == REDIS_REPLY_STRING ? keys->element[i]->str : NULL;
}

static void on_scan(struct redis *s, const redisReply *r, void *data)
{
    bool ok = redis_is_scan(r);
    uint64_t cursor;

    (void)data;
    redis_complain(s, r);
    for (size_t i = 0; ok && i < r->element[1]->elements; i++)
        if (redis_scanned_key(r, i))
            s->store.on.scan_key(s->store.on.ctx, redis_scanned_key(r, i));
    cursor = ok ? strtoull(r->element[0]->str, NULL, 10) : 0;
    ok = ok && redis_scanned(s, &cursor);
    s->store.on.scanned(s->store.on.ctx, ok, ok ? cursor : 0);
}

static void redis_scan(struct store *store, uint64_t cursor)
{
    struct redis *s = (struct redis *)store;
    char all[KEY_SHORT_MAX];

    if (!redis_send_scan(s, cursor, key_short(all, KEY_ALL), on_scan, NULL))
        answers_not_scanned(&s->answers);
}

/* ---- nodes ---- */

void redis_on_done(struct redis *s, const redisReply *r, void *data)
{
    (void)data;
    redis_complain(s, r);
}

/* The previous value of this node's record: if it is another node's, the two have the same id. If there is none, the
 * store may have lost everything without a broken connection: FLUSHALL, or it was a replica for a moment. */
static void on_own(struct redis *s, const redisReply *r, void *data)
{
    redis_on_done(s, r, data);
    if (r && r->type == REDIS_REPLY_STRING) {
        s->own_there = true;
        s->store.on.node(s->store.on.ctx, (struct span){r->str, (size_t)r->len});
    } else if (r && r->type == REDIS_REPLY_NIL && s->own_there) {
        s->own_there = false;
        s->store.on.forgot(s->store.on.ctx);
    }
}

static void redis_beat(struct store *store, int id, const char *record, int64_t ttl_ms, bool announce)
{
    struct redis *s = (struct redis *)store;
    char key[KEY_SHORT_MAX];

    key_node(key, id);
    redis_hear(s, id);
    redis_near_look(s, key, record);
    redis_ask(s, span_of(key), on_own, NULL, "GET %s", key);
    redis_ask(s, span_of(key), redis_on_done, NULL, "SET %s %s PX %lld", key, record, (long long)ttl_ms);
    redis_ask(s, span_of(s->nodes), redis_on_done, NULL, "SADD %s %d", s->nodes, id);
    redis_ask(s, span_of(s->nodes), redis_on_done, NULL, "EXPIRE %s %d", s->nodes, NODES_TTL_S);
    if (announce)
        redis_ask(s, NO_KEY, redis_on_done, NULL, "PUBLISH %s %s", s->nodes_channel, record);
}

/* One of the answers that a read waits for. */
static void node_answered(struct redis *s)
{
    if (--s->nodes_left > 0)
        return;
    s->reading_nodes = false;
    s->store.on.nodes_read(s->store.on.ctx, s->nodes_ok);
}

/* Gone for a day; if it is alive after all, each heartbeat adds it. */
static void forget_member(struct redis *s, long id)
{
    for (size_t i = 0; i < s->known_count; i++)
        if (s->known[i] == id)
            s->known[i--] = s->known[--s->known_count];
    redis_ask(s, span_of(s->nodes), redis_on_done, NULL, "SREM %s %ld", s->nodes, id);
}

static void on_node(struct redis *s, const redisReply *r, void *data)
{
    long id = (long)(intptr_t)data;

    redis_complain(s, r);
    if (redis_is_error(r))
        s->nodes_ok = false;
    else if (r->type == REDIS_REPLY_NIL)
        forget_member(s, id);
    else if (r->type == REDIS_REPLY_STRING)
        s->store.on.node(s->store.on.ctx, (struct span){r->str, (size_t)r->len});
    node_answered(s);
}

static void read_node(struct redis *s, int id)
{
    char key[KEY_SHORT_MAX];

    key_node(key, id);
    if (redis_ask(s, span_of(key), on_node, (void *)(intptr_t)id, "GET %s", key))
        s->nodes_left++;
}

static bool is_known(const struct redis *s, size_t count, int id)
{
    for (size_t i = 0; i < count; i++)
        if (s->known[i] == id)
            return true;
    return false;
}

/* Ids are numbers; any other member is no node's. Those that the last read has named have been asked for already. */
static void name_members(struct redis *s, const redisReply *r)
{
    size_t asked = s->known_count;

    for (size_t i = 0; i < r->elements; i++) {
        int id = r->element[i]->type == REDIS_REPLY_STRING ? atoi(r->element[i]->str) : 0;

        if (id <= 0 || is_known(s, asked, id))
            continue;
        read_node(s, id);
        if (s->known_count < NODES_KNOWN)
            s->known[s->known_count++] = id;
    }
}

static void on_members(struct redis *s, const redisReply *r, void *data)
{
    bool ok = !redis_is_error(r) && r->type == REDIS_REPLY_ARRAY && r->elements <= MEMBERS_MAX;

    (void)data;
    redis_complain(s, r);
    if (ok)
        name_members(s, r);
    else
        s->nodes_ok = false;
    node_answered(s);
}

static void redis_read_nodes(struct store *store)
{
    struct redis *s = (struct redis *)store;

    if (!s->store.facts.ready || s->reading_nodes)
        return;
    redis_look_again(s);
    s->reading_nodes = s->nodes_ok = redis_ask(s, span_of(s->nodes), on_members, NULL, "SMEMBERS %s", s->nodes);
    s->nodes_left = s->reading_nodes;
    for (size_t i = 0; s->reading_nodes && i < s->known_count; i++)
        read_node(s, s->known[i]);
}

static void on_announced(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;

    (void)data;
    if (r && r->type == REDIS_REPLY_ARRAY && r->elements == 3 && r->element[2]->type == REDIS_REPLY_STRING)
        s->store.on.announced(s->store.on.ctx, (struct span){r->element[2]->str, (size_t)r->element[2]->len});
}

const char *redis_channel(const struct redis *s, char out[CHANNEL_MAX], const char *name)
{
    int n = snprintf(out, CHANNEL_MAX, "%s", name);

    if (s->conf.name.db)
        snprintf(out + n, CHANNEL_MAX - (size_t)n, "/%d", s->conf.name.db);
    return out;
}

/* ---- connections ---- */

static void commands_ready(struct redis_conn *c)
{
    struct redis *s = c->data;

    s->reading_nodes = false;
    *s->complained = '\0';
    s->nodes_left = 0;
    redis_load_scripts(c);
    s->store.facts.ready = true;
    redis_look(s);
    s->store.on.up(s->store.on.ctx);
}

static void commands_lost(struct redis_conn *c)
{
    struct redis *s = c->data;

    s->store.facts.ready = false;
    s->store.on.down(s->store.on.ctx);
    /* If the path was only cut for a while, messages to this node wait in that connection, and are too
     * old by now. */
    redis_conn_renew(&s->listener);
}

/* Where it was lost, another connection has lived on. */
static bool was_lost_alone(const struct redis *s)
{
    const struct redis_conn *c = s->cluster ? redis_cluster_conn(s->cluster, &s->deaf_host) : &s->commands;

    return s->deaf_ms && c && c->is_ready && c->ready_ms < s->deaf_ms;
}

static void listener_ready(struct redis_conn *c)
{
    struct redis *s = c->data;

    if (was_lost_alone(s)) {
        s->store.facts.cut_off_ms = (int64_t)s->deaf_ms;
        store_checks_log(&s->store);
    }
    redisAsyncCommand(c->ac, on_announced, NULL, "SUBSCRIBE %s", s->nodes_channel);
    redis_listen(s);
}

static void listener_lost(struct redis_conn *c)
{
    struct redis *s = c->data;

    s->deaf_host = c->host;
    s->deaf_ms = uv_now(c->loop); /* node records are also read with each heartbeat, and messages may be lost */
}

static void redis_free(struct redis *s)
{
    redis_cluster_free(s->cluster);
    redis_tls_free(s->tls);
    resolver_free(s->resolver);
    free((char *)s->conf.login.user);
    free((char *)s->conf.login.password);
    free((char *)s->conf.sentinel_login.user);
    free((char *)s->conf.sentinel_login.password);
    free((char *)s->conf.near_login.user);
    free((char *)s->conf.near_login.password);
    free(s);
}

void redis_one_closed(struct store *store)
{
    struct redis *s = (struct redis *)store;

    if (--s->open == 0)
        redis_free(s);
}

static void sentinels_closed(void *data)
{
    redis_one_closed(data);
}

static void conn_closed(struct redis_conn *c)
{
    redis_one_closed(&((struct redis *)c->data)->store);
}

static void redis_flush(struct store *store)
{
    struct redis *s = (struct redis *)store;

    if (s->cluster)
        redis_cluster_flush(s->cluster);
    else
        redis_conn_flush(&s->commands);
    redis_conn_flush(&s->listener);
    redis_near_flush(s);
    if (s->sentinels)
        sentinels_flush(s->sentinels);
}

static void redis_close(struct store *store)
{
    struct redis *s = (struct redis *)store;

    if (s->cluster)
        redis_cluster_close(s->cluster);
    else
        redis_conn_close(&s->commands);
    redis_conn_close(&s->listener);
    redis_near_close(s);
    if (s->sentinels)
        sentinels_close(s->sentinels);
    answers_close(&s->answers, redis_one_closed);
}

void redis_set_up(struct redis *s, struct redis_conn *c, const char *role)
{
    *c = (struct redis_conn){.loop = s->loop,
                             .login = &s->conf.login,
                             .tls = s->conf.name.tls ? s->tls : NULL,
                             .resolver = s->resolver,
                             .timeout_ms = s->conf.timeout_ms,
                             .db = s->conf.name.db,
                             .host = s->conf.name.hosts[0],
                             .path = s->conf.name.path,
                             .is_master = s->conf.name.kind == STORE_SENTINEL,
                             .on = &s->store.on,
                             .role = role,
                             .closed = conn_closed,
                             .trouble_size = sizeof(s->store.facts.trouble),
                             .data = s};
    s->open++;
}

static void start_commands(struct redis *s)
{
    struct redis_conn *c = &s->commands;

    redis_set_up(s, c, "commands");
    c->ready = commands_ready;
    c->lost = commands_lost;
    c->pinged = true;
    c->round_trips = &s->store.round_trips;
    c->trouble = s->store.facts.trouble;
    redis_conn_start(c);
}

static void start_listener(struct redis *s)
{
    struct redis_conn *c = &s->listener;

    redis_set_up(s, c, "announcements");
    c->ready = listener_ready;
    c->lost = listener_lost;
    c->find = s->cluster ? redis_cluster_find : NULL;
    redis_conn_start(c);
}

/* False when out of memory. */
static bool own(struct redis_login *l, const char *user, const char *password)
{
    l->user = span_dup(span_of(user));
    l->password = span_dup(span_of(password));
    return l->user && l->password;
}

/* What stands in the name, or else in options. */
static bool own_login(struct redis_login *l, const struct store_name *name, const struct redis_login *more)
{
    return own(l, *name->user ? name->user : more->user, *name->password ? name->password : more->password);
}

/* Its texts are the store's own from here on. False when out of memory. */
static bool own_conf(struct redis *s, const struct redis_conf *conf)
{
    const struct redis_login *sentinel = &conf->sentinel_login;
    bool done;

    s->conf = *conf;
    done = own_login(&s->conf.login, &conf->name, &conf->login);
    done = own_login(&s->conf.near_login, &conf->near, &conf->near_login) && done;
    return own(&s->conf.sentinel_login, sentinel->user, sentinel->password) && done;
}

/* False, with the reason in the log: a file has changed since the settings were checked. */
static bool load_tls(struct redis *s)
{
    char why[500];

    if (!s->conf.name.tls && !s->conf.near.tls)
        return true;
    s->tls = redis_tls_new(&s->conf.tls, why, sizeof(why));
    if (!s->tls)
        s->store.on.log(s->store.on.ctx, LOG_LEVEL_ERROR, why);
    return s->tls;
}

static bool start(struct redis *s)
{
    struct redis_conn *const clients[SENTINEL_CLIENTS] = {&s->commands, &s->listener};

    s->resolver = resolver_new(s->loop);
    if (s->conf.name.kind == STORE_CLUSTER && !(s->cluster = redis_cluster_new(s)))
        return false;
    if (!s->resolver || answers_init(&s->answers, s->loop, &s->store) < 0)
        return false;
    s->open = 1;
    if (s->cluster)
        redis_cluster_start(s->cluster);
    else
        start_commands(s);
    start_listener(s);
    redis_near_start(s, conn_closed);
    if (s->conf.name.kind == STORE_SENTINEL) {
        s->sentinels = sentinels_new(s->loop, &s->conf, &s->store.on, clients, sentinels_closed, s);
        s->open += s->sentinels != NULL;
    }
    return true;
}

struct store *store_redis(uv_loop_t *loop, const struct redis_conf *conf, const struct store_events *on)
{
    static const struct store_ops ops = {
        redis_put,      redis_get,       redis_claim,   redis_scan, redis_beat,     redis_read_nodes, redis_call_write,
        redis_call_get, redis_call_keys, redis_archive, redis_tell, redis_near_get, redis_flush,      redis_close};
    struct redis *s = calloc(1, sizeof(*s));
    char nodes[KEY_SHORT_MAX];

    if (!s)
        return NULL;
    s->loop = loop;
    s->store = (struct store){.ops = &ops, .on = *on};
    key_archive_of(s->cdr, 0);
    key_nodes(s->nodes);
    if (own_conf(s, conf)) {
        redis_channel(s, s->nodes_channel, key_short(nodes, KEY_NODES));
        s->store.facts.conf = &s->conf;
        if (load_tls(s) && start(s))
            return &s->store;
    }
    redis_free(s);
    return NULL;
}
