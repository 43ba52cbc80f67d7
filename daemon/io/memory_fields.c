#include "memory_fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair *fields_find(const struct fields *f, struct span name)
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
        struct pair *p = fields_find(f, pairs[i].name);

        if (!p) {
            p = &f->list[f->count++];
            p->name = keep(end, pairs[i].name);
        }
        p->value = keep(end, pairs[i].value);
    }
}

struct fields *fields_with(const struct fields *old, const struct pair *pairs, size_t count)
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

static bool is_progress(struct span name)
{
    return span_eq(name, span_of("ringing")) || span_eq(name, span_of("code"));
}

struct fields *fields_written(const struct fields *old, const struct call_write *w, bool leg)
{
    size_t was = old ? old->count : 0, n = 0;
    struct pair *list = calloc(was + w->count + 1, sizeof(*list));
    struct fields *f = NULL;

    for (size_t i = 0; list && i < was; i++)
        if (!leg || !is_progress(old->list[i].name))
            list[n++] = old->list[i];
    for (size_t i = 0; list && i < w->count; i++)
        if (i + w->weak < w->count || !fields_find(old, w->pairs[i].name))
            list[n++] = w->pairs[i];
    if (list)
        f = fields_with(NULL, list, n);
    free(list);
    return f;
}

int64_t fields_time(struct span text)
{
    int64_t ms = 0;

    if (text.n == 0 || text.n > 15)
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        ms = ms * 10 + (text.p[i] - '0');
    }
    return ms;
}

int64_t fields_ms(const struct fields *f, const char *name)
{
    const struct pair *p = fields_find(f, span_of(name));

    return p ? fields_time(p->value) : -1;
}

static size_t took(struct pair *out, char text[24], const char *name, int64_t from, int64_t to)
{
    if (from < 0 || to < 0)
        return 0;
    snprintf(text, 24, "%" PRId64, to > from ? to - from : 0);
    *out = (struct pair){span_of(name), span_of(text)};
    return 1;
}

struct fields *fields_with_durations(struct fields *f)
{
    char text[2][24];
    struct pair more[2];
    int64_t answered = fields_ms(f, "answered"),
            rings = fields_find(f, span_of("ringing")) ? fields_ms(f, "ringing") : answered;
    size_t n = took(more, text[0], "duration_ms", answered, fields_ms(f, "ended"));
    struct fields *all;

    n += took(more + n, text[1], "pdd_ms", fields_ms(f, "trying"), rings);
    all = fields_with(f, more, n);
    free(f);
    return all;
}

bool name_starts(struct span name, const char *start)
{
    return name.n > strlen(start) && memcmp(name.p, start, strlen(start)) == 0;
}

/* Whether a is the later of two times. */
static bool is_later(struct span a, struct span b)
{
    return a.n > b.n || (a.n == b.n && memcmp(a.p, b.p, a.n) > 0);
}

struct fields *fields_with_latest(struct fields *f)
{
    const struct pair *ended = fields_find(f, span_of("ended"));
    struct pair end = {span_of("ended"), ended ? ended->value : (struct span){0}};
    struct fields *all;

    if (!ended)
        return f;
    for (size_t i = 0; i < f->count; i++)
        if (name_starts(f->list[i].name, "over.") && is_later(f->list[i].value, end.value))
            end.value = f->list[i].value;
    all = fields_with(f, &end, 1);
    free(f);
    return all;
}
