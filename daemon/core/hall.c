/* The hall: hands all input, from Kamailio, the store and the clock, to the rooms. */
#include "hall_impl.h"
#include "ask_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"
#include "own_impl.h"

#include "count.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define JANITOR_MS 1000
#define RECONNECT_MS 1000 /* a link that this end closed is back long before */

/* ---- life ---- */

static void conf_clear(struct engine_conf *c)
{
    free((char *)c->name);
    free((char *)c->site);
    free((char *)c->secret);
    free((char *)c->old_secret);
    *c = (struct engine_conf){0};
}

static int take_conf(struct engine *e, const struct engine_conf *conf)
{
    struct engine_conf fresh = *conf;

    fresh.name = span_dup(span_of(conf->name));
    fresh.site = span_dup(span_of(conf->site));
    fresh.secret = span_dup(span_of(conf->secret));
    fresh.old_secret = span_dup(span_of(conf->old_secret));
    if (!fresh.name || !fresh.site || !fresh.secret || !fresh.old_secret) {
        conf_clear(&fresh);
        return -ENOMEM;
    }
    conf_clear(&e->conf);
    e->conf = fresh;
    snprintf(e->self.name, sizeof(e->self.name), "%s", fresh.name);
    snprintf(e->self.site, sizeof(e->self.site), "%s", fresh.site);
    return 0;
}

struct engine *engine_new(const struct engine_conf *conf, const struct engine_io *io, int64_t now)
{
    struct engine *e = calloc(1, sizeof(*e));

    if (!e)
        return NULL;
    e->io = *io;
    e->on_notice = hall_notice;
    e->self.version = NODE_VERSION;
    e->self.beat = e->barrier.n = conf->beat_base;
    e->peers.next_beat_ms = e->peers.next_probe_ms = e->next_janitor_ms = now;
    if (take_conf(e, conf) < 0) {
        engine_free(e);
        return NULL;
    }
    return e;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    strays_clear(e);
    takeover_clear(e);
    second_clear(e);
    failover_clear(e);
    expiry_clear(e);
    ending_clear(e);
    dialog_clear(e);
    admin_clear(e);
    revoked_clear(e);
    early_clear(e);
    barrier_clear(e);
    acted_clear(e);
    left_clear(e);
    calls_clear(e);
    trace_clear(&e->trace);
    txns_clear(&e->txns);
    link_free(&e->link);
    frame_reset(&e->reader);
    free(e->owner.record.p);
    conf_clear(&e->conf);
    free(e);
}

int engine_configure(struct engine *e, const struct engine_conf *conf, int64_t now)
{
    int rc = take_conf(e, conf);
    int64_t n;

    if (rc == 0 && e->contact.hello) {
        n = link_next_n(&e->link);
        engine_push(e, n, msg_keys(n), now);
    }
    return rc;
}

/* ---- from Kamailio ---- */

/* Word of an answer to a probe is in a frame of its own, and is not kept: an idle node has no other. */
static void on_events(struct engine *e, struct msg *m, int64_t now)
{
    bool answers = true;
    char why[128];
    struct event ev;
    int rc, i;

    for (i = 1; (rc = msg_event(&ev, m, why, sizeof(why))) != 0; i++) {
        answers = answers && rc > 0 && ev.type == EVENT_ALIVE;
        if (rc < 0) {
            e->count.frames_bad++;
            engine_log_some(e, LOG_LEVEL_WARN, "event %d of frame %" PRId64 " not understood: %s", i, m->n, why);
            continue;
        }
        event_take(e, &ev, now);
        event_clear(&ev);
    }
    acks_events(e, m->n, i == 1 || !answers, now);
}

/* The latest report on a node counts, so all are sent again. */
static void on_ack(struct engine *e, const struct msg *m, int64_t now)
{
    bool lost = contact_acked(e, m->n, now) > 0;

    revoked_acked(e, m->n);
    if (m->id)
        peers_answered(e, (int)m->id, m->alive, now);
    for (size_t i = 0; lost && e->contact.hello && i < e->nodes.count; i++)
        peers_tell(e, &e->nodes.list[i], now);
}

static void on_msg(struct engine *e, struct msg *m, int64_t now)
{
    switch (m->type) {
    case MSG_HELLO:
        if (!e->contact.hello)
            kamailio_hello(e, m, now);
        break;
    case MSG_ACK:
        on_ack(e, m, now);
        kamailio_up(e, true, now);
        break;
    case MSG_EVENTS:
        on_events(e, m, now);
        break;
    case MSG_STRAY:
        acks_stray(e, m->k, now);
        if (m->ask)
            dialog_ask(e, m, now);
        else if (!second_stray(e, &(struct arrived){m->msg, m->src, m->dst, NULL}, now))
            strays_take(e, &(struct arrived){m->msg, m->src, m->dst, NULL}, now);
        break;
    }
}

struct arrival {
    struct engine *e;
    int64_t now;
};

static void on_frame(void *arg, struct span payload)
{
    const struct arrival *a = arg;
    struct engine *e = a->e;
    struct msg m;
    char why[128];

    e->count.frames_in++;
    if (msg_read(&m, payload, why, sizeof(why)) < 0) {
        e->count.frames_bad++;
        advice_frame(e, why, a->now);
        return;
    }
    if ((e->contact.hello || m.type == MSG_HELLO) && !e->contact.refused)
        on_msg(e, &m, a->now);
}

int engine_link_data(struct engine *e, const char *p, size_t n, int64_t now)
{
    struct arrival a = {e, now};
    int rc = frame_feed(&e->reader, p, n, on_frame, &a);

    if (rc < 0) {
        e->count.frames_bad++;
        engine_log(e, LOG_LEVEL_ERROR,
                   "framing from Kamailio is lost (%s): closing the link. Is modparam(\"evapi\", "
                   "\"netstring_format\", 1) set?",
                   strerror(-rc));
        e->contact.down_ms = now + RECONNECT_MS;
    }
    return rc < 0 ? rc : e->contact.refused ? -EPERM : 0;
}

/* ---- the store ---- */

void engine_store_up(struct engine *e, int64_t now)
{
    if (e->store.up)
        return;
    e->store.up = true;
    e->store.back_ms = e->store.lost_ms ? now : 0;
    e->peers.since_ms = 0;
    e->peers.own_seen_ms = now;
    e->peers.missed = false;
    peers_appear(e, now);
    /* It may have lost everything; and if it was away for long, the others may have thought this node dead. */
    owner_doubt(e, now - (e->peers.read_ms < e->store.lost_ms ? e->peers.read_ms : e->store.lost_ms) >=
                       e->conf.node_ttl_ms / 2);
    calls_mark_all(e);
    left_gather(e, e->store.lost_ms);
    if (!e->store.lost_ms)
        return; /* the first time */
    resync_back(e, now);
}

void engine_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    if (takeover_got(e, token, status, text, now) || strays_got(e, token, status, text, now) ||
        second_got(e, token, status, text, now))
        return;
    expiry_got(e, token, status, now);
    fence_got(e, token, status, text, now);
}

void engine_near_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    strays_near_got(e, token, status, text, now);
}

void engine_claimed(struct engine *e, uint64_t token, enum claim_status status, struct span holder, int64_t now)
{
    static const enum put_status as_put[] = {
        [CLAIM_WON] = PUT_DONE, [CLAIM_LOST] = PUT_FENCED, [CLAIM_FAILED] = PUT_FAILED, [CLAIM_REFUSED] = PUT_REFUSED};

    if (!strays_claimed(e, token, status, holder, now))
        owner_put_done(e, token, as_put[status], holder, now); /* the first record of a transaction */
}

void engine_put_done(struct engine *e, uint64_t token, enum put_status status, struct span record, int64_t now)
{
    if (!takeover_put_done(e, token, status, record, now) && !left_put_done(e, token, status, now))
        owner_put_done(e, token, status, record, now);
}

void engine_call_written(struct engine *e, uint64_t token, enum call_result result, int64_t now)
{
    if (!calls_written(e, token, result, now))
        ending_written(e, token, result, now);
}

void engine_call_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                     int64_t now)
{
    if (!dialog_got(e, token, status, pairs, count, now) && !ending_got(e, token, status, pairs, count, now) &&
        !admin_got(e, token, status, pairs, count))
        failover_got(e, token, status, pairs, count, now);
}

void engine_store_forgot(struct engine *e, int64_t now)
{
    e->store.back_ms = now; /* it is as good as another store */
    peers_own_lost(e, now);
    owner_doubt(e, true);
    resync_doubt(e, now);
    left_gather(e, now);
}

void engine_store_down(struct engine *e, int64_t now)
{
    e->store.up = false;
    e->store.lost_ms = now;
    e->resync = (struct resync){0}; /* everything is written again when it is back */
}

/* ---- time ---- */

void engine_flush(struct engine *e, int64_t now)
{
    char *bytes;
    size_t len;

    hall_see_standstill(e, now);
    takeover_run(e, now);
    evacuate_run(e, now);
    if (e->store.up)
        failover_run(e);
    owner_flush(e, now);
    left_run(e, now);
    calls_flush(e);
    ending_tick(e, now); /* after the other writes of those calls */
    barrier_run(e, now);
    acks_send(e, now);
    if (link_oldest(&e->link) < 0)
        e->contact.progress_ms = now;
    while ((bytes = link_take(&e->link, &len)) != NULL) {
        e->io.link_write(e->io.ctx, (struct span){bytes, len});
        free(bytes);
    }
}

/* Soon after a start nothing is known yet of what there was before. */
static bool is_idle(const struct engine *e)
{
    return e->peers.ripe && !e->txns.count && !e->calls.count;
}

void engine_tick(struct engine *e, int64_t now)
{
    bool clockwork = now >= peers_due(e) || now >= e->next_janitor_ms;
    int64_t until = now + (clockwork ? ALONG_MS : 0);
    bool beat = until >= e->peers.next_beat_ms;

    hall_see_standstill(e, now);
    strays_tick(e, now);
    dialog_tick(e, now);
    admin_tick(e, now);
    kamailio_tick(e, now);
    contact_tick(e, now);
    e->self.idle = is_idle(e);
    peers_tick(e, now, until);
    if (beat)
        contact_probe(e, now);
    resync_tick(e, now);
    owner_tick(e, now);
    second_tick(e, now);
    greeting_tick(e, now);
    if (until >= e->next_janitor_ms) {
        e->next_janitor_ms = peers_probing(e, now + JANITOR_MS);
        engine_log_rest(e, now);
        grows_tick(e, now);
        early_janitor(e, now);
        owner_janitor(e, now);
        calls_janitor(e, now);
    }
}

int64_t engine_wait(const struct engine *e, int64_t now)
{
    const int64_t dues[] = {strays_due(e),   takeover_due(e),   kamailio_due(e), peers_due(e),   dialog_due(e),
                            owner_due(e),    ending_due(e),     admin_due(e),    acks_due(e),    barrier_due(e),
                            left_due(e),     resync_due(e),     second_due(e),   contact_due(e), greeting_due(e),
                            evacuate_due(e), e->next_janitor_ms};
    int64_t due = INT64_MAX;

    for (size_t i = 0; i < COUNT(dues); i++)
        due = dues[i] < due ? dues[i] : due;
    return due > now ? due - now : 0;
}

const struct counters *engine_counters(const struct engine *e)
{
    return &e->count;
}

const struct histograms *engine_histograms(const struct engine *e)
{
    return &e->took;
}
