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

static void put_states(const json_t *answer, FILE *out)
{
    static const char *const fields[] = {"cluster", "kamailio", "store", "drained"};
    struct buf b = {0};

    for (size_t i = 0; i < COUNT(fields); i++) {
        buf_printf(&b, "%-10s  ", fields[i]);
        value_field(&b, answer, fields[i]);
        buf_printf(&b, "\n");
    }
    buf_put(&b, out);
}

static void put_figures(const json_t *answer, FILE *out)
{
    static const struct column columns[] = {{"", 10, false}, {"", 0, true}, {"", 0, false}};
    struct table t;

    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < COUNT(figures); i++) {
        buf_printf(table_cell(&t), "%s", figures[i].field);
        value_number(table_cell(&t), answer, figures[i].field);
        buf_printf(table_cell(&t), "%s", figures[i].unit);
    }
    table_end(&t, 0, false, out);
}

static void put_counters(const json_t *counters, FILE *out)
{
    static const struct column columns[] = {{"COUNTER", 0, false}, {"SINCE ITS START", 0, true}};
    struct table t;
    const char *name;
    json_t *value;

    table_begin(&t, columns, COUNT(columns));
    json_object_foreach((json_t *)(uintptr_t)counters, name, value)
    {
        buf_safe(table_cell(&t), span_of(name));
        value_any(table_cell(&t), value);
    }
    fputc('\n', out);
    table_end(&t, 0, true, out);
}

void show_status(const json_t *answer, FILE *out)
{
    const json_t *counters = json_object_get(answer, "counters");

    put_head(answer, out);
    put_states(answer, out);
    put_figures(answer, out);
    if (json_object_size(counters))
        put_counters(counters, out);
}

void show_nodes(const json_t *answer, FILE *out)
{
    static const struct column columns[] = {{"NODE", 0, true},   {"NAME", 0, false},     {"SIP", 0, false},
                                            {"STATE", 0, false}, {"LAST BEAT", 0, true}, {"INCARNATION", 0, false}};
    const json_t *nodes = json_object_get(answer, "nodes");
    struct table t;

    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);

        value_number(table_cell(&t), node, "id");
        value_field(table_cell(&t), node, "name");
        value_field(table_cell(&t), node, "sip");
        value_field(table_cell(&t), node, "state");
        value_duration(table_cell(&t), value_ms(node, "seen_ms"));
        value_field(table_cell(&t), node, "inc");
    }
    table_end(&t, 0, true, out);
}
