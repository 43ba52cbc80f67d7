/* memory://: one node, no Redis. Records survive a restart of Kamailio, and end with this process unless there is also
 * a file (memory_file.h). */
#include <stdlib.h>

#include "key.h"
#include "memory_impl.h"
#include "record.h"

#define SWEEP_MS 1000

struct entry {
    UT_hash_handle hh;
    char *key, *value;
    uint64_t ends_ms;
};

static struct entry *find(struct memory *m, const char *key)
{
    struct entry *x;

    HASH_FIND_STR(m->entries, key, x);
    return x;
}

static void drop(struct memory *m, struct entry *x)
{
    HASH_DEL(m->entries, x); /* NOLINT(clang-analyzer-*): uthash */
    free(x->key);
    free(x->value);
    free(x);
}

static struct entry *add(struct memory *m, const char *key)
{
    struct entry *x = calloc(1, sizeof(*x));

    if (x)
        x->key = span_dup(span_of(key));
    if (x && x->key) {
        HASH_ADD_KEYPTR(hh, m->entries, x->key, strlen(x->key), x); /* NOLINT(clang-analyzer-*): uthash */
        if (x->hh.tbl)
            return x;
    }
    if (x)
        free(x->key);
    free(x);
    return NULL;
}

static bool set(struct memory *m, const char *key, const char *value, int64_t ttl_ms)
{
    char *copy = span_dup(span_of(value));
    struct entry *x = copy ? find(m, key) : NULL;

    if (copy && !x)
        x = add(m, key);
    if (!x) {
        free(copy);
        return false;
    }
    free(x->value);
    x->value = copy;
    x->ends_ms = uv_now(m->loop) + (uint64_t)ttl_ms;
    return true;
}

static void save(struct memory *m, const struct entry *x)
{
    struct pair value = {.value = span_of(x->value)};

    memory_file_add(
        m->file,
        &(struct memory_line){
            .kind = 's', .ends = (int64_t)(x->ends_ms - uv_now(m->loop)), .key = x->key, .pairs = &value, .count = 1});
}

static bool set_and_save(struct memory *m, const char *key, const char *value, int64_t ttl_ms)
{
    bool done = set(m, key, value, ttl_ms);

    if (done && m->file)
        save(m, find(m, key));
    return done;
}

static void memory_put(struct store *s, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct memory *m = (struct memory *)s;

    struct entry *x = find(m, key);
    struct span was = span_of(x && x->ends_ms > uv_now(m->loop) ? x->value : NULL);

    if (record_fences(was, span_of(value)))
        answers_put_done(&m->answers, token, PUT_FENCED, was);
    else
        answers_put_done(&m->answers, token, set_and_save(m, key, value, ttl_ms) ? PUT_DONE : PUT_FAILED,
                         (struct span){0});
}

static void memory_get(struct store *s, const char *key, uint64_t token)
{
    struct memory *m = (struct memory *)s;
    struct entry *x = find(m, key);
    bool found = x && x->ends_ms > uv_now(m->loop);

    answers_got(&m->answers, token, found ? GET_FOUND : GET_ABSENT, span_of(found ? x->value : NULL));
}

static void memory_claim(struct store *s, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct memory *m = (struct memory *)s;
    struct entry *x = find(m, key);

    if (x && x->ends_ms > uv_now(m->loop))
        answers_claimed(&m->answers, token, CLAIM_LOST, span_of(x->value));
    else
        answers_claimed(&m->answers, token, set_and_save(m, key, value, ttl_ms) ? CLAIM_WON : CLAIM_FAILED,
                        (struct span){0});
}

static void give_names(struct store *s, const struct answer *a)
{
    struct memory *m = (struct memory *)s;
    struct entry *x, *next;

    (void)a;
    HASH_ITER(hh, m->entries, x, next)
    {
        s->on.scan_key(s->on.ctx, x->key);
    }
    memory_calls_scan(m);
    s->on.scanned(s->on.ctx, true, 0);
}

static void memory_scan(struct store *s, uint64_t cursor)
{
    (void)cursor; /* all in one batch */
    answers_add(&((struct memory *)s)->answers, (struct answer){.give = give_names});
}

static void memory_beat(struct store *s, int id, const char *record, int64_t ttl_ms, bool announce)
{
    (void)s, (void)id, (void)record, (void)ttl_ms, (void)announce; /* no other node could read it */
}

static void give_nodes(struct store *s, const struct answer *a)
{
    (void)a;
    s->on.nodes_read(s->on.ctx, true);
}

static void memory_read_nodes(struct store *s)
{
    answers_add(&((struct memory *)s)->answers, (struct answer){.give = give_nodes});
}

static void one_closed(struct store *s)
{
    struct memory *m = (struct memory *)s;
    struct entry *x, *next;

    if (++m->closed < 2)
        return;
    HASH_ITER(hh, m->entries, x, next)
    {
        drop(m, x);
    }
    memory_calls_clear(m);
    memory_file_free(m->file);
    free(m);
}

static void on_sweep_closed(uv_handle_t *handle)
{
    one_closed(handle->data);
}

static void memory_close(struct store *s)
{
    struct memory *m = (struct memory *)s;

    uv_close((uv_handle_t *)&m->sweep, on_sweep_closed);
    answers_close(&m->answers, one_closed);
}

/* ---- the file ---- */

static void on_line(void *ctx, const struct memory_line *line)
{
    struct memory *m = ctx;
    char *value;

    if (line->kind != 's') {
        memory_calls_load(m, line);
    } else if (line->ends > 0) {
        value = span_dup(line->pairs->value);
        if (value)
            set(m, line->key, value, line->ends);
        free(value);
    }
}

static void write_anew(struct memory *m)
{
    struct entry *x, *next;

    memory_file_begin(m->file);
    HASH_ITER(hh, m->entries, x, next)
    {
        if (x->ends_ms > uv_now(m->loop))
            save(m, x);
    }
    memory_calls_save(m);
    memory_file_end(m->file);
}

static void on_sweep(uv_timer_t *timer)
{
    struct memory *m = timer->data;
    struct entry *x, *next;

    if (memory_file_wants(m->file))
        write_anew(m);
    if (!m->up) {
        m->up = true;
        m->store.on.up(m->store.on.ctx);
    }
    HASH_ITER(hh, m->entries, x, next)
    {
        if (x->ends_ms <= uv_now(m->loop))
            drop(m, x);
    }
    memory_calls_sweep(m);
}

static void memory_flush(struct store *store)
{
    (void)store; /* nothing to flush */
}

static void start_sweeping(struct memory *m)
{
    uv_timer_init(m->loop, &m->sweep);
    m->sweep.data = m;
    uv_timer_start(&m->sweep, on_sweep, 0, SWEEP_MS);
}

struct store *store_memory(uv_loop_t *loop, int64_t cdr_max, const char *state_file, const struct store_events *on)
{
    static const struct store_ops ops = {memory_put,       memory_get,        memory_claim,      memory_scan,
                                         memory_beat,      memory_read_nodes, memory_call_write, memory_call_get,
                                         memory_call_keys, memory_archive,    memory_tell,       NULL,
                                         memory_flush,     memory_close};
    struct memory *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->store = (struct store){.ops = &ops, .on = *on};
    m->loop = loop;
    m->cdr_max = cdr_max;
    if (*state_file)
        m->file = memory_file_new(state_file, on);
    if ((*state_file && !m->file) || answers_init(&m->answers, loop, &m->store) < 0) {
        memory_file_free(m->file);
        free(m);
        return NULL;
    }
    if (m->file)
        memory_file_read(m->file, m, on_line);
    start_sweeping(m);
    return &m->store;
}
