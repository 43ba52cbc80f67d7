#include "count.h"
#include "show.h"
#include "table.h"
#include "value.h"

/* A column of the table of branches: JSON field and heading. */
struct part {
    const char *field;
    struct column column;
};

static const struct part parts[] = {
    {"i", {"BRANCH", 0, true}},   {"code", {"CODE", 0, true}},   {"to", {"SENT TO", 0, false}},
    {"sock", {"FROM", 0, false}}, {"ruri", {"R-URI", 0, false}}, {"route", {"ROUTE", 0, false}},
};

/* The route is the last column, so that it can be left out: few branches have one. */
static size_t part_count(const json_t *branches)
{
    for (size_t i = 0; i < json_array_size(branches); i++)
        if (json_object_get(json_array_get(branches, i), "route"))
            return COUNT(parts);
    return COUNT(parts) - 1;
}

static void put_branches(const json_t *branches, FILE *out)
{
    size_t count = part_count(branches);
    struct column columns[COUNT(parts)];
    struct table t;

    for (size_t i = 0; i < COUNT(parts); i++)
        columns[i] = parts[i].column;
    table_begin(&t, columns, count);
    for (size_t i = 0; i < json_array_size(branches); i++)
        for (size_t k = 0; k < count; k++)
            value_field(table_cell(&t), json_array_get(branches, i), parts[k].field);
    table_end(&t, 2, true, out);
}

/* Shows the INVITE as its first line and length. */
static void add_request(struct buf *b, const json_t *req)
{
    const char *text = json_string_value(req);

    if (!text) {
        value_any(b, json_is_object(req) ? NULL : req);
        buf_printf(b, json_is_object(req) ? " (not UTF-8; --json shows it)" : "");
        return;
    }
    buf_safe(b, (struct span){text, strcspn(text, "\r\n")});
    buf_printf(b, " (%zu bytes; --json shows it)", json_string_length(req));
}

static void add_state(struct buf *b, const json_t *txn)
{
    value_field(b, txn, "state");
    buf_printf(b, ", code ");
    value_number(b, txn, "code");
    if (json_is_true(json_object_get(txn, "done")))
        buf_printf(b, ", done");
}

static void add_owner(struct buf *b, const json_t *txn)
{
    buf_printf(b, "node ");
    value_number(b, txn, "owner");
    buf_printf(b, ", incarnation ");
    value_field(b, txn, "inc");
}

static void add_source(struct buf *b, const json_t *txn)
{
    value_field(b, txn, "src");
    buf_printf(b, " to ");
    value_field(b, txn, "dst");
    buf_printf(b, ", Via ");
    value_field(b, txn, "sent_by");
}

static void put_txn(const json_t *txn, FILE *out)
{
    struct buf b = {0};

    buf_printf(&b, "CSeq ");
    value_number(&b, txn, "cseq");
    buf_printf(&b, ", branch ");
    value_field(&b, txn, "branch");
    buf_printf(&b, "\n  owner    ");
    add_owner(&b, txn);
    buf_printf(&b, "\n  state    ");
    add_state(&b, txn);
    buf_printf(&b, "\n  came     ");
    add_source(&b, txn);
    buf_printf(&b, "\n  request  ");
    add_request(&b, json_object_get(txn, "req"));
    buf_printf(&b, "\n");
    buf_put(&b, out);
    put_branches(json_object_get(txn, "branches"), out);
}

void show_tx(const json_t *answer, FILE *out)
{
    const json_t *txns = json_object_get(answer, "txns");

    if (!json_array_size(txns))
        fputs("No transaction of this call is recorded: records end soon after the final reply.\n", out);
    for (size_t i = 0; i < json_array_size(txns); i++) {
        if (i)
            fputc('\n', out);
        put_txn(json_array_get(txns, i), out);
    }
}
