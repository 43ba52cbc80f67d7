/* Calls and their archive in this process' memory, with the same semantics as in Redis (redis_calls.c). Only the marks
 * of other nodes' legs are missing: there are no other nodes. */
#include <stdio.h>
#include <utlist.h>

#include "cdr_id.h"
#include "key.h"
#include "memory_fields.h"
#include "memory_impl.h"

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

/* ---- calls ---- */

static void drop(struct memory *m, struct call *x)
{
    HASH_DEL(m->calls, x); /* NOLINT(clang-analyzer-*): uthash */
    free(x->key);
    free(x->fields);
    free(x);
}

/* An expired call is not found. */
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

/* -1: the call has no node. */
static bool is_other(const struct fields *f, int node)
{
    const struct pair *p = fields_find(f, span_of("node"));
    char text[16];

    snprintf(text, sizeof(text), "%d", node);
    return p && !span_eq(p->value, span_of(text)) && !span_eq(p->value, span_of("-1"));
}

static bool ends(const struct call_write *w)
{
    return w->mode == CALL_END || w->mode == CALL_END_ANSWERED;
}

/* The same transaction, and not answered: the call goes with the transaction. */
static bool is_same(const struct fields *f, const struct call_write *w)
{
    const struct pair *tx = fields_find(f, span_of("tx"));

    for (size_t i = 0; tx && !w->first && !fields_find(f, span_of("answered")) && i < w->count; i++)
        if (span_eq(w->pairs[i].name, span_of("tx")) && span_eq(w->pairs[i].value, tx->value))
            return true;
    return false;
}

/* The call at whichever key it began; `other` may be NULL. */
static struct call *find_either(struct memory *m, const char *key, const char *other)
{
    struct call *x = find(m, key), *y = other ? find(m, other) : NULL;

    return y && fields_find(y->fields, span_of("tx")) && !(x && fields_find(x->fields, span_of("tx"))) ? y : x;
}

/* Whether the record has that dialog, or its end. */
static bool has(const struct fields *f, const char *what, struct span tag)
{
    for (size_t i = 0; f && i < f->count; i++) {
        struct span name = f->list[i].name;
        size_t n = strlen(what);

        if (name_starts(name, what) && span_eq((struct span){name.p + n, name.n - n}, tag))
            return true;
    }
    return false;
}

/* Whether a dialog other than that one goes on. */
static bool goes_on(const struct fields *f, struct span tag)
{
    struct span first = fields_find(f, span_of("to_tag"))->value;

    if (!span_eq(first, tag) && !has(f, "over.", first))
        return true;
    for (size_t i = 0; i < f->count; i++) {
        struct span name = f->list[i].name, other = {name.p + 7, name.n - 7};

        if (name_starts(name, "dialog.") && !span_eq(other, tag) && !has(f, "over.", other))
            return true;
    }
    return false;
}

/* What the end of one dialog means for the call. */
static enum call_result of_dialog(const struct fields *f, struct span tag)
{
    const struct pair *first = fields_find(f, span_of("to_tag"));

    if (!tag.n || !first)
        return CALL_WRITTEN;
    if (!span_eq(first->value, tag) && !has(f, "dialog.", tag))
        return CALL_FOREIGN;
    return goes_on(f, tag) ? CALL_GOES_ON : CALL_WRITTEN;
}

static const struct pair *given(const struct call_write *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (span_eq(w->pairs[i].name, span_of(name)))
            return &w->pairs[i];
    return NULL;
}

static bool begins(const struct call_write *w)
{
    return w->mode == CALL_BEGIN || w->mode == CALL_TAKE;
}

/* Whether it is written for another INVITE than the one that the record follows. */
static bool is_leg(const struct fields *f, const struct call_write *w)
{
    const struct pair *tx = given(w, "tx"), *was = fields_find(f, span_of("tx"));

    return tx && was && w->mode != CALL_ADD && !span_eq(tx->value, was->value);
}

/* Whether it came after the end of that call; or was answered, when that one was not. */
static bool begins_anew(const struct fields *f, const struct call_write *w)
{
    const struct pair *trying = given(w, "trying");
    int64_t ended = fields_ms(f, "ended");

    return (given(w, "answered") && !fields_find(f, span_of("answered"))) ||
           (trying && ended >= 0 && fields_time(trying->value) >= ended);
}

static enum call_result of_ended(const struct fields *f, const struct call_write *w)
{
    if (!begins(w) || !is_leg(f, w))
        return CALL_OVER;
    return begins_anew(f, w) ? CALL_WRITTEN : CALL_FOREIGN;
}

/* Whether it came before the other one, and goes on. */
static bool is_first(const struct fields *f, const struct call_write *w)
{
    const struct pair *trying = given(w, "trying"), *node = given(w, "node"), *state = given(w, "state");
    int64_t from = trying ? fields_time(trying->value) : -1;

    return from >= 0 && from < fields_ms(f, "trying") && node && !span_eq(node->value, span_of("-1")) &&
           !(state && span_eq(state->value, span_of("ended")));
}

static enum call_result of_leg(const struct fields *f, const struct call_write *w)
{
    bool other = is_other(f, w->node);

    if (fields_find(f, span_of("answered")) || (ends(w) && other))
        return CALL_FOREIGN;
    return other && !given(w, "answered") && !is_first(f, w) ? CALL_OTHER : CALL_WRITTEN;
}

/* Why nothing is written, or CALL_WRITTEN. */
static enum call_result refusal(const struct fields *f, const struct call_write *w)
{
    if (fields_find(f, span_of("ended")))
        return of_ended(f, w);
    if (is_leg(f, w))
        return of_leg(f, w);
    if ((ends(w) && (!f || f->count == 0)) || (w->other && !fields_find(f, span_of("tx"))))
        return CALL_ABSENT;
    if (w->mode == CALL_END_ANSWERED && !fields_find(f, span_of("answered")))
        return CALL_EARLY;
    if (ends(w))
        return of_dialog(f, w->dialog);
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

/* cdr: the new entry, or NULL. */
static void save_call(struct memory *m, const struct call *x, const struct cdr *cdr)
{
    memory_file_add(m->file, &(struct memory_line){.kind = cdr ? 'e' : 'c',
                                                   .ends = (int64_t)(x->ends_ms - uv_now(m->loop)),
                                                   .id = {cdr ? cdr->id[0] : 0, cdr ? cdr->id[1] : 0},
                                                   .key = x->key,
                                                   .pairs = x->fields->list,
                                                   .count = x->fields->count});
}

/* An entry with the id m->last_id; NULL when out of memory. */
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

/* Ids only grow, even if the clock is set back. */
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

/* The archive is the last step that can fail, so that an ended call has one entry, and one whose end fails has none. */
static enum call_result apply(struct memory *m, const struct call_write *w, struct call *x)
{
    bool anew = x && fields_find(x->fields, span_of("ended"));
    struct fields *f = fields_written(x && !anew ? x->fields : NULL, w, x && begins(w) && is_leg(x->fields, w));
    struct cdr *cdr = NULL;

    if (f && ends(w))
        f = fields_with_latest(f);
    if (f && ends(w))
        f = fields_with_durations(f);
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

/* "over.<tag>"; the caller frees it. */
static struct span over_name(struct span tag)
{
    char *p = malloc(strlen("over.") + tag.n);

    if (!p)
        return (struct span){0};
    memcpy(p, "over.", strlen("over."));
    memcpy(p + strlen("over."), tag.p, tag.n);
    return (struct span){p, strlen("over.") + tag.n};
}

/* One of the call's dialogs has ended. */
static bool note_over(struct memory *m, const struct call_write *w, struct call *x)
{
    struct span name = over_name(w->dialog);
    const struct pair *ended = given(w, "ended");
    struct pair over = {name, ended ? ended->value : (struct span){0}};
    struct fields *f = NULL;

    if (name.p && !fields_find(x->fields, name))
        f = fields_with(x->fields, &over, 1);
    free((char *)name.p);
    if (!f)
        return name.p && has(x->fields, "over.", w->dialog);
    free(x->fields);
    x->fields = f;
    save_call(m, x, NULL);
    return true;
}

void memory_call_write(struct store *s, const struct call_write *w, uint64_t token)
{
    struct memory *m = (struct memory *)s;
    struct call *x = find_either(m, w->key, w->other);
    enum call_result result = refusal(x ? x->fields : NULL, w);

    if (result == CALL_WRITTEN)
        result = apply(m, w, x);
    else if (result == CALL_GOES_ON && !note_over(m, w, x))
        result = CALL_FAILED;
    answers_call_written(&m->answers, token, result);
}

static void give_call(struct store *s, const struct answer *a)
{
    const struct fields *f = a->data;

    s->on.call_got(s->on.ctx, a->token, (enum get_status)a->status, f ? f->list : NULL, f ? f->count : 0);
}

void memory_call_get(struct store *s, const char *key, const char *other, uint64_t token)
{
    struct memory *m = (struct memory *)s;
    struct call *x = find_either(m, key, other);
    struct answer a = {.give = give_call, .token = token, .status = GET_ABSENT};

    if (x && x->fields->count) {
        a.data = fields_with(x->fields, NULL, 0);
        a.status = a.data ? GET_FOUND : GET_FAILED;
    }
    answers_add(&m->answers, a);
}

static void give_keys(struct store *s, const struct answer *a)
{
    struct call *x, *next;

    HASH_ITER(hh, ((struct memory *)s)->calls, x, next)
    {
        if (a->data && strncmp(x->key, a->data, a->n) == 0)
            s->on.call_key(s->on.ctx, a->token, x->key);
    }
    s->on.call_keys(s->on.ctx, a->token, a->data != NULL, 0);
}

void memory_call_keys(struct store *s, struct span call_id, uint64_t cursor, uint64_t token)
{
    char *start = key_call(call_id, (struct span){0});

    (void)cursor; /* all in one batch */
    answers_add(&((struct memory *)s)->answers,
                (struct answer){.give = give_keys, .token = token, .data = start, .n = span_of(start).n});
}

/* ---- the archive ---- */

static bool is_after(const struct cdr *x, const struct cdr_id *id)
{
    return x->id[0] > id->ms || (x->id[0] == id->ms && x->id[1] > id->n);
}

/* The first entry to deliver: after `after`, or so that count entries are left. */
static struct cdr *first_of(const struct memory *m, const struct cdr_id *after, int count)
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

/* Delivers `status` entries: those after the id in the data, or the newest ones. */
static void give_archive(struct store *s, const struct answer *a)
{
    struct cdr *x = first_of((struct memory *)s, a->data, a->status);

    for (int left = a->status; x && left > 0; x = x->next, left--) {
        char text[CDR_ID_SIZE];

        cdr_id_write(text, (struct cdr_id){x->id[0], x->id[1], -1});
        s->on.archived(s->on.ctx, a->token, text, x->fields->list, x->fields->count, ARCHIVE_READ);
    }
    s->on.archived(s->on.ctx, a->token, NULL, NULL, 0, ARCHIVE_READ);
}

void memory_archive(struct store *s, const char *after, int count, uint64_t token)
{
    struct memory *m = (struct memory *)s;
    struct cdr_id id, *copy = NULL;
    bool ok = count > 0 && (!after || cdr_id_read(&id, span_of(after)));

    if (ok && after)
        copy = malloc(sizeof(id));
    if (copy)
        *copy = id;
    if (ok && (copy || !after))
        answers_add(&m->answers, (struct answer){give_archive, token, count, copy, sizeof(id)});
    else
        answers_not_archived(&m->answers, token);
}

void memory_tell(struct store *s, int node, const char *text)
{
    (void)s, (void)node, (void)text; /* there is no other node */
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
