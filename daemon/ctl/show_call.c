#include "count.h"
#include "show.h"

#include <inttypes.h>
#include <string.h>

#include "table.h"
#include "value.h"

/* One event: a state that the call entered, or a line of the trace. All borrowed from the JSON. */
struct moment {
    int64_t at;
    size_t order;        /* among events at the same time */
    const json_t *node;  /* NULL when unknown */
    const char *what;    /* what happened; or */
    const json_t *text;  /* the trace's text; or */
    const json_t *ended; /* the call, for its end */
};

struct timeline {
    struct moment *moments;
    size_t count;
};

static void add_moment(struct timeline *t, struct moment m)
{
    if (m.at < 0)
        return;
    m.order = t->count;
    t->moments[t->count++] = m;
}

/* ---- nodes: "at.<id>" is when each first handled the call ---- */

struct part {
    int64_t at, id;
};

/* Only digits, so that no other field is taken for a node. */
static bool read_part(struct part *p, const json_t *call, const char *name)
{
    size_t digits = strncmp(name, "at.", 3) == 0 ? strspn(name + 3, "0123456789") : 0;

    if (digits == 0 || digits > 9 || name[3 + digits])
        return false;
    *p = (struct part){value_ms(call, name), strtol(name + 3, NULL, 10)};
    return p->at >= 0;
}

static int sooner(const void *a, const void *b)
{
    const struct part *p = a, *q = b;

    if (p->at != q->at)
        return p->at < q->at ? -1 : 1;
    return p->id < q->id ? -1 : p->id > q->id;
}

/* Sorted. The caller frees them. */
static struct part *parts_of(const json_t *call, size_t *count)
{
    struct part *parts = grow(NULL, (json_object_size(call) + 1) * sizeof(*parts));
    const char *name;
    json_t *value;

    *count = 0;
    json_object_foreach((json_t *)(uintptr_t)call, name, value)
    {
        *count += read_part(&parts[*count], call, name);
    }
    qsort(parts, *count, sizeof(*parts), sooner);
    return parts;
}

/* Their ids. The caller derefs the array. */
static json_t *nodes_of(const json_t *call)
{
    size_t count;
    struct part *parts = parts_of(call, &count);
    json_t *ids = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(ids, json_integer(parts[i].id));
    free(parts);
    return ids;
}

static int64_t joined(const json_t *call, const json_t *id)
{
    char name[32];

    snprintf(name, sizeof(name), "at.%" PRId64, (int64_t)json_integer_value(id));
    return value_ms(call, name);
}

/* The record does not say where each state was seen. With several nodes only this is certain: the INVITE came to the
 * first one, and a node that first handled the call when it ended has ended it. */
static void add_states(struct timeline *t, const json_t *call, const json_t *nodes)
{
    const json_t *first = json_array_size(nodes) ? json_array_get(nodes, 0) : json_object_get(call, "node");
    const json_t *only = json_array_size(nodes) > 1 ? NULL : first, *last = only;
    int64_t ended = value_ms(call, "ended");

    add_moment(t, (struct moment){.at = value_ms(call, "trying"), .node = first, .what = "INVITE"});
    add_moment(t, (struct moment){.at = value_ms(call, "ringing"), .node = only, .what = "ringing"});
    add_moment(t, (struct moment){.at = value_ms(call, "answered"), .node = only, .what = "answered"});
    for (size_t i = 1; i < json_array_size(nodes); i++) {
        const json_t *id = json_array_get(nodes, i);

        if (joined(call, id) == ended)
            last = id;
        else
            add_moment(t, (struct moment){.at = joined(call, id), .node = id, .what = "its first message here"});
    }
    add_moment(t, (struct moment){.at = ended, .node = last, .ended = call});
}

static void add_trace(struct timeline *t, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *line = json_array_get(list, i);

        add_moment(t, (struct moment){.at = value_ms(line, "at"),
                                      .node = json_object_get(line, "node"),
                                      .text = json_object_get(line, "text")});
    }
}

static int earlier(const void *a, const void *b)
{
    const struct moment *m = a, *n = b;

    if (m->at != n->at)
        return m->at < n->at ? -1 : 1;
    return m->order < n->order ? -1 : 1;
}

/* "cancelled, code 487, by caller" */
static void add_ending(struct buf *b, const json_t *call)
{
    value_field(b, call, "how");
    if (value_ms(call, "code") > 0) {
        buf_printf(b, ", code ");
        value_number(b, call, "code");
    }
    if (json_object_get(call, "by")) {
        buf_printf(b, ", by ");
        value_field(b, call, "by");
    }
    if (json_object_get(call, "untracked")) {
        buf_printf(b, ", not tracked: ");
        value_field(b, call, "untracked");
    }
}

static void add_what(struct buf *b, const struct moment *m)
{
    if (m->what)
        buf_printf(b, "%s", m->what);
    else if (m->text || !m->ended)
        value_any(b, m->text);
    else {
        buf_printf(b, "ended: ");
        add_ending(b, m->ended);
    }
}

static void moment_cells(struct table *table, const struct moment *m, int64_t begun)
{
    struct buf *b;

    value_clock(table_cell(table), m->at);
    b = table_cell(table);
    if (begun >= 0)
        buf_printf(b, "%+" PRId64 " ms", m->at - begun);
    else
        buf_printf(b, "-");
    b = table_cell(table);
    if (m->node)
        buf_printf(b, "node ");
    value_any(b, m->node);
    add_what(table_cell(table), m);
}

static void put_timeline(const struct timeline *t, int64_t begun, FILE *out)
{
    static const struct column columns[] = {{"", 0, false}, {"", 0, true}, {"", 0, false}, {"", 0, false}};
    struct table table;

    table_begin(&table, columns, COUNT(columns));
    for (size_t i = 0; i < t->count; i++)
        moment_cells(&table, &t->moments[i], begun);
    table_end(&table, 2, false, out);
}

static void put_moments(const json_t *call, const json_t *nodes, const json_t *trace, FILE *out)
{
    const json_t *list = json_object_get(trace, "trace");
    size_t most = json_array_size(list) + json_array_size(nodes) + 4;
    struct timeline t = {grow(NULL, most * sizeof(*t.moments)), 0};

    add_states(&t, call, nodes);
    add_trace(&t, list);
    qsort(t.moments, t.count, sizeof(*t.moments), earlier);
    if (t.count) {
        fputc('\n', out);
        put_timeline(&t, value_ms(call, "trying"), out);
    }
    free(t.moments);
}

static struct buf *fact(struct table *t, const char *name)
{
    buf_printf(table_cell(t), "%s", name);
    return table_cell(t);
}

static void party(struct table *t, const json_t *call, const char *name, const char *tag)
{
    struct buf *b = fact(t, name);

    value_field(b, call, name);
    if (json_object_get(call, tag)) {
        buf_printf(b, "  (tag ");
        value_field(b, call, tag);
        buf_printf(b, ")");
    }
}

static void add_begin(struct buf *b, const json_t *call)
{
    int64_t begun = value_ms(call, "trying");

    value_date(b, begun);
    if (begun >= 0) {
        buf_printf(b, " ");
        value_zone(b, begun);
    }
}

static const struct column fact_columns[] = {{"", 9, false}, {"", 0, false}};

static void put_head(const json_t *call, FILE *out)
{
    struct table t;

    table_begin(&t, fact_columns, COUNT(fact_columns));
    value_field(fact(&t, "Call-ID"), call, "call_id");
    value_field(fact(&t, "state"), call, "state");
    add_begin(fact(&t, "started"), call);
    table_end(&t, 0, false, out);
}

/* Who ended it is explained next to the protocol's short value. */
static void put_facts(const json_t *call, const json_t *nodes, FILE *out)
{
    struct table t;

    table_begin(&t, fact_columns, COUNT(fact_columns));
    party(&t, call, "caller", "from_tag");
    party(&t, call, "callee", "to_tag");
    value_field(fact(&t, "R-URI"), call, "ruri");
    value_field(fact(&t, "source"), call, "source");
    value_duration(fact(&t, "PDD"), value_ms(call, "pdd_ms"));
    value_duration(fact(&t, "duration"), value_ms(call, "duration_ms"));
    value_field(fact(&t, "ended by"), call, "by");
    add_ending(fact(&t, "how"), call);
    value_number(fact(&t, "node"), call, "node");
    value_field(fact(&t, "site"), call, "site");
    value_ids(fact(&t, "nodes"), json_array_size(nodes) ? nodes : NULL);
    value_field(fact(&t, "record"), call, "tx");
    fputc('\n', out);
    table_end(&t, 0, false, out);
}

static void put_vars(const json_t *vars, FILE *out)
{
    static const struct column columns[] = {{"VARIABLE", 0, false}, {"VALUE", 0, false}};
    struct table t;
    const char *name;
    json_t *value;

    if (!json_object_size(vars))
        return;
    table_begin(&t, columns, COUNT(columns));
    json_object_foreach((json_t *)(uintptr_t)vars, name, value)
    {
        buf_safe(table_cell(&t), span_of(name));
        value_any(table_cell(&t), value);
    }
    fputc('\n', out);
    table_end(&t, 0, true, out);
}

void show_call(const json_t *call, const json_t *trace, FILE *out)
{
    json_t *nodes = nodes_of(call);

    put_head(call, out);
    put_moments(call, nodes, trace, out);
    put_facts(call, nodes, out);
    put_vars(json_object_get(call, "vars"), out);
    json_decref(nodes);
}

void show_trace(const json_t *answer, FILE *out)
{
    static const struct column columns[] = {{"TIME", 0, false}, {"NODE", 0, true}, {"WHAT", 0, false}};
    const json_t *list = json_object_get(answer, "trace");
    struct table t;

    if (!json_array_size(list)) {
        fputs("No node remembers a stray of this call.\n", out);
        return;
    }
    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *line = json_array_get(list, i);

        value_clock(table_cell(&t), value_ms(line, "at"));
        value_number(table_cell(&t), line, "node");
        value_field(table_cell(&t), line, "text");
    }
    table_end(&t, 0, true, out);
}
