/* Events of one moment in the wrong order, as several SIP workers queue them. */
#include "fake.h"

TestSuite(early, .fini = no_leaks);

/* The record that was last put says so. */
static void expect_record(const struct fake *f, const char *state, int code)
{
    cr_assert(f->put_count > 0);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "state")), state);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == code);
}

/* The end of the call that was last written. */
static void expect_end(const struct fake *f, const char *how, int code)
{
    cr_assert(fake_writes(f, CALL_END) == 1, "%zu ends", fake_writes(f, CALL_END));
    cr_expect_str_eq(fake_call_text(f, "how"), how);
    cr_expect_str_eq(fake_call_text(f, "code"), scratch("%d", code));
}

static struct fake *ready(struct leg *c)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    return f;
}

Test(early, replies_overtake_the_invite)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_replied(f, &c, "0", 180, NULL, AT(12));
    fake_replied(f, &c, "0", 200, "b1", AT(15));
    fake_invite(f, &c, NULL, AT(11));
    fake_turn(f);
    expect_record(f, "answered", 200);
    cr_expect_str_eq(fake_call_text(f, "answered"), scratch("%lld", (long long)AT(15)));
    cr_expect_str_eq(fake_call_text(f, "to_tag"), "b1");
    cr_expect(fake_counters(f)->events_reply == 2 && fake_counters(f)->events_foreign == 0);
    fake_free(f);
}

Test(early, a_later_branch_and_its_reply_come_before_the_first)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_reply(f, ++f->events, &c, "1", 183);
    fake_branch(f, ++f->events, &c, "1", false);
    fake_reply(f, ++f->events, &c, "0", 503);
    fake_branch(f, ++f->events, &c, "0", true);
    fake_turn(f);
    expect_record(f, "ringing", 183);
    cr_expect(json_array_size(fake_put_field(f, "branches")) == 2);
    cr_expect(fake_counters(f)->events_branch == 2 && fake_counters(f)->events_foreign == 0);
    fake_free(f);
}

Test(early, a_reply_overtakes_the_branch_of_failure_route)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_branch(f, ++f->events, &c, "0", true);
    fake_reply(f, ++f->events, &c, "0", 503);
    fake_reply(f, ++f->events, &c, "1", 486);
    fake_turn(f);
    fake_branch(f, ++f->events, &c, "1", false);
    fake_turn(f);
    expect_record(f, "failed", 486);
    fake_pass(f, 3000);
    expect_end(f, "rejected", 486);
    fake_free(f);
}

Test(early, what_tm_gave_up_overtakes_the_invite)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_gave_up(f, ++f->events, &c, 0, 503); /* an address that nobody can send to fails within a moment */
    fake_branch(f, ++f->events, &c, "0", true);
    fake_pass(f, 3000);
    expect_record(f, "failed", 503);
    expect_end(f, "rejected", 503);
    cr_expect(fake_counters(f)->events_reply == 1 && fake_counters(f)->events_foreign == 0);
    fake_free(f);
}

Test(early, what_tm_gave_up_overtakes_its_branch)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_branch(f, ++f->events, &c, "0", true);
    fake_reply(f, ++f->events, &c, "0", 486);
    fake_gave_up(f, ++f->events, &c, 1, 408);
    fake_turn(f);
    fake_branch(f, ++f->events, &c, "1", false);
    fake_pass(f, 3000);
    expect_record(f, "failed", 408);
    cr_expect(fake_counters(f)->events_foreign == 0);
    fake_free(f);
}

Test(early, both_overtake_one_another)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_gave_up(f, ++f->events, &c, 1, 408);
    fake_branch(f, ++f->events, &c, "0", true);
    fake_reply(f, ++f->events, &c, "0", 486);
    fake_turn(f);
    fake_branch(f, ++f->events, &c, "1", false);
    fake_pass(f, 3000);
    expect_record(f, "failed", 408);
    cr_expect(fake_counters(f)->events_reply == 2 && fake_counters(f)->events_foreign == 0);
    fake_free(f);
}

Test(early, a_cancel_right_behind_the_invite)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_cancel(f, &c);
    fake_turn(f);
    fake_branch(f, ++f->events, &c, "0", true);
    fake_reply(f, ++f->events, &c, "0", 487);
    fake_pass(f, 3000);
    expect_end(f, "cancelled", 487);
    fake_free(f);
}

/* ---- takeovers ---- */

/* The INVITE of node 2's call, which rings, is back in this node's Kamailio. */
static struct fake *injected(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    fake_answer(f, fake_orphan(c, 2, "200.1"));
    fake_put_done(f, 1, true);
    f->found = fake_orphan(c, 2, "200.1");
    f->answer_puts = true;
    fake_turn(f);
    cr_assert(fake_sent_count(f, "why=takeover") == 1);
    return f;
}

static void branch_and_taken(struct fake *f, const struct leg *c)
{
    int64_t token = fake_token(f, NULL);

    fake_branch(f, ++f->events, c, "0", false);
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"taken\",\"token\":%lld,\"ok\":1}", f->events + 1,
             (long long)token);
}

Test(early, an_answer_overtakes_the_invite_of_a_takeover)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_replied(f, &c, "0", 200, "b1", AT(1003));
    branch_and_taken(f, &c);
    fake_turn(f);
    expect_record(f, "answered", 200);
    cr_expect(json_is_true(fake_put_field(f, "done")));
    cr_expect_str_eq(fake_call_text(f, "answered"), scratch("%lld", (long long)AT(1003)));
    cr_expect_str_eq(fake_call_text(f, "to_tag"), "b1");
    fake_free(f);
}

Test(early, a_rejection_overtakes_the_invite_of_a_takeover)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_reply(f, ++f->events, &c, "0", 486);
    branch_and_taken(f, &c);
    fake_turn(f);
    fake_ack_all(f);
    fake_pass(f, 3000);
    expect_record(f, "failed", 486);
    expect_end(f, "rejected", 486);
    fake_free(f);
}

/* That a takeover is done is told before all else. */
Test(early, a_reply_comes_between_taken_and_the_branch)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_taken(f, ++f->events, 1);
    fake_replied(f, &c, "0", 200, "b1", AT(1003));
    fake_branch(f, ++f->events, &c, "0", false);
    fake_turn(f);
    expect_record(f, "answered", 200);
    fake_free(f);
}

Test(early, a_cancel_comes_before_taken)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_cancel(f, &c);
    branch_and_taken(f, &c);
    fake_turn(f);
    cr_expect(json_is_true(fake_put_field(f, "cancelled")));
    fake_free(f);
}

/* ---- limits ---- */

Test(early, what_nothing_follows_is_forgotten)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_cancel(f, &c);
    fake_reply(f, ++f->events, &c, "0", 180);
    fake_pass(f, 7000);
    cr_expect(fake_counters(f)->events_foreign == 2);
    fake_branch(f, ++f->events, &c, "0", true);
    fake_turn(f);
    expect_record(f, "trying", 0);
    cr_expect_null(fake_put_field(f, "cancelled"));
    fake_free(f);
}

Test(early, so_much_waits_at_the_most)
{
    struct leg c;
    struct fake *f = ready(&c);
    char *large = scratch("%01000d", 1);

    c.call_id = large;
    for (int i = 0; i < 2000; i++) /* of 1.6 kB each */
        fake_cancel(f, &c);
    cr_expect(fake_counters(f)->early_shed > 1000 && fake_counters(f)->early_shed < 1500);
    fake_pass(f, 7000);
    cr_expect(fake_counters(f)->early_shed + fake_counters(f)->events_foreign == 2000);
    c = call_make(2);
    fake_cancel(f, &c);
    cr_expect(fake_counters(f)->early_shed + fake_counters(f)->events_foreign == 2000, "there is room again");
    fake_free(f);
}

Test(early, what_nobody_tells_again_has_room_of_its_own)
{
    struct leg c;
    struct fake *f = ready(&c);
    uint64_t shed;

    for (int i = 0; i < 20000; i++) {
        c = call_make(i + 2);
        fake_reply(f, ++f->events, &c, "0", 180);
    }
    shed = fake_counters(f)->early_shed;
    cr_expect(shed > 0);
    c = call_make(1);
    fake_cancel(f, &c);
    cr_expect(fake_counters(f)->early_shed == shed);
    fake_branch(f, ++f->events, &c, "0", true);
    fake_turn(f);
    cr_expect(json_is_true(fake_put_field(f, "cancelled")));
    fake_free(f);
}
