/* The life of a call's record, seen from one node: from the INVITE on, what is written, when, and what is not. */
#include "fake.h"

TestSuite(calls, .fini = no_leaks);

static char *replaced(const char *text, const char *part, const char *by)
{
    const char *at = strstr(text, part);

    cr_assert_not_null(at);
    return scratch("%.*s%s%s", (int)(at - text), text, by, at + strlen(part));
}

/* Call 1 begins at 10 s. */
static struct fake *begun(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    fake_invite(f, c, NULL, AT(10));
    fake_turn(f);
    return f;
}

static struct fake *answered(struct leg *c)
{
    struct fake *f = begun(c);

    fake_replied(f, c, "0", 180, NULL, AT(12));
    fake_replied(f, c, "0", 200, "b1", AT(15));
    fake_turn(f);
    return f;
}

#define expect_time(f, name, s) expect_text(f, name, scratch("%lld", (long long)AT(s)))

Test(calls, invite_begins_a_record)
{
    struct leg c;
    struct fake *f = begun(&c);

    cr_assert(f->call_count == 1 && fake_status(f).calls == 1);
    cr_expect(f->calls[0].mode == CALL_BEGIN && f->calls[0].node == 1);
    cr_expect(f->calls[0].ttl_ms == f->conf.call_max_ms + 3600000);
    cr_expect_str_eq(f->calls[0].key, "kamsync:call:{call-1@caller.example}:a1");
    expect_text(f, "call_id", c.call_id);
    expect_text(f, "node", "1");
    expect_text(f, "inc", "100.1");
    expect_text(f, "caller", "sip:alice@example.org");
    expect_text(f, "callee", "sip:bob@example.org");
    expect_text(f, "ruri", "sip:bob@192.0.2.10");
    expect_text(f, "source", "udp:198.51.100.9:5060");
    expect_text(f, "from_tag", "a1");
    expect_text(f, "tx", "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060");
    expect_text(f, "state", "trying");
    expect_text(f, "to_tag", "(none)");
    expect_time(f, "trying", 10);
    expect_time(f, "at.1", 10);
    fake_free(f);
}

/* The events come in one turn, long after what they tell. */
Test(calls, times_are_the_scripts)
{
    struct leg c;
    struct fake *f = answered(&c);

    expect_time(f, "trying", 10);
    expect_time(f, "ringing", 12);
    expect_time(f, "answered", 15);
    expect_text(f, "state", "answered");
    expect_text(f, "code", "200");
    expect_text(f, "to_tag", "b1");
    cr_expect(f->call_count == 2, "%zu writes", f->call_count);
    fake_free(f);
}

Test(calls, without_its_time_an_event_is_of_now)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);

    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    expect_text(f, "trying", scratch("%lld", (long long)(FAKE_EPOCH + f->now)));
    fake_free(f);
}

/* ---- ends without an answer ---- */

/* The way of an end: first the record as it is, then CALL_END. */
static void expect_end(struct fake *f, const char *how, const char *by, const char *code, int64_t s)
{
    fake_pass(f, 3000);
    cr_assert(f->call_count > 0);
    cr_expect(f->calls[f->call_count - 1].mode == CALL_END && fake_writes(f, CALL_END) == 1);
    cr_expect(f->calls[f->call_count - 1].ttl_ms == f->conf.ended_ttl_ms);
    expect_text(f, "state", "ended");
    expect_text(f, "how", how);
    expect_text(f, "by", by);
    expect_text(f, "code", code);
    expect_time(f, "ended", s);
    cr_expect(fake_status(f).calls == 0 && fake_counters(f)->calls_ended == 1);
    fake_free(f);
}

Test(calls, rejected)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 180, NULL, AT(11));
    fake_replied(f, &c, "0", 486, NULL, AT(13));
    expect_end(f, "rejected", "callee", "486", 13);
}

Test(calls, cancelled)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_put_done(f, 1, true);
    fake_cancel(f, &c);
    fake_turn(f);
    cr_expect(json_is_true(fake_put_field(f, "cancelled")), "a survivor must know it, too");
    fake_replied(f, &c, "0", 487, NULL, AT(14));
    expect_end(f, "cancelled", "caller", "487", 14);
}

/* Another leg of an upstream fork, with the same Call-ID and CSeq. */
Test(calls, cancel_of_another_leg)
{
    struct leg c, other;
    struct fake *f = begun(&c);

    fake_put_done(f, 1, true);
    other = call_make(2);
    other.call_id = c.call_id;
    fake_cancel(f, &other);
    fake_invite(f, &other, NULL, AT(11));
    fake_cancel(f, &other);
    fake_turn(f);
    cr_expect(json_is_true(fake_put_field(f, "cancelled")), "the one that was cancelled was written last");
    fake_replied(f, &c, "0", 180, NULL, AT(12));
    fake_turn(f);
    cr_expect_null(fake_put_field(f, "cancelled"));
    fake_replied(f, &c, "0", 486, NULL, AT(13));
    expect_end(f, "rejected", "callee", "486", 13);
}

Test(calls, timed_out)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 408, NULL, AT(14));
    expect_end(f, "timed out", "kamsync", "408", 14);
}

/* Nobody said so: then it ended when that was concluded, not with the last thing that was heard. */
Test(calls, timed_out_without_a_word)
{
    struct leg c;
    struct fake *f = begun(&c);
    int64_t ended;

    fake_replied(f, &c, "0", 503, NULL, AT(11));
    fake_branch(f, f->events + 1, &c, "1", false);
    fake_pass(f, 210000);
    expect_text(f, "how", "timed out");
    ended = strtoll(fake_call_text(f, "ended"), NULL, 10) - FAKE_EPOCH;
    cr_expect(ended > f->now - 15000 && ended <= f->now);
    fake_free(f);
}

Test(calls, second_branch_that_answers_is_no_end)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 503, NULL, AT(11));
    fake_branch(f, f->events + 1, &c, "1", false);
    fake_replied(f, &c, "1", 200, "b7", AT(13));
    fake_pass(f, 5000);
    cr_expect(fake_writes(f, CALL_END) == 0);
    expect_text(f, "to_tag", "b7");
    fake_free(f);
}

/* ---- forks, spirals ---- */

Test(calls, fork_keeps_the_first_answer_and_its_times)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_branch(f, f->events + 1, &c, "1", false);
    fake_replied(f, &c, "0", 180, NULL, AT(11));
    fake_replied(f, &c, "1", 183, NULL, AT(12));
    fake_replied(f, &c, "1", 200, "b2", AT(13));
    fake_replied(f, &c, "0", 200, "b1", AT(14));
    fake_replied(f, &c, "0", 487, NULL, AT(15));
    fake_pass(f, 4000);
    expect_time(f, "ringing", 11);
    expect_time(f, "answered", 13);
    expect_text(f, "to_tag", "b2");
    cr_expect(fake_status(f).calls == 1 && fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

/* A branch that is challenged after another one has answered. */
Test(calls, answered_call_is_not_for_the_taking)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_branch(f, f->events + 1, &c, "1", false);
    fake_replied(f, &c, "0", 200, "b1", AT(13));
    fake_replied(f, &c, "1", 407, NULL, AT(14));
    fake_set(f, &c, "x", "1");
    fake_turn(f);
    expect_text(f, "node", "1");
    expect_text(f, "code", "200");
    fake_free(f);
}

/* The script tries another branch instead of asking the caller. */
Test(calls, redirected_inside_and_answered_is_not_for_the_taking)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 302, NULL, AT(11));
    fake_turn(f);
    expect_text(f, "node", "-1");
    fake_branch(f, f->events + 1, &c, "1", false);
    fake_replied(f, &c, "1", 180, NULL, AT(12));
    fake_turn(f);
    expect_text(f, "node", "1");
    fake_replied(f, &c, "1", 200, "b1", AT(13));
    fake_turn(f);
    expect_text(f, "node", "1");
    expect_text(f, "code", "200");
    fake_free(f);
}

/* The same INVITE again with another branch of the caller's: it came back to this node. */
static struct leg again(const struct leg *c, unsigned i)
{
    struct leg other = call_make(i);

    other.call_id = c->call_id;
    return other;
}

Test(calls, spiral_through_this_node_changes_nothing)
{
    struct leg c, second;
    struct fake *f = begun(&c);

    second = again(&c, 2);
    fake_invite(f, &second, NULL, AT(11));
    fake_replied(f, &second, "0", 486, NULL, AT(12));
    fake_pass(f, 5000);
    cr_expect(f->call_count == 1 && fake_status(f).calls == 1);
    fake_replied(f, &c, "0", 200, "b1", AT(13));
    fake_turn(f);
    expect_time(f, "answered", 13);
    expect_text(f, "tx", "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060");
    fake_free(f);
}

Test(calls, other_nodes_call_is_left_alone_after_some_tries)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->answer_puts = true;
    f->call_result = CALL_OTHER;
    fake_invite(f, &c, NULL, AT(10));
    fake_turn(f);
    cr_expect(f->call_count == 1 && fake_status(f).calls == 1);
    fake_pass(f, 10000);
    cr_expect(f->call_count == 4 && fake_writes(f, CALL_BEGIN) == 4, "%zu", f->call_count);
    fake_ask(f, 7, "{\"cmd\":\"calls\"}");
    fake_pass(f, 200);
    cr_expect(fake_int(fake_answered(f), "total") == 0, "the other node lists it");
    fake_replied(f, &c, "0", 200, "b1", AT(12)); /* an answer may make it this node's after all */
    fake_pass(f, 10000);
    cr_expect(fake_writes(f, CALL_BEGIN) == 5 && fake_status(f).calls == 0, "%zu", f->call_count);
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_pass(f, 1000);
    cr_expect(f->call_count == 5, "the same answer again is none");
    fake_free(f);
}

Test(calls, other_node_that_leaves_it_in_time)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->call_result = CALL_OTHER;
    fake_invite(f, &c, NULL, AT(10));
    fake_pass(f, 700);
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 3000);
    cr_expect(fake_status(f).calls == 1 && f->call_count >= 2);
    fake_free(f);
}

/* What this node's script has said of it stays. */
Test(calls, variables_of_another_nodes_call_are_written_all_the_same)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->answer_puts = true;
    f->call_result = CALL_OTHER;
    fake_invite(f, &c, NULL, AT(10));
    fake_set(f, &c, "x", "1");
    fake_pass(f, 10000);
    cr_expect(fake_writes(f, CALL_BEGIN) == 4 && fake_writes(f, CALL_ADD) == 1);
    expect_text(f, "var.x", "1");
    expect_text(f, "node", "(none)");
    expect_text(f, "tx", "(none)");
    expect_text(f, "state", "(none)");
    cr_expect(fake_status(f).calls == 1);
    fake_free(f);
}

/* One Call-ID, as a hostile caller may use it: each call has a record and an end of its own. */
Test(calls, other_from_tag_is_another_call)
{
    struct leg c, second;
    struct fake *f = begun(&c);

    second = again(&c, 2);
    fake_replied(f, &c, "0", 180, NULL, AT(11));
    fake_turn(f);
    fake_invite(f, &second, replaced(sip_request(&second, "INVITE"), "tag=a1", "tag=z:z"), AT(12));
    fake_turn(f);
    expect_text(f, "from_tag", "z:z");
    expect_time(f, "trying", 12);
    cr_expect_str_eq(f->calls[f->call_count - 1].key, "kamsync:call:{call-1@caller.example}:z%3Az");
    fake_replied(f, &second, "0", 486, NULL, AT(13));
    fake_replied(f, &c, "0", 200, "b1", AT(13));
    fake_turn(f);
    expect_text(f, "from_tag", "a1");
    expect_text(f, "state", "answered");
    fake_pass(f, 3000);
    expect_text(f, "how", "rejected");
    expect_text(f, "from_tag", "z:z");
    cr_expect(fake_status(f).calls == 1);
    fake_free(f);
}

Test(calls, invite_within_the_call_changes_nothing)
{
    struct leg c, second;
    struct fake *f = answered(&c);
    size_t writes = f->call_count;

    second = again(&c, 2);
    fake_invite(
        f, &second,
        replaced(sip_request(&second, "INVITE"), "To: <sip:bob@example.org>", "To: <sip:bob@example.org>;tag=b1"),
        AT(20));
    fake_replied(f, &second, "0", 488, NULL, AT(21));
    fake_pass(f, 5000);
    cr_expect(f->call_count == writes && fake_status(f).calls == 1);
    fake_free(f);
}

/* ---- the caller is asked to try again ---- */

static struct fake *challenged(struct leg *c)
{
    struct fake *f = begun(c);

    fake_replied(f, c, "0", 407, NULL, AT(11));
    fake_turn(f);
    expect_text(f, "node", "-1");
    expect_text(f, "state", "trying");
    return f;
}

Test(calls, challenged_caller_who_comes_back_here)
{
    struct leg c, second;
    struct fake *f = challenged(&c);

    fake_pass(f, 2000);
    second = again(&c, 2);
    fake_invite(f, &second, NULL, AT(13));
    fake_replied(f, &second, "0", 200, "b1", AT(14));
    fake_pass(f, 20000);
    cr_expect(fake_writes(f, CALL_END) == 0 && fake_status(f).calls == 1);
    expect_text(f, "node", "1");
    expect_time(f, "trying", 13);
    expect_time(f, "answered", 14);
    expect_text(f, "tx", "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-2:198.51.100.9:5060");
    fake_free(f);
}

Test(calls, challenged_caller_who_comes_back_elsewhere)
{
    struct leg c;
    struct fake *f = challenged(&c);

    f->answer_puts = true;
    fake_put_done(f, f->unanswered_count, true);
    f->call_result = CALL_OTHER;
    fake_pass(f, 30000);
    cr_expect(fake_writes(f, CALL_END) == 0 && fake_status(f).calls == 0, "it is the other node's");
    fake_free(f);
}

Test(calls, challenged_caller_who_never_comes_back)
{
    struct leg c;
    struct fake *f = challenged(&c);

    fake_pass(f, 10000);
    cr_expect(fake_writes(f, CALL_END) == 0);
    fake_pass(f, 2000);
    expect_end(f, "rejected", "callee", "407", 11);
}

/* A write is under way in the moment in which the transaction counts as over. */
Test(calls, challenged_caller_has_his_time_also_when_the_store_is_slow)
{
    struct leg c;
    struct fake *f = begun(&c);

    f->mute_calls = true;
    fake_replied(f, &c, "0", 407, NULL, AT(11));
    fake_pass(f, 3000);
    f->mute_calls = false;
    fake_call_written(f, CALL_WRITTEN);
    fake_pass(f, 5000);
    cr_expect(fake_writes(f, CALL_END) == 0 && fake_status(f).calls == 1);
    fake_pass(f, 7000);
    cr_expect(fake_writes(f, CALL_END) == 1 && fake_status(f).calls == 0);
    fake_free(f);
}

Test(calls, variable_in_that_time_does_not_shorten_it)
{
    struct leg c;
    struct fake *f = challenged(&c);

    fake_pass(f, 4000);
    fake_set(f, &c, "x", "1");
    fake_pass(f, 4000);
    expect_text(f, "var.x", "1");
    cr_expect(fake_writes(f, CALL_END) == 0);
    fake_pass(f, 5000);
    cr_expect(fake_writes(f, CALL_END) == 1);
    fake_free(f);
}

/* Its end waits to be written when he comes back after all. */
Test(calls, end_that_was_not_written_yet_does_not_hit_the_next_attempt)
{
    struct leg c, second;
    struct fake *f = challenged(&c);
    size_t writes = f->call_count;

    f->mute_calls = true;
    fake_pass(f, 13000);
    cr_assert(f->call_count == writes + 1 && f->calls[writes].mode == CALL_BEGIN);
    fake_call_written(f, CALL_WRITTEN);
    engine_store_down(f->e, f->now);
    fake_turn(f);
    second = again(&c, 2);
    fake_invite(f, &second, NULL, AT(22));
    fake_turn(f);
    f->mute_calls = false;
    engine_store_up(f->e, f->now);
    fake_pass(f, 2000);
    cr_expect(fake_writes(f, CALL_END) == 0);
    expect_text(f, "state", "trying");
    expect_time(f, "trying", 22);
    fake_free(f);
}

/* ---- a request within the call, from either side ---- */

static void set_within(struct fake *f, const struct leg *c, const char *from_tag, const char *to_tag)
{
    fake_say(f,
             "{\"t\":\"events\",\"n\":%lld}{\"t\":\"set\",\"call_id\":\"%s\",\"from_tag\":\"%s\",\"to_tag\":\"%s\","
             "\"name\":\"x\",\"value\":\"MQ==\"}",
             f->events + 1, base64_of(c->call_id), base64_of(from_tag), base64_of(to_tag));
}

Test(calls, callee_sets_a_variable_at_the_calls_node)
{
    struct leg c;
    struct fake *f = begun(&c);

    set_within(f, &c, "b1", "a1");
    fake_turn(f);
    expect_text(f, "var.x", "1");
    expect_text(f, "from_tag", "a1");
    cr_expect(fake_status(f).calls == 1);
    fake_free(f);
}

/* Another node's call: which of the tags is the caller's, the store finds out; it may have forgotten the call. */
Test(calls, variable_of_a_call_that_is_yet_to_be_found)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->call_result = CALL_ABSENT;
    set_within(f, &c, "b1", "a1");
    fake_pass(f, 2000);
    cr_expect(f->call_count == 3 && f->calls[0].mode == CALL_ADD, "%zu", f->call_count);
    cr_expect_str_eq(f->calls[0].key, "kamsync:call:{call-1@caller.example}:b1");
    expect_text(f, "from_tag", "(none)");
    f->call_result = CALL_OTHER;
    fake_pass(f, 10000);
    expect_text(f, "var.x", "1");
    cr_expect(f->call_count == 4 && fake_status(f).calls == 1);
    fake_free(f);
}

Test(calls, variable_of_a_call_that_nobody_has)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->call_result = CALL_ABSENT;
    set_within(f, &c, "b1", "a1");
    fake_pass(f, 15000);
    cr_expect(f->call_count == 11 && fake_status(f).calls == 0);
    fake_free(f);
}
