/* A reply to an own transaction that tm does not match: it comes after tm has answered the caller (reply_matching). */
#include "fake.h"
#include "fake_takeover.h"

TestSuite(late_reply, .fini = no_leaks);

/* It owns call 1, whose two phones ring. */
static struct fake *ringing(struct leg *c)
{
    struct fake *f = fake_owning(c);

    fake_branch(f, 2, c, "1", false);
    fake_reply(f, 3, c, "0", 180);
    fake_reply(f, 4, c, "1", 180);
    fake_turn(f);
    fake_forget(f);
    return f;
}

/* The far end gets its ACK once, and the caller nothing. */
static void expect_acknowledged(struct fake *f, int code)
{
    fake_pass(f, 1000);
    cr_expect(fake_sent_count(f, "ACK sip:") == 1, "%zu", fake_sent_count(f, "ACK sip:"));
    cr_expect(fake_sent_count(f, scratch("SIP/2.0 %d", code)) == 0, "the caller has been answered");
    cr_expect(fake_status(f).strays == 0);
    fake_free(f);
}

Test(late_reply, of_the_other_phone_after_a_2xx)
{
    struct leg c;
    struct fake *f = ringing(&c);

    fake_reply(f, 5, &c, "0", 200);
    fake_stray_reply(f, 1, &c, "1", 487);
    expect_acknowledged(f, 487);
}

/* Kamailio's timer sends events, but a stray at once. */
Test(late_reply, overtakes_the_2xx)
{
    struct leg c;
    struct fake *f = ringing(&c);

    fake_stray_reply(f, 1, &c, "1", 487);
    fake_pass(f, 13);
    fake_reply(f, 5, &c, "0", 200);
    expect_acknowledged(f, 487);
}

Test(late_reply, needs_no_store)
{
    struct leg c;
    struct fake *f = ringing(&c);

    engine_store_down(f->e, f->now);
    fake_stray_reply(f, 1, &c, "1", 487);
    fake_pass(f, 13);
    fake_reply(f, 5, &c, "0", 200);
    expect_acknowledged(f, 487);
}

/* Its ACK was lost; failure_route may still be at work. */
Test(late_reply, repeated)
{
    struct leg c;
    struct fake *f = ringing(&c);

    fake_reply(f, 5, &c, "1", 486);
    fake_stray_reply(f, 1, &c, "1", 486);
    expect_acknowledged(f, 486);
}

Test(late_reply, after_tm_has_given_the_phone_up)
{
    struct leg c;
    struct fake *f = ringing(&c);

    fake_stray_reply(f, 1, &c, "1", 487);
    fake_gave_up(f, 5, &c, 1, 408);
    expect_acknowledged(f, 487);
}

/* It may be the answer to the call, as in a takeover whose INVITE is in Kamailio by now. */
Test(late_reply, to_a_call_that_goes_on_is_given_back)
{
    struct leg c;
    struct fake *f = ringing(&c);

    fake_stray_reply(f, 1, &c, "1", 486);
    fake_pass(f, 19);
    cr_expect(fake_count(f, "send") == 0);
    fake_pass(f, 1);
    cr_expect(fake_sent_count(f, "why=done") == 1 && fake_sent_count(f, "SIP/2.0 486") == 1);
    cr_expect(fake_sent_count(f, "ACK sip:") == 0);
    fake_free(f);
}

Test(late_reply, with_a_2xx_goes_to_the_caller_at_once)
{
    struct leg c;
    struct fake *f = ringing(&c);

    fake_reply(f, 5, &c, "0", 200);
    fake_stray_reply(f, 1, &c, "1", 200);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=done") == 1 && fake_sent_count(f, "SIP/2.0 200") == 1);
    fake_free(f);
}

/* The takeover sends the INVITE again, and the far end has repeated its reply by the time that this copy could go on.
 */
Test(late_reply, which_waited_for_a_takeover)
{
    struct leg c = call_make(1);
    struct fake *f = fake_injected(&c, fake_branch_json(&c, 0, "0", 180, NULL));

    fake_stray_reply(f, 2, &c, "0", 503);
    fake_turn(f);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "SIP/2.0 503") == 0, "not before tm may have the other copy");
    fake_reply(f, 2, &c, "0", 503);
    fake_pass(f, 300);
    cr_expect(fake_sent_count(f, "SIP/2.0 503") == 0 && fake_sent_count(f, "ACK sip:") == 1);
    fake_free(f);
}
