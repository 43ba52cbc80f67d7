/* BYEs that wait: for the record of their call, or word of its answer; and how many may. */
#include "fake_ending.h"

TestSuite(byes, .fini = no_leaks);

Test(byes, call_that_nobody_knows_is_looked_for_a_while)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 9700);
    cr_expect(f->call_get_count == 4 && fake_counters(f)->byes_unknown == 0, "%zu readings", f->call_get_count);
    fake_pass(f, 500);
    cr_expect(f->call_get_count == 5 && fake_counters(f)->byes_unknown == 1);
    fake_expect_over(f);
}

Test(byes, record_that_comes_late)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 400);
    f->call_found = call_of_2;
    fake_pass(f, 300);
    cr_expect(f->call_count == 1);
    fake_expect_over(f);
}

Test(byes, record_that_comes_very_late)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 6000);
    f->call_found = call_of_2;
    fake_pass(f, 4300);
    cr_expect(f->call_count == 1);
    fake_expect_over(f);
}

/* The store forgot, and another node's variables came back first. */
Test(byes, record_of_variables_only_is_no_foreign_call)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, "{\"call_id\":\"call-1@caller.example\",\"var.x\":\"1\",\"at.3\":5}");

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(fake_counters(f)->byes_foreign == 0 && f->call_count == 0);
    f->call_found = call_of_2;
    fake_pass(f, 300);
    cr_expect(f->call_count == 1 && fake_counters(f)->calls_ended == 1);
    fake_expect_over(f);
}

Test(byes, answer_that_is_reported_later_than_the_bye)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    f->call_result = CALL_EARLY;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(fake_writes(f, CALL_END) == 0 && f->call_count >= 2);
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 300);
    cr_expect(fake_counters(f)->calls_ended == 1 && fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

Test(byes, answer_that_is_never_reported)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    f->call_result = CALL_EARLY;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 2900);
    cr_expect(fake_writes(f, CALL_END) == 0);
    fake_pass(f, 400);
    cr_expect(fake_writes(f, CALL_END) >= 1);
    fake_free(f);
}

/* ---- how many ---- */

static void say_bogus(struct fake *f, unsigned i, int code)
{
    fake_say(f,
             "{\"t\":\"events\",\"n\":1}{\"t\":\"bye\",\"call_id\":\"YQ==\",\"from_tag\":\"%s\","
             "\"to_tag\":\"YQ==\",\"code\":%d}",
             base64_of(scratch("%u", i)), code);
}

Test(byes, no_more_than_so_many_wait)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    for (unsigned i = 0; i < 65540; i++) {
        say_bogus(f, i, 0);
    }
    cr_expect(fake_counters(f)->byes_shed == 4);
    fake_free(f);
}

/* Strangers say BYE, as many as there is room for, and more: a real one has room all the same. */
Test(byes, real_ones_first)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    for (unsigned i = 0; i < 65536; i++)
        say_bogus(f, i, 0);
    cr_assert(fake_counters(f)->byes_shed == 0);
    f->call_found = call_of_2;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    cr_expect(fake_counters(f)->byes_shed == 1, "the oldest stranger");
    fake_turn(f);
    cr_expect(f->call_count == 1 && f->calls[0].mode == CALL_END_ANSWERED && fake_counters(f)->calls_ended == 1);
    fake_free(f);
}

Test(byes, so_many_questions_are_under_way)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    f->mute_calls = true;
    for (unsigned i = 0; i < 2000; i++)
        say_bogus(f, i, 200);
    fake_turn(f);
    cr_expect(f->call_get_count == 1024, "%zu", f->call_get_count);
    fake_pass(f, 1000);
    cr_expect(f->call_get_count == 1024);
    fake_free(f);
}
