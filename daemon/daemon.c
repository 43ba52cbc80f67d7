/* The life of one kamsyncd: its settings, its loop, its end. wiring.c carries data between the engine and the sockets.
 *
 * Before the loop waits, on_prepare() lets the engine write all that this turn changed, in one pipeline. */
#include "daemon.h"
#include "daemon_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/count.h"
#include "core/txn/key.h"
#include "keys.h"
#include "log.h"
#include "service.h"

#define STOP_MS 2000 /* how long an orderly shutdown waits for the store */

static const int signal_numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

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
        .site = c->site,
        .secret = secret_of(c),
        .old_secret = c->old_secret,
        .heartbeat_ms = c->heartbeat_ms,
        .node_ttl_ms = c->node_ttl_ms,
        .hang_ms = c->hang_ms,
        .lookup_ms = c->lookup_ms,
        .store_wait_ms = c->store_wait_ms,
        .caller_wait_ms = c->caller_wait_ms,
        .tx_ttl_ms = c->tx_ttl_s * 1000,
        .done_ttl_ms = c->done_ttl_s * 1000,
        .tx_max_ms = c->tx_max_s * 1000,
        .call_max_ms = c->call_max_s * 1000,
        .ended_ttl_ms = c->ended_ttl_s * 1000,
        .txns_max = c->txns_max,
        .claim_strict = c->claim_strict != 0,
        .takeover = c->takeover != 0,
        .beat_base = wiring_wall(NULL),
    };
}

static void configure_log(const struct config *c)
{
    log_configure((enum log_level)log_level_of(c->log_level), strcmp(c->log_format, "json") == 0, c->name);
}

/* False: the old settings stay. */
static bool apply(struct daemon *d, const struct config *fresh)
{
    const char *fixed = config_needs_restart(&d->config, fresh);
    struct engine_conf conf = engine_conf(fresh);

    if (fixed) {
        log_printf(LOG_LEVEL_ERROR, "a change of '%s' needs a restart", fixed);
        return false;
    }
    /* Kamailio reads the keys on the engine's request. */
    return keys_write(fresh->keys_file, secret_of(fresh), fresh->old_secret) &&
           engine_configure(d->engine, &conf, now(d)) == 0;
}

/* Reads and checks all new values before using the first. False: the old ones stay. */
static bool reload(struct daemon *d)
{
    struct config fresh;
    char why[512];

    if (config_read(&fresh, d->path, why, sizeof(why)) < 0) {
        log_printf(LOG_LEVEL_ERROR, "reload refused, the old settings stay: %s", why);
        return false;
    }
    if (!apply(d, &fresh)) {
        log_printf(LOG_LEVEL_ERROR, "reload refused, the old settings stay");
        config_clear(&fresh);
        return false;
    }
    config_clear(&d->config);
    d->config = fresh;
    configure_log(&d->config);
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

static const char *drain(struct daemon *d, const json_t *request)
{
    bool evacuate = json_is_true(json_object_get(request, "evacuate"));
    const char *why = evacuate ? engine_evacuate(d->engine, true, now(d)) : NULL;

    if (!why)
        readiness_drain(&d->readiness, true);
    return why;
}

static const char *undrain(struct daemon *d, const json_t *request)
{
    (void)request;
    readiness_drain(&d->readiness, false);
    return engine_evacuate(d->engine, false, now(d));
}

static const char *reload_asked(struct daemon *d, const json_t *request)
{
    (void)request;
    return reload(d) ? NULL : "the settings are wrong, so the old ones stay: see the log, or kamsyncd --check";
}

/* Commands about the process; the engine handles all others. */
static const struct {
    const char *cmd;
    const char *(*run)(struct daemon *d, const json_t *request); /* NULL, or the error */
} commands[] = {{"drain", drain}, {"undrain", undrain}, {"reload", reload_asked}};

static void on_request(void *ctx, uint64_t client, const json_t *request)
{
    const char *cmd = json_string_value(json_object_get(request, "cmd")), *error;
    struct daemon *d = ctx;

    for (size_t i = 0; cmd && i < COUNT(commands); i++) {
        if (strcmp(cmd, commands[i].cmd) != 0)
            continue;
        error = commands[i].run(d, request);
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

/* One more signal that comes now shall not end the process by its default action. */
static void block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    for (int i = 0; i < SIGNALS; i++)
        sigaddset(&set, signal_numbers[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void close_all(struct daemon *d)
{
    if (d->closed)
        return;
    d->closed = true;
    d->store->ops->close(d->store);
    control_close(d->control);
    d->control = NULL;
    http_close(d->http);
    d->http = NULL;
    uv_close((uv_handle_t *)&d->prepare, NULL);
    uv_close((uv_handle_t *)&d->timer, NULL);
    block_signals();
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
    readiness_show(&d->readiness, !daemon_unready(d), now(d));
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
        (d->readiness.drained ? undrain : drain)(d, NULL);
    else if (!d->stop_ms)
        stop(d);
    else
        close_all(d);
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

static void run(struct daemon *d)
{
    char store[500];

    readiness_start(&d->readiness, d->config.ready_file, d->config.control);
    start_handles(d);
    start_control(d);
    daemon_start_http(d);
    log_printf(LOG_LEVEL_INFO, "kamsyncd " KAMSYNC_VERSION " started: name=%s cluster=%s kamailio=%s store=%s",
               d->config.name, d->config.cluster, d->config.kamailio,
               store_name_show(store, sizeof(store), d->config.store));
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
}

int daemon_run(struct config *config, const char *path)
{
    struct daemon d = {.config = *config, .path = path, .started_ms = wiring_wall(NULL)};
    const struct engine_io io = wiring_io(&d);
    struct engine_conf conf = engine_conf(config);
    int rc = uv_loop_init(&d.loop);

    signal(SIGPIPE, SIG_IGN);
    configure_log(config);
    key_cluster(config->cluster);
    key_buckets(config->redis.name.kind == STORE_CLUSTER ? KEY_BUCKETS : 0);
    if (!keys_write(config->keys_file, secret_of(config), config->old_secret))
        return 1;
    d.engine = rc == 0 ? engine_new(&conf, &io, now(&d)) : NULL;
    if (!d.engine || wiring_start(&d) < 0) {
        log_printf(LOG_LEVEL_ERROR, "cannot start: memory is short");
        return 1;
    }
    run(&d);
    engine_free(d.engine);
    hep_free(d.hep);
    config_clear(&d.config);
    log_printf(LOG_LEVEL_INFO, "stopped");
    return 0;
}
