/* The store of the cluster, and the ways to it. */
#include "cluster_impl.h"
#include "record.h"

#include <utlist.h>

void task_again(struct cluster *c, struct task *t)
{
    t->at = c->now;
    task_insert(c, t);
}

/* ---- the store ---- */

struct entry *entry_find(const struct cluster *c, const struct data *d, const char *key)
{
    struct entry *x;

    LL_FOREACH(d->entries, x)
    {
        if (strcmp(x->key, key) == 0 && x->ends_ms > c->now)
            return x;
    }
    return NULL;
}

void entry_free(struct entry *x)
{
    free(x->key);
    free(x->value);
    json_decref(x->fields);
    free(x);
}

/* It is written over, or its time is up: only a replica may have it still. */
static void entry_end(struct cluster *c, struct data *d, struct entry *x)
{
    struct entry *p, *next;

    LL_DELETE(d->entries, x);
    x->until_ms = c->now;
    LL_PREPEND(d->past, x);
    LL_FOREACH_SAFE(d->past, p, next)
    {
        if (c->now - p->until_ms < c->lag_ms)
            continue;
        LL_DELETE(d->past, p);
        entry_free(p);
    }
}

struct entry *entry_add(struct cluster *c, struct data *d, const char *key, const char *value, int64_t ttl_ms)
{
    struct entry *x, *next;

    LL_FOREACH_SAFE(d->entries, x, next)
    {
        if (x->ends_ms <= c->now || strcmp(x->key, key) == 0)
            entry_end(c, d, x);
    }
    x = calloc(1, sizeof(*x));
    *x = (struct entry){.seq = ++c->entry_seq,
                        .key = strdup(key),
                        .value = value ? strdup(value) : NULL,
                        .since_ms = c->now,
                        .ends_ms = c->now + ttl_ms};
    LL_APPEND(d->entries, x);
    return x;
}

struct data *data_of(struct cluster *c, const struct task *t)
{
    return t->old ? &c->old_store : &c->store;
}

void data_clear(struct data *d)
{
    struct entry *x, *next;

    LL_FOREACH_SAFE(d->entries, x, next)
    {
        entry_free(x);
    }
    LL_FOREACH_SAFE(d->past, x, next)
    {
        entry_free(x);
    }
    d->entries = d->past = NULL;
    json_array_clear(d->archive);
    json_array_clear(d->archived_ms);
}

struct task *store_answer_to(struct cluster *c, const struct task *t)
{
    struct site *s = &c->site[t->site];
    bool alone = is_redirected(c, t) ||
                 (c->shuffle && (t->kind == APPLY_GET || t->kind == APPLY_CLAIM || t->kind == APPLY_CALL_GET));
    struct task *a = task_add(s, ANSWER, alone ? NULL : &s->way[t->master].answer_at, t->key, NULL);

    a->of = t->kind;
    a->epoch = t->epoch;
    a->token = t->token;
    a->old = t->old;
    a->master = t->master;
    if (s->deaf)
        task_move(c, a, NEVER);
    return a;
}

static bool is_broken(const struct cluster *c, const char *what)
{
    return c->broken && strcmp(c->broken, what) == 0;
}

static void apply_claim(struct cluster *c, struct task *t)
{
    struct entry *x = is_broken(c, "claim") ? NULL : entry_find(c, data_of(c, t), t->key);
    struct task *a = store_answer_to(c, t);

    if (is_refused(c, t)) {
        a->status = CLAIM_FAILED;
        return;
    }
    a->status = x ? CLAIM_LOST : CLAIM_WON;
    cluster_note(&c->site[t->site], "* store: claim %s: %.60s asks, %.60s", t->key, t->value, x ? x->value : "won");
    if (x)
        a->value = strdup(x->value);
    else
        entry_add(c, data_of(c, t), t->key, t->value, t->ttl_ms);
}

/* Entries are in the order of their last writing: one that is written again meanwhile comes again, none is missed. */
static void apply_scan(struct cluster *c, struct task *t)
{
    struct task *a = store_answer_to(c, t);
    struct entry *x;
    size_t n = 0;

    a->json = json_array();
    a->status = c->scan_failures == 0 && !cluster_is_torn(c);
    c->scan_failures -= c->scan_failures > 0;
    LL_FOREACH(data_of(c, t)->entries, x)
    {
        if (x->seq <= t->cursor || x->ends_ms <= c->now)
            continue;
        if (n++ == c->scan_part)
            break;
        json_array_append_new(a->json, json_string(x->key));
        a->cursor = x->seq;
    }
    if (!x)
        a->cursor = 0;
}

static void apply_nodes(struct cluster *c, struct task *t)
{
    struct task *a = store_answer_to(c, t);
    struct entry *x;

    a->json = json_array();
    a->status = true;
    LL_FOREACH(data_of(c, t)->entries, x)
    {
        if (strncmp(x->key, "kamsync:node:", 13) == 0 && x->ends_ms > c->now)
            json_array_append_new(a->json, json_string(x->value));
    }
}

/* It is read, written, and announced. */
static void apply_beat(struct cluster *c, struct task *t)
{
    struct entry *was = entry_find(c, data_of(c, t), t->key);

    store_answer_to(c, t)->value = was ? strdup(was->value) : NULL;
    if (!is_refused(c, t))
        entry_add(c, data_of(c, t), t->key, t->value, t->ttl_ms);
    if (t->status)
        store_publish(c, t, ANNOUNCE, 0);
}

static bool is_fenced(struct cluster *c, const struct task *t)
{
    struct entry *x = is_broken(c, "fence") ? NULL : entry_find(c, data_of(c, t), t->key);

    return x && record_fences(span_of(x->value), span_of(t->value));
}

static void note_written(struct cluster *c, const struct task *t)
{
    struct record r = {0};
    int call;

    if (sscanf(t->key, "kamsync:tx:{call-%d@caller.example}:1:", &call) == 1 &&
        record_read(&r, span_of(t->value)) == 0) {
        c->written[t->site][call] = r.epoch > c->written[t->site][call] ? r.epoch : c->written[t->site][call];
        c->answered[call] = c->answered[call] || strstr(t->value, "\"state\":\"answered\"");
    }
}

static void apply_put(struct cluster *c, struct task *t)
{
    struct task *a = store_answer_to(c, t);
    struct entry *x = entry_find(c, data_of(c, t), t->key);

    a->status = is_refused(c, t) ? PUT_FAILED : is_fenced(c, t) ? PUT_FENCED : PUT_DONE;
    cluster_note(&c->site[t->site], "* store: put %s %.60s: %s %.60s", t->key, t->value,
                 a->status == PUT_DONE     ? "done"
                 : a->status == PUT_FENCED ? "fenced by"
                                           : "refused",
                 a->status == PUT_FENCED ? x->value : "");
    if (a->status == PUT_FENCED)
        a->value = strdup(x->value);
    if (a->status != PUT_DONE)
        return;
    entry_add(c, data_of(c, t), t->key, t->value, t->ttl_ms);
    note_written(c, t);
}

void store_apply(struct cluster *c, struct task *t)
{
    switch (t->kind) {
    case APPLY_PUT:
        apply_put(c, t);
        break;
    case APPLY_GET: {
        struct entry *x = entry_find(c, data_of(c, t), t->key);
        struct task *a = store_answer_to(c, t);

        c->reads++;
        a->status = x ? GET_FOUND : GET_ABSENT;
        cluster_note(&c->site[t->site], "* store: get %s %.60s", t->key, x ? x->value : "-");
        a->value = x ? strdup(x->value) : NULL;
        break;
    }
    case APPLY_CLAIM:
        apply_claim(c, t);
        break;
    case APPLY_SCAN:
        apply_scan(c, t);
        break;
    case APPLY_BEAT:
        apply_beat(c, t);
        break;
    case APPLY_NODES:
        apply_nodes(c, t);
        break;
    default:
        store_apply_call(c, t);
    }
}

/* What stood where the node's beat goes: as io/redis.c looks at it. */
static void answer_beat(struct site *s, const char *record)
{
    bool forgot = s->own_there && !record;

    s->own_there = record != NULL;
    if (record)
        engine_node(s->e, span_of(record), s->c->now);
    if (forgot)
        engine_store_forgot(s->e, s->c->now);
}

void store_answer(struct site *s, enum kind of, const struct task *t, bool failed)
{
    struct span value = span_of(failed ? NULL : t->value);
    json_t *each;
    size_t i;

    switch (of) {
    case APPLY_PUT:
        engine_put_done(s->e, t->token, failed ? PUT_FAILED : (enum put_status)t->status, value, s->c->now);
        break;
    case APPLY_GET:
        engine_got(s->e, t->token, failed ? GET_FAILED : (enum get_status)t->status, value, s->c->now);
        break;
    case APPLY_CLAIM:
        engine_claimed(s->e, t->token, failed ? CLAIM_FAILED : (enum claim_status)t->status, value, s->c->now);
        break;
    case APPLY_SCAN:
        if (!failed && t->status)
            json_array_foreach(t->json, i, each) engine_scan_key(s->e, json_string_value(each));
        engine_scanned(s->e, !failed && t->status, failed ? 0 : t->cursor, s->c->now);
        break;
    case APPLY_NODES:
        if (!failed)
            json_array_foreach(t->json, i, each) engine_node(s->e, span_of(json_string_value(each)), s->c->now);
        engine_nodes_read(s->e, !failed, s->c->now);
        break;
    case APPLY_BEAT:
        if (!failed)
            answer_beat(s, t->value);
        break;
    default:
        store_answer_call(s, of, t, failed);
    }
}

/* There is no way to its master: nobody answers within the call that asks. */
static void fail(struct site *s, enum kind kind, uint64_t token)
{
    struct task *t = task_add(s, ANSWER, NULL, NULL, NULL);

    t->of = kind;
    t->epoch = s->store_epoch;
    t->token = token;
    t->failed = true;
    t->master = MASTERS_MAX;
}

static void redirect(struct cluster *c, struct task *t)
{
    int64_t at;

    if (!is_redirected(c, t))
        return;
    at = c->now + c->delay(c);
    for (unsigned times = 1 + one_in(c, 2); times > 0; times--)
        at += 2 * c->delay(c);
    task_move(c, t, at);
}

struct task *store_ask(struct site *s, enum kind kind, const char *key, const char *value, int64_t ttl_ms,
                       uint64_t token)
{
    struct task *t;
    size_t master;

    if (!s->connected) {
        struct task none = {.token = token};

        store_answer(s, kind, &none, true);
        return NULL;
    }
    if (!way_of(s, kind, key, &master)) {
        fail(s, kind, token);
        return NULL;
    }
    t = task_add(s, kind, &s->way[master].apply_at, key, value);
    t->epoch = s->store_epoch;
    t->ttl_ms = ttl_ms;
    t->token = token;
    t->master = master;
    t->old = s->way[master].behind;
    redirect(s->c, t);
    return t;
}

static void io_put(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    store_ask(ctx, APPLY_PUT, key, value, ttl_ms, token);
}

static void io_get(void *ctx, const char *key, uint64_t token)
{
    store_ask(ctx, APPLY_GET, key, NULL, 0, token);
}

static void io_claim(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    store_ask(ctx, APPLY_CLAIM, key, value, ttl_ms, token);
}

static void io_scan(void *ctx, uint64_t cursor)
{
    struct task *t = store_ask(ctx, APPLY_SCAN, NULL, NULL, 0, 0);

    if (t)
        t->cursor = cursor;
}

/* Any master publishes, also if the one that has the nodes is away. */
static void io_beat(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce)
{
    struct task *t = store_ask(ctx, APPLY_BEAT, scratch("kamsync:node:%d", id), record, ttl_ms, 0);

    if (!t && announce)
        t = store_ask(ctx, APPLY_TELL, NULL, record, 0, 0);
    if (t)
        t->status = announce;
}

static void io_read_nodes(void *ctx)
{
    store_ask(ctx, APPLY_NODES, NULL, NULL, 0, 0);
}

struct engine_io store_io(struct site *s)
{
    struct engine_io io = {.ctx = s,
                           .put = io_put,
                           .get = io_get,
                           .get_near = near_ask_replica,
                           .claim = io_claim,
                           .scan = io_scan,
                           .beat = io_beat,
                           .read_nodes = io_read_nodes};

    store_calls_io(&io);
    return io;
}

void store_apply_adrift(struct cluster *c, struct task *t)
{
    struct data *d = data_of(c, t);

    if (is_refused(c, t))
        return;
    if (t->kind == APPLY_BEAT || (t->kind == APPLY_PUT && !is_fenced(c, t))) {
        entry_add(c, d, t->key, t->value, t->ttl_ms);
        note_written(c, t);
    } else if (t->kind == APPLY_CLAIM && !entry_find(c, d, t->key)) {
        entry_add(c, d, t->key, t->value, t->ttl_ms);
    } else if (t->kind == APPLY_CALL || t->kind == APPLY_TELL) {
        store_apply_call(c, t);
    }
}

/* Of what was on its way a part arrives, and the rest does not, or later: TCP keeps the order. False when it is to be
 * freed. */
static bool break_task(struct cluster *c, struct task *t, bool *arrives, int64_t *late_ms)
{
    if (t->kind == ANSWER)
        return false;
    t->adrift = true;
    *arrives = *arrives && c->maybe(c);
    if (*arrives)
        store_apply_adrift(c, t);
    else if (*late_ms)
        t->at = *late_ms += c->delay(c);
    return !*arrives && *late_ms;
}

static bool is_of(const struct site *s, const struct task *t, size_t master)
{
    return &s->c->site[t->site] == s && t->kind <= ANSWER && t->epoch == s->store_epoch && !t->adrift &&
           (master == MASTERS_MAX || t->master == master);
}

void store_drop(struct site *s, size_t master)
{
    struct cluster *c = s->c;
    struct task *all = tasks_take(s, is_of, master), *t, *next, *late = NULL;
    bool arrives = true;
    int64_t late_ms = c->adrift && c->maybe(c) ? c->now + 20 * c->delay(c) : 0;

    LL_FOREACH_SAFE(all, t, next)
    {
        LL_DELETE(all, t);
        store_answer(s, t->kind == ANSWER ? t->of : t->kind, t, true);
        if (break_task(c, t, &arrives, &late_ms))
            LL_APPEND(late, t);
        else
            task_free(t);
    }
    LL_FOREACH_SAFE(late, t, next)
    {
        LL_DELETE(late, t);
        task_insert(c, t);
    }
}

void cluster_cut(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (!s->connected)
        return;
    cluster_note(s, "* the store is away");
    s->connected = s->deaf = false;
    ways_close(s);
    store_listen_not(s);
    store_drop(s, MASTERS_MAX);
    s->store_epoch++;
    engine_store_down(s->e, c->now);
    engine_flush(s->e, c->now);
}

bool cluster_is_contested(const struct cluster *c, int call)
{
    const struct entry *x;

    LL_FOREACH(c->store.entries, x)
    {
        struct record r = {0};

        if (strncmp(x->key, "kamsync:tx:", 11) != 0 || !strstr(x->key, scratch("{call-%d@", call)) ||
            record_read(&r, span_of(x->value)) < 0)
            continue;
        if (r.state == HEAD_TAKING && x->ends_ms > c->now && !c->site[r.owner - 1].holds[call])
            return true;
    }
    return cluster_holders(c, call, NULL) > 1;
}

void cluster_forget(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++)
        cluster_cut(c, i);
    cluster_note(&c->site[0], "* the store forgets everything");
    data_clear(&c->store);
    for (size_t i = 0; i < c->count; i++)
        cluster_join(c, i);
}

void cluster_join(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (s->connected || (c->parted && cluster_are_apart(c, 0, node)))
        return;
    cluster_note(s, "* the store is there");
    s->connected = true;
    ways_open(s);
    store_listen(s);
    engine_store_up(s->e, c->now);
    engine_flush(s->e, c->now);
}

/* Whether another Kamailio had routed the same INVITE dies with who knew it: nobody tells this one any more. */
static void forget_doubled(struct site *s)
{
    for (int call = 0; call < CALLS_MAX; call++)
        if (s->c->doubled[call] && s->holds[call])
            s->c->doubled_ms[call] = INT64_MAX;
}

void cluster_crash(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    cluster_cut(c, node);
    cluster_note(s, "* kamsyncd dies");
    forget_doubled(s);
    s->linked = s->hello = false;
    s->link_epoch++;
    s->crashed = true;
    s->own_there = false;
    engine_free(s->e);
    s->conf.beat_base = c->now;
    s->e = engine_new(&s->conf, &s->io, c->now);
    cr_assert_not_null(s->e);
}

char *cluster_key(int call)
{
    return scratch("kamsync:tx:{call-%d@caller.example}:1:z9hG4bK-caller-%d:198.51.100.9:5060", call, call);
}

json_t *cluster_record(const struct cluster *c, int call)
{
    struct entry *x = entry_find(c, &c->store, cluster_key(call));

    return x ? json_loads(x->value, 0, NULL) : NULL;
}

int64_t cluster_record_age(const struct cluster *c, int call)
{
    struct entry *x = entry_find(c, &c->store, cluster_key(call));

    return x ? c->now - x->since_ms : INT64_MAX;
}
