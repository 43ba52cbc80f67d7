#include "count.h"
#include "show.h"
#include "table.h"
#include "value.h"

/* When the call entered its state; -1 when unknown. */
static int64_t state_since(const json_t *call)
{
    const char *state = json_string_value(json_object_get(call, "state"));

    return state ? value_ms(call, state) : -1; /* fields are named like the states */
}

/* Clocks of two hosts differ a little: a time in the future counts as now. */
static int64_t ms_until(int64_t now, int64_t since)
{
    if (since < 0)
        return -1;
    return now > since ? now - since : 0;
}

static void call_cells(struct table *t, const json_t *call, int64_t now)
{
    value_date(table_cell(t), value_ms(call, "trying"));
    value_field(table_cell(t), call, "state");
    value_duration(table_cell(t), ms_until(now, state_since(call)));
    value_number(table_cell(t), call, "node");
    value_field(table_cell(t), call, "caller");
    value_field(table_cell(t), call, "callee");
    value_field(table_cell(t), call, "call_id");
}

static void put_total(size_t shown, int64_t total, FILE *out)
{
    if (total > (int64_t)shown)
        fprintf(out, "%zu of %lld calls; --limit N for more\n", shown, (long long)total);
    else
        fprintf(out, "%zu call%s\n", shown, shown == 1 ? "" : "s");
}

void show_calls(const json_t *answer, int64_t now, FILE *out)
{
    static const struct column columns[] = {{"STARTED", 0, false}, {"STATE", 8, false},  {"FOR", 7, true},
                                            {"NODE", 0, true},     {"CALLER", 0, false}, {"CALLEE", 0, false},
                                            {"CALL-ID", 0, false}};
    const json_t *calls = json_object_get(answer, "calls");
    struct table t;

    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < json_array_size(calls); i++)
        call_cells(&t, json_array_get(calls, i), now);
    if (json_array_size(calls))
        table_end(&t, 0, true, out);
    put_total(json_array_size(calls), value_ms(answer, "total"), out);
}

static void cdr_cells(struct table *t, const json_t *call)
{
    struct buf *b;

    value_date(table_cell(t), value_ms(call, "ended"));
    value_duration(table_cell(t), value_ms(call, "duration_ms"));
    value_field(table_cell(t), call, "how");
    value_number(table_cell(t), call, "code");
    value_field(table_cell(t), call, "by");
    b = table_cell(t);
    value_field(b, call, "caller");
    buf_printf(b, " -> ");
    value_field(b, call, "callee");
    value_field(table_cell(t), call, "call_id");
}

/* Fixed widths, since with -f table follows table. */
void show_cdr(const json_t *list, bool heads, FILE *out)
{
    static const struct column columns[] = {
        {"ENDED", 19, false}, {"DURATION", 8, true},           {"HOW", 9, false},    {"CODE", 4, true},
        {"BY", 7, false},     {"CALLER -> CALLEE", 48, false}, {"CALL-ID", 0, false}};
    struct table t;

    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < json_array_size(list); i++)
        cdr_cells(&t, json_array_get(list, i));
    table_end(&t, 0, heads, out);
}
