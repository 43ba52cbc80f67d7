/* Whether Kamailio has answered the caller, when every branch has failed or events were lost. */
#include "fake.h"

TestSuite(state, .fini = no_leaks);

static struct fake *ready(struct leg *c)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    fake_branch(f, ++f->events, c, "0", true);
    return f;
}

static bool last_done(const struct fake *f)
{
    return json_is_true(fake_put_field(f, "done"));
}

static long long last_code(const struct fake *f)
{
    return json_integer_value(fake_put_field(f, "code"));
}

Test(state, it_is_not_over_while_failure_route_is_at_work)
{
    struct leg c;
    struct fake *f = ready(&c);

    f->state = 180;
    fake_reply(f, ++f->events, &c, "0", 503);
    fake_pass(f, 60000);
    cr_expect(!last_done(f) && fake_writes(f, CALL_END) == 0);
    fake_branch(f, ++f->events, &c, "1", false);
    fake_reply(f, ++f->events, &c, "1", 180);
    fake_turn(f);
    cr_expect(!last_done(f) && json_array_size(fake_put_field(f, "branches")) == 2);
    fake_free(f);
}

Test(state, what_tm_has_answered_is_the_end)
{
    struct leg c;
    struct fake *f = ready(&c);

    f->state = 180;
    fake_reply(f, ++f->events, &c, "0", 503);
    fake_pass(f, 4000);
    f->state = 480;
    fake_pass(f, 7000);
    cr_expect(last_done(f) && last_code(f) == 480);
    cr_expect_str_eq(fake_call_text(f, "how"), "rejected");
    cr_expect_str_eq(fake_call_text(f, "code"), "480");
    fake_free(f);
}

Test(state, without_an_answer_the_branches_tell)
{
    struct leg c;
    struct fake *f = ready(&c);

    f->deaf = true;
    fake_reply(f, ++f->events, &c, "0", 486);
    fake_pass(f, 3000);
    cr_expect(!last_done(f));
    fake_pass(f, 3000);
    cr_expect(last_done(f) && last_code(f) == 486);
    fake_free(f);
}

Test(state, an_end_whose_event_was_lost)
{
    struct leg c;
    struct fake *f = ready(&c);

    f->state = 180;
    fake_pass(f, 60000);
    cr_expect(json_array_size(f->questions) == 0 && !last_done(f));
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"shed\",\"count\":3}", (long long)++f->events);
    fake_pass(f, 20000);
    cr_expect(!last_done(f) && engine_counters(f->e)->events_shed == 3);
    f->state = 487;
    fake_cancel(f, &c);
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"shed\",\"count\":1}", (long long)++f->events);
    fake_pass(f, 3000);
    cr_expect(last_done(f) && last_code(f) == 487);
    cr_expect_str_eq(fake_call_text(f, "how"), "cancelled");
    fake_free(f);
}

Test(state, an_answer_whose_event_was_lost)
{
    struct leg c;
    struct fake *f = ready(&c);

    f->state = 200;
    fake_turn(f);
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"shed\",\"count\":1}", (long long)++f->events);
    fake_pass(f, 3000);
    cr_expect(last_done(f) && last_code(f) == 200);
    cr_expect_str_eq(fake_call_text(f, "state"), "answered");
    fake_free(f);
}
