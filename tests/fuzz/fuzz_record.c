/* Records of transactions and nodes, as a store may hold them: what is accepted can be written, and is the same when it
 * is read again. */
#include "fuzz.h"
#include "handover.h"
#include "nodes.h"
#include "record.h"

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void expect_same_branch(const struct txn_branch *a, const struct txn_branch *b)
{
    must(a->index == b->index && a->code == b->code);
    must(same(a->via, b->via) && same(a->to, b->to) && same(a->sock, b->sock) && same(a->ruri, b->ruri));
    must(same(a->route, b->route));
}

static void expect_same(const struct txn *a, const struct txn *b)
{
    must(same(a->id, b->id) && same(a->key, b->key) && same(a->call_id, b->call_id) && same(a->branch, b->branch));
    must(same(a->sent_by, b->sent_by) && same(a->src, b->src) && same(a->dst, b->dst));
    must(a->cseq == b->cseq && a->at == b->at && a->branch_count == b->branch_count && span_eq(a->req, b->req));
    must(txn_state(a) == txn_state(b) && txn_code(a) == txn_code(b));
    for (size_t i = 0; i < a->branch_count; i++)
        expect_same_branch(&a->branches[i], &b->branches[i]);
}

/* What stands in headers to Kamailio must be fit for that. */
static void check_txn(const struct txn *t)
{
    char *line = txn_branches(t, 7, true);

    must(t->branch_count > 0 && t->branch_count <= TXN_BRANCHES_MAX);
    must(msg_is_address(t->src) && msg_is_address(t->dst));
    for (size_t i = 0; i < t->branch_count; i++)
        must(t->branches[i].code >= 0 && t->branches[i].code < 700);
    must(!line || is_printable(line));
    free(line);
}

static void rewrite(struct txn *t)
{
    bool whole = t->req.n > 0;
    char *text = record_write(t, 1, "17.5", json_incref(t->vars), true);
    struct txn *again = NULL;
    struct record r;

    must(text && record_read(&r, span_of(text)) == 0);
    must(r.owner == 1 && same(r.inc, "17.5") && r.whole == whole && !r.done);
    must(record_txn(&again, span_of(text), 5) == 0);
    expect_same(t, again);
    must(!whole || json_equal(t->vars, again->vars) || (!t->vars && !again->vars));
    txn_free(again);
    free(text);
}

static void check_node(struct span text)
{
    struct node n, again;
    char *record;

    if (node_read(&n, text) < 0)
        return;
    must(n.id > 0 && !strpbrk(n.name, "\r\n\x1b\x7f") && is_graphic(n.sip) && is_graphic(n.inc));
    record = node_record(&n, "secret");
    must(record && node_read(&again, span_of(record)) == 0);
    must(n.id == again.id && n.beat == again.beat && n.up == again.up && same(n.name, again.name));
    must(same(n.sip, again.sip) && same(n.inc, again.inc) && node_is_proven(&again, "secret"));
    free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = exact((struct span){(const char *)data, size});
    struct txn *t = NULL;
    struct record r;

    if (record_read(&r, text) == 0)
        must(r.owner > 0 && is_graphic(r.inc));
    if (record_txn(&t, text, 5) == 0) {
        check_txn(t);
        rewrite(t);
        txn_free(t);
    }
    check_node(text);
    exact_free(text);
    return 0;
}
