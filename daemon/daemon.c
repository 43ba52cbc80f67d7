/* Callbacks here are thin: bytes go into the engine, and its requests to the sockets.
 *
 *     libuv ▶ evapi.c / redis.c / memory.c ▶ engine ▶ (struct engine_io) ▶ evapi.c / redis.c / memory.c
 *
 * Before the loop waits, on_prepare() lets the engine write all that this turn changed, in one pipeline. */
#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/count.h"
#include "core/txn/key.h"
#include "io/control.h"
#include "io/evapi.h"
#include "io/store.h"
#include "keys.h"
#include "log.h"
#include "readiness.h"
#include "service.h"

#define STOP_MS 2000 /* how long an orderly shutdown waits for the store */

enum { SIGNALS = 5 };
static const int signal_numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

struct daemon {
    uv_loop_t loop;
    struct config config;
    const char *path;
    struct engine *engine;
    struct evapi *evapi;
    struct store *store;
    struct control *control; /* NULL: none */
    uv_prepare_t prepare;
    uv_timer_t timer;
    uv_signal_t signals[SIGNALS];
    struct readiness readiness;
    int64_t stop_ms; /* when an orderly shutdown stops waiting; 0 while running */
    bool closed;
};

static int64_t now(struct daemon *d)
{
    return (int64_t)uv_now(&d->loop);
}

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

static int64_t wall(void *ctx)
{
    uv_timeval64_t clock = {0};

    (void)ctx;
    uv_gettimeofday(&clock);
    return clock.tv_sec * 1000 + clock.tv_usec / 1000;
}

static void do_answer(void *ctx, uint64_t client, json_t *answer)
{
    struct daemon *d = ctx;

    if (json_object_get(answer, "counters")) { /* a status: adds what only this side knows */
        json_object_set_new(answer, "version", json_string(KAMSYNC_VERSION));
        json_object_set_new(answer, "cluster", json_string(d->config.cluster));
        json_object_set_new(answer, "drained", json_boolean(d->readiness.drained));
    }
    control_answer(d->control, client, answer);
}

static void do_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    log_line(level, line);
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

static void on_archived(void *ctx, uint64_t token, const char *id, const struct pair *pairs, size_t count, bool ok)
{
    engine_archived(((struct daemon *)ctx)->engine, token, id, pairs, count, ok, now(ctx));
}

static void on_forgot(void *ctx)
{
    engine_store_forgot(((struct daemon *)ctx)->engine, now(ctx));
}

static void on_told(void *ctx, struct span text)
{
    engine_message(((struct daemon *)ctx)->engine, text, now(ctx));
}

/* ---- settings ---- */

/* Without a cluster this node only verifies its own proofs, so any secret will do. */
static const char *secret_of(const struct config *c)
{
    static char own[33];
    unsigned char random[16] = {0};

    if (!*c->secret && !*own && uv_random(NULL, NULL, random, sizeof(random), 0, NULL) == 0)
        for (size_t i = 0; i < sizeof(random); i++)
            sprintf(own + 2 * i, "%02x", random[i]);
    return *c->secret ? c->secret : own;
}

static struct engine_conf engine_conf(const struct config *c)
{
    return (struct engine_conf){
        .name = c->name,
        .secret = secret_of(c),
        .old_secret = c->old_secret,
        .heartbeat_ms = c->heartbeat_ms,
        .node_ttl_ms = c->node_ttl_ms,
        .hang_ms = c->hang_ms,
        .lookup_ms = c->lookup_ms,
        .store_wait_ms = c->store_wait_ms,
        .tx_ttl_ms = c->tx_ttl_s * 1000,
        .done_ttl_ms = c->done_ttl_s * 1000,
        .tx_max_ms = c->tx_max_s * 1000,
        .call_max_ms = c->call_max_s * 1000,
        .ended_ttl_ms = c->ended_ttl_s * 1000,
        .txns_max = c->txns_max,
        .claim_strict = c->claim_strict != 0,
        .takeover = c->takeover != 0,
        .beat_base = wall(NULL),
    };
}

/* Reads and checks all new values before using the first. False: the old ones stay. */
static bool reload(struct daemon *d)
{
    struct config fresh;
    const char *fixed;
    char why[512];
    struct engine_conf conf;

    if (config_read(&fresh, d->path, why, sizeof(why)) < 0) {
        log_printf(LOG_LEVEL_ERROR, "reload refused, the old settings stay: %s", why);
        return false;
    }
    fixed = config_needs_restart(&d->config, &fresh);
    conf = engine_conf(&fresh);
    /* Kamailio reads the keys on the engine's request. */
    if (fixed || !keys_write(fresh.keys_file, secret_of(&fresh), fresh.old_secret) ||
        engine_configure(d->engine, &conf, now(d)) < 0) {
        if (fixed)
            log_printf(LOG_LEVEL_ERROR, "a change of '%s' needs a restart", fixed);
        log_printf(LOG_LEVEL_ERROR, "reload refused, the old settings stay");
        config_clear(&fresh);
        return false;
    }
    config_clear(&d->config);
    d->config = fresh;
    log_set_level((enum log_level)log_level_of(fresh.log_level));
    log_printf(LOG_LEVEL_INFO, "settings reloaded");
    return true;
}

static void show(struct daemon *d)
{
    const struct counters *c = engine_counters(d->engine);
    struct engine_status s;

    engine_status(d->engine, &s);
    log_printf(LOG_LEVEL_INFO,
               "status: node=%d kamailio=%s store=%s drained=%s transactions=%zu unwritten=%zu lookups=%zu "
               "takeovers=%zu queued=%zu others=%zu",
               s.node, s.link ? "up" : "down", s.store ? "up" : "down", d->readiness.drained ? "yes" : "no", s.txns,
               s.dirty, s.strays, s.takeovers, s.queued, s.nodes);
#define SHOW(name, help) log_printf(LOG_LEVEL_INFO, "counter: %s %" PRIu64 " (%s)", #name, c->name, help);
    COUNTERS(SHOW)
#undef SHOW
}

/* ---- kamsyncctl ---- */

static const char *drain(struct daemon *d)
{
    readiness_drain(&d->readiness, true);
    return NULL;
}

static const char *undrain(struct daemon *d)
{
    readiness_drain(&d->readiness, false);
    return NULL;
}

static const char *reload_asked(struct daemon *d)
{
    return reload(d) ? NULL : "the settings are wrong, so the old ones stay: see the log, or kamsyncd --check";
}

/* Commands about the process; the engine handles all others. */
static const struct {
    const char *cmd;
    const char *(*run)(struct daemon *d); /* NULL, or the error */
} commands[] = {{"drain", drain}, {"undrain", undrain}, {"reload", reload_asked}};

static void on_request(void *ctx, uint64_t client, const json_t *request)
{
    const char *cmd = json_string_value(json_object_get(request, "cmd")), *error;
    struct daemon *d = ctx;

    for (size_t i = 0; cmd && i < COUNT(commands); i++) {
        if (strcmp(cmd, commands[i].cmd) != 0)
            continue;
        error = commands[i].run(d);
        control_answer(d->control, client, json_pack("{s:b,s:s*}", "ok", !error, "error", error));
        return;
    }
    engine_ask(d->engine, request, client, now(d));
}

static void on_gone(void *ctx, uint64_t client)
{
    engine_forget_client(((struct daemon *)ctx)->engine, client);
}

/* Without this socket kamsyncd works all the same. */
static void start_control(struct daemon *d)
{
    const struct control_events on = {d, on_request, on_gone};
    int rc = *d->config.control ? control_new(&d->control, &d->loop, d->config.control, &on) : 0;

    if (rc < 0)
        log_printf(LOG_LEVEL_WARN, "control '%s': %s; kamsyncctl will not find this kamsyncd", d->config.control,
                   strerror(-rc));
}

/* ---- the loop ---- */

static void close_all(struct daemon *d)
{
    if (d->closed)
        return;
    d->closed = true;
    d->store->ops->close(d->store);
    control_close(d->control);
    d->control = NULL;
    uv_close((uv_handle_t *)&d->prepare, NULL);
    uv_close((uv_handle_t *)&d->timer, NULL);
    for (int i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
}

/* Kamailio goes on without kamsyncd, so the node is not announced as down: its script queues the events. */
static void stop(struct daemon *d)
{
    log_printf(LOG_LEVEL_INFO, "stopping");
    service_stopping();
    evapi_close(d->evapi);
    d->evapi = NULL; /* the engine may still write */
    d->stop_ms = now(d) + STOP_MS;
}

static bool all_written(struct daemon *d)
{
    struct engine_status s;

    engine_status(d->engine, &s);
    return !s.store || (s.dirty == 0 && s.puts == 0);
}

/* A drained node continues the calls that it has; strays still find it. */
static void show_readiness(struct daemon *d)
{
    struct engine_status s;

    engine_status(d->engine, &s);
    readiness_show(&d->readiness, s.up && !d->stop_ms, now(d));
}

static void on_timer(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    engine_tick(d->engine, now(d));
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct daemon *d = prepare->data;

    engine_flush(d->engine, now(d));
    d->store->ops->flush(d->store);
    show_readiness(d);
    service_turn(now(d));
    if (d->stop_ms && (all_written(d) || now(d) >= d->stop_ms))
        close_all(d);
    else
        uv_timer_start(&d->timer, on_timer, (uint64_t)engine_wait(d->engine, now(d)), 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;

    if (number == SIGHUP)
        reload(d);
    else if (number == SIGUSR1)
        show(d);
    else if (number == SIGUSR2)
        readiness_drain(&d->readiness, !d->readiness.drained);
    else if (!d->stop_ms)
        stop(d);
    else
        close_all(d);
}

static int start_sockets(struct daemon *d)
{
    const struct evapi_events link = {d, on_link_up, on_link_down, on_link_data, on_link_failed};
    const struct store_events store = {.ctx = d,
                                       .up = on_store_up,
                                       .down = on_store_down,
                                       .put_done = on_put_done,
                                       .got = on_got,
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
                                       .log = do_log};
    const struct config *c = &d->config;

    d->evapi = evapi_new(&d->loop, (struct sockaddr *)&d->config.kamailio_addr, &link);
    d->store = c->clustered ? store_redis(&d->loop, &c->redis, &store)
                            : store_memory(&d->loop, c->cdr_max, c->state_file, &store);
    return d->evapi && d->store ? 0 : -1;
}

static void start_handles(struct daemon *d)
{
    uv_prepare_init(&d->loop, &d->prepare);
    d->prepare.data = d;
    uv_prepare_start(&d->prepare, on_prepare);
    uv_timer_init(&d->loop, &d->timer);
    d->timer.data = d;
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
        uv_signal_start(&d->signals[i], on_signal, signal_numbers[i]);
    }
}

int daemon_run(struct config *config, const char *path)
{
    struct daemon d = {.config = *config, .path = path};
    const struct engine_io io = {.ctx = &d,
                                 .link_write = do_link_write,
                                 .link_close = do_link_close,
                                 .put = do_put,
                                 .get = do_get,
                                 .claim = do_claim,
                                 .scan = do_scan,
                                 .beat = do_beat,
                                 .read_nodes = do_read_nodes,
                                 .call_write = do_call_write,
                                 .call_get = do_call_get,
                                 .call_keys = do_call_keys,
                                 .archive = do_archive,
                                 .tell = do_tell,
                                 .wall = wall,
                                 .answer = do_answer,
                                 .log = do_log};
    struct engine_conf conf = engine_conf(config);
    int rc = uv_loop_init(&d.loop);

    signal(SIGPIPE, SIG_IGN);
    log_set_level((enum log_level)log_level_of(config->log_level));
    key_cluster(config->cluster);
    if (!keys_write(config->keys_file, secret_of(config), config->old_secret))
        return 1;
    d.engine = rc == 0 ? engine_new(&conf, &io, now(&d)) : NULL;
    if (!d.engine || start_sockets(&d) < 0) {
        log_printf(LOG_LEVEL_ERROR, "cannot start: memory is short");
        return 1;
    }
    readiness_start(&d.readiness, config->ready_file, config->control);
    start_handles(&d);
    start_control(&d);
    log_printf(LOG_LEVEL_INFO, "kamsyncd " KAMSYNC_VERSION " started: name=%s cluster=%s kamailio=%s store=%s",
               d.config.name, d.config.cluster, d.config.kamailio, d.config.store);
    uv_run(&d.loop, UV_RUN_DEFAULT);
    uv_loop_close(&d.loop);
    engine_free(d.engine);
    config_clear(&d.config);
    log_printf(LOG_LEVEL_INFO, "stopped");
    return 0;
}
