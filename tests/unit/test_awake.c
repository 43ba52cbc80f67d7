/* A node that stood still, hung or was cut off wakes with the last word of its Kamailio: that is not written over the
 * record of whoever has taken the transaction over. */
#include "fake.h"
#include "record.h"

TestSuite(awake, .fini = no_leaks);

/* Call 1 rings here, and its record says so. */
static struct fake *ringing(struct leg *c)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    fake_branch(f, 1, c, "0", true);
    fake_reply(f, 2, c, "0", 180);
    fake_turn(f);
    cr_assert(f->put_count == 1);
    fake_forget(f);
    return f;
}

/* Node 2 has taken it over since. */
static void take_it(struct fake *f, const struct leg *c)
{
    f->record = fake_epoch(fake_orphan(c, 2, "200.1"), 2, false);
}

static void expect_kept_out(const struct fake *f)
{
    cr_assert(f->put_count > 0);
    for (size_t i = 0; i < f->put_count; i++)
        cr_expect(record_fences(span_of(f->record), span_of(f->puts[i].value)), "written over another node's: %s",
                  f->puts[i].value);
}

static void expect_lost(struct fake *f)
{
    fake_pass(f, 6000);
    expect_kept_out(f);
    cr_expect(f->put_count == 1 && fake_status(f).txns == 0 && fake_count(f, "lost") == 1, "%zu writes", f->put_count);
    fake_free(f);
}

static void stand_still(struct fake *f)
{
    f->now += 60000;
}

Test(awake, answer_after_a_standstill)
{
    struct leg c;
    struct fake *f = ringing(&c);

    take_it(f, &c);
    stand_still(f);
    fake_reply(f, 3, &c, "0", 200);
    fake_turn(f);
    expect_lost(f);
}

Test(awake, rejection_after_a_standstill)
{
    struct leg c;
    struct fake *f = ringing(&c);

    take_it(f, &c);
    stand_still(f);
    fake_reply(f, 3, &c, "0", 486);
    fake_pass(f, 3000);
    expect_lost(f);
}

/* What comes first need not be the loop's own turn. */
Test(awake, answer_and_a_roll_call_after_a_standstill)
{
    struct leg c;
    struct fake *f = ringing(&c);

    take_it(f, &c);
    stand_still(f);
    fake_reply(f, 3, &c, "0", 200);
    fake_message(f, "{\"t\":\"barrier\",\"from\":2,\"n\":7}");
    fake_turn(f);
    expect_lost(f);
}

Test(awake, answer_and_the_end_of_the_link_after_a_standstill)
{
    struct leg c;
    struct fake *f = ringing(&c);

    take_it(f, &c);
    stand_still(f);
    fake_reply(f, 3, &c, "0", 200);
    engine_link_down(f->e, f->now);
    fake_turn(f);
    expect_kept_out(f);
    fake_free(f);
}

/* Its first word after a silence is that answer, and then what it had not acknowledged. */
Test(awake, answer_of_a_kamailio_that_hung)
{
    struct leg c;
    struct fake *f = ringing(&c);

    take_it(f, &c);
    f->conf.hang_ms = 1500;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    fake_forget(f);
    f->polite = false;
    f->deaf = true;
    fake_pass(f, 20000);
    cr_assert(engine_counters(f->e)->hangs == 1);
    fake_reply(f, 1, &c, "0", 200);
    fake_ack_all(f);
    fake_turn(f);
    expect_lost(f);
}

Test(awake, answer_while_the_store_was_away_for_long)
{
    struct leg c;
    struct fake *f = ringing(&c);

    take_it(f, &c);
    engine_store_down(f->e, f->now);
    fake_pass(f, 10000);
    fake_reply(f, 3, &c, "0", 200);
    fake_pass(f, 1000);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    expect_lost(f);
}

/* The answer of the store may take its time: what is to be written is not forgotten meanwhile. */
Test(awake, what_nobody_has_taken_is_written)
{
    static const int codes[] = {200, 486};
    struct leg c;

    for (size_t i = 0; i < COUNT(codes); i++) {
        struct fake *f = ringing(&c);

        f->answer_puts = false;
        stand_still(f);
        fake_turn(f);
        fake_reply(f, 3, &c, "0", codes[i]);
        fake_pass(f, 20000);
        cr_assert(f->put_count == 1 && fake_status(f).txns == 1, "nothing more before the store has said whose it is");
        f->answer_puts = true;
        fake_put_done(f, 1, true);
        fake_pass(f, 3000);
        cr_expect(json_is_true(fake_put_field(f, "done")) && json_integer_value(fake_put_field(f, "epoch")) == 2);
        cr_expect(json_integer_value(fake_put_field(f, "code")) == codes[i]);
        fake_pass(f, 10000);
        cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 0);
        fake_free(f);
    }
}

/* Its call has had its answer, and keeps the time of it. */
Test(awake, call_of_what_was_taken_over_and_answered_stays_as_it_is)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();
    char *answered;

    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_turn(f);
    fake_taken(f, 1, 1);
    fake_replied(f, &c, "0", 200, "b1", FAKE_EPOCH + f->now);
    fake_turn(f);
    answered = scratch("%s", fake_call_text(f, "answered"));
    fake_forget(f);
    f->now += 4000;
    fake_turn(f);
    cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 3);
    cr_expect(fake_writes(f, CALL_TAKE) == 0, "%s, not %s", fake_call_text(f, "answered"), answered);
    fake_free(f);
}

/* The record of whoever has taken it over has been written anew. */
Test(awake, store_that_forgot_all)
{
    struct leg c;
    struct fake *f = ringing(&c);

    take_it(f, &c);
    engine_store_forgot(f->e, f->now);
    fake_pass(f, 1000);
    cr_assert(f->put_count == 0 && f->beat_count > 0, "written before a beat of this node's stands there");
    engine_node(f->e, span_of(f->beats[(f->beat_count - 1) % COUNT(f->beats)].record), f->now);
    fake_turn(f);
    expect_lost(f);
}
