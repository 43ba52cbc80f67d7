/* One transaction: its branches, what their replies make of it, and its name in tm's branch parameter. */
#include "helper.h"
#include "txn_read.h"

TestSuite(txn, .fini = no_leaks);

static void expect_split(const char *branch, const char *id, int index)
{
    struct span got = {0};
    int i = -1, rc = txn_split_branch(scratch_exact(span_of(branch)), &got, &i);

    cr_expect(rc == 0 && i == index && span_eq(got, span_of(id)), "'%s': %d, index %d", branch, rc, i);
}

/* tm writes the index in hexadecimal, its lowest digit first. */
Test(txn, index_is_reverse_hexadecimal)
{
    static const char digits[] = "0123456789abcdef";

    expect_split("z9hG4bKcd9.1a2b.0", "z9hG4bKcd9.1a2b", 0);
    expect_split("z9hG4bKcd9.1a2b.9", "z9hG4bKcd9.1a2b", 9);
    expect_split("z9hG4bKcd9.1a2b.f", "z9hG4bKcd9.1a2b", 15);
    expect_split("z9hG4bKcd9.1a2b.01", "z9hG4bKcd9.1a2b", 16);
    expect_split("z9hG4bKcd9.1a2b.11", "z9hG4bKcd9.1a2b", 17);
    expect_split("z9hG4bKcd9.1a2b.e1", "z9hG4bKcd9.1a2b", 30);
    for (int i = 0; i < TXN_BRANCHES_MAX; i++) {
        char *text = i < 16 ? scratch("x.%c", digits[i]) : scratch("x.%c%c", digits[i % 16], digits[i / 16]);

        expect_split(text, "x", i);
    }
}

Test(txn, what_tm_does_not_write_is_refused)
{
    static const char *const bad[] = {
        "",     "z",      ".",       "z9hG4bK.",    "z9hG4bK", "0",    "z9hG4bK.g", "z9hG4bK.A",           "x.f1",
        "x.02", "x.ffff", "x.00000", "x.123456789", "x.-1",    "x. 1", "x.1 ",      "z9hG4bK-524287-1---0"};

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct span id;
        int index, rc = txn_split_branch(scratch_exact(span_of(bad[i])), &id, &index);

        cr_expect(rc == -EBADMSG, "'%s': %d", bad[i], rc);
    }
}

static struct event branch_event(const struct leg *c, const char *index, bool with_req)
{
    return (struct event){
        .type = EVENT_BRANCH,
        .src = "udp:198.51.100.9:5060",
        .dst = "udp:192.0.2.10:5060",
        .to = "udp:203.0.113.5:5060",
        .sock = "udp:192.0.2.10:5060",
        .sent = span_of(sip_sent_on(c, index)),
        .req = with_req ? span_of(sip_request(c, "INVITE")) : (struct span){0},
    };
}

/* A transaction with n parallel branches, all sent at time 0. */
static struct txn *txn_with(size_t n)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "0", true);
    struct txn *t = NULL;

    cr_assert(txn_read(&t, &ev, 0) == 0);
    for (size_t i = 1; i < n; i++) {
        ev = branch_event(&c, scratch("%zx", i), false);
        cr_assert(branch_read(t, &ev, 0) == 0);
    }
    return t;
}

Test(txn, keeps_what_it_needs_and_nothing_borrowed)
{
    struct leg c = call_make(7);
    struct event ev = branch_event(&c, "0", true);
    struct txn *t = NULL;

    cr_assert(txn_read(&t, &ev, 1000) == 0);
    cr_expect_str_eq(t->id, c.tm);
    cr_expect_str_eq(t->key, "kamsync:tx:{call-7@caller.example}:1:z9hG4bK-caller-7:198.51.100.9:5060");
    cr_expect_str_eq(t->call_id, c.call_id);
    cr_expect_str_eq(t->branch, c.branch);
    cr_expect_str_eq(t->sent_by, c.sent_by);
    cr_expect_str_eq(t->src, ev.src);
    cr_expect_str_eq(t->dst, ev.dst);
    cr_expect(t->src != ev.src && t->req.p != ev.req.p);
    cr_expect(t->cseq == 1 && span_eq(t->req, ev.req) && t->begun_ms == 1000 && t->changed_ms == 1000);
    cr_assert(t->branch_count == 1);
    cr_expect(t->branches[0].index == 0 && t->branches[0].code == 0 && t->branches[0].sent_ms == 1000);
    cr_expect_str_eq(t->branches[0].to, ev.to);
    cr_expect_str_eq(t->branches[0].ruri, "sip:bob@203.0.113.5:5060");
    cr_expect_str_eq(t->branches[0].via, scratch("SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0", c.tm));
    cr_expect_null(t->branches[0].route);
    txn_free(t);
}

Test(txn, needs_only_the_head_of_what_was_sent)
{
    struct leg c = call_make(7);
    struct event ev = branch_event(&c, "0", true);
    struct txn *t = NULL;

    ev.sent = span_of(
        scratch("INVITE sip:bob@203.0.113.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=%s.0;srvid=1\r\n\r\n", c.tm));
    cr_assert(txn_read(&t, &ev, 1000) == 0);
    cr_expect_str_eq(t->id, c.tm);
    cr_expect_str_eq(t->branches[0].ruri, "sip:bob@203.0.113.5");
    cr_expect_str_eq(t->branches[0].via, scratch("SIP/2.0/UDP 192.0.2.10;branch=%s.0;srvid=1", c.tm));
    cr_expect_null(t->branches[0].route);
    txn_free(t);
}

Test(txn, cannot_begin_without_request_or_tm_branch)
{
    struct leg c = call_make(1), other = c;
    struct event no_req = branch_event(&c, "0", false), no_index = branch_event(&c, "x", true), garbage, reply;
    struct txn *t = NULL;

    garbage = reply = branch_event(&other, "0", true);
    garbage.sent = span_of("garbage");
    reply.sent = span_of("SIP/2.0 200 OK\r\n\r\n");
    cr_expect(txn_read(&t, &no_req, 0) == -EBADMSG);
    cr_expect(txn_read(&t, &no_index, 0) == -EBADMSG);
    cr_expect(txn_read(&t, &garbage, 0) == -EBADMSG);
    cr_expect(txn_read(&t, &reply, 0) == -EBADMSG);
    cr_expect_null(t);
}

Test(txn, routes_stand_as_one_header_would_hold_them)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "0", true);
    struct txn *t = NULL;
    char *text = scratch("%s", ev.sent.p), *end = strstr(text, "Content-Length");

    *end = '\0';
    ev.sent = span_of(scratch("%sRoute: <sip:r1;lr>\r\nRoute: <sip:r2;lr>,<sip:r3>\r\n\r\n", text));
    cr_assert(txn_read(&t, &ev, 0) == 0);
    cr_expect_str_eq(t->branches[0].route, "<sip:r1;lr>, <sip:r2;lr>, <sip:r3>");
    txn_free(t);
}

Test(txn, more_branches_than_tm_has)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "f1", false);
    struct txn *t = txn_with(16);

    for (int i = 16; i < TXN_BRANCHES_MAX; i++) {
        ev = branch_event(&c, scratch("%x1", i - 16), false);
        cr_expect(branch_read(t, &ev, 0) == 0, "branch %d", i);
    }
    cr_expect(t->branch_count == TXN_BRANCHES_MAX);
    ev = branch_event(&c, "f1", false);
    cr_expect(branch_read(t, &ev, 0) == -EBADMSG, "index 31 is one too many");
    cr_expect(t->branch_count == TXN_BRANCHES_MAX);
    txn_free(t);
}

/* Replies given to branches, in order, and what the transaction then is. */
struct step {
    int index, code;
};

static void expect_after(const char *what, size_t branches, const struct step *steps, enum txn_state state, int code)
{
    struct txn *t = txn_with(branches);

    for (; steps->code; steps++)
        txn_reply(t, steps->index, steps->code, 1);
    cr_expect(txn_state(t) == state, "%s: %s", what, txn_state_name(txn_state(t)));
    cr_expect(txn_code(t) == code, "%s: %d, not %d", what, txn_code(t), code);
    txn_free(t);
}

Test(txn, states_and_codes)
{
    static const struct {
        const char *what;
        size_t branches;
        struct step steps[6];
        enum txn_state state;
        int code;
    } cases[] = {
        {"no reply", 1, {{0, 0}}, TXN_TRYING, 0},
        {"ringing", 1, {{0, 180}}, TXN_RINGING, 180},
        {"progress, then ringing", 1, {{0, 183}, {0, 180}}, TXN_RINGING, 180},
        {"ringing and progress", 2, {{0, 180}, {1, 183}}, TXN_RINGING, 183},
        {"answered", 1, {{0, 180}, {0, 200}}, TXN_ANSWERED, 200},
        {"another 2xx", 1, {{0, 202}}, TXN_ANSWERED, 202},
        {"final stays after a late provisional", 1, {{0, 486}, {0, 180}}, TXN_FAILED, 486},
        {"2xx stays", 1, {{0, 200}, {0, 486}}, TXN_ANSWERED, 200},
        {"first final counts", 1, {{0, 486}, {0, 404}}, TXN_FAILED, 486},
        {"one failed, one unheard of", 2, {{0, 486}}, TXN_TRYING, 0},
        {"one failed, one rings", 2, {{0, 486}, {1, 180}}, TXN_RINGING, 180},
        {"one failed, one answered", 2, {{0, 486}, {1, 200}}, TXN_ANSWERED, 200},
        {"answered, the other cancelled", 2, {{0, 180}, {1, 200}, {0, 487}}, TXN_ANSWERED, 200},
        {"lowest class: 4xx before 5xx", 2, {{0, 503}, {1, 486}}, TXN_FAILED, 486},
        {"lowest class: 3xx before 4xx", 2, {{0, 404}, {1, 302}}, TXN_FAILED, 302},
        {"5xx alone", 2, {{0, 500}, {1, 503}}, TXN_FAILED, 500},
        {"6xx before all", 3, {{0, 302}, {1, 603}, {2, 486}}, TXN_FAILED, 603},
        {"6xx on one branch, the other rings", 2, {{0, 603}, {1, 180}}, TXN_RINGING, 180},
        {"lowest of the same class, as tm picks it", 2, {{1, 480}, {0, 486}}, TXN_FAILED, 480},
        {"a challenge before the lowest", 3, {{0, 400}, {1, 407}, {2, 404}}, TXN_FAILED, 407},
        {"3xx before a challenge", 2, {{0, 401}, {1, 302}}, TXN_FAILED, 302},
        {"lowest 6xx", 2, {{0, 606}, {1, 603}}, TXN_FAILED, 603},
        {"2xx beats 6xx", 2, {{0, 603}, {1, 200}}, TXN_ANSWERED, 200},
        {"reply to a branch that is not there", 1, {{5, 200}}, TXN_TRYING, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect_after(cases[i].what, cases[i].branches, cases[i].steps, cases[i].state, cases[i].code);
}

Test(txn, only_a_change_is_a_change)
{
    struct txn *t = txn_with(1);

    cr_expect(txn_reply(t, 0, 180, 10));
    cr_expect(!txn_reply(t, 0, 180, 20), "the same again");
    cr_expect(t->changed_ms == 10);
    cr_expect(txn_reply(t, 0, 486, 30));
    cr_expect(!txn_reply(t, 0, 487, 40) && !txn_reply(t, 0, 100, 50));
    cr_expect(!txn_reply(t, 3, 200, 60), "no such branch");
    cr_expect(t->changed_ms == 30);
    txn_free(t);
}

Test(txn, serial_branch_brings_it_back)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "1", false);
    struct txn *t = txn_with(1);

    txn_reply(t, 0, 503, 10);
    cr_expect(txn_state(t) == TXN_FAILED);
    cr_assert(branch_read(t, &ev, 20) == 0);
    cr_expect(txn_state(t) == TXN_TRYING && t->branch_count == 2 && t->changed_ms == 20);
    cr_expect(t->branches[0].code == 503 && t->branches[1].sent_ms == 20);
    txn_free(t);
}

/* failure_route has sent the call on: tm has dropped what earlier branches said. */
Test(txn, replies_of_an_earlier_step_are_nobodys)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "2", false);
    struct txn *t = txn_with(2);

    ev.step = 1;
    txn_reply(t, 0, 603, 10);
    txn_reply(t, 1, 408, 10);
    cr_assert(branch_read(t, &ev, 20) == 0);
    cr_expect(t->branches[0].over && t->branches[1].over && !t->branches[2].over);
    txn_reply(t, 2, 486, 30);
    cr_expect(txn_state(t) == TXN_FAILED && txn_code(t) == 486, "%d", txn_code(t));
    cr_assert(branch_read(t, &ev, 40) == 0);
    cr_expect(!t->branches[2].over, "the same branch again is no new step");
    txn_free(t);
}

Test(txn, branch_that_lives_is_of_the_same_step)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "2", false);
    struct txn *t = txn_with(2);

    ev.step = 1; /* by a branch's own failure route, while the other one rings */
    txn_reply(t, 0, 404, 10);
    txn_reply(t, 1, 180, 10);
    cr_assert(branch_read(t, &ev, 20) == 0);
    cr_expect(!t->branches[0].over && !t->branches[1].over);
    txn_free(t);
}

/* A far end may answer before the next of some parallel branches is reported. */
Test(txn, parallel_branch_reported_late_is_of_the_same_step)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "1", false);
    struct txn *t = txn_with(1);

    txn_reply(t, 0, 302, 10);
    cr_assert(branch_read(t, &ev, 20) == 0);
    cr_expect(!t->branches[0].over);
    txn_free(t);
}

Test(txn, keeps_the_headers_of_a_final_reply)
{
    struct span reply = span_of("SIP/2.0 302 Moved\r\nContact: <sip:x>\r\n\r\n");
    struct txn *t = txn_with(1);

    txn_reply_head(t, 3, reply);
    txn_reply_head(t, 0, reply);
    cr_expect_null(t->branches[0].head, "it has not ended");
    txn_reply(t, 0, 302, 10);
    txn_reply_head(t, 0, reply);
    txn_reply_head(t, 0, reply);
    cr_expect_str_eq(t->branches[0].head, "Contact: <sip:x>\r\n");
    txn_free(t);
}

Test(txn, bad_branch_leaves_it_as_it_was)
{
    struct leg c = call_make(1);
    struct event ev = branch_event(&c, "1", false);
    struct txn *t = txn_with(1);

    ev.sent = span_of("garbage");
    cr_expect(branch_read(t, &ev, 20) == -EBADMSG);
    cr_expect(t->branch_count == 1 && t->changed_ms == 0);
    txn_free(t);
}

Test(txn, states_have_names)
{
    cr_expect_str_eq(txn_state_name(TXN_TRYING), "trying");
    cr_expect_str_eq(txn_state_name(TXN_RINGING), "ringing");
    cr_expect_str_eq(txn_state_name(TXN_ANSWERED), "answered");
    cr_expect_str_eq(txn_state_name(TXN_FAILED), "failed");
    txn_free(NULL);
}
