/* The caller's INVITE came to two nodes: the first write of a record finds another one's there. */
#include "base64.h"
#include "fake.h"

TestSuite(second, .fini = no_leaks);

#define TO "udp:203.0.113.5:5060" /* where the branches of fake_branch() go */

/* The record of that node, of which a branch went there. */
static char *other_record(const struct leg *c, const char *inc, int code, const char *to)
{
    return fake_whole(c, 2, inc,
                      scratch("{\"i\":0,\"code\":%d,\"via\":\"SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0;srvid=2\","
                              "\"to\":\"%s\",\"sock\":\"udp:192.0.2.10:5060\",\"ruri\":\"sip:bob@203.0.113.5:5060\"}",
                              code, c->tm, to));
}

/* It routes an INVITE whose record is that one's; with these events behind it. */
static struct fake *routed(struct leg *c, const char *inc, const char *to)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    f->record = other_record(c, inc, 180, to);
    fake_branch(f, 1, c, "0", true);
    return f;
}

static void expect_forgotten(struct fake *f)
{
    cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 1 && fake_sent_count(f, "why=lost") == 1);
    cr_expect(f->put_count == 1, "no word more of it");
    cr_expect(engine_counters(f->e)->txns_second == 1 && engine_counters(f->e)->txns_lost == 0);
}

Test(second, nothing_follows_the_first_write_before_its_answer)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    cr_assert(f->put_count == 1);
    fake_reply(f, 2, &c, "0", 180);
    fake_pass(f, 100);
    cr_expect(f->put_count == 1, "nothing goes over it before it is known whose the record is");
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(f->put_count == 2 && json_integer_value(fake_put_field(f, "code")) == 180);
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 1);
    fake_free(f);
}

Test(second, forgets_what_a_living_node_has)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);

    fake_turn(f);
    expect_forgotten(f);
    fake_pass(f, 40000);
    expect_forgotten(f);
    cr_expect(fake_sent_count(f, "CANCEL") == 0, "it would end the good call");
    cr_expect(fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

/* A record that was never written is not written over after a failure either. */
Test(second, asks_again_after_a_failure)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);

    f->answer_puts = false;
    fake_turn(f);
    fake_put_done(f, 1, false);
    f->answer_puts = true;
    fake_pass(f, 2000);
    cr_expect(fake_status(f).txns == 0 && f->put_count == 2 && engine_counters(f->e)->txns_second == 1);
    fake_free(f);
}

/* Sent by forward(): whoever gets it second does the same as the first, and only keeps no record of it. */
Test(second, without_a_tm_nothing_is_undone)
{
    struct leg c;
    struct fake *f = fake_peers();

    c = call_make(1);
    f->polite = true;
    f->answer_puts = true;
    f->record = other_record(&c, "200.1", 180, "udp:203.0.113.99:5060");
    fake_say(f, "{\"t\":\"events\",\"n\":1}%s",
             branch_text(sip_sent_on(&c, "0"), sip_request(&c, "INVITE"), ",\"stateless\":1"));
    fake_pass(f, 1000);
    cr_expect(fake_status(f).txns == 0 && f->put_count == 1 && fake_count(f, "lost") == 0);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0 && fake_sent_count(f, "why=lost") == 0);
    fake_free(f);
}

/* ---- what Kamailio did before it knew ---- */

Test(second, hands_the_caller_s_cancel_to_the_first)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);
    json_t *frame;
    char *msg;

    fake_cancel(f, &c);
    fake_turn(f);
    expect_forgotten(f);
    msg = fake_sent(f, "CANCEL sip:", 0, &frame);
    cr_assert(msg && fake_sent_count(f, "CANCEL sip:") == 1);
    cr_expect_str_eq(fake_text(frame, "to"), "192.0.2.2:5060");
    cr_expect(strstr(msg, "to=2;inc=200.1;why=owner;") && strstr(msg, c.branch) && strstr(msg, "CSeq: 1 CANCEL\r\n"));
    fake_free(f);
}

Test(second, hands_a_cancel_on_that_comes_later)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);

    fake_turn(f);
    fake_cancel(f, &c);
    fake_cancel(f, &c);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 1);
    fake_free(f);
}

Test(second, cancel_of_another_leg_is_none)
{
    struct leg c, other;
    struct fake *f = routed(&c, "200.1", TO);

    fake_turn(f);
    other = c;
    other.branch = "z9hG4bK-leg-2";
    fake_cancel(f, &other);
    other = c;
    other.sent_by = "203.0.113.77:5060";
    fake_cancel(f, &other);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0);
    fake_free(f);
}

Test(second, hands_a_negative_reply_to_the_first)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);
    char *msg;

    fake_reply(f, 2, &c, "0", 486);
    fake_turn(f);
    expect_forgotten(f);
    msg = fake_sent(f, "SIP/2.0 486", 0, NULL);
    cr_assert(msg && fake_sent_count(f, "SIP/2.0 486") == 1);
    cr_expect(strstr(msg, "to=2;inc=200.1;why=owner;") && strstr(msg, scratch("branch=%s.0;srvid=2\r\nVia: ", c.tm)) &&
              strstr(msg, c.branch) && strstr(msg, ";tag=kamsync\r\n"));
    fake_free(f);
}

Test(second, hands_a_reply_on_that_comes_later)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);

    fake_turn(f);
    fake_reply(f, 2, &c, "0", 486);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "SIP/2.0 486") == 1);
    fake_free(f);
}

Test(second, says_nothing_that_the_first_knows)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);

    f->record = other_record(&c, "200.1", 486, TO);
    fake_reply(f, 2, &c, "0", 486);
    fake_turn(f);
    expect_forgotten(f);
    cr_expect(fake_sent_count(f, "SIP/2.0 486") == 0);
    fake_free(f);
}

Test(second, tells_the_first_of_a_2xx)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);
    json_t *told;

    fake_replied(f, &c, "0", 200, "b1", 1800000000123);
    fake_turn(f);
    expect_forgotten(f);
    told = fake_tell(f, 0);
    cr_assert(told && f->tells[0].node == 2);
    cr_expect_str_eq(fake_text(told, "t"), "answered");
    cr_expect_str_eq(fake_text(told, "via"), scratch("%s.0", c.tm));
    cr_expect_str_eq(fake_text(told, "to_tag"), "b1");
    cr_expect(fake_int(told, "code") == 200 && fake_int(told, "at") == 1800000000123);
    cr_expect(json_is_false(json_object_get(told, "elsewhere")));
    fake_free(f);
}

/* ---- the first one ---- */

/* Its tm waits no longer for it, and would try another far end one day. */
Test(second, first_takes_the_answer)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    fake_message(f, scratch("{\"t\":\"answered\",\"via\":\"%s.0\",\"to_tag\":\"b1\",\"code\":200,\"at\":1800000000123,"
                            "\"elsewhere\":false}",
                            c.tm));
    fake_turn(f);
    cr_expect(json_is_true(fake_put_field(f, "done")) && fake_count(f, "lost") == 1);
    cr_expect(fake_sent_count(f, "why=lost") == 1 && fake_sent_count(f, "CANCEL sip:") == 0);
    cr_expect_str_eq(fake_call_text(f, "answered"), "1800000000123");
    cr_expect_str_eq(fake_call_text(f, "to_tag"), "b1");
    fake_free(f);
}

Test(second, first_cancels_what_rings_when_another_phone_answered)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    fake_message(f, scratch("{\"t\":\"answered\",\"via\":\"%s.7\",\"to_tag\":\"b1\",\"code\":200,\"at\":1800000000123,"
                            "\"elsewhere\":true}",
                            c.tm));
    fake_turn(f);
    cr_expect(json_is_true(fake_put_field(f, "done")) && fake_sent_count(f, "CANCEL sip:") == 1);
    fake_free(f);
}

Test(second, first_believes_no_nonsense)
{
    struct leg c;
    struct fake *f = fake_owning(&c);
    const char *texts[] = {"{\"t\":\"answered\"}", "{\"t\":\"answered\",\"via\":\"x\",\"to_tag\":\"\",\"code\":200}",
                           scratch("{\"t\":\"answered\",\"via\":\"%s.0\",\"to_tag\":\"b1\",\"code\":486}", c.tm),
                           "{\"t\":\"second\"}", "{\"t\":\"second\",\"via\":\"x\",\"node\":77}"};

    for (size_t i = 0; i < COUNT(texts); i++)
        fake_message(f, texts[i]);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && f->put_count == 0 && fake_count(f, "lost") == 0 &&
              fake_count(f, "second") == 0);
    fake_free(f);
}

Test(second, first_tells_its_kamailio_of_a_branch_elsewhere)
{
    struct fake *f = fake_peers();
    json_t *frame;

    fake_message(f, "{\"t\":\"second\",\"node\":2,\"via\":\"z9hG4bK1.0\"}");
    fake_turn(f);
    frame = fake_last(f, "second");
    cr_expect_str_eq(fake_text(frame, "via"), base64_of("z9hG4bK1.0"));
    cr_expect(fake_int(frame, "node") == 2);
    fake_free(f);
}

/* ---- another far end ---- */

#define ELSEWHERE "udp:203.0.113.6:5060"

/* After the first node knows; and again, as RFC 3261 says, until there is a final reply. */
Test(second, cancels_what_rings_elsewhere)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", ELSEWHERE);
    json_t *frame, *told;

    fake_turn(f);
    expect_forgotten(f);
    told = fake_tell(f, 0);
    cr_assert(told && f->tells[0].node == 2);
    cr_expect_str_eq(fake_text(told, "t"), "second");
    cr_expect_str_eq(fake_text(told, "via"), scratch("%s.0", c.tm));
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0);
    fake_pass(f, 30);
    cr_assert(fake_sent_count(f, "CANCEL sip:") == 1);
    fake_sent(f, "CANCEL sip:", 0, &frame);
    cr_expect_str_eq(fake_text(frame, "to"), "203.0.113.5:5060");
    fake_pass(f, 1500);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 3);
    fake_stray_reply(f, 1, &c, "0", 487);
    fake_pass(f, 5000);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 3 && fake_sent_count(f, "ACK sip:") == 1);
    cr_expect(fake_sent_count(f, "SIP/2.0 487") == 0, "nobody else hears it");
    fake_free(f);
}

Test(second, ends_to_ask_a_far_end_that_says_nothing)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", ELSEWHERE);
    size_t cancels;

    fake_pass(f, 32100);
    cancels = fake_sent_count(f, "CANCEL sip:");
    fake_pass(f, 60000);
    cr_expect(cancels > 8 && cancels < 13 && fake_sent_count(f, "CANCEL sip:") == cancels, "%zu", cancels);
    fake_free(f);
}

/* The caller gets it, and the first node ends its own. */
Test(second, passes_a_2xx_from_elsewhere_on)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", ELSEWHERE);

    fake_turn(f);
    fake_stray_reply(f, 1, &c, "0", 200);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=done") == 1);
    cr_assert(f->tell_count == 2);
    cr_expect_str_eq(fake_text(fake_tell(f, 1), "t"), "answered");
    cr_expect(json_is_true(json_object_get(fake_tell(f, 1), "elsewhere")));
    fake_free(f);
}

/* tm has told the caller: his call is over. */
Test(second, ends_the_first_one_s_call_when_the_caller_was_refused)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", ELSEWHERE);
    json_t *frame;

    fake_reply(f, 2, &c, "0", 486);
    fake_turn(f);
    cr_assert(fake_sent_count(f, "CANCEL sip:") == 1);
    fake_sent(f, "CANCEL sip:", 0, &frame);
    cr_expect_str_eq(fake_text(frame, "to"), "192.0.2.2:5060");
    fake_free(f);
}

/* The other one had it before, or has it now: what only this node has asked is cancelled, nothing else. */
Test(second, cancels_what_rings_elsewhere_when_it_is_lost_too)
{
    static const char *const to[] = {TO, ELSEWHERE};

    for (size_t i = 0; i < COUNT(to); i++) {
        struct leg c = call_make(1);
        struct fake *f = fake_peers();

        f->polite = f->answer_puts = true;
        fake_branch(f, 1, &c, "0", true);
        fake_turn(f);
        f->record = fake_epoch(other_record(&c, "200.1", 180, to[i]), 2, false);
        fake_reply(f, 2, &c, "0", 180);
        fake_pass(f, 100);
        cr_assert(fake_status(f).txns == 0 && engine_counters(f->e)->txns_lost == 1);
        cr_expect(fake_sent_count(f, "CANCEL sip:") == i, "%s: %zu", to[i], fake_sent_count(f, "CANCEL sip:"));
        fake_free(f);
    }
}

/* What has ended the heir asks himself about, and his script has tried the next far end. */
Test(second, branch_that_failed_before_it_was_taken_over_ends_nothing)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();

    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    f->record = fake_epoch(other_record(&c, "200.1", 503, "udp:192.0.2.2:5060"), 2, false);
    fake_reply(f, 2, &c, "0", 503);
    fake_pass(f, 40000);
    cr_assert(fake_status(f).txns == 0 && engine_counters(f->e)->txns_lost == 1);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0);
    fake_free(f);
}

/* Its script has tried the next far end meanwhile. */
Test(second, cancels_a_branch_that_comes_later)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", TO);

    fake_turn(f);
    fake_branch(f, 2, &c, "1", false);
    fake_pass(f, 30);
    fake_answer(f, other_record(&c, "200.1", 180, TO));
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0, "not before the first node knows");
    fake_pass(f, 30);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 1 && fake_tell(f, 0) && !fake_tell(f, 1));
    fake_free(f);
}

/* A fork to two phones, on both nodes: the first has written one branch by then. */
static struct fake *forked(struct leg *c)
{
    struct fake *f = routed(c, "200.1", TO);

    fake_turn(f);
    fake_branch(f, 2, c, "1", false);
    fake_pass(f, 30);
    cr_assert(f->get_count == 1);
    return f;
}

/* A CANCEL would end the good call, since the Via branch is the same. */
Test(second, cancels_no_branch_that_the_first_had_not_written_yet)
{
    struct leg c;
    struct fake *f = forked(&c);

    fake_answer(f, fake_whole(&c, 2, "200.1",
                              scratch("%s,%s", fake_branch_json(&c, 0, "0", 180, NULL),
                                      fake_branch_json(&c, 1, "1", 180, NULL))));
    fake_pass(f, 60000);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0 && !fake_tell(f, 0) && f->get_count == 1);
    fake_free(f);
}

Test(second, asks_again_what_the_first_has_written)
{
    struct leg c;
    struct fake *f = forked(&c);

    engine_got(f->e, f->gets[0].token, GET_FAILED, (struct span){0}, f->now);
    fake_pass(f, 500);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0 && f->get_count == 2);
    fake_answer(f, other_record(&c, "200.1", 180, TO));
    fake_pass(f, 30);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 1);
    fake_free(f);
}

Test(second, the_invite_comes_once_more)
{
    struct leg c;
    struct fake *f = routed(&c, "200.1", ELSEWHERE);

    fake_turn(f);
    fake_branch(f, 2, &c, "0", true);
    fake_pass(f, 30);
    cr_expect(engine_counters(f->e)->txns_second == 2 && fake_status(f).txns == 0);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 1);
    fake_free(f);
}
