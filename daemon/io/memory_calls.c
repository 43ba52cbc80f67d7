/* Calls and their archive in this process' memory, with the same meaning as in Redis (redis_calls.c). */
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#include "memory_impl.h"

/* The pairs of a record. Names and values stand behind the list in the same block, so a change makes a new one: all of
 * it is written or nothing. */
struct fields {
    size_t count;
    struct pair list[];
};

struct call {
    UT_hash_handle hh;
    char *key;
    struct fields *fields;
    uint64_t ends_ms;
};

struct cdr {
    struct cdr *prev, *next;
    uint64_t id[2];
    struct fields *fields;
};

/* ---- fields ---- */

static struct pair *field(const struct fields *f, struct span name)
{
    for (size_t i = 0; f && i < f->count; i++)
        if (span_eq(f->list[i].name, name))
            return (struct pair *)&f->list[i];
    return NULL;
}

static size_t size_of(const struct pair *pairs, size_t count)
{
    size_t n = count * sizeof(*pairs);

    for (size_t i = 0; i < count; i++)
        n += pairs[i].name.n + pairs[i].value.n;
    return n;
}

static struct span keep(char **end, struct span s)
{
    struct span copy = {*end, s.n};

    if (s.n)
        memcpy(*end, s.p, s.n);
    *end += s.n;
    return copy;
}

static void set(struct fields *f, char **end, const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct pair *p = field(f, pairs[i].name);

        if (!p) {
            p = &f->list[f->count++];
            p->name = keep(end, pairs[i].name);
        }
        p->value = keep(end, pairs[i].value);
    }
}

/* A copy of old (or nothing) with these as well; NULL when memory is short. */
static struct fields *fields_with(const struct fields *old, const struct pair *pairs, size_t count)
{
    size_t was = old ? old->count : 0;
    struct fields *f = malloc(sizeof(*f) + size_of(old ? old->list : NULL, was) + size_of(pairs, count));
    char *end;

    if (!f)
        return NULL;
    f->count = 0;
    end = (char *)&f->list[was + count];
    set(f, &end, old ? old->list : NULL, was);
    set(f, &end, pairs, count);
    return f;
}

/* The same, without the weak ones that are there already. */
static struct fields *fields_written(const struct fields *old, const struct call_write *w)
{
    struct pair *list = calloc(w->count + 1, sizeof(*list));
    struct fields *f = NULL;
    size_t n = 0;

    for (size_t i = 0; list && i < w->count; i++)
        if (i + w->weak < w->count || !field(old, w->pairs[i].name))
            list[n++] = w->pairs[i];
    if (list)
        f = fields_with(old, list, n);
    free(list);
    return f;
}

/* ms out of a field; -1 when it is not there, or holds something else. */
static int64_t ms_of(const struct fields *f, const char *name)
{
    const struct pair *p = field(f, span_of(name));
    int64_t ms = 0;

    if (!p || p->value.n == 0 || p->value.n > 15)
        return -1;
    for (size_t i = 0; i < p->value.n; i++) {
        if (p->value.p[i] < '0' || p->value.p[i] > '9')
            return -1;
        ms = ms * 10 + (p->value.p[i] - '0');
    }
    return ms;
}

static size_t took(struct pair *out, char text[24], const char *name, int64_t from, int64_t to)
{
    if (from < 0 || to < 0)
        return 0;
    snprintf(text, 24, "%" PRId64, to > from ? to - from : 0);
    *out = (struct pair){span_of(name), span_of(text)};
    return 1;
}

/* The same fields, and how long it all took. Frees f. */
static struct fields *with_durations(struct fields *f)
{
    char text[2][24];
    struct pair more[2];
    int64_t answered = ms_of(f, "answered"), rings = field(f, span_of("ringing")) ? ms_of(f, "ringing") : answered;
    size_t n = took(more, text[0], "duration_ms", answered, ms_of(f, "ended"));
    struct fields *all;

    n += took(more + n, text[1], "pdd_ms", ms_of(f, "trying"), rings);
    all = fields_with(f, more, n);
    free(f);
    return all;
}

/* ---- calls ---- */

static void drop(struct memory *m, struct call *x)
{
    HASH_DEL(m->calls, x); /* NOLINT(clang-analyzer-*): uthash */
    free(x->key);
    free(x->fields);
    free(x);
}

/* One whose life has ended is not there. */
static struct call *find(struct memory *m, const char *key)
{
    struct call *x;

    HASH_FIND_STR(m->calls, key, x);
    if (x && x->ends_ms <= uv_now(m->loop)) {
        drop(m, x);
        x = NULL;
    }
    return x;
}

static struct call *add(struct memory *m, const char *key)
{
    struct call *x = calloc(1, sizeof(*x));

    if (x)
        x->key = span_dup(span_of(key));
    if (x && x->key) {
        HASH_ADD_KEYPTR(hh, m->calls, x->key, strlen(x->key), x); /* NOLINT(clang-analyzer-*): uthash */
        if (x->hh.tbl)
            return x;
    }
    if (x)
        free(x->key);
    free(x);
    return NULL;
}

/* -1: the call is nobody's. */
static bool is_other(const struct fields *f, int node)
{
    const struct pair *p = field(f, span_of("node"));
    char text[16];

    snprintf(text, sizeof(text), "%d", node);
    return p && !span_eq(p->value, span_of(text)) && !span_eq(p->value, span_of("-1"));
}

static bool ends(const struct call_write *w)
{
    return w->mode == CALL_END || w->mode == CALL_END_ANSWERED;
}

/* It lives by the same transaction, and is not answered: whoever has that has the call. */
static bool is_same(const struct fields *f, const struct call_write *w)
{
    const struct pair *tx = field(f, span_of("tx"));

    for (size_t i = 0; tx && !field(f, span_of("answered")) && i < w->count; i++)
        if (span_eq(w->pairs[i].name, span_of("tx")) && span_eq(w->pairs[i].value, tx->value))
            return true;
    return false;
}

/* Why nothing is written, or CALL_WRITTEN. */
static enum call_result refusal(const struct fields *f, const struct call_write *w)
{
    if (field(f, span_of("ended")))
        return CALL_OVER;
    if (ends(w) && (!f || f->count == 0))
        return CALL_ABSENT;
    if (w->mode == CALL_END_ANSWERED && !field(f, span_of("answered")))
        return CALL_EARLY;
    return w->mode == CALL_BEGIN && is_other(f, w->node) && !is_same(f, w) ? CALL_OTHER : CALL_WRITTEN;
}

static void forget_oldest(struct memory *m)
{
    struct cdr *oldest = m->archive;

    DL_DELETE(m->archive, oldest);
    m->cdr_count--;
    free(oldest->fields);
    free(oldest);
}

static void save_cdr(struct memory *m, const struct cdr *x)
{
    memory_file_add(m->file,
                    &(struct memory_line){
                        .kind = 'a', .id = {x->id[0], x->id[1]}, .pairs = x->fields->list, .count = x->fields->count});
}

/* cdr: the entry that it has just got, or NULL. */
static void save_call(struct memory *m, const struct call *x, const struct cdr *cdr)
{
    memory_file_add(m->file, &(struct memory_line){.kind = cdr ? 'e' : 'c',
                                                   .ends = (int64_t)(x->ends_ms - uv_now(m->loop)),
                                                   .id = {cdr ? cdr->id[0] : 0, cdr ? cdr->id[1] : 0},
                                                   .key = x->key,
                                                   .pairs = x->fields->list,
                                                   .count = x->fields->count});
}

/* An entry with the id m->last_id; NULL when memory is short. */
static struct cdr *append(struct memory *m, const struct pair *pairs, size_t count)
{
    struct cdr *x = calloc(1, sizeof(*x));

    if (x)
        x->fields = fields_with(NULL, pairs, count);
    if (!x || !x->fields) {
        free(x);
        return NULL;
    }
    memcpy(x->id, m->last_id, sizeof(x->id));
    DL_APPEND(m->archive, x);
    m->cdr_count++;
    while (m->cdr_max && m->cdr_count > m->cdr_max)
        forget_oldest(m);
    return x;
}

/* Entries are in the order of their ids, also when the clock is set back. */
static struct cdr *file_away(struct memory *m, const struct fields *f)
{
    uv_timeval64_t clock = {0};
    uint64_t ms;

    uv_gettimeofday(&clock);
    ms = (uint64_t)(clock.tv_sec * 1000 + clock.tv_usec / 1000);
    m->last_id[1] = ms > m->last_id[0] ? 0 : m->last_id[1] + 1;
    m->last_id[0] = ms > m->last_id[0] ? ms : m->last_id[0];
    return append(m, f->list, f->count);
}

/* The archive comes last of what can fail, so that a call that ends has one entry, and one whose end fails has none. */
static enum call_result apply(struct memory *m, const struct call_write *w, struct call *x)
{
    struct fields *f = fields_written(x ? x->fields : NULL, w);
    struct cdr *cdr = NULL;

    if (f && ends(w))
        f = with_durations(f);
    if (f && !x)
        x = add(m, w->key);
    if (!f || !x || (ends(w) && !(cdr = file_away(m, f)))) {
        free(f);
        return CALL_FAILED;
    }
    free(x->fields);
    x->fields = f;
    x->ends_ms = uv_now(m->loop) + (uint64_t)w->ttl_ms;
    save_call(m, x, cdr);
    return is_other(f, w->node) ? CALL_OTHER : CALL_WRITTEN;
}

void memory_call_write(struct store *s, const struct call_write *w, uint64_t token)
{
    struct memory *m = (struct memory *)s;
    struct call *x = find(m, w->key);
    enum call_result result = refusal(x ? x->fields : NULL, w);

    if (result == CALL_WRITTEN)
        result = apply(m, w, x);
    s->on.call_written(s->on.ctx, token, result);
}

/* Who gets the fields may write to the call meanwhile, so they get a copy. */
void memory_call_get(struct store *s, const char *key, uint64_t token)
{
    struct call *x = find((struct memory *)s, key);
    struct fields *f = x && x->fields->count ? fields_with(x->fields, NULL, 0) : NULL;

    if (f)
        s->on.call_got(s->on.ctx, token, GET_FOUND, f->list, f->count);
    else
        s->on.call_got(s->on.ctx, token, x && x->fields->count ? GET_FAILED : GET_ABSENT, NULL, 0);
    free(f);
}

/* ---- the archive ---- */

static bool is_after(const struct cdr *x, const uint64_t id[2])
{
    return x->id[0] > id[0] || (x->id[0] == id[0] && x->id[1] > id[1]);
}

/* The first one to deliver: behind `after`, or so that count ones are left. */
static struct cdr *first_of(const struct memory *m, const uint64_t *after, int count)
{
    struct cdr *x = m->archive;

    if (after) {
        while (x && !is_after(x, after))
            x = x->next;
        return x;
    }
    for (int64_t skip = m->cdr_count - count; x && skip > 0; skip--)
        x = x->next;
    return x;
}

/* Who hears an entry must not end a call from within that: the entry could be the one that makes room. */
void memory_archive(struct store *s, const char *after, int count, uint64_t token)
{
    struct memory *m = (struct memory *)s;
    uint64_t id[2];
    bool ok = count > 0 && (!after || store_cdr_id(after, id) == 0);
    struct cdr *x = ok ? first_of(m, after ? id : NULL, count) : NULL;

    for (; x && count > 0; x = x->next, count--) {
        char text[48];

        snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, x->id[0], x->id[1]);
        s->on.archived(s->on.ctx, token, text, x->fields->list, x->fields->count, true);
    }
    s->on.archived(s->on.ctx, token, NULL, NULL, 0, ok);
}

void memory_tell(struct store *s, int node, const char *text)
{
    (void)s, (void)node, (void)text; /* there is no other */
}

/* ---- the file ---- */

static void load_call(struct memory *m, const struct memory_line *line)
{
    struct call *x = find(m, line->key);
    struct fields *f = fields_with(NULL, line->pairs, line->count);

    if (f && !x)
        x = add(m, line->key);
    if (!f || !x) {
        free(f);
        return;
    }
    free(x->fields);
    x->fields = f;
    x->ends_ms = uv_now(m->loop) + (uint64_t)(line->ends > 0 ? line->ends : 0);
}

void memory_calls_load(struct memory *m, const struct memory_line *line)
{
    if (line->kind == 'a' || line->kind == 'e') {
        memcpy(m->last_id, line->id, sizeof(m->last_id));
        append(m, line->pairs, line->count);
    }
    if (line->kind != 'a')
        load_call(m, line);
}

void memory_calls_save(struct memory *m)
{
    struct call *x, *next;
    struct cdr *cdr;

    HASH_ITER(hh, m->calls, x, next)
    {
        if (x->ends_ms > uv_now(m->loop))
            save_call(m, x, NULL);
    }
    DL_FOREACH(m->archive, cdr)
    {
        save_cdr(m, cdr);
    }
}

/* ---- life ---- */

void memory_calls_scan(struct memory *m)
{
    struct call *x, *next;

    HASH_ITER(hh, m->calls, x, next)
    {
        m->store.on.scan_key(m->store.on.ctx, x->key);
    }
}

void memory_calls_sweep(struct memory *m)
{
    struct call *x, *next;

    HASH_ITER(hh, m->calls, x, next)
    {
        if (x->ends_ms <= uv_now(m->loop))
            drop(m, x);
    }
}

void memory_calls_clear(struct memory *m)
{
    struct call *x, *next;

    HASH_ITER(hh, m->calls, x, next)
    {
        drop(m, x);
    }
    while (m->archive)
        forget_oldest(m);
}
