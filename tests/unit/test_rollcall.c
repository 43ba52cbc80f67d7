/* The roll-call: nobody is told that a transaction does not exist before all kamsyncds have said that they know. */
#include "base64.h"
#include "fake.h"

TestSuite(rollcall, .fini = no_leaks, .timeout = 60);

static const struct counters *count(const struct fake *f)
{
    return engine_counters(f->e);
}

/* Nodes 2 and 3 are up; what they say is up to the test. The store knows nothing. */
static struct fake *with_mute_peers(void)
{
    struct fake *f = fake_peers();

    f->mute_peers = true;
    f->found = "";
    return f;
}

static void cancel(struct fake *f, unsigned number)
{
    struct leg c = call_make(number);

    fake_stray(f, number, &c, "CANCEL");
    fake_turn(f);
}

static int64_t called(const struct fake *f)
{
    cr_assert(f->tell_count > 0 && f->tells[f->tell_count - 1].node == 0);
    cr_expect_str_eq(fake_text(fake_tell(f, f->tell_count - 1), "t"), "roll");
    cr_expect(fake_int(fake_tell(f, f->tell_count - 1), "from") == 1);
    return fake_int(fake_tell(f, f->tell_count - 1), "n");
}

static void here(struct fake *f, int id, const char *inc, int64_t n)
{
    fake_told(f, scratch("{\"t\":\"here\",\"node\":%d,\"inc\":\"%s\",\"n\":%lld}", id, inc, (long long)n));
}

static void expect_said(struct fake *f, const char *why)
{
    char *rest;

    cr_assert(fake_count(f, "send") == 1, "%zu messages", fake_count(f, "send"));
    cr_expect(strstr(fake_handover(f, &rest), scratch("why=%s;", why)) != NULL, "not %s", why);
    fake_free(f);
}

Test(rollcall, all_answer_and_nobody_has_it)
{
    struct fake *f = with_mute_peers();

    cancel(f, 1);
    here(f, 2, "200.1", called(f));
    here(f, 3, "300.1", called(f));
    fake_pass(f, 200);
    expect_said(f, "unknown");
}

/* Its kamsyncd is dead, and its beats have not yet stayed away for long. */
Test(rollcall, one_does_not_answer_and_all_kamailios_are_asked)
{
    struct fake *f = with_mute_peers();

    cancel(f, 1);
    here(f, 2, "200.1", called(f));
    fake_pass(f, 249);
    cr_expect(fake_count(f, "send") == 0);
    fake_pass(f, 1);
    expect_said(f, "unavailable");
}

Test(rollcall, answers_that_prove_nothing)
{
    struct fake *f = with_mute_peers();
    int64_t n;

    cancel(f, 1);
    n = called(f);
    here(f, 2, "200.1", n);
    here(f, 3, "300.0", n);     /* an earlier start of its Kamailio */
    here(f, 3, "300.1", n - 1); /* an earlier roll-call */
    here(f, 3, "300.1", n + 1); /* none of ours */
    here(f, 4, "400.1", n);
    here(f, -3, "300.1", n);
    fake_told(f, "{\"t\":\"here\"}");
    fake_told(f, "{\"t\":\"roll\"}");
    fake_pass(f, 250);
    expect_said(f, "unavailable");
}

/* Before the roll-call the record was not there; who answers has written it. */
Test(rollcall, the_record_is_read_again_behind_the_answers)
{
    struct fake *f = with_mute_peers();

    f->found = NULL;
    cancel(f, 1);
    fake_answer(f, NULL);
    fake_turn(f);
    fake_pass(f, 5);
    cr_assert(f->get_count == 2);
    here(f, 2, "200.1", called(f));
    here(f, 3, "300.1", called(f));
    fake_answer(f, NULL); /* asked before they answered: it may have been written since */
    fake_pass(f, 245);
    cr_expect(f->get_count == 3);
    expect_said(f, "unavailable");
}

Test(rollcall, who_is_down_or_lost_is_not_waited_for)
{
    struct fake *f = with_mute_peers();

    fake_node(f, 3, 9, "300.1", false);
    fake_turn(f);
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
    cancel(f, 1);
    here(f, 2, "200.1", called(f));
    fake_pass(f, 200);
    expect_said(f, "unknown");
}

/* A start of kamsyncd: which nodes there are is not known. */
Test(rollcall, nodes_not_yet_heard_of_may_have_it)
{
    struct fake *f = fake_ready();

    f->found = "";
    cancel(f, 1);
    fake_pass(f, 250);
    expect_said(f, "unavailable");
}

/* An ACK to a negative reply that nobody gets makes the owner repeat that reply. */
Test(rollcall, ack_goes_to_all_too)
{
    struct fake *f = with_mute_peers();
    struct leg c = call_make(1);

    fake_stray(f, 1, &c, "ACK");
    fake_pass(f, 250);
    expect_said(f, "unavailable");
}

Test(rollcall, request_within_a_call)
{
    for (int answers = 1; answers <= 2; answers++) {
        struct fake *f = with_mute_peers();
        struct leg c = call_make(1);
        char *rest, *at, *record;
        size_t n;

        fake_question(f, &c, "call");
        fake_turn(f);
        here(f, 2, "200.1", called(f));
        here(f, answers == 2 ? 3 : 2, "300.1", called(f));
        fake_pass(f, answers == 2 ? 50 : 250);
        cr_assert(fake_count(f, "send") == 1);
        fake_handover(f, &rest);
        at = strstr(rest, "X-Kamsync-Call: ");
        cr_assert_not_null(at);
        at += strlen("X-Kamsync-Call: ");
        record = base64_bytes(span_of(scratch("%.*s", (int)strcspn(at, " "), at)), &n);
        cr_expect(strstr(record, answers == 2 ? "\"unknown\"" : "\"unavailable\"") != NULL, "%s", record);
        free(record);
        fake_free(f);
    }
}

/* However many wait: one roll-call now, and one for those that came behind it. */
Test(rollcall, many_are_served_by_a_few)
{
    struct fake *f = with_mute_peers();

    f->mute_peers = false;
    for (unsigned i = 1; i <= 300; i++) {
        cancel(f, i);
        if (i % 3 == 0)
            fake_pass(f, 1); /* 100 ms in all */
    }
    fake_pass(f, 400);
    cr_expect(count(f)->roll_calls >= 2 && count(f)->roll_calls <= 4, "%lu", (unsigned long)count(f)->roll_calls);
    cr_expect(count(f)->verdict_unknown == 300, "%lu", (unsigned long)count(f)->verdict_unknown);
    fake_free(f);
}

/* ---- the node that is asked ---- */

static void roll(struct fake *f, int64_t n)
{
    fake_told(f, scratch("{\"t\":\"roll\",\"from\":2,\"n\":%lld}", (long long)n));
}

Test(rollcall, what_is_known_is_written_before_it_is_answered)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);

    fake_branch(f, 1, &c, "0", true);
    cr_assert(f->put_count == 0);
    roll(f, 17);
    cr_assert(f->put_count == 1 && f->tell_count == 1 && f->tells[0].node == 2);
    cr_expect_str_eq(f->tells[0].text, "{\"t\":\"here\",\"node\":1,\"inc\":\"100.1\",\"n\":17}");
    fake_free(f);
}

/* What waited in Kamailio may not all have been read. */
Test(rollcall, who_is_just_connected_does_not_answer)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    engine_link_down(f->e, f->now);
    roll(f, 17);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    roll(f, 18);
    fake_hello(f, 1, "100.1");
    roll(f, 19);
    cr_expect(f->tell_count == 0);
    fake_pass(f, 90);
    fake_invite(f, &c, NULL, FAKE_EPOCH + f->now - 501); /* it waited there */
    fake_pass(f, 99);
    fake_ack_all(f);
    roll(f, 20);
    cr_expect(f->tell_count == 0);
    fake_pass(f, 1);
    roll(f, 21);
    cr_expect(f->tell_count == 1);
    fake_free(f);
}

/* Its own transactions are being read back from the store. */
Test(rollcall, who_is_learning_does_not_answer)
{
    struct fake *f = fake_new();

    f->mute_scans = true;
    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_pass(f, 1500);
    roll(f, 17);
    cr_expect(f->tell_count == 0);
    fake_free(f);
}

Test(rollcall, its_own_call_is_not_answered)
{
    struct fake *f = fake_peers();

    fake_told(f, "{\"t\":\"roll\",\"from\":1,\"n\":17}");
    cr_expect(f->tell_count == 0);
    fake_free(f);
}
