#include "show.h"
#include "table.h"
#include "value.h"

static bool is_of(const json_t *finding, const char *severity)
{
    const char *s = json_string_value(json_object_get(finding, "severity"));

    return s && strcmp(s, severity) == 0;
}

static size_t count_of(const json_t *findings, const char *severity)
{
    size_t count = 0;

    for (size_t i = 0; i < json_array_size(findings); i++)
        count += is_of(json_array_get(findings, i), severity);
    return count;
}

int doctor_worst(const json_t *answer)
{
    const json_t *findings = json_object_get(answer, "findings");

    return count_of(findings, "error") ? 2 : count_of(findings, "warning") ? 1 : 0;
}

static void add_count(struct buf *b, size_t count, const char *word, const char *between)
{
    if (count)
        buf_printf(b, "%s%zu %s%s", b->n ? between : "", count, word, count > 1 ? "s" : "");
}

/* "1 error, 2 warnings: 3 nodes have answered" */
static void put_head(const json_t *answer, FILE *out)
{
    const json_t *findings = json_object_get(answer, "findings");
    size_t nodes = json_array_size(json_object_get(answer, "nodes"));
    struct buf b = {0};

    add_count(&b, count_of(findings, "error"), "error", ", ");
    add_count(&b, count_of(findings, "warning"), "warning", ", ");
    if (!b.n)
        buf_printf(&b, "All is well");
    buf_printf(&b, ": %zu node%s answered\n\n", nodes, nodes == 1 ? "" : "s");
    buf_put(&b, out);
}

/* What is to be written stands below what is wrong. */
static void put_finding(const json_t *finding, FILE *out)
{
    const json_t *nodes = json_object_get(finding, "nodes");
    bool unknown = json_integer_value(json_array_get(nodes, 0)) == 0;
    struct buf b = {0};

    buf_printf(&b, "\n");
    value_field(&b, finding, "severity");
    buf_printf(&b, " ");
    value_field(&b, finding, "check");
    if (unknown) {
        buf_printf(&b, ", this node:\n  ");
    } else {
        buf_printf(&b, ", node%s ", json_array_size(nodes) == 1 ? "" : "s");
        value_ids(&b, nodes);
        buf_printf(&b, ":\n  ");
    }
    value_field(&b, finding, "what");
    buf_printf(&b, "\n  -> ");
    value_field(&b, finding, "write");
    buf_printf(&b, "\n");
    buf_put(&b, out);
}

static void put_findings(const json_t *findings, const char *severity, FILE *out)
{
    for (size_t i = 0; i < json_array_size(findings); i++)
        if (is_of(json_array_get(findings, i), severity))
            put_finding(json_array_get(findings, i), out);
}

/* The node that was asked has no clock to be compared with. */
static void add_clock(struct buf *b, const json_t *node)
{
    const json_t *ahead = json_object_get(node, "ahead_ms");

    if (json_is_integer(ahead))
        buf_printf(b, "%+.1f s", (double)json_integer_value(ahead) / 1000);
    else
        buf_printf(b, "-");
}

static void put_nodes(const json_t *nodes, FILE *out)
{
    static const struct column columns[] = {{"NODE", 0, true},      {"NAME", 0, false},  {"SIP", 0, false},
                                            {"KAMAILIO", 0, false}, {"STORE", 0, false}, {"CLOCK", 0, true},
                                            {"VERSION", 0, false}};
    struct table t;

    table_begin(&t, columns, sizeof(columns) / sizeof(*columns));
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);

        value_number(table_cell(&t), node, "node");
        value_field(table_cell(&t), node, "name");
        value_field(table_cell(&t), node, "sip");
        value_field(table_cell(&t), node, "kamailio");
        value_field(table_cell(&t), node, "store");
        add_clock(table_cell(&t), node);
        value_field(table_cell(&t), node, "version");
    }
    table_end(&t, 0, true, out);
}

static void put_looked_at(const json_t *names, FILE *out)
{
    const size_t widest = 100;
    size_t at = 9;
    struct buf b = {0};

    buf_printf(&b, "\nLooked at");
    for (size_t i = 0; i < json_array_size(names); i++) {
        size_t n = json_string_length(json_array_get(names, i)) + 2;

        at += n;
        if (at > widest) {
            buf_printf(&b, "\n ");
            at = 1 + n;
        }
        buf_printf(&b, " ");
        value_any(&b, json_array_get(names, i));
    }
    buf_printf(&b, "\n");
    buf_put(&b, out);
}

void show_doctor(const json_t *answer, FILE *out)
{
    static const char *const severities[] = {"error", "warning", "advice"};
    const json_t *findings = json_object_get(answer, "findings");

    put_head(answer, out);
    put_nodes(json_object_get(answer, "nodes"), out);
    for (size_t i = 0; i < sizeof(severities) / sizeof(*severities); i++)
        put_findings(findings, severities[i], out);
    put_looked_at(json_object_get(answer, "looked_at"), out);
}
