/* Adoption: this node acts for an orphan as a stateless proxy would. And a 2xx of an orphan, which needs nobody. */
#include "base64.h"
#include "fake.h"
#include "fake_takeover.h"
#include "sip.h"

TestSuite(adoption, .fini = no_leaks);

/* A request of call 1 with headers that a parser would be tempted to touch, two Route headers and a body. */
static char *request(const char *method)
{
    return scratch("%s sip:bob@192.0.2.10;x=1 SIP/2.0\r\n"
                   "via:SIP/2.0/UDP 198.51.100.9:5060 ;branch=z9hG4bK-caller-1\r\n"
                   "Route: <sip:192.0.2.10;lr>\r\n"
                   "f: \"Alice, \\\"A\\\"\" <sip:alice@example.org>;tag=a1\r\n"
                   "ROUTE :\t<sip:other;lr>,\r\n <sip:third;lr>\r\n"
                   "To: <sip:bob@example.org>\r\n"
                   "Call-ID: call-1@caller.example\r\n"
                   "CSeq:  1   %s\r\n"
                   "X-Route: <sip:no.route>\r\n"
                   "Record-Route: <sip:rr;lr>\r\n"
                   "X-Folded: a\r\n\tb\r\n  c\r\n"
                   "Max-Forwards: 70\r\n"
                   "Content-Length: 12\r\n"
                   "\r\n"
                   "Route: body\n",
                   method, method);
}

/* What is left of it when the first line, Kamailio's Via and the Route headers are put aside. */
#define REST(method)                                                                                                   \
    "via:SIP/2.0/UDP 198.51.100.9:5060 ;branch=z9hG4bK-caller-1\r\n"                                                   \
    "f: \"Alice, \\\"A\\\"\" <sip:alice@example.org>;tag=a1\r\n"                                                       \
    "To: <sip:bob@example.org>\r\n"                                                                                    \
    "Call-ID: call-1@caller.example\r\n"                                                                               \
    "CSeq:  1   " method "\r\n"                                                                                        \
    "X-Route: <sip:no.route>\r\n"                                                                                      \
    "Record-Route: <sip:rr;lr>\r\n"                                                                                    \
    "X-Folded: a\r\n\tb\r\n  c\r\n"                                                                                    \
    "Max-Forwards: 70\r\n"                                                                                             \
    "Content-Length: 12\r\n"                                                                                           \
    "\r\n"                                                                                                             \
    "Route: body\n"

static void say_stray(struct fake *f, int k, const char *msg)
{
    fake_say(f, "%s", stray_text(k, msg, ""));
}

/* Four branches: pending, ringing with Routes, failed, failed with Routes. */
static char *four(const struct leg *c)
{
    return scratch("%s,%s,%s,%s", fake_branch_json(c, 0, "0", 0, NULL),
                   fake_branch_json(c, 1, "1", 183, "<sip:r1;lr>, <sip:r2;lr>"), fake_branch_json(c, 2, "2", 486, NULL),
                   fake_branch_json(c, 3, "3", 603, "<sip:r3;lr>"));
}

/* This node takes nothing over, and node 2 is dead. */
static struct fake *without_takeover(void)
{
    struct fake *f = fake_peers();

    f->conf.takeover = false;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_death(f);
    return f;
}

static void expect_sent(const struct fake *f, size_t i, int index, const char *method, const char *route,
                        const char *rest)
{
    struct leg c = call_make(1);
    json_t *frame = NULL;
    char *got = fake_sent(f, "branch=z9hG4bK0001", i, &frame);

    cr_assert_not_null(got);
    cr_expect_str_eq(got, scratch("%s sip:bob%d@203.0.113.5:5060 SIP/2.0\r\n"
                                  "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.%d\r\n%s%s%s%s",
                                  method, index, c.tm, index, route ? "Route: " : "", route ? route : "",
                                  route ? "\r\n" : "", rest));
    cr_expect_str_eq(fake_text(frame, "to"), "203.0.113.5:5060");
    cr_expect_str_eq(fake_text(frame, "sock"), "udp:192.0.2.10:5060");
}

Test(adoption, cancel_goes_to_each_pending_branch)
{
    struct leg c = call_make(1);
    struct fake *f = without_takeover();

    say_stray(f, 1, request("CANCEL"));
    fake_answer(f, fake_whole(&c, 2, "200.1", four(&c)));
    fake_turn(f);
    cr_assert(fake_count(f, "send") == 2, "%zu", fake_count(f, "send"));
    expect_sent(f, 0, 0, "CANCEL", NULL, REST("CANCEL"));
    expect_sent(f, 1, 1, "CANCEL", "<sip:r1;lr>, <sip:r2;lr>", REST("CANCEL"));
    cr_expect(fake_counters(f)->adoptions == 1 && fake_counters(f)->verdict_orphan == 1 && fake_status(f).strays == 0 &&
              f->put_count == 0);
    fake_free(f);
}

/* Also where takeover is on: the reply that it acknowledges came from the dead owner, who does not miss it. */
Test(adoption, ack_goes_to_each_failed_branch)
{
    struct leg c = call_make(1);

    for (int on = 0; on < 2; on++) {
        struct fake *f = on ? fake_peers() : without_takeover();

        if (on)
            fake_death(f);
        say_stray(f, 1, request("ACK"));
        fake_answer(f, fake_whole(&c, 2, "200.1", four(&c)));
        fake_turn(f);
        cr_assert(fake_count(f, "send") == 2, "%zu", fake_count(f, "send"));
        expect_sent(f, 0, 2, "ACK", NULL, REST("ACK"));
        expect_sent(f, 1, 3, "ACK", "<sip:r3;lr>", REST("ACK"));
        cr_expect(fake_status(f).strays == 0 && f->put_count == 0);
        fake_free(f);
    }
}

Test(adoption, nobody_to_send_it_to_gives_it_back)
{
    struct leg c = call_make(1);
    struct fake *f = without_takeover();

    say_stray(f, 1, request("CANCEL"));
    fake_answer(f, fake_whole(&c, 2, "200.1", fake_branch_json(&c, 0, "0", 486, NULL)));
    fake_turn(f);
    cr_expect(fake_count(f, "send") == 1 && fake_sent_count(f, "why=orphan") == 1 && fake_counters(f)->adoptions == 0);
    say_stray(f, 2, request("ACK"));
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_turn(f);
    cr_expect(fake_count(f, "send") == 1 && fake_counters(f)->adoptions == 0, "an ACK is not given back");
    fake_free(f);
}

Test(adoption, record_that_lies_is_not_followed)
{
    static const char *const branches[] = {
        "",
        "{}",
        "1",
        "null",
        "{\"i\":0,\"code\":0,\"via\":\"no "
        "branch\",\"to\":\"udp:1.1.1.1:1\",\"sock\":\"udp:1.1.1.1:1\",\"ruri\":\"sip:a\"}",
        "{\"i\":1,\"code\":0,\"via\":\"SIP/2.0/UDP h;branch=z9hG4bKx.0\",\"to\":\"udp:1.1.1.1:1\","
        "\"sock\":\"udp:1.1.1.1:1\",\"ruri\":\"sip:a\"}",
        "{\"i\":0,\"code\":0,\"via\":\"SIP/2.0/UDP "
        "h;branch=z9hG4bKx.0\",\"to\":\"\",\"sock\":\"\",\"ruri\":\"sip:a\"}"};
    struct leg c = call_make(1);

    for (size_t i = 0; i < COUNT(branches); i++) {
        struct fake *f = without_takeover();

        say_stray(f, 1, request("CANCEL"));
        fake_answer(f, fake_whole(&c, 2, "200.1", branches[i]));
        fake_turn(f);
        cr_expect(fake_sent_count(f, "why=orphan") == 1 && fake_counters(f)->adoptions == 0, "%s", branches[i]);
        fake_free(f);
    }
}

Test(adoption, message_without_body_or_with_bare_line_feeds)
{
    size_t len = 0;
    char *got = sip_adopted(span_of("ACK x SIP/2.0\nVia: v\nRoute: r\nTo: t\n\n"), "sip:r", "V", NULL, &len);

    cr_expect_str_eq(scratch("%.*s", (int)len, got), "ACK sip:r SIP/2.0\r\nVia: V\r\nVia: v\nTo: t\n\n");
    free(got);
    got = sip_adopted(span_of("ACK x SIP/2.0\r\n"), "sip:r", "V", "<sip:a>", &len);
    cr_expect_str_eq(scratch("%.*s", (int)len, got), "ACK sip:r SIP/2.0\r\nVia: V\r\nRoute: <sip:a>\r\n");
    free(got);
    cr_expect_null(sip_adopted(span_of("garbage"), "sip:r", "V", NULL, &len));
    cr_expect_null(sip_adopted(span_of("garbage\r\n with blank"), "sip:r", "V", NULL, &len));
    cr_expect_null(sip_adopted(scratch_exact((struct span){"", 0}), "sip:r", "V", NULL, &len));
}

/* Each cut of a request, in a block of its exact size: the address sanitizer sees what is read past its end. */
Test(adoption, any_cut_of_a_request)
{
    char *whole = request("CANCEL");

    for (size_t n = 0; n <= strlen(whole); n++) {
        size_t len = 0;
        struct span cut = scratch_exact((struct span){whole, n});
        char *got = sip_adopted(cut, "sip:r", "V", "<sip:a>", &len), *cancel = sip_cancel(cut, &len);
        char *trying = sip_trying(cut, "V", &len);

        free(got);
        free(cancel);
        free(trying);
    }
}

Test(adoption, bytes_that_are_no_text_stay)
{
    size_t len = 0;
    struct span request = BYTES("ACK x SIP/2.0\r\nA: \0\xff\r\n\r\n\0body\0");
    char *got = sip_adopted(request, "sip:r", "V", NULL, &len);
    struct span want = BYTES("ACK sip:r SIP/2.0\r\nVia: V\r\nA: \0\xff\r\n\r\n\0body\0");

    cr_assert(got && len == want.n);
    cr_expect(memcmp(got, want.p, len) == 0);
    free(got);
}

/* ---- a 2xx of an orphan ---- */

static char *reply(int code, const char *index)
{
    struct leg c = call_make(1);

    return scratch("SIP/2.0 %d Whatever\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.%s\r\n"
                   "Via: SIP/2.0/UDP %s;branch=%s\r\n"
                   "From: \"Alice\" <sip:alice@example.org>;tag=a1\r\nTo: <sip:bob@example.org>;tag=b\r\n"
                   "Call-ID: %s\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
                   code, c.tm, index, c.sent_by, c.branch, c.call_id);
}

static struct fake *answered(const char *branches)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    say_stray(f, 1, reply(200, "1"));
    cr_assert(f->get_count == 1);
    cr_expect_str_eq(f->gets[0].key, "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060");
    fake_answer(f, fake_whole(&c, 2, "200.1", branches));
    fake_turn(f);
    return f;
}

Test(adoption, answer_is_passed_on_and_settled)
{
    struct leg c = call_make(1);
    struct fake *f = answered(four(&c));
    char *cancel;

    cr_expect(fake_count(f, "send") == 0, "should another node win, its tm must hear of the answer");
    cr_assert(f->put_count == 1 && json_is_true(fake_put_field(f, "taking")), "one node settles it");
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=done") == 1, "back, to go on to the caller");
    cr_assert(f->put_count == 2 && !fake_put_field(f, "taking"));
    cr_expect(json_is_true(fake_put_field(f, "done")) && json_integer_value(fake_put_field(f, "code")) == 200);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "state")), "answered");
    cr_expect(json_integer_value(fake_put_field(f, "owner")) == 1 && f->puts[1].ttl_ms == 32000);
    cr_expect(fake_sent_count(f, "why=takeover") == 0, "an answered INVITE is not sent again");
    /* Branch 0 still rings; 1 answered, the others have failed. */
    cr_assert(fake_sent_count(f, "CANCEL sip:") == 1);
    cancel =
        fake_sent(f, "CANCEL sip:bob0@203.0.113.5:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=", 0, NULL);
    cr_assert_not_null(cancel);
    cr_expect(strstr(cancel, "From: \"Alice\" <sip:alice@example.org>;tag=a1\r\nTo: <sip:bob@example.org>\r\n"
                             "Call-ID: call-1@caller.example\r\nCSeq: 1 CANCEL\r\n"));
    cr_expect(strstr(cancel, scratch("branch=%s.0\r\n", c.tm)) && strstr(cancel, "Content-Length: 0\r\n\r\n"));
    fake_free(f);
}

Test(adoption, settled_by_another_node_is_left_to_it)
{
    struct leg c = call_make(1);
    struct fake *f = answered(four(&c));

    fake_put_fenced(f, scratch("{\"epoch\":2,%s", fake_whole(&c, 3, "300.1", four(&c)) + 1));
    fake_pass(f, 3000);
    cr_expect(f->put_count == 1 && fake_sent_count(f, "CANCEL sip:") == 0);
    fake_free(f);
}

/* The far end repeats its 2xx until the caller's ACK arrives, and this node its CANCEL, until the other far end ends.
 */
Test(adoption, answer_that_is_repeated_is_settled_once)
{
    struct leg c = call_make(1);
    struct fake *f = answered(four(&c));

    f->answer_puts = true;
    fake_put_done(f, 1, true);
    fake_turn(f);
    for (int k = 2; k < 5; k++) {
        size_t gets = f->get_count;

        say_stray(f, k, reply(200, "1"));
        if (f->get_count > gets)
            fake_answer(f, f->puts[1].value);
        fake_pass(f, 500);
    }
    cr_expect(f->put_count == 2);
    cr_expect(fake_sent_count(f, "SIP/2.0 200 ") == 4, "each one goes on to the caller");
    cr_expect(fake_sent_count(f, "CANCEL sip:bob0@") >= 2 && fake_sent_count(f, "CANCEL sip:bob0@") <= 3);
    say_stray(f, 5, reply(487, "0"));
    fake_forget(f);
    fake_pass(f, 4000);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0 && fake_put_field(f, "req") == NULL);
    fake_free(f);
}

/* The dead owner's ACK was lost. tm sent that branch to itself, so its ACK would go there, too. */
Test(adoption, negative_reply_that_is_repeated_is_acknowledged)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_whole(&c, 2, "200.1", four(&c)));
    fake_put_done(f, 1, true);
    fake_turn(f);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "ACK sip:") == 0);
    fake_act(f, &c, 0);
    say_stray(f, 2, reply(486, "2"));
    fake_turn(f);
    cr_expect(fake_sent_count(f, "ACK sip:") == 1 && fake_status(f).strays == 0 && fake_sent_count(f, "why=done") == 0);
    fake_free(f);
}

/* No 2xx: the INVITE that is sent again for the takeover makes the far end repeat it. */
Test(adoption, negative_reply_of_an_orphan_is_a_reason_to_take_over)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    say_stray(f, 1, reply(486, "1"));
    fake_answer(f, fake_whole(&c, 2, "200.1", four(&c)));
    cr_assert(f->put_count == 1);
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_assert(fake_sent_count(f, "why=takeover") == 1);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=done") == 0, "the far end may be repeating it");
    fake_pass(f, 20);
    cr_expect(fake_sent_count(f, "why=done") == 1 && fake_status(f).strays == 0,
              "a reply is never handed to a transaction");
    fake_free(f);
}

/* A busy host: without the record the reply would end the call, though failure_route may have another gateway for it.
 */
Test(adoption, negative_reply_waits_for_a_slow_store)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    say_stray(f, 1, reply(503, "1"));
    fake_pass(f, 2500);
    cr_expect(fake_sent_count(f, "SIP/2.0 503") == 0 && f->get_count == 1);
    fake_answer(f, fake_whole(&c, 2, "200.1", four(&c)));
    cr_expect(f->put_count == 1, "a takeover begins");
    fake_free(f);
}

Test(adoption, negative_reply_does_not_wait_for_ever)
{
    struct fake *f = fake_peers();

    fake_death(f);
    say_stray(f, 1, reply(503, "1"));
    fake_pass(f, 3000);
    cr_expect(fake_sent_count(f, "why=unavailable") == 1 && fake_status(f).strays == 0);
    fake_free(f);
}
