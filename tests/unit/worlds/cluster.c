/* The nodes of the cluster, what befalls them, and the clock. */
#include "cluster_impl.h"

#include <stdarg.h>
#include <utlist.h>

#include "base64.h"
#include "conf.h"
#include "frame.h"

static int64_t one_ms(struct cluster *c)
{
    (void)c;
    return 1;
}

static bool never(struct cluster *c)
{
    (void)c;
    return false;
}

void cluster_note(const struct site *s, const char *fmt, ...)
{
    static int wanted = -1;
    va_list ap;

    if (wanted < 0)
        wanted = getenv("CLUSTER_LOG") != NULL;
    if (!wanted)
        return;
    fprintf(stderr, "%8lld node %d: ", (long long)s->c->now, s->id);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static void io_log(void *ctx, const struct log_entry *line)
{
    cluster_note(ctx, "%s", line->text);
}

#define NODE_1 101 /* the last number of the first node's address */

char *address_of(const struct site *s)
{
    return scratch("192.0.2.%d:5060", NODE_1 + s->id - 1);
}

int node_at(const struct cluster *c, const char *address)
{
    int last = 0, id = sscanf(address, "192.0.2.%d:5060", &last) == 1 ? last - NODE_1 + 1 : 0;

    return id > 0 && id <= (int)c->count ? id : 0;
}

/* ---- accidents ---- */

void cluster_hang(struct cluster *c, size_t node, bool hung)
{
    struct site *s = &c->site[node];

    cluster_note(s, "* Kamailio %s", hung ? "hangs" : "goes on");
    s->hung = hung;
    if (!hung)
        read_inbox(s);
    engine_flush(s->e, c->now);
}

void cluster_stand(struct cluster *c, size_t node, bool still)
{
    struct task *t, *next;

    cluster_note(&c->site[node], "* the host %s", still ? "stands still" : "goes on");
    c->site[node].still = still;
    LL_FOREACH_SAFE(c->site[node].parked, t, next)
    {
        LL_DELETE(c->site[node].parked, t);
        task_again(c, t);
    }
}

void cluster_break(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (!s->linked)
        return;
    cluster_note(s, "* the link breaks");
    s->linked = s->hello = false;
    s->link_epoch++;
    engine_link_down(s->e, c->now);
    engine_flush(s->e, c->now);
}

void cluster_mend(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (s->linked || s->dead)
        return;
    cluster_note(s, "* the link is up");
    s->linked = true;
    s->crashed = false;
    engine_link_up(s->e, scratch("tag-%u", s->link_epoch), c->now);
    engine_flush(s->e, c->now);
}

void cluster_kill(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    cluster_note(s, "* Kamailio dies");
    s->dead = true;
    s->gone_ms[s->starts % STARTS_KEPT] = c->now;
    s->hung = false;
    for (int call = 0; call < CALLS_MAX; call++)
        if (s->holds[call] && c->last_at[call] == s)
            c->orphaned[call] = true;
    memset(s->holds, 0, sizeof(s->holds));
    memset(s->left, 0, sizeof(s->left));
    memset(s->re, 0, sizeof(s->re));
    memset(s->lingers, 0, sizeof(s->lingers));
    memset(s->knows, 0, sizeof(s->knows));
    memset(s->clock, 0, sizeof(s->clock));
    json_object_clear(s->seen);
    json_array_clear(s->inbox);
    json_array_clear(s->queue);
    cluster_break(c, node);
}

void cluster_restart(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (!s->dead)
        cluster_kill(c, node);
    cluster_note(s, "* Kamailio starts");
    s->dead = false;
    s->started_ms = c->now;
    snprintf(s->inc, sizeof(s->inc), "%d.%u", s->id, ++s->starts);
    s->gone_ms[s->starts % STARTS_KEPT] = 0;
    cluster_mend(c, node);
}

/* ---- life ---- */

static void io_write(void *ctx, struct span bytes)
{
    struct site *s = ctx;
    char *text = strndup(bytes.p, bytes.n), *payload = strchr(text, ':') + 1;

    payload[strlen(payload) - 1] = '\0';
    task_add(s, FRAME, &s->link_at, NULL, payload)->epoch = s->link_epoch;
    free(text);
}

static void io_close(void *ctx)
{
    struct site *s = ctx;

    task_add(s, REOPEN, NULL, NULL, NULL)->epoch = s->link_epoch;
}

static void reopen(struct site *s, const struct task *t)
{
    size_t node = (size_t)(s - s->c->site);

    if (!s->linked || t->epoch != s->link_epoch)
        return;
    cluster_break(s->c, node);
    cluster_mend(s->c, node);
}

static void site_init(struct cluster *c, size_t i)
{
    struct site *s = &c->site[i];
    struct engine_io io = store_io(s);

    *s = (struct site){
        .c = c, .id = (int)i + 1, .dead = true, .seen = json_object(), .queue = json_array(), .inbox = json_array()};
    s->conf = conf_default();
    s->conf.beat_base = 1000;
    io.link_write = io_write;
    io.link_close = io_close;
    io.log = io_log;
    s->io = io;
    s->e = engine_new(&s->conf, &io, c->now);
    cr_assert_not_null(s->e);
    cluster_join(c, i);
    cluster_restart(c, i);
}

struct cluster *cluster_new(size_t nodes)
{
    struct cluster *c = calloc(1, sizeof(*c));

    cr_assert(c && nodes <= SITES_MAX);
    c->now = 1000000;
    c->count = nodes;
    c->scan_part = 10;
    c->masters = 1;
    c->delay = one_ms;
    c->maybe = never;
    c->store = (struct data){.archive = json_array(), .archived_ms = json_array()};
    c->old_store = (struct data){.archive = json_array(), .archived_ms = json_array()};
    for (size_t i = 0; i < nodes; i++)
        site_init(c, i);
    cluster_run(c, 7000);
    return c;
}

static void data_free(struct data *d)
{
    data_clear(d);
    json_decref(d->archive);
    json_decref(d->archived_ms);
}

void cluster_free(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        cluster_stand(c, i, false);
        engine_free(c->site[i].e);
        json_decref(c->site[i].inbox);
        json_decref(c->site[i].seen);
        json_decref(c->site[i].queue);
    }
    tasks_free(c);
    data_free(&c->store);
    data_free(&c->old_store);
    json_decref(c->last_invite);
    free(c);
}

/* Carries out the tasks that are due, each followed by the flush that ends a turn of the loop. */
static void run_tasks(struct cluster *c)
{
    while (tasks_due(c) <= c->now) {
        struct task *t = tasks_next(c);
        struct site *s = &c->site[t->site];

        if (t->kind >= ANSWER && s->still) {
            LL_APPEND(s->parked, t);
            continue;
        }
        if (t->adrift)
            store_apply_adrift(c, t);
        else if (t->kind < ANSWER)
            store_apply(c, t);
        else if (t->kind == ANSWER)
            store_answer(s, t->of, t, t->failed);
        else if (t->kind == ANNOUNCE && s->hears && t->epoch == s->hear_epoch)
            engine_announced(s->e, span_of(t->value), c->now);
        else if (t->kind == TOLD && s->hears && t->epoch == s->hear_epoch)
            engine_message(s->e, span_of(t->value), c->now);
        else if (t->kind == REOPEN)
            reopen(s, t);
        else if (t->kind >= CUT)
            store_accident(s, t);
        else if (t->kind == FRAME || t->kind == PACKET)
            to_kamailio(s, t);
        else if (t->kind == NEAR)
            near_answers(s, t);
        if (!s->still)
            engine_flush(s->e, c->now);
        if (!store_again(c, t))
            task_free(t);
    }
}

static void run_ticks(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct engine *e = c->site[i].e;

        if (c->site[i].still || engine_wait(e, c->now) > 0)
            continue;
        engine_tick(e, c->now);
        engine_flush(e, c->now);
        cr_assert(engine_wait(e, c->now) > 0, "after a tick nothing may be due at once: that would be a busy loop");
    }
}

void cluster_run(struct cluster *c, int64_t ms)
{
    int64_t end = c->now + ms;

    for (;;) {
        int64_t next, due;

        run_tasks(c);
        run_ticks(c);
        next = tasks_due(c) < end ? tasks_due(c) : end;
        if (c->ring && (due = c->ring(c)) < next)
            next = due;
        for (size_t i = 0; i < c->count; i++) {
            due = c->now + engine_wait(c->site[i].e, c->now);

            next = due < next && !c->site[i].still ? due : next;
        }
        if (c->now >= end && next >= end)
            return;
        c->now = next;
    }
}

/* ---- calls ---- */

void cluster_call(struct cluster *c, size_t node, int call)
{
    struct site *s = &c->site[node];

    if (s->dead || s->hung || s->still)
        return;
    cluster_note(s, "* Kamailio: call %d begins", call);
    kamailio_call(s, call);
    engine_flush(s->e, c->now);
}

void cluster_site(struct cluster *c, size_t node, const char *site)
{
    struct site *s = &c->site[node];

    s->conf.site = site;
    cr_assert(engine_configure(s->e, &s->conf, c->now) == 0);
    engine_flush(s->e, c->now);
}

void cluster_route(struct cluster *c, bool strict)
{
    for (size_t i = 0; i < c->count; i++) {
        c->site[i].conf.claim_strict = strict;
        cr_assert(engine_configure(c->site[i].e, &c->site[i].conf, c->now) == 0);
        engine_flush(c->site[i].e, c->now);
    }
}

size_t cluster_cancel(struct cluster *c, size_t node, int call)
{
    struct site *s = &c->site[node];
    struct leg k = call_make((unsigned)call);
    char *msg = sip_request(&k, "CANCEL"), *rest = strstr(msg, "Content-Length");
    struct task t = {.kind = PACKET};

    cr_assert(c->cancel_count < CANCELS_MAX);
    c->cancel_call[c->cancel_count] = call;
    t.value = scratch("%.*sX-Number: %zu\r\n%s", (int)(rest - msg), msg, c->cancel_count, rest);
    if (!s->still)
        to_kamailio(s, &t);
    if (!s->still)
        engine_flush(s->e, c->now);
    return c->cancel_count++;
}

void cluster_answer(struct cluster *c, int call)
{
    size_t who;

    if (cluster_holders(c, call, &who) == 0)
        return;
    c->ended[call] = true;
    c->site[who].holds[call] = false;
    kamailio_reply(&c->site[who], call, 200);
    engine_flush(c->site[who].e, c->now);
}

uint64_t cluster_bit(int id)
{
    return UINT64_C(1) << (id - 1);
}

size_t cluster_holders(const struct cluster *c, int call, size_t *which)
{
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++) {
        if (c->site[i].dead || !c->site[i].holds[call])
            continue;
        n++;
        if (which)
            *which = i;
    }
    return n;
}
