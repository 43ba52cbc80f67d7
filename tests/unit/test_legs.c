/* Several INVITEs with one Call-ID and one From tag: the caller tries again, or a fork upstream. */
#include "fake.h"

TestSuite(legs, .fini = no_leaks);

/* ---- the caller tries again, here ---- */

/* The first leg ends with that code; the second comes `ms` later, and is answered. */
static void expect_the_next_one(int code, bool cancelled, int64_t ms)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second;

    fake_replied(f, &first, "0", 180, NULL, AT(10));
    if (cancelled)
        fake_cancel(f, &first);
    fake_replied(f, &first, "0", code, NULL, AT(11));
    fake_pass(f, ms);
    second = fake_leg(f, 2);
    fake_replied(f, &second, "0", 180, NULL, AT(12));
    fake_pass(f, 3000);
    if (!fake_writes(f, CALL_END))
        fake_expect_live(f, LEG_TX(2), "ringing");
    fake_replied(f, &second, "0", 200, "b1", AT(14));
    fake_pass(f, 20000);
    cr_expect(fake_status(f).calls == 1, "%d after %lld ms: not live", code, (long long)ms);
    cr_expect(fake_writes(f, CALL_END) <= 1);
    expect_text(f, "tx", LEG_TX(2));
    expect_text(f, "state", "answered");
    cr_expect_str_eq(fake_call_text(f, "ringing"), scratch("%lld", (long long)AT(12)));
    cr_expect_str_eq(fake_call_text(f, "answered"), scratch("%lld", (long long)AT(14)));
    fake_free(f);
}

Test(legs, next_attempt_is_the_call)
{
    static const int codes[] = {302, 401, 407, 408, 480, 486, 487, 500, 503, 603};

    for (size_t i = 0; i < COUNT(codes); i++)
        for (int64_t ms = 0; ms <= 3000; ms = ms ? ms * 3 : 11)
            expect_the_next_one(codes[i], codes[i] == 487, ms);
}

/* The end of the one before is under way. */
Test(legs, next_attempt_amid_the_end)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second;

    fake_turn(f);
    fake_replied(f, &first, "0", 486, NULL, AT(11));
    f->mute_calls = true;
    for (int i = 0; i < 30 && !fake_writes(f, CALL_END); i++) {
        fake_pass(f, 100);
        if (!fake_writes(f, CALL_END) && f->call_count > 1)
            fake_call_written(f, CALL_WRITTEN);
    }
    cr_assert(fake_writes(f, CALL_END) == 1);
    second = fake_leg(f, 2);
    fake_turn(f);
    fake_call_written(f, CALL_WRITTEN);
    f->mute_calls = false;
    fake_turn(f);
    cr_expect(f->calls[f->call_count - 1].mode == CALL_BEGIN && fake_status(f).calls == 1);
    expect_text(f, "tx", LEG_TX(2));
    fake_replied(f, &second, "0", 486, NULL, AT(13));
    fake_pass(f, 3000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 2, "an entry of each");
    fake_free(f);
}

/* He hangs up, and calls again before the store has said that the call has ended. */
Test(legs, next_call_amid_the_bye)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second;

    fake_replied(f, &first, "0", 200, "b1", AT(10));
    fake_turn(f);
    f->mute_calls = true;
    fake_bye(f, &first, "a1", "b1", 0, AT(11));
    fake_bye(f, &first, "a1", "b1", 200, AT(11));
    fake_turn(f);
    cr_assert(fake_writes(f, CALL_END_ANSWERED) == 1);
    second = fake_leg(f, 2);
    fake_call_written(f, CALL_WRITTEN);
    f->mute_calls = false;
    fake_turn(f);
    fake_expect_live(f, LEG_TX(2), "trying");
    fake_replied(f, &second, "0", 200, "b2", AT(14));
    fake_turn(f);
    fake_expect_live(f, LEG_TX(2), "answered");
    expect_text(f, "to_tag", "b2");
    fake_free(f);
}

/* The same, and another node has seen the BYE. */
Test(legs, next_call_when_the_store_says_that_it_is_over)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1);

    fake_turn(f);
    f->mute_calls = true;
    fake_replied(f, &first, "0", 200, "b1", AT(10));
    fake_turn(f);
    fake_leg(f, 2);
    fake_call_written(f, CALL_OVER);
    f->mute_calls = false;
    fake_turn(f);
    fake_expect_live(f, LEG_TX(2), "trying");
    fake_free(f);
}

/* ---- a spiral ---- */

static void expect_outer(const struct leg *outer, const struct leg *inner, int64_t outer_at, int64_t inner_at)
{
    struct fake *f = fake_served();

    fake_invite(f, inner, NULL, inner_at);
    fake_turn(f);
    fake_invite(f, outer, NULL, outer_at);
    fake_cancel(f, outer);
    fake_cancel(f, inner);
    fake_replied(f, inner, "0", 487, NULL, AT(1020));
    fake_replied(f, outer, "0", 487, NULL, AT(1021));
    fake_pass(f, 3000);
    fake_expect_end(f, LEG_TX(1), "cancelled", "487");
}

/* Two workers of one Kamailio, of which one was interrupted. */
Test(legs, inner_leg_that_is_reported_first)
{
    struct leg outer = call_make(1), inner = call_make(2);

    inner.call_id = outer.call_id;
    expect_outer(&outer, &inner, AT(10), AT(11));
    inner.branch = scratch("%s.0", outer.tm);
    expect_outer(&outer, &inner, AT(10), AT(10));
}

/* ---- a fork upstream ---- */

Test(legs, first_one_gives_up_first)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = fake_leg(f, 2);

    fake_replied(f, &first, "0", 180, NULL, AT(12));
    fake_replied(f, &second, "0", 183, NULL, AT(12));
    fake_replied(f, &first, "0", 486, NULL, AT(13));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(2), "ringing");
    fake_replied(f, &second, "0", 603, NULL, AT(18));
    fake_pass(f, 3000);
    fake_expect_end(f, LEG_TX(2), "rejected", "603");
}

Test(legs, second_one_gives_up_first)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = fake_leg(f, 2);

    fake_replied(f, &second, "0", 486, NULL, AT(12));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(1), "trying");
    fake_replied(f, &first, "0", 200, "b1", AT(16));
    fake_pass(f, 10000);
    fake_expect_live(f, LEG_TX(1), "answered");
    fake_free(f);
}

Test(legs, third_one_is_left)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = fake_leg(f, 2), third = fake_leg(f, 3);

    fake_replied(f, &second, "0", 486, NULL, AT(13));
    fake_pass(f, 3000);
    fake_replied(f, &first, "0", 486, NULL, AT(17));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(3), "trying");
    fake_replied(f, &third, "0", 404, NULL, AT(21));
    fake_pass(f, 3000);
    fake_expect_end(f, LEG_TX(3), "rejected", "404");
}

/* A caller may send as many as he likes. */
Test(legs, too_many_to_be_kept)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), last;

    for (unsigned i = 2; i < 100; i++)
        last = fake_leg(f, i);
    fake_replied(f, &first, "0", 486, NULL, AT(17));
    fake_pass(f, 1000);
    fake_replied(f, &last, "0", 200, "b1", AT(18));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(99), "answered");
    fake_free(f);
}

/* Nor are they kept when their names take much room. */
Test(legs, too_long_to_be_kept)
{
    struct fake *f = fake_served();
    struct leg first = call_make(1), second = call_make(2);

    first.call_id = second.call_id = scratch("%0230d", 1);
    fake_invite(f, &first, NULL, AT(10));
    fake_invite(f, &second, NULL, AT(11));
    fake_replied(f, &first, "0", 486, NULL, AT(12));
    fake_pass(f, 3000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1);
    fake_replied(f, &second, "0", 200, "b1", AT(18));
    fake_turn(f);
    cr_expect(fake_status(f).calls == 1, "an answer counts");
    fake_free(f);
}

/* Those that are over make room. */
Test(legs, many_one_after_another)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), last;

    for (unsigned i = 2; i < 60; i++) {
        last = fake_leg(f, i);
        fake_replied(f, &last, "0", 503, NULL, AT(17));
        fake_pass(f, 2000);
    }
    last = fake_leg(f, 60);
    fake_replied(f, &first, "0", 486, NULL, AT(17));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(60), "trying");
    fake_free(f);
}

Test(legs, second_one_is_answered)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = fake_leg(f, 2);

    fake_turn(f);
    fake_replied(f, &second, "0", 200, "b2", AT(12));
    fake_replied(f, &first, "0", 487, NULL, AT(13));
    fake_pass(f, 10000);
    fake_expect_live(f, LEG_TX(2), "answered");
    expect_text(f, "to_tag", "b2");
    fake_bye(f, &second, "a1", "b2", 0, AT(20));
    fake_bye(f, &second, "a1", "b2", 200, AT(20));
    fake_turn(f);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END_ANSWERED) == 1);
    fake_replied(f, &second, "0", 200, "b2", AT(12)); /* the far end repeats it */
    fake_pass(f, 3000);
    cr_expect(fake_status(f).calls == 0, "it has ended");
    fake_free(f);
}

Test(legs, both_are_answered)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = fake_leg(f, 2);

    fake_replied(f, &first, "0", 200, "b1", AT(12));
    fake_replied(f, &second, "0", 200, "b2", AT(13));
    fake_turn(f);
    fake_expect_live(f, LEG_TX(1), "answered");
    expect_text(f, "to_tag", "b1");
    cr_expect_str_eq(fake_call_text(f, "dialog.b2"), scratch("%lld", (long long)AT(13)));
    fake_free(f);
}

/* What is said within the call makes no dialog. */
Test(legs, answer_to_an_invite_within_the_call)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = call_make(2);
    char *req;

    fake_replied(f, &first, "0", 200, "b1", AT(12));
    second.call_id = first.call_id;
    req = sip_request(&second, "INVITE");
    fake_invite(f, &second,
                scratch("%.*s;tag=b1%s", (int)(strstr(req, "To: ") - req + 25), req, strstr(req, "To: ") + 25), AT(20));
    fake_replied(f, &second, "0", 200, "b9", AT(21));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(1), "answered");
    expect_text(f, "dialog.b9", "(none)");
    fake_free(f);
}

/* Not even from the callee, whose tag is that of no call. */
Test(legs, answer_to_the_callees_invite)
{
    struct fake *f = fake_served();
    struct leg c = call_make(1);
    char *req = sip_request(&c, "INVITE");

    fake_invite(f, &c, scratch("%.*s;tag=x%s", (int)(strstr(req, "To: ") - req + 25), req, strstr(req, "To: ") + 25),
                AT(20));
    fake_replied(f, &c, "0", 200, "a1", AT(21));
    fake_pass(f, 3000);
    cr_expect(fake_status(f).calls == 0 && f->call_count == 0);
    fake_free(f);
}

/* ---- the other one is another node's ---- */

Test(legs, rings_beside_an_answered_one)
{
    struct fake *f = fake_served();
    struct leg c;

    f->call_result = CALL_FOREIGN;
    c = fake_leg(f, 1);
    fake_replied(f, &c, "0", 180, NULL, AT(11));
    fake_pass(f, 5000);
    cr_expect(fake_status(f).calls == 1 && f->call_count == 1, "it rings, and that is not written: %zu", f->call_count);
    fake_replied(f, &c, "0", 486, NULL, AT(16));
    fake_pass(f, 3000);
    cr_expect(fake_status(f).calls == 0);
    fake_free(f);
}

Test(legs, answered_beside_an_answered_one)
{
    struct fake *f = fake_served();
    struct leg c = fake_leg(f, 1);

    f->mute_calls = true;
    fake_replied(f, &c, "0", 200, "b2", AT(11));
    fake_turn(f);
    cr_expect(f->calls[f->call_count - 1].mode == CALL_BEGIN);
    fake_call_written(f, CALL_FOREIGN);
    fake_turn(f);
    cr_assert(f->calls[f->call_count - 1].mode == CALL_ADD);
    fake_call_written(f, CALL_OTHER);
    fake_pass(f, 3000);
    cr_expect(f->call_count == 2 && fake_status(f).calls == 1, "and it is kept");
    cr_expect_str_eq(fake_call_text(f, "dialog.b2"), scratch("%lld", (long long)AT(11)));
    expect_text(f, "tx", "(none)");
    expect_text(f, "answered", "(none)");
    expect_text(f, "node", "(none)");
    fake_free(f);
}

/* The first write of a leg is under way when it is answered, and has that result. */
static struct fake *answered_while_written(enum call_result result)
{
    struct fake *f = fake_served();
    struct leg c = fake_leg(f, 1);

    f->mute_calls = true;
    fake_turn(f);
    fake_replied(f, &c, "0", 200, "b2", AT(11));
    fake_turn(f);
    f->mute_calls = false;
    fake_call_written(f, result);
    fake_turn(f);
    return f;
}

Test(legs, answer_comes_while_the_record_is_refused)
{
    struct fake *f = answered_while_written(CALL_FOREIGN);

    cr_expect(f->calls[f->call_count - 1].mode == CALL_BEGIN);
    expect_text(f, "state", "answered");
    fake_free(f);
}

/* The other leg is cancelled as soon as this one is answered, so the store has to know of the answer at once. */
Test(legs, answer_comes_while_another_node_owns_the_record)
{
    struct fake *f = answered_while_written(CALL_OTHER);

    cr_expect(f->call_count == 2 && f->calls[1].mode == CALL_BEGIN, "%zu", f->call_count);
    expect_text(f, "state", "answered");
    fake_free(f);
}

/* ---- an answer that tm has not seen ---- */

static void stray_answer(struct fake *f, const struct leg *c, const char *to_tag)
{
    char *via = strstr(sip_request(c, "INVITE"), "Via: "), *to = strstr(via, "To: ") + 25;

    fake_say(f, "%s",
             stray_text(1,
                        scratch("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0\r\n%.*s;tag=%s%s",
                                c->tm, (int)(to - via), via, to_tag, to),
                        ""));
    fake_turn(f);
}

Test(legs, late_answer_of_another_phone)
{
    struct fake *f = fake_served();
    struct leg c = fake_leg(f, 1);

    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    f->found = fake_record(&c, 1, "100.1", true);
    fake_pass(f, 10000);
    stray_answer(f, &c, "b1");
    expect_text(f, "dialog.b1", "(none)");
    stray_answer(f, &c, "b2");
    cr_expect(strtoll(fake_call_text(f, "dialog.b2"), NULL, 10) == FAKE_EPOCH + f->now);
    cr_expect(f->tell_count == 0);
    fake_free(f);
}

/* At another node than the call's: that is told. */
Test(legs, late_answer_at_another_node)
{
    struct fake *f = fake_served();
    struct leg c = call_make(1);
    json_t *told;

    f->found = fake_record(&c, 1, "100.1", true);
    stray_answer(f, &c, "b2");
    cr_assert(f->tell_count == 1 && f->tells[0].node == 0);
    told = fake_tell(f, 0);
    cr_expect_str_eq(fake_text(told, "t"), "dialog");
    cr_expect_str_eq(fake_text(told, "tx"), LEG_TX(1));
    cr_expect_str_eq(fake_text(told, "to_tag"), "b2");
    cr_expect(fake_status(f).calls == 0 && f->call_count == 0);
    fake_free(f);
}

static void message_dialog(struct fake *f, const char *tx, const char *to_tag)
{
    fake_message(f, scratch("{\"t\":\"dialog\",\"call_id\":\"call-1@caller.example\",\"from_tag\":\"a1\",\"tx\":\"%s\","
                            "\"to_tag\":\"%s\",\"at\":77}",
                            tx, to_tag));
    fake_turn(f);
}

Test(legs, another_node_tells_of_a_late_answer)
{
    struct fake *f = fake_served();
    struct leg c = fake_leg(f, 1);

    fake_turn(f);
    message_dialog(f, LEG_TX(1), "b0");
    expect_text(f, "dialog.b0", "(none)");
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    message_dialog(f, LEG_TX(2), "b2");
    message_dialog(f, LEG_TX(1), "b1");
    cr_expect(f->call_count == 2, "%zu", f->call_count);
    message_dialog(f, LEG_TX(1), "b3");
    expect_text(f, "dialog.b3", "77");
    expect_text(f, "dialog.b2", "(none)");
    fake_free(f);
}
