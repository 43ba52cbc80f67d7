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
    must(same(a->route, b->route) && same(a->kept, b->kept));
}

static void expect_same(const struct txn *a, const struct txn *b)
{
    must(same(a->id, b->id) && same(a->key, b->key) && same(a->call_id, b->call_id) && same(a->branch, b->branch));
    must(same(a->sent_by, b->sent_by) && same(a->src, b->src) && same(a->dst, b->dst));
    must(same(a->far_from, b->far_from) && same(a->far_to, b->far_to));
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
    const struct holder from = {6, 2, "18.1"};
    bool whole = t->req.n > 0;
    char *text = record_write(t, &(struct head){7, 1, "17.5", HEAD_TAKING, &from}, json_incref(t->vars), true);
    struct txn *again = NULL;
    struct record r;

    must(text && record_read(&r, span_of(text)) == 0);
    must(r.epoch == 7 && r.state == HEAD_TAKING && r.owner == 1 && same(r.inc, "17.5") && r.whole == whole && !r.done);
    must(record_txn(&again, span_of(text), 5) == 0);
    expect_same(t, again);
    must(!whole || json_equal(t->vars, again->vars) || (!t->vars && !again->vars));
    txn_free(again);
    free(text);
}

#define OTHER "{\"epoch\":999999999999999,\"owner\":2,\"inc\":\"18.1\""

/* What is taken from a head can be written as `from`, and is then the same. */
static void check_holder(struct holder h, const char *epoch, const char *owner, const char *inc)
{
    char number[30];

    if (!h.epoch)
        return;
    snprintf(number, sizeof(number), "%lld %d", (long long)h.epoch, h.owner);
    must(strncmp(number, epoch, strlen(epoch)) == 0 && strcmp(number + strlen(epoch) + 1, owner) == 0);
    must(strcmp(h.inc, inc) == 0 && msg_is_word(h.inc));
}

/* A record of another holder that stands there is gone over by what is from exactly that, and by nothing else. */
static void check_from(struct span text, const char *head)
{
    char epoch[RECORD_HEAD_MAX] = "1", owner[RECORD_HEAD_MAX], inc[RECORD_HEAD_MAX] = "", over[4 * RECORD_HEAD_MAX];
    bool old = strncmp(head, "{\"owner\":", 9) == 0;
    const char *const each[] = {OTHER, OTHER ",\"from\":\"%s %s %s\"", OTHER ",\"from\":\"%s %s %s0\"",
                                OTHER ",\"taking\":true,\"from\":\"%s %s %s\""};

    must(old ? sscanf(head, "{\"owner\":%[0-9],\"inc\":\"%[^\"]", owner, inc) >= 1
             : sscanf(head, "{\"epoch\":%[0-9],\"owner\":%[0-9],\"inc\":\"%[^\"]", epoch, owner, inc) >= 2);
    must(strtoll(epoch, NULL, 10) == record_epoch(text));
    check_holder(record_holder(text), epoch, owner, inc);
    if (strcmp(owner, "2") == 0 && strcmp(inc, "18.1") == 0)
        return;
    for (size_t i = 0; i < 4; i++) {
        snprintf(over, sizeof(over), each[i], epoch, owner, inc);
        must(record_fences(text, span_of(over)) == (i != 1));
    }
}

/* Whatever stands there: the same record goes over itself, and what is no record neither fences nor is fenced. */
static void check_head(struct span text)
{
    const struct span other = span_of(OTHER);
    char head[RECORD_HEAD_MAX + 1] = "";
    size_t n = record_head(text);

    must(n <= text.n && n <= RECORD_HEAD_MAX && !record_fences(text, text));
    must(n > 0 || (!record_fences(text, other) && !record_fences(other, text)));
    if (n > 0)
        memcpy(head, text.p, n);
    if (n > 0 && strlen(head) == n)
        check_from(text, head);
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
        must(r.owner >= 0 && is_graphic(r.inc));
    check_head(text);
    if (record_txn(&t, text, 5) == 0) {
        check_txn(t);
        rewrite(t);
        txn_free(t);
    }
    check_node(text);
    exact_free(text);
    return 0;
}
