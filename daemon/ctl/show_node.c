#include "count.h"
#include "show.h"
#include "table.h"
#include "value.h"

/* A number of the status, and its meaning. */
struct figure {
    const char *field, *unit;
};

static const struct figure figures[] = {
    {"nodes", "others alive"},
    {"calls", "of this node"},
    {"txns", "INVITE transactions of this node"},
    {"strays", "under way"},
    {"takeovers", "under way or waiting"},
    {"queued", "frames that wait for Kamailio"},
};

static const struct figure moves[] = {
    {"taken", "INVITE transactions that other nodes have taken"},
    {"given", "that they may take now"},
    {"left", "that are still here, with those"},
};

static void put_head(const json_t *answer, FILE *out)
{
    struct buf b = {0};

    buf_printf(&b, "kamsyncd ");
    value_field(&b, answer, "version");
    buf_printf(&b, ", node ");
    if (value_ms(answer, "node") > 0)
        value_number(&b, answer, "node");
    else
        buf_printf(&b, "-");
    buf_printf(&b, " (");
    value_field(&b, answer, "name");
    buf_printf(&b, "), incarnation ");
    value_field(&b, answer, "inc");
    buf_printf(&b, "\n\n");
    buf_put(&b, out);
}

static void put_states(const json_t *answer, const char *const *fields, size_t count, FILE *out)
{
    struct buf b = {0};

    for (size_t i = 0; i < count; i++) {
        buf_printf(&b, "%-10s  ", fields[i]);
        value_field(&b, answer, fields[i]);
        buf_printf(&b, "\n");
    }
    buf_put(&b, out);
}

static void put_figures(const json_t *answer, const struct figure *list, size_t count, FILE *out)
{
    static const struct column columns[] = {{"", 10, false}, {"", 0, true}, {"", 0, false}};
    struct table t;

    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < count; i++) {
        buf_printf(table_cell(&t), "%s", list[i].field);
        value_number(table_cell(&t), answer, list[i].field);
        buf_printf(table_cell(&t), "%s", list[i].unit);
    }
    table_end(&t, 0, false, out);
}

/* An object of numbers, below each other. */
static void put_numbers(const json_t *numbers, const char *what, const char *heading, FILE *out)
{
    const struct column columns[] = {{what, 0, false}, {heading, 0, true}};
    struct table t;
    const char *name;
    json_t *value;

    table_begin(&t, columns, COUNT(columns));
    json_object_foreach((json_t *)(uintptr_t)numbers, name, value)
    {
        buf_safe(table_cell(&t), span_of(name));
        value_any(table_cell(&t), value);
    }
    fputc('\n', out);
    table_end(&t, 0, true, out);
}

void show_status(const json_t *answer, FILE *out)
{
    static const char *const fields[] = {"cluster", "site", "kamailio", "store", "near", "drained"};
    const json_t *counters = json_object_get(answer, "counters");

    put_head(answer, out);
    put_states(answer, fields, COUNT(fields), out);
    put_figures(answer, figures, COUNT(figures), out);
    if (json_object_size(counters))
        put_numbers(counters, "COUNTER", "SINCE ITS START", out);
}

void show_evacuation(const json_t *answer, FILE *out)
{
    static const char *const fields[] = {"evacuating"};
    const json_t *why = json_object_get(answer, "why");

    put_states(answer, fields, COUNT(fields), out);
    put_figures(answer, moves, COUNT(moves), out);
    if (json_object_size(why))
        put_numbers(why, "WHY THE REST IS HERE", "CALLS", out);
}

void show_key(const json_t *answer, FILE *out)
{
    static const char *const fields[] = {"tx", "call", "archive"};

    put_states(answer, fields, COUNT(fields), out);
}

void show_nodes(const json_t *answer, FILE *out)
{
    static const struct column columns[] = {{"NODE", 0, true},        {"NAME", 0, false},  {"SITE", 0, false},
                                            {"SIP", 0, false},        {"STATE", 0, false}, {"LAST BEAT", 0, true},
                                            {"INCARNATION", 0, false}};
    const json_t *nodes = json_object_get(answer, "nodes");
    struct table t;

    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);

        value_number(table_cell(&t), node, "id");
        value_field(table_cell(&t), node, "name");
        value_field(table_cell(&t), node, "site");
        value_field(table_cell(&t), node, "sip");
        value_field(table_cell(&t), node, "state");
        value_duration(table_cell(&t), value_ms(node, "seen_ms"));
        value_field(table_cell(&t), node, "inc");
    }
    table_end(&t, 0, true, out);
}
