/* Calls whose node is gone become the survivors'; a kamsyncd that was just started learns its own back. */
#include "fake.h"
#include "pairs.h"

TestSuite(inherit, .fini = no_leaks);

static char *key_of(unsigned i)
{
    return scratch("kamsync:call:{call-%u@caller.example}:a1", i);
}

/* An answered call of that node. */
static char *record_of(unsigned i, int node, const char *more)
{
    return scratch("{\"call_id\":\"call-%u@caller.example\",\"node\":%d,\"inc\":\"%d00.1\",\"from_tag\":\"a1\","
                   "\"to_tag\":\"b1\",\"tx\":\"kamsync:tx:{x}:1:y\",\"state\":\"answered\",\"trying\":1800000000500,"
                   "\"answered\":1800000000900,"
                   "\"at.1\":1800000000700,\"var.x\":\"y\"%s}",
                   i, node, node, more);
}

/* Node 2's beats have ended, and it does not answer: a search waits for its first part. */
static struct fake *lost(void)
{
    struct fake *f = fake_lost_peer();

    fake_forget(f);
    return f;
}

/* The search finds calls 0 to n-1. */
static void find(struct fake *f, unsigned n)
{
    cr_assert(f->scanning);
    for (unsigned i = 0; i < n; i++)
        engine_scan_key(f->e, key_of(i));
    fake_scanned(f, 0, 0, true, 0);
    fake_turn(f);
}

/* Answers reading g with that node's call. */
static void answer(struct fake *f, size_t g, int node, const char *more)
{
    unsigned i = 0;
    size_t count;
    json_t *json;
    struct pair *pairs;

    cr_assert(sscanf(f->call_gets[g].key, "kamsync:call:{call-%u@", &i) == 1);
    json = json_loads(record_of(i, node, more), 0, NULL);
    pairs = pairs_of_json(json, &count);
    engine_call_got(f->e, f->call_gets[g].token, GET_FOUND, pairs, count, f->now);
    free(pairs);
    json_decref(json);
}

static void answer_all(struct fake *f, int node, const char *more)
{
    for (size_t g = 0; g < f->call_get_count; g++) {
        answer(f, g, node, more);
        fake_turn(f);
    }
}

Test(inherit, calls_of_a_lost_node_are_shared)
{
    struct fake *f = lost();

    find(f, 100);
    cr_expect(f->call_get_count > 25 && f->call_get_count <= 64, "%zu of 100 are no share", f->call_get_count);
    answer_all(f, 2, "");
    cr_expect(fake_status(f).calls == f->call_get_count &&
              engine_counters(f->e)->calls_failed_over == f->call_get_count);
    cr_expect(fake_writes(f, CALL_TAKE) == f->call_count && f->call_count == f->call_get_count);
    cr_expect_str_eq(fake_call_text(f, "node"), "1");
    cr_expect_str_eq(fake_call_text(f, "inc"), "200.1", "its dialog died with its Kamailio");
    cr_expect_str_eq(fake_call_text(f, "answered"), "1800000000900");
    cr_expect_str_eq(fake_call_text(f, "state"), "answered");
    cr_expect_str_eq(fake_call_text(f, "var.x"), "y");
    cr_expect_str_eq(fake_call_text(f, "at.1"), "1800000000700", "it had its part in it before");
    fake_free(f);
}

Test(inherit, second_search_takes_what_others_left)
{
    struct fake *f = lost();

    find(f, 0);
    fake_pass(f, 2500);
    cr_assert(f->scanning);
    find(f, 60);
    cr_expect(f->call_get_count == 60);
    fake_free(f);
}

Test(inherit, calls_of_a_node_whose_kamailio_is_down_stay_there)
{
    struct fake *f = fake_peers();

    f->mute_scans = f->mute_calls = f->polite = true;
    fake_node(f, 2, 9, "200.1", false);
    fake_turn(f);
    for (int i = 0; i < 2; i++) {
        find(f, 50);
        fake_pass(f, 2500);
    }
    cr_expect(f->call_get_count == 0 && fake_status(f).calls == 0);
    fake_free(f);
}

static void expect_left(int node, const char *more)
{
    struct fake *f = lost();

    find(f, 100);
    answer_all(f, node, more);
    cr_expect(fake_status(f).calls == 0 && f->call_count == 0, "node %d %s", node, more);
    fake_free(f);
}

Test(inherit, what_is_left_alone)
{
    expect_left(3, "");                         /* it lives */
    expect_left(-1, "");                        /* its caller is asked to try again */
    expect_left(0, "");                         /* nobody's */
    expect_left(2, ",\"ended\":1800000000950"); /* it has ended */
}

Test(inherit, record_without_a_name_or_with_odd_times)
{
    struct fake *f = lost();
    struct pair none[] = {{BYTES("node"), BYTES("2")}};
    struct pair odd[] = {{BYTES("node"), BYTES("2")},
                         {BYTES("call_id"), BYTES("x")},
                         {BYTES("trying"), BYTES("-9223372036854775808")},
                         {BYTES("at.1"), BYTES("-9223372036854775808")}};

    find(f, 100);
    engine_call_got(f->e, f->call_gets[0].token, GET_FOUND, none, COUNT(none), f->now);
    engine_call_got(f->e, f->call_gets[1].token, GET_FOUND, odd, COUNT(odd), f->now);
    engine_call_got(f->e, f->call_gets[2].token, GET_ABSENT, NULL, 0, f->now);
    engine_call_got(f->e, f->call_gets[3].token, GET_FAILED, NULL, 0, f->now);
    fake_pass(f, 500);
    cr_expect(fake_status(f).calls == 1);
    fake_free(f);
}

Test(inherit, so_many_are_read_at_a_time)
{
    struct fake *f = lost();
    size_t seen = 0;

    find(f, 400);
    cr_assert(f->call_get_count == 64);
    answer(f, 0, 2, "");
    fake_turn(f);
    cr_expect(f->call_get_count == 65);
    answer(f, 1, 3, "");
    engine_call_got(f->e, f->call_gets[2].token, GET_FAILED, NULL, 0, f->now);
    fake_turn(f);
    cr_expect(f->call_get_count == 67);
    for (seen = 3; seen < f->call_get_count; seen++) {
        answer(f, seen, 2, "");
        fake_turn(f);
    }
    cr_expect(seen > 100 && seen < 300, "%zu", seen);
    fake_free(f);
}

/* ---- after a start ---- */

Test(inherit, own_calls_are_learnt_back_after_a_start)
{
    struct leg c = call_make(0);
    struct fake *f = fake_started();

    find(f, 40);
    cr_expect(f->call_get_count == 40, "all of them, not a share");
    for (size_t g = 0; g < 40; g++)
        answer(f, g, g == 39 ? 2 : 1, "");
    fake_turn(f);
    cr_expect(fake_status(f).calls == 39 && engine_counters(f->e)->calls_failed_over == 0);
    cr_expect(f->call_count == 0, "it stands there already");
    fake_set(f, &c, "z", "1");
    fake_turn(f);
    cr_assert(f->call_count == 1 && f->calls[0].mode == CALL_BEGIN);
    cr_expect_str_eq(fake_call_text(f, "node"), "1");
    cr_expect_str_eq(fake_call_text(f, "var.x"), "y");
    cr_expect_str_eq(fake_call_text(f, "at.1"), "1800000000700");
    fake_free(f);
}

/* They are as old as they are: not as young as this kamsyncd. */
Test(inherit, old_call_that_is_learnt_back_is_ended_in_time)
{
    struct fake *f = fake_started();

    f->now += 36000000;
    f->conf.call_max_ms = 36060000;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    find(f, 1);
    answer(f, 0, 1, "");
    f->mute_calls = false;
    fake_pass(f, 300000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1);
    cr_expect_str_eq(fake_call_text(f, "how"), "unknown");
    fake_free(f);
}

/* Kamailio is restarted before the search has ended. */
Test(inherit, search_goes_on_when_kamailio_restarts_meanwhile)
{
    struct fake *f = fake_started();

    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.2");
    fake_turn(f);
    fake_scanned(f, 0, 0, true, 0);
    fake_turn(f);
    for (int round = 0; round < 2; round++) {
        find(f, 40);
        answer_all(f, 1, "");
        fake_pass(f, 2500);
    }
    cr_expect(fake_status(f).calls == 40, "%zu", fake_status(f).calls);
    fake_free(f);
}
