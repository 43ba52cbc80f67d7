/* After a takeover: a branch whose far end does not answer the repeated INVITE, though it rang before. */
#include "fake_takeover.h"

TestSuite(silent, .fini = no_leaks);

/* Branch 0 of it had this reply, branch 1 none; both are sent again, and reported. */
static struct fake *sent_again(struct leg *c, int code)
{
    struct fake *f;

    *c = call_make(1);
    f = fake_injected(c,
                      scratch("%s,%s", fake_branch_json(c, 0, "0", code, NULL), fake_branch_json(c, 1, "1", 0, NULL)));
    f->answer_puts = true;
    fake_branch(f, 1, c, "0", false);
    fake_branch(f, 2, c, "1", false);
    fake_turn(f);
    fake_act(f, c, 0);
    fake_ack_all(f);
    return f;
}

Test(silent, branch_that_rang_and_is_silent_gets_a_100)
{
    struct leg c;
    struct fake *f = sent_again(&c, 183);
    json_t *frame = NULL;
    char *msg, *branch = strstr(sip_sent_on(&c, "0"), "Via: ");

    fake_pass(f, 99);
    cr_expect(fake_sent_count(f, "SIP/2.0 100 ") == 0, "the far end has its time");
    fake_pass(f, 1);
    msg = fake_sent(f, "SIP/2.0 100 ", 0, &frame);
    cr_assert_not_null(msg);
    cr_expect_str_eq(fake_text(frame, "to"), "192.0.2.1:5060");
    cr_expect(strncmp(strstr(msg, "Via: "), branch, strcspn(branch, "\r")) == 0, "%s", msg);
    cr_expect(strstr(msg, "CSeq: 1 INVITE\r\n") && !strstr(strstr(msg, "Via: ") + 1, "Via: "), "goes no further");
    fake_ack_all(f);
    fake_branch(f, 3, &c, "2", false);
    fake_pass(f, 5000);
    cr_expect(fake_sent_count(f, "SIP/2.0 100 ") == 1, "once; and the other branches never rang");
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 183, "the next survivor has to know it, too");
    fake_free(f);
}

/* tm sends it no more once it has the 100, and the far end's answer to the first one may have been lost. */
Test(silent, its_invite_is_sent_again)
{
    struct leg c;
    struct fake *f = sent_again(&c, 180);
    json_t *frame = NULL;
    char *msg;

    f->polite = true;
    fake_pass(f, 900);
    cr_expect(fake_sent_count(f, "INVITE sip:bob@203.0.113.5:5060 SIP/2.0") == 0);
    fake_pass(f, 1200);
    msg = fake_sent(f, "INVITE sip:bob@203.0.113.5:5060 SIP/2.0", 0, &frame);
    cr_assert_not_null(msg);
    cr_expect_str_eq(fake_text(frame, "to"), "203.0.113.5:5060");
    cr_expect_str_eq(fake_text(frame, "sock"), "udp:192.0.2.10:5060");
    cr_expect_not_null(strstr(msg, scratch("branch=%s.0", c.tm)));
    fake_pass(f, 5000);
    cr_expect(fake_sent_count(f, "INVITE sip:bob@203.0.113.5:5060 SIP/2.0") == 2, "and the other branch never rang");
    fake_free(f);
}

Test(silent, far_end_that_answers_gets_no_further_invite)
{
    struct leg c;
    struct fake *f = sent_again(&c, 180);

    f->polite = true;
    fake_pass(f, 500);
    fake_reply(f, 3, &c, "0", 180);
    fake_pass(f, 5000);
    cr_expect(fake_sent_count(f, "INVITE sip:bob@203.0.113.5:5060 SIP/2.0") == 0);
    fake_free(f);
}

/* The answer of one far end does not keep another one's branch waiting. */
Test(silent, one_of_two_that_rang)
{
    struct leg c = call_make(1);
    struct fake *f = fake_injected(
        &c, scratch("%s,%s", fake_branch_json(&c, 0, "0", 180, NULL), fake_branch_json(&c, 1, "1", 180, NULL)));

    f->answer_puts = true;
    fake_branch(f, 1, &c, "0", false);
    fake_branch(f, 2, &c, "1", false);
    fake_reply(f, 3, &c, "1", 180);
    fake_turn(f);
    fake_act(f, &c, 0);
    fake_ack_all(f);
    fake_pass(f, 100);
    cr_expect(fake_sent_count(f, "SIP/2.0 100 ") == 1, "%zu", fake_sent_count(f, "SIP/2.0 100 "));
    fake_free(f);
}

Test(silent, branch_that_did_not_ring_or_says_something_gets_no_100)
{
    static const int before[] = {0, 100, 408, 180, 180, 180}, after[] = {0, 0, 0, 180, 183, 486};
    struct leg c;

    for (size_t i = 0; i < COUNT(before); i++) {
        struct fake *f = sent_again(&c, before[i]);

        if (after[i])
            fake_reply(f, 3, &c, "0", after[i]);
        fake_pass(f, 5000);
        cr_expect(fake_sent_count(f, "SIP/2.0 100 ") == 0, "%d, %d", before[i], after[i]);
        fake_free(f);
    }
}

Test(silent, branch_of_an_ordinary_call_gets_no_100)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_branch(f, 1, &c, "0", true);
    fake_reply(f, 2, &c, "0", 180);
    fake_branch(f, 3, &c, "0", false);
    fake_pass(f, 5000);
    cr_expect(fake_count(f, "send") == 0);
    fake_free(f);
}
