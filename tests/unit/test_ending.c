/* The end of a call, seen from the node at which its BYE arrives. */
#include "count.h"
#include "call_impl.h"
#include "fake.h"

TestSuite(ending, .fini = no_leaks);

#define AT(s) (FAKE_EPOCH + (s)*1000)
#define expect_text(f, name, text) cr_expect_str_eq(fake_call_text(f, name), text)

/* Node 2's call. */
static const char call_of_2[] =
    "{\"call_id\":\"call-1@caller.example\",\"node\":2,\"from_tag\":\"a1\",\"to_tag\":\"b1\","
    "\"state\":\"answered\",\"trying\":1,\"answered\":2,\"at.2\":1}";
static const char call_of_2_and_3[] =
    "{\"call_id\":\"call-1@caller.example\",\"node\":2,\"from_tag\":\"a1\",\"to_tag\":\"b1\","
    "\"state\":\"answered\",\"trying\":1,\"answered\":2,\"at.2\":1,\"at.1\":2,\"at.3\":1}";

static const struct counters *count(const struct fake *f)
{
    return engine_counters(f->e);
}

static struct fake *with_call(struct leg *c, const char *record)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    f->call_found = record;
    return f;
}

/* Nothing is left of it, and it costs nothing any more. */
static void expect_over(struct fake *f)
{
    size_t reads;

    fake_turn(f);
    reads = f->call_get_count;
    fake_pass(f, 20000);
    cr_expect(f->call_get_count == reads && f->call_count <= 1, "%zu readings more", f->call_get_count - reads);
    fake_free(f);
}

static void expect_ended(struct fake *f, const char *by, int64_t s)
{
    fake_turn(f);
    cr_assert(f->call_count == 1 && f->calls[0].mode == CALL_END_ANSWERED);
    cr_expect_str_eq(f->calls[0].key, "kamsync:call:{call-1@caller.example}:a1");
    cr_expect(f->calls[0].ttl_ms == f->conf.ended_ttl_ms && f->calls[0].node == 1);
    expect_text(f, "ended", scratch("%lld", (long long)AT(s)));
    expect_text(f, "at.1", scratch("%lld", (long long)AT(s)));
    expect_text(f, "how", "completed");
    expect_text(f, "by", by);
    expect_text(f, "state", "ended");
    expect_text(f, "node", "(none)");
    cr_expect(count(f)->calls_ended == 1);
    expect_over(f);
}

Test(ending, bye_ends_the_call_with_its_reply)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_pass(f, 100);
    cr_expect(f->call_get_count == 0, "its reply may be a challenge");
    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    expect_ended(f, "caller", 50);
}

Test(ending, bye_of_the_callee)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_bye(f, &c, "b1", "a1", 0, AT(50));
    fake_bye(f, &c, "b1", "a1", 200, AT(51));
    expect_ended(f, "callee", 50);
}

Test(ending, bye_without_any_reply)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_pass(f, 31900);
    cr_expect(f->call_get_count == 0);
    fake_pass(f, 100);
    expect_ended(f, "caller", 50);
}

Test(ending, reply_that_says_the_call_is_gone_ends_it_too)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 481, AT(51));
    expect_ended(f, "caller", 50);
}

Test(ending, reply_alone_ends_it)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    expect_ended(f, "caller", 51);
}

Test(ending, challenged_bye_ends_nothing)
{
    for (int code = 401; code <= 407; code += 6) {
        struct leg c;
        struct fake *f = with_call(&c, call_of_2);

        fake_bye(f, &c, "a1", "b1", 0, AT(50));
        fake_bye(f, &c, "a1", "b1", code, AT(51));
        fake_pass(f, 5000);
        cr_expect(f->call_get_count == 0, "%d", code);
        fake_bye(f, &c, "a1", "b1", 0, AT(60));
        fake_bye(f, &c, "a1", "b1", 200, AT(61));
        expect_ended(f, "caller", 60);
    }
}

/* Who says that ends no call: it goes on, whatever the caller would like to have in the archive. */
Test(ending, refused_bye_ends_nothing)
{
    static const int codes[] = {400, 403, 420, 483, 500, 503, 603};

    for (size_t i = 0; i < COUNT(codes); i++) {
        struct leg c;
        struct fake *f = with_call(&c, call_of_2);

        fake_bye(f, &c, "a1", "b1", 0, AT(50));
        fake_bye(f, &c, "a1", "b1", codes[i], AT(51));
        fake_bye(f, &c, "b1", "a1", codes[i], AT(51));
        fake_pass(f, 40000);
        cr_expect(f->call_get_count == 0 && count(f)->byes_refused == 1, "%d", codes[i]);
        fake_bye(f, &c, "a1", "b1", 0, AT(60));
        fake_bye(f, &c, "a1", "b1", 200, AT(61));
        expect_ended(f, "caller", 60);
    }
}

/* Anybody can make one: without the BYE that this node has sent on, it is believed only of a node that died just now.
 */
Test(ending, reply_without_its_bye)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

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
    struct fake *f =
        with_call(&c, "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"answered\":\"1800000060000\"}");

    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 481, AT(51));
    fake_pass(f, 5000);
    cr_expect(f->call_count == 0 && count(f)->byes_foreign == 1);
    fake_bye(f, &c, "a1", "b1", 0, AT(70));
    fake_bye(f, &c, "a1", "b1", 481, AT(71));
    expect_ended(f, "caller", 70);
}

/* Two phones have answered, and the caller hangs up at the second one at once. */
Test(ending, second_dialog_ended_at_once)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

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
    cr_expect(f->calls[f->call_count - 1].mode == CALL_END_ANSWERED && count(f)->calls_ended == 0);
    f->call_result = CALL_WRITTEN;
    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_expect(count(f)->calls_ended == 1);
    fake_free(f);
}

/* Its answer is told of a moment later than the BYE. */
Test(ending, second_dialog_that_is_not_known_yet)
{
    struct leg c;
    struct fake *f = with_call(&c, "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"a1\",\"state\":\"ringing\"}");

    f->call_result = CALL_FOREIGN;
    fake_bye(f, &c, "a1", "b2", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(count(f)->byes_foreign == 0 && count(f)->calls_ended == 0 && f->call_count > 0);
    f->call_found =
        "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"answered\":\"7\",\"dialog.b2\":\"8\"}";
    f->call_result = CALL_GOES_ON;
    fake_pass(f, 600);
    cr_expect(ending_count(f->e) == 0 && count(f)->byes_foreign == 0 && count(f)->calls_ended == 0);
    fake_free(f);
}

Test(ending, dialog_module_ended_it)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_say(f,
             "{\"t\":\"events\",\"n\":1}{\"t\":\"bye\",\"call_id\":\"%s\",\"from_tag\":\"%s\","
             "\"to_tag\":\"%s\",\"code\":0,\"by\":\"kamailio\",\"at\":%lld}",
             base64_of(c.call_id), base64_of("a1"), base64_of("b1"), (long long)AT(50) / 1000);
    fake_pass(f, 3000);
    expect_ended(f, "kamailio", 50);
}

/* ---- not this call's ---- */

Test(ending, wrong_tags_end_nothing)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b2", 200, AT(50));
    fake_bye(f, &c, "", "", 200, AT(50));
    fake_pass(f, 4000);
    cr_expect(f->call_count == 0 && count(f)->byes_foreign == 2 && f->call_get_count < 60);
    expect_over(f);
}

/* A forged one, or that of a fork that lost, comes first and waits for its reply. */
Test(ending, wrong_tags_do_not_hide_the_right_ones)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    fake_bye(f, &c, "a1", "b2", 0, AT(49));
    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    fake_turn(f);
    cr_expect(count(f)->calls_ended == 1);
    fake_pass(f, 36000);
    cr_expect(f->call_count == 1 && count(f)->byes_foreign == 1);
    expect_over(f);
}

Test(ending, late_bye_is_counted_and_writes_nothing)
{
    struct leg c;
    struct fake *f = with_call(&c, "{\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"ended\":5,\"state\":\"ended\"}");

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_expect(f->call_count == 0 && count(f)->byes_late == 1 && count(f)->calls_ended == 0);
    expect_over(f);
}

Test(ending, both_sides_at_once_end_it_once)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    f->mute_calls = true;
    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "b1", "a1", 0, AT(51));
    fake_bye(f, &c, "b1", "a1", 200, AT(52));
    fake_bye(f, &c, "a1", "b1", 200, AT(52));
    fake_turn(f);
    cr_expect(f->call_get_count == 1);
    f->mute_calls = false;
    fake_call_got(f, call_of_2);
    expect_ended(f, "caller", 50);
}

Test(ending, other_node_was_faster)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    f->call_result = CALL_OVER;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    cr_expect(count(f)->byes_late == 1 && count(f)->calls_ended == 0 && f->tell_count == 0);
    expect_over(f);
}

/* ---- what comes later than the BYE ---- */

Test(ending, call_that_nobody_knows_is_looked_for_a_while)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 9700);
    cr_expect(f->call_get_count == 4 && count(f)->byes_unknown == 0, "%zu readings", f->call_get_count);
    fake_pass(f, 500);
    cr_expect(f->call_get_count == 5 && count(f)->byes_unknown == 1);
    expect_over(f);
}

Test(ending, record_that_comes_late)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 400);
    f->call_found = call_of_2;
    fake_pass(f, 300);
    cr_expect(f->call_count == 1);
    expect_over(f);
}

Test(ending, record_that_comes_very_late)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 6000);
    f->call_found = call_of_2;
    fake_pass(f, 4300);
    cr_expect(f->call_count == 1);
    expect_over(f);
}

/* The store forgot, and another node's variables came back first. */
Test(ending, record_of_variables_only_is_no_foreign_call)
{
    struct leg c;
    struct fake *f = with_call(&c, "{\"call_id\":\"call-1@caller.example\",\"var.x\":\"1\",\"at.3\":5}");

    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(count(f)->byes_foreign == 0 && f->call_count == 0);
    f->call_found = call_of_2;
    fake_pass(f, 300);
    cr_expect(f->call_count == 1 && count(f)->calls_ended == 1);
    expect_over(f);
}

Test(ending, answer_that_is_reported_later_than_the_bye)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    f->call_result = CALL_EARLY;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(fake_writes(f, CALL_END) == 0 && f->call_count >= 2);
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 300);
    cr_expect(count(f)->calls_ended == 1 && fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

Test(ending, answer_that_is_never_reported)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    f->call_result = CALL_EARLY;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 2900);
    cr_expect(fake_writes(f, CALL_END) == 0);
    fake_pass(f, 400);
    cr_expect(fake_writes(f, CALL_END) >= 1);
    fake_free(f);
}

/* ---- the store ---- */

Test(ending, store_that_is_away_costs_no_end)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

    engine_store_down(f->e, f->now);
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 60000);
    cr_expect(f->call_get_count == 0);
    engine_store_up(f->e, f->now);
    expect_ended(f, "caller", 50);
}

Test(ending, store_that_fails_half_way_costs_no_end)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

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
    expect_ended(f, "caller", 50);
}

/* ---- who is told ---- */

Test(ending, node_of_the_call_is_told)
{
    struct leg c;
    struct fake *f = with_call(&c, call_of_2);

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
    struct fake *f = with_call(&c, call_of_2_and_3);

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
    struct engine_status s;
    struct fake *f = with_call(&c, "{\"node\":1,\"from_tag\":\"a1\",\"answered\":2,\"at.1\":77}");
    size_t reads;

    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    reads = f->call_get_count;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_turn(f);
    engine_status(f->e, &s);
    cr_expect(s.calls == 0 && f->tell_count == 0 && f->call_get_count == reads);
    expect_text(f, "at.1", scratch("%lld", (long long)AT(10)));
    fake_free(f);
}

/* Its record is written again in a moment: who waited longer would lose the end if kamsyncd was killed meanwhile. */
Test(ending, store_that_has_forgotten_an_own_call_is_asked_soon)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    f->call_result = CALL_ABSENT;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 1000);
    cr_expect(count(f)->calls_ended == 0);
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 300);
    cr_expect(count(f)->calls_ended == 1);
    fake_free(f);
}

/* The same of another node's. */
Test(ending, call_that_the_store_has_lost_is_asked_for_soon)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    engine_store_forgot(f->e, f->now);
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    fake_pass(f, 2000);
    f->call_found = call_of_2;
    fake_pass(f, 300);
    cr_expect(count(f)->calls_ended == 1);
    fake_free(f);
}

/* It may be that of a second dialog, which another gateway answered: whose it is the record has to say. */
Test(ending, bye_with_other_tags_than_the_own_calls)
{
    struct leg c;
    struct fake *f = with_call(&c, "{\"node\":1,\"from_tag\":\"a1\",\"to_tag\":\"b1\",\"answered\":2,\"at.1\":77}");

    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    fake_bye(f, &c, "a1", "b2", 200, AT(50));
    fake_pass(f, 4000);
    cr_expect(f->call_get_count > 0 && count(f)->byes_foreign == 1 && count(f)->calls_ended == 0);
    fake_free(f);
}

/* Two calls of one Call-ID, the From tag of one is the To tag of the other: each BYE finds its own. */
Test(ending, two_calls_that_share_a_tag)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    f->mute_calls = true;
    fake_bye(f, &c, "b1", "a1", 200, AT(50));
    fake_turn(f);
    fake_call_got(f, "{\"node\":2,\"tx\":\"t\",\"from_tag\":\"b1\",\"to_tag\":\"x\",\"answered\":2}");
    cr_assert(f->call_get_count == 2);
    cr_expect_str_eq(f->call_gets[0].key, "kamsync:call:{call-1@caller.example}:b1");
    cr_expect_str_eq(f->call_gets[1].key, "kamsync:call:{call-1@caller.example}:a1");
    f->mute_calls = false;
    fake_call_got(f, call_of_2);
    expect_ended(f, "callee", 50);
}

Test(ending, no_more_than_so_many_wait)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    for (unsigned i = 0; i < 65540; i++) {
        fake_say(f,
                 "{\"t\":\"events\",\"n\":1}{\"t\":\"bye\",\"call_id\":\"YQ==\",\"from_tag\":\"%s\","
                 "\"to_tag\":\"YQ==\",\"code\":0}",
                 base64_of(scratch("%u", i)));
    }
    cr_expect(count(f)->byes_shed == 4);
    fake_free(f);
}

static void say_bogus(struct fake *f, unsigned i, int code)
{
    fake_say(f,
             "{\"t\":\"events\",\"n\":1}{\"t\":\"bye\",\"call_id\":\"YQ==\",\"from_tag\":\"%s\","
             "\"to_tag\":\"YQ==\",\"code\":%d}",
             base64_of(scratch("%u", i)), code);
}

/* Strangers say BYE, as many as there is room for, and more: a real one has room all the same. */
Test(ending, real_ones_first)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    for (unsigned i = 0; i < 65536; i++)
        say_bogus(f, i, 0);
    cr_assert(count(f)->byes_shed == 0);
    f->call_found = call_of_2;
    fake_bye(f, &c, "a1", "b1", 200, AT(50));
    cr_expect(count(f)->byes_shed == 1, "the oldest stranger");
    fake_turn(f);
    cr_expect(f->call_count == 1 && f->calls[0].mode == CALL_END_ANSWERED && count(f)->calls_ended == 1);
    fake_free(f);
}

Test(ending, so_many_questions_are_under_way)
{
    struct leg c;
    struct fake *f = with_call(&c, NULL);

    f->mute_calls = true;
    for (unsigned i = 0; i < 2000; i++)
        say_bogus(f, i, 200);
    fake_turn(f);
    cr_expect(f->call_get_count == 1024, "%zu", f->call_get_count);
    fake_pass(f, 1000);
    cr_expect(f->call_get_count == 1024);
    fake_free(f);
}
