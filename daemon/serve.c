/* HTTP of this daemon: what http/ asks of it. */
#include <string.h>
#include <sys/resource.h>

#include "daemon_impl.h"
#include "http/metrics.h"
#include "log.h"

#define US_PER_S 1000000

const char *daemon_unready(struct daemon *d)
{
    struct engine_status s;

    engine_status(d->engine, &s);
    readiness_see(&d->readiness, &s, now(d));
    return readiness_lack(&d->readiness, &s, d->stop_ms != 0);
}

static void on_request(void *ctx, uint64_t client, const json_t *request)
{
    engine_ask(((struct daemon *)ctx)->engine, request, client, now(ctx));
}

static const char *on_unready(void *ctx)
{
    return daemon_unready(ctx);
}

static int64_t cpu_us(void)
{
    struct rusage used = {0};

    getrusage(RUSAGE_SELF, &used);
    return (int64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * US_PER_S + used.ru_utime.tv_usec +
           used.ru_stime.tv_usec;
}

static void on_metrics(void *ctx, struct buffer *out)
{
    struct daemon *d = ctx;
    struct engine_status status;
    struct metrics m = {
        .version = KAMSYNC_VERSION,
        .name = d->config.name,
        .cluster = d->config.cluster,
        .site = d->config.site,
        .status = &status,
        .counters = engine_counters(d->engine),
        .took = engine_histograms(d->engine),
        .round_trips = &d->store->round_trips,
        .ready = !daemon_unready(d),
        .drained = d->readiness.drained,
        .near_up = d->store->facts.near.ready,
        .near_lag_ms = d->store->facts.near.ready && d->store->facts.near.lag_ms > 0 ? d->store->facts.near.lag_ms : 0,
        .repeated = d->store->facts.repeated,
        .txns_max = d->config.txns_max,
        .http = http_figures(d->http),
        .cpu_us = cpu_us(),
        .started_ms = d->started_ms,
    };

    engine_status(d->engine, &status);
    uv_resident_set_memory(&m.memory);
    metrics_write(out, &m);
}

/* Without this port kamsyncd works all the same. */
void daemon_start_http(struct daemon *d)
{
    const struct http_events on = {d, on_request, on_unready, on_metrics};
    const struct config *c = &d->config;
    int rc;

    if (!*c->http_listen)
        return;
    rc = http_new(&d->http, &d->loop, (const struct sockaddr *)&c->http_addr, &on);
    if (rc < 0)
        log_printf(LOG_LEVEL_ERROR, "http_listen '%s': %s; there are no metrics", c->http_listen, strerror(-rc));
    else if (http_is_local(d->http))
        log_printf(LOG_LEVEL_INFO, "HTTP at %s", c->http_listen);
    else
        log_printf(LOG_LEVEL_WARN, "HTTP at %s: whoever reaches it can read all calls", c->http_listen);
}
