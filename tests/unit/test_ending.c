/* The end of a call, seen from the node at which its BYE arrives. */
#include "count.h"
#include "call_impl.h"
#include "fake_ending.h"

TestSuite(ending, .fini = no_leaks);

Test(ending, bye_ends_the_call_with_its_reply)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_pass(f, 100);
    cr_expect(f->call_get_count == 0, "its reply may be a challenge");
    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    fake_expect_ended(f, "caller", 50);
}

static size_t trace_lines(struct fake *f, const struct leg *c)
{
    fake_ask(f, 7, scratch("{\"cmd\":\"trace\",\"call_id\":\"%s\"}", c->call_id));
    fake_pass(f, 2000);
    cr_assert_not_null(fake_answered(f));
    return json_array_size(json_object_get(fake_answered(f), "trace"));
}

Test(ending, at_another_node_than_the_calls_is_traced)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    fake_turn(f);
    cr_expect(trace_lines(f, &c) == 1);
    fake_expect_ended(f, "caller", 50);
}

/* The ends of ordinary calls would soon have pushed out all decisions. */
Test(ending, at_the_calls_node_is_not)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->polite = true;
    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(15));
    fake_turn(f);
    fake_bye(f, &c, "a1", "b1", 0, AT(20));
    fake_bye(f, &c, "a1", "b1", 200, AT(21));
    fake_turn(f);
    cr_expect(fake_counters(f)->calls_ended == 1);
    cr_expect(trace_lines(f, &c) == 0);
    fake_free(f);
}

Test(ending, bye_of_the_callee)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "b1", "a1", 0, AT(50));
    fake_bye(f, &c, "b1", "a1", 200, AT(51));
    fake_expect_ended(f, "callee", 50);
}

Test(ending, bye_without_any_reply)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_pass(f, 31900);
    cr_expect(f->call_get_count == 0);
    fake_pass(f, 100);
    fake_expect_ended(f, "caller", 50);
}

Test(ending, reply_that_says_the_call_is_gone_ends_it_too)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 481, AT(51));
    fake_expect_ended(f, "caller", 50);
}

Test(ending, reply_alone_ends_it)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    fake_expect_ended(f, "caller", 51);
}

Test(ending, challenged_bye_ends_nothing)
{
    for (int code = 401; code <= 407; code += 6) {
        struct leg c;
        struct fake *f = fake_with_call(&c, call_of_2);

        fake_bye(f, &c, "a1", "b1", 0, AT(50));
        fake_bye(f, &c, "a1", "b1", code, AT(51));
        fake_pass(f, 5000);
        cr_expect(f->call_get_count == 0, "%d", code);
        fake_bye(f, &c, "a1", "b1", 0, AT(60));
        fake_bye(f, &c, "a1", "b1", 200, AT(61));
        fake_expect_ended(f, "caller", 60);
    }
}

/* Who says that ends no call: it goes on, whatever the caller would like to have in the archive. */
Test(ending, refused_bye_ends_nothing)
{
    static const int codes[] = {400, 403, 420, 483, 500, 503, 603};

    for (size_t i = 0; i < COUNT(codes); i++) {
        struct leg c;
        struct fake *f = fake_with_call(&c, call_of_2);

        fake_bye(f, &c, "a1", "b1", 0, AT(50));
        fake_bye(f, &c, "a1", "b1", codes[i], AT(51));
        fake_bye(f, &c, "b1", "a1", codes[i], AT(51));
        fake_pass(f, 40000);
        cr_expect(f->call_get_count == 0 && fake_counters(f)->byes_refused == 1, "%d", codes[i]);
        fake_bye(f, &c, "a1", "b1", 0, AT(60));
        fake_bye(f, &c, "a1", "b1", 200, AT(61));
        fake_expect_ended(f, "caller", 60);
    }
}

/* Anybody can make one: without the BYE that this node has sent on, it is believed only of a node that died just now.
 */
Test(ending, reply_without_its_bye)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    for (int id = 2; id <= 9; id += 7)
        fake_say(f,
                 "{\"t\":\"events\",\"n\":%lld}{\"t\":\"bye\",\"call_id\":\"%s\",\"from_tag\":\"YTE=\","
                 "\"to_tag\":\"YjE=\",\"code\":200,\"id\":%d}",
                 f->events + 1, base64_of(c.call_id), id);
    fake_pass(f, 40000);
    cr_expect(f->call_get_count == 0 && f->call_count == 0);
    fake_free(f);
}

/* 481 to a BYE that came before the answer: of a dialog that is yet to begin nobody knows. */
Test(ending, bye_before_the_answer_that_is_not_accepted)
{
    struct leg c;
    struct fake *f = fake_with_call(
        &c, "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"answered\":\"1800000060000\"}");

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 481, AT(51));
    fake_pass(f, 5000);
    cr_expect(f->call_count == 0 && fake_counters(f)->byes_foreign == 1);
    fake_bye(f, &c, "a1", "b1", 0, AT(70));
    fake_bye(f, &c, "a1", "b1", 481, AT(71));
    fake_expect_ended(f, "caller", 70);
}

/* Two phones have answered, and the caller hangs up at the second one at once. */
Test(ending, second_dialog_ended_at_once)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_replied(f, &c, "0", 200, "b2", AT(12));
    fake_turn(f);
    expect_text(f, "to_tag", "b1");
    expect_text(f, "dialog.b2", scratch("%lld", (long long)AT(12)));
    f->call_result = CALL_GOES_ON;
    fake_bye(f, &c, "a1", "b2", 0, AT(13));
    fake_bye(f, &c, "a1", "b2", 200, AT(13));
    fake_turn(f);
    cr_expect(f->calls[f->call_count - 1].mode == CALL_END_ANSWERED && fake_counters(f)->calls_ended == 0);
    f->call_result = CALL_WRITTEN;
    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_expect(fake_counters(f)->calls_ended == 1);
    fake_free(f);
}

/* Its answer is told of a moment later than the BYE. */
Test(ending, second_dialog_that_is_not_known_yet)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"a1\",\"state\":\"ringing\"}");

    f->call_result = CALL_FOREIGN;
    fake_bye(f, &c, "a1", "b2", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(fake_counters(f)->byes_foreign == 0 && fake_counters(f)->calls_ended == 0 && f->call_count > 0);
    f->call_found =
        "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"answered\":\"7\",\"dialog.b2\":\"8\"}";
    f->call_result = CALL_GOES_ON;
    fake_pass(f, 600);
    cr_expect(ending_count(f->e) == 0 && fake_counters(f)->byes_foreign == 0 && fake_counters(f)->calls_ended == 0);
    fake_free(f);
}

Test(ending, dialog_module_ended_it)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_say(f,
             "{\"t\":\"events\",\"n\":1}{\"t\":\"bye\",\"call_id\":\"%s\",\"from_tag\":\"%s\","
             "\"to_tag\":\"%s\",\"code\":0,\"by\":\"kamailio\",\"at\":%lld}",
             base64_of(c.call_id), base64_of("a1"), base64_of("b1"), (long long)AT(50) / 1000);
    fake_pass(f, 3000);
    fake_expect_ended(f, "kamailio", 50);
}

/* ---- not this call's ---- */

Test(ending, wrong_tags_end_nothing)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b2", 200, AT(50));
    fake_bye(f, &c, "", "", 200, AT(50));
    fake_pass(f, 4000);
    cr_expect(f->call_count == 0 && fake_counters(f)->byes_foreign == 2 && f->call_get_count < 60);
    fake_expect_over(f);
}

/* A forged one, or that of a fork that lost, comes first and waits for its reply. */
Test(ending, wrong_tags_do_not_hide_the_right_ones)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b2", 0, AT(49));
    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    fake_turn(f);
    cr_expect(fake_counters(f)->calls_ended == 1);
    fake_pass(f, 36000);
    cr_expect(f->call_count == 1 && fake_counters(f)->byes_foreign == 1);
    fake_expect_over(f);
}

Test(ending, late_bye_is_counted_and_writes_nothing)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, "{\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"ended\":5,\"state\":\"ended\"}");

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_expect(f->call_count == 0 && fake_counters(f)->byes_late == 1 && fake_counters(f)->calls_ended == 0);
    fake_expect_over(f);
}

Test(ending, both_sides_at_once_end_it_once)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    f->mute_calls = true;
    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "b1", "a1", 0, AT(51));
    fake_bye(f, &c, "b1", "a1", 200, AT(52));
    fake_bye(f, &c, "a1", "b1", 200, AT(52));
    fake_turn(f);
    cr_expect(f->call_get_count == 1);
    f->mute_calls = false;
    fake_call_got(f, call_of_2);
    fake_expect_ended(f, "caller", 50);
}

Test(ending, other_node_was_faster)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    f->call_result = CALL_OVER;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_expect(fake_counters(f)->byes_late == 1 && fake_counters(f)->calls_ended == 0 && f->tell_count == 0);
    fake_expect_over(f);
}

/* ---- the store ---- */

Test(ending, store_that_is_away_costs_no_end)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    engine_store_down(f->e, f->now);
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 60000);
    cr_expect(f->call_get_count == 0);
    engine_store_up(f->e, f->now);
    fake_expect_ended(f, "caller", 50);
}

Test(ending, store_that_fails_half_way_costs_no_end)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    f->call_result = CALL_FAILED;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 20000);
    cr_expect(f->call_count >= 20 && f->call_count < 100);
    f->calls_fail = true;
    fake_pass(f, 20000);
    fake_forget(f);
    f->calls_fail = false;
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 250);
    fake_expect_ended(f, "caller", 50);
}

/* ---- who is told ---- */

/* Its question was under way when the store went away; when it is back, the call's node has yet to write the call. */
Test(ending, long_absence_of_the_store_costs_no_end)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    f->calls_fail = true;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_assert(f->call_get_count > 0);
    engine_store_down(f->e, f->now);
    fake_pass(f, 40000);
    f->calls_fail = false;
    f->call_found = NULL;
    engine_store_up(f->e, f->now);
    fake_pass(f, 1000);
    cr_assert(ending_count(f->e) == 1 && fake_counters(f)->byes_unknown == 0);
    f->call_found = call_of_2;
    fake_pass(f, 1000);
    fake_expect_ended(f, "caller", 50);
}

Test(ending, node_of_the_call_is_told)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_assert(f->tell_count == 1 && f->tells[0].node == 2);
    cr_expect_str_eq(fake_text(fake_tell(f, 0), "t"), "over");
    cr_expect_str_eq(fake_text(fake_tell(f, 0), "call_id"), c.call_id);
    fake_free(f);
}

/* A third one had it, too, and may think that it is its own still. */
Test(ending, all_are_told_of_a_call_that_moved)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2_and_3);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_assert(f->tell_count == 1 && f->tells[0].node == 0);
    cr_expect_str_eq(fake_text(fake_tell(f, 0), "t"), "over");
    fake_free(f);
}

/* Its tags are known: the record is not read. This node had its part in it before: that does not change with the BYE.
 */
Test(ending, own_call_is_forgotten_and_nobody_is_told)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, "{\"node\":1,\"from_tag\":\"a1\",\"answered\":2,\"at.1\":77}");
    size_t reads;

    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    reads = f->call_get_count;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_expect(fake_status(f).calls == 0 && f->tell_count == 0 && f->call_get_count == reads);
    expect_text(f, "at.1", scratch("%lld", (long long)AT(10)));
    fake_free(f);
}

/* Its record is written again in a moment: who waited longer would lose the end if kamsyncd was killed meanwhile. */
Test(ending, store_that_has_forgotten_an_own_call_is_asked_soon)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    f->call_result = CALL_ABSENT;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(fake_counters(f)->calls_ended == 0);
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 300);
    cr_expect(fake_counters(f)->calls_ended == 1);
    fake_free(f);
}

/* The same of another node's. */
Test(ending, call_that_the_store_has_lost_is_asked_for_soon)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    engine_store_forgot(f->e, f->now);
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 2000);
    f->call_found = call_of_2;
    fake_pass(f, 300);
    cr_expect(fake_counters(f)->calls_ended == 1);
    fake_free(f);
}

/* It may be that of a second dialog, which another gateway answered: whose it is the record has to say. */
Test(ending, bye_with_other_tags_than_the_own_calls)
{
    struct leg c;
    struct fake *f =
        fake_with_call(&c, "{\"node\":1,\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"answered\":2,\"at.1\":77}");

    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    fake_bye(f, &c, "a1", "b2", 200, AT(50));
    fake_pass(f, 4000);
    cr_expect(f->call_get_count > 0 && fake_counters(f)->byes_foreign == 1 && fake_counters(f)->calls_ended == 0);
    fake_free(f);
}

/* Two calls of one Call-ID, the From tag of one is the To tag of the other: each BYE finds its own. */
Test(ending, two_calls_that_share_a_tag)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, NULL);

    f->mute_calls = true;
    fake_bye(f, &c, "b1", "a1", 200, AT(50));
    fake_turn(f);
    fake_call_got(f, "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"b1\",\"to_tag\":\"x\",\"answered\":2}");
    cr_assert(f->call_get_count == 2);
    cr_expect_str_eq(f->call_gets[0].key, "kamsync:call:{call-1@caller.example}:b1");
    cr_expect_str_eq(f->call_gets[1].key, "kamsync:call:{call-1@caller.example}:a1");
    f->mute_calls = false;
    fake_call_got(f, call_of_2);
    fake_expect_ended(f, "callee", 50);
}
