/* Thin callbacks: the engine's requests to the sockets, and bytes from the sockets into the engine.
 *
 *     libuv ▶ evapi.c / redis.c / memory.c ▶ engine ▶ (struct engine_io) ▶ evapi.c / redis.c / memory.c */
#include "daemon_impl.h"
#include "doctor.h"
#include "log.h"

/* ---- the engine's requests ---- */

static void do_link_write(void *ctx, struct span bytes)
{
    struct daemon *d = ctx;

    if (d->evapi)
        evapi_write(d->evapi, bytes);
}

static void do_link_close(void *ctx)
{
    struct daemon *d = ctx;

    if (d->evapi)
        evapi_reopen(d->evapi);
}

static void do_put(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->put(s, key, value, ttl_ms, token);
}

static void do_get(void *ctx, const char *key, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->get(s, key, token);
}

static bool do_get_near(void *ctx, const char *key, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    return s->ops->get_near(s, key, token);
}

static void do_claim(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->claim(s, key, value, ttl_ms, token);
}

static void do_scan(void *ctx, uint64_t cursor)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->scan(s, cursor);
}

static void do_beat(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->beat(s, id, record, ttl_ms, announce);
}

static void do_read_nodes(void *ctx)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->read_nodes(s);
}

static void do_call_write(void *ctx, const struct call_write *w, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->call_write(s, w, token);
}

static void do_call_get(void *ctx, const char *key, const char *other, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->call_get(s, key, other, token);
}

static void do_call_keys(void *ctx, struct span call_id, uint64_t cursor, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->call_keys(s, call_id, cursor, token);
}

static void do_archive(void *ctx, const char *after, int count, uint64_t token)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->archive(s, after, count, token);
}

static void do_tell(void *ctx, int node, const char *text)
{
    struct store *s = ((struct daemon *)ctx)->store;

    s->ops->tell(s, node, text);
}

int64_t wiring_wall(void *ctx)
{
    uv_timeval64_t clock = {0};

    (void)ctx;
    uv_gettimeofday(&clock);
    return clock.tv_sec * 1000 + clock.tv_usec / 1000;
}

/* The near replica, if there is one, and how far it is behind, if that is known. */
static void add_near(json_t *answer, const struct store_facts *f)
{
    if (!store_has_near(f->conf))
        return;
    json_object_set_new(answer, "near", json_string(f->near.ready ? "up" : "away"));
    if (f->near.ready && f->near.looked && f->near.lag_ms >= 0)
        json_object_set_new(answer, "near_lag_ms", json_integer(f->near.lag_ms));
}

static void do_answer(void *ctx, uint64_t client, json_t *answer)
{
    struct daemon *d = ctx;

    if (json_object_get(answer, "counters")) { /* a status: adds what only this side knows */
        json_object_set_new(answer, "version", json_string(KAMSYNC_VERSION));
        json_object_set_new(answer, "cluster", json_string(d->config.cluster));
        json_object_set_new(answer, "drained", json_boolean(d->readiness.drained));
        add_near(answer, &d->store->facts);
    }
    if (client & HTTP_CLIENT)
        http_answer(d->http, client, answer);
    else
        control_answer(d->control, client, answer);
}

static void do_log(void *ctx, const struct log_entry *line)
{
    (void)ctx;
    log_write(line);
}

static bool do_show(void *ctx, const struct sighting *s)
{
    struct daemon *d = ctx;
    uv_timeval64_t clock = {0};

    uv_gettimeofday(&clock);
    return d->hep && hep_send(d->hep, s, now(d), clock.tv_sec * 1000000 + clock.tv_usec);
}

static void do_examine(void *ctx, int node, const char *sip, json_t *facts, json_t *found)
{
    struct daemon *d = ctx;
    struct host host = {.kamailio_at = &d->config.kamailio_addr, .sip = sip, .proc = "/proc/net"};

    json_object_set_new(facts, "version", json_string(KAMSYNC_VERSION));
    host_checks(&host, node, found);
    store_checks(&d->store->facts, now(d), node, found);
}

static void do_examined(void *ctx, json_t *names)
{
    struct daemon *d = ctx;

    host_checks_names(names);
    if (d->store->facts.conf)
        json_array_append_new(names, json_string("redis"));
    if (store_has_near(d->store->facts.conf))
        json_array_append_new(names, json_string("near"));
}

/* ---- input from the sockets ---- */

static void on_link_up(void *ctx)
{
    struct daemon *d = ctx;
    char tag[EVAPI_TAG_MAX];

    evapi_tag(d->evapi, tag);
    engine_link_up(d->engine, tag, now(d));
}

static void on_link_down(void *ctx)
{
    engine_link_down(((struct daemon *)ctx)->engine, now(ctx));
}

static int on_link_data(void *ctx, const char *p, size_t n)
{
    return engine_link_data(((struct daemon *)ctx)->engine, p, n, now(ctx));
}

static void on_link_failed(void *ctx, const char *why)
{
    struct daemon *d = ctx;

    log_printf(LOG_LEVEL_WARN, "evapi %s: %s; trying again for ever", d->config.kamailio, why);
}

static void on_store_up(void *ctx)
{
    engine_store_up(((struct daemon *)ctx)->engine, now(ctx));
}

static void on_store_down(void *ctx)
{
    engine_store_down(((struct daemon *)ctx)->engine, now(ctx));
}

static void on_put_done(void *ctx, uint64_t token, enum put_status status, struct span record)
{
    engine_put_done(((struct daemon *)ctx)->engine, token, status, record, now(ctx));
}

static void on_got(void *ctx, uint64_t token, enum get_status status, struct span record)
{
    engine_got(((struct daemon *)ctx)->engine, token, status, record, now(ctx));
}

static void on_got_near(void *ctx, uint64_t token, enum get_status status, struct span record)
{
    engine_near_got(((struct daemon *)ctx)->engine, token, status, record, now(ctx));
}

static void on_claimed(void *ctx, uint64_t token, enum claim_status status, struct span holder)
{
    engine_claimed(((struct daemon *)ctx)->engine, token, status, holder, now(ctx));
}

static void on_scan_key(void *ctx, const char *key)
{
    engine_scan_key(((struct daemon *)ctx)->engine, key);
}

static void on_scanned(void *ctx, bool ok, uint64_t next)
{
    engine_scanned(((struct daemon *)ctx)->engine, ok, next, now(ctx));
}

static void on_node(void *ctx, struct span record)
{
    engine_node(((struct daemon *)ctx)->engine, record, now(ctx));
}

static void on_announced(void *ctx, struct span record)
{
    engine_announced(((struct daemon *)ctx)->engine, record, now(ctx));
}

static void on_nodes_read(void *ctx, bool ok)
{
    engine_nodes_read(((struct daemon *)ctx)->engine, ok, now(ctx));
}

static void on_call_written(void *ctx, uint64_t token, enum call_result result)
{
    engine_call_written(((struct daemon *)ctx)->engine, token, result, now(ctx));
}

static void on_call_got(void *ctx, uint64_t token, enum get_status status, const struct pair *pairs, size_t count)
{
    engine_call_got(((struct daemon *)ctx)->engine, token, status, pairs, count, now(ctx));
}

static void on_call_key(void *ctx, uint64_t token, const char *key)
{
    engine_call_key(((struct daemon *)ctx)->engine, token, key);
}

static void on_call_keys(void *ctx, uint64_t token, bool ok, uint64_t next)
{
    engine_call_keys(((struct daemon *)ctx)->engine, token, ok, next, now(ctx));
}

static void on_archived(void *ctx, uint64_t token, const char *id, const struct pair *pairs, size_t count,
                        enum archive_status status)
{
    engine_archived(((struct daemon *)ctx)->engine, token, id, pairs, count, status, now(ctx));
}

static void on_forgot(void *ctx)
{
    engine_store_forgot(((struct daemon *)ctx)->engine, now(ctx));
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    log_write(&(struct log_entry){.level = level, .text = line});
}

static void on_told(void *ctx, struct span text)
{
    engine_message(((struct daemon *)ctx)->engine, text, now(ctx));
}

/* ---- both ---- */

struct engine_io wiring_io(struct daemon *d)
{
    return (struct engine_io){.ctx = d,
                              .link_write = do_link_write,
                              .link_close = do_link_close,
                              .put = do_put,
                              .get = do_get,
                              .get_near = *d->config.store_near ? do_get_near : NULL,
                              .claim = do_claim,
                              .scan = do_scan,
                              .beat = do_beat,
                              .read_nodes = do_read_nodes,
                              .call_write = do_call_write,
                              .call_get = do_call_get,
                              .call_keys = do_call_keys,
                              .archive = do_archive,
                              .tell = do_tell,
                              .wall = wiring_wall,
                              .answer = do_answer,
                              .log = do_log,
                              .show = *d->config.hep ? do_show : NULL,
                              .examine = do_examine,
                              .examined = do_examined};
}

static struct store_events store_events(struct daemon *d)
{
    return (struct store_events){.ctx = d,
                                 .up = on_store_up,
                                 .down = on_store_down,
                                 .put_done = on_put_done,
                                 .got = on_got,
                                 .got_near = on_got_near,
                                 .claimed = on_claimed,
                                 .scan_key = on_scan_key,
                                 .scanned = on_scanned,
                                 .node = on_node,
                                 .announced = on_announced,
                                 .nodes_read = on_nodes_read,
                                 .call_written = on_call_written,
                                 .call_got = on_call_got,
                                 .call_key = on_call_key,
                                 .call_keys = on_call_keys,
                                 .archived = on_archived,
                                 .told = on_told,
                                 .forgot = on_forgot,
                                 .log = on_log};
}

/* Without it kamsyncd works all the same. */
static void start_hep(struct daemon *d)
{
    const struct config *c = &d->config;
    const struct hep_agent agent = {(uint32_t)c->hep_id, c->name, c->hep_password};
    int rc = *c->hep ? hep_new(&d->hep, (const struct sockaddr *)&c->hep_addr, &agent) : 0;

    if (rc < 0)
        log_printf(LOG_LEVEL_ERROR, "hep '%s': %s; it gets nothing", c->hep, strerror(-rc));
}

int wiring_start(struct daemon *d)
{
    const struct evapi_events link = {d, on_link_up, on_link_down, on_link_data, on_link_failed};
    const struct store_events store = store_events(d);
    const struct config *c = &d->config;

    start_hep(d);
    d->evapi = evapi_new(&d->loop, (struct sockaddr *)&d->config.kamailio_addr, &link);
    d->store = c->clustered ? store_redis(&d->loop, &c->redis, &store)
                            : store_memory(&d->loop, c->cdr_max, c->state_file, &store);
    return d->evapi && d->store ? 0 : -1;
}
