/* Calls and their variables against a store that is slow, away, forgetful; and over a takeover. */
#include "fake.h"
#include "nodes.h"

TestSuite(calls_store, .fini = no_leaks);

static struct fake *begun(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    fake_invite(f, c, NULL, AT(10));
    fake_turn(f);
    return f;
}

/* ---- variables ---- */

Test(calls_store, variables_before_and_after_the_invite)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_set(f, &c, "before", "1");
    fake_turn(f);
    cr_expect(f->call_count == 1 && f->calls[0].mode == CALL_ADD);
    fake_invite(f, &c, NULL, AT(10));
    fake_turn(f);
    cr_expect(f->calls[1].mode == CALL_BEGIN);
    expect_text(f, "var.before", "1");
    fake_set(f, &c, "after", "gr\xc3\xbc");
    fake_set(f, &c, "before", "");
    fake_turn(f);
    expect_text(f, "var.after", "gr\xc3\xbc");
    expect_text(f, "var.before", "");
    cr_expect(f->call_count == 3 && fake_status(f).calls == 1);
    fake_free(f);
}

static void expect_kept_out(const char *value, const char *why)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_set(f, &c, "x", value);
    fake_pass(f, 300000);
    cr_expect(f->call_count == 0 && fake_status(f).calls == 0, "nothing is known of that call");
    cr_expect(engine_counters(f->e)->frames_bad == 1 && strstr(f->logs, why), "%s", f->logs);
    fake_free(f);
}

Test(calls_store, variable_that_is_no_utf8_or_too_long)
{
    expect_kept_out("gr\xfc", "no UTF-8");
    expect_kept_out(scratch("%01025d", 7), "at most 1024 bytes");
}

Test(calls_store, too_many_variables)
{
    struct leg c;
    struct fake *f = begun(&c);

    for (int i = 0; i < 33; i++)
        fake_set(f, &c, scratch("v%d", i), "1");
    fake_turn(f);
    expect_text(f, "var.v31", "1");
    expect_text(f, "var.v32", "(none)");
    cr_expect(engine_counters(f->e)->frames_bad == 1 && strstr(f->logs, "too many"));
    fake_free(f);
}

/* ---- the store ---- */

Test(calls_store, nothing_is_written_while_it_is_away_and_everything_when_it_is_back)
{
    struct leg c = call_make(1), other = call_make(2);
    struct fake *f = fake_peers();

    fake_set(f, &other, "x", "1");
    fake_turn(f);
    engine_store_down(f->e, f->now);
    fake_invite(f, &c, NULL, AT(10));
    fake_pass(f, 1000);
    cr_expect(f->call_count == 1);
    for (int round = 1; round <= 2; round++) { /* it has forgotten everything */
        engine_store_up(f->e, f->now);
        fake_turn(f);
        cr_expect(f->call_count == (size_t)(1 + 2 * round), "%zu", f->call_count);
        cr_expect(fake_writes(f, CALL_BEGIN) == (size_t)round && fake_writes(f, CALL_ADD) == (size_t)(1 + round));
        engine_store_down(f->e, f->now);
    }
    fake_free(f);
}

Test(calls_store, call_that_has_ended_is_dropped)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->call_result = CALL_OVER;
    fake_invite(f, &c, NULL, AT(10));
    fake_set(f, &c, "x", "1");
    fake_turn(f);
    cr_expect(f->call_count == 1 && fake_status(f).calls == 0);
    fake_free(f);
}

Test(calls_store, failed_write_is_tried_again_and_not_in_a_loop)
{
    struct fake *f = fake_peers();

    f->call_result = CALL_FAILED;
    for (unsigned i = 1; i <= 20; i++) {
        struct leg c = call_make(i);

        fake_invite(f, &c, NULL, AT(10));
    }
    fake_turn(f);
    fake_put_done(f, 20, false);
    fake_forget(f);
    f->answer_puts = true; /* it takes those; but of the calls none */
    fake_pass(f, 20000);
    cr_expect(f->put_count + f->call_count >= 100 && f->put_count + f->call_count <= 20 * (10 + 2 * 20 + 2),
              "%zu writes", f->call_count);
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 9000); /* the longest pause between two rounds, and a second */
    cr_expect(fake_status(f).calls == 20);
    fake_forget(f);
    fake_pass(f, 20000);
    cr_expect(f->call_count == 0);
    fake_free(f);
}

/* The end was refused or lost: the beginning comes first again. */
Test(calls_store, end_of_a_record_that_is_gone_is_written_with_its_beginning)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 486, NULL, AT(11));
    fake_turn(f);
    f->mute_calls = true;
    fake_pass(f, 2000);
    fake_call_written(f, CALL_WRITTEN);
    fake_turn(f);
    cr_assert(f->calls[f->call_count - 1].mode == CALL_END);
    fake_call_written(f, CALL_ABSENT);
    fake_turn(f);
    cr_assert(f->calls[f->call_count - 1].mode == CALL_BEGIN);
    fake_call_written(f, CALL_WRITTEN);
    fake_turn(f);
    cr_assert(f->calls[f->call_count - 1].mode == CALL_END);
    fake_call_written(f, CALL_WRITTEN);
    cr_expect(fake_status(f).calls == 0 && engine_counters(f->e)->calls_ended == 1);
    fake_free(f);
}

Test(calls_store, change_while_it_is_being_written_is_written_as_well)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->mute_calls = true;
    fake_invite(f, &c, NULL, AT(10));
    fake_turn(f);
    fake_replied(f, &c, "0", 180, NULL, AT(11));
    fake_turn(f);
    cr_expect(f->call_count == 1, "one at a time");
    fake_call_written(f, CALL_WRITTEN);
    fake_turn(f);
    cr_expect(f->call_count == 2);
    expect_text(f, "state", "ringing");
    fake_free(f);
}

Test(calls_store, so_many_writes_are_under_way_and_no_more)
{
    struct fake *f = fake_peers();

    f->mute_calls = f->answer_puts = true;
    for (unsigned i = 0; i < 1100; i++) {
        struct leg c = call_make(i);

        fake_set(f, &c, "x", "1");
    }
    fake_turn(f);
    cr_expect(f->call_count == 1024, "%zu", f->call_count);
    fake_call_written(f, CALL_WRITTEN);
    fake_turn(f);
    cr_expect(f->call_count == 1025);
    fake_free(f);
}

/* ---- what is known of the record ---- */

static void expect_known(const struct fake *f, enum call_known known)
{
    const struct fake_call *last = &f->calls[f->call_count - 1];

    cr_expect(last->known == known, "write %zu: %d", f->call_count, last->known);
}

/* All of what was written before is in each write: so the store may put it in the place of that. */
Test(calls_store, call_that_only_its_node_writes)
{
    struct leg c;
    struct fake *f = begun(&c);
    json_t *before, *value;
    const char *name;

    expect_known(f, KNOWN_NEW);
    fake_set(f, &c, "x", "1");
    fake_replied(f, &c, "0", 180, NULL, AT(11));
    fake_turn(f);
    expect_known(f, KNOWN_OURS);
    before = f->calls[f->call_count - 1].pairs;
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    expect_known(f, KNOWN_OURS);
    json_object_foreach(before, name, value)
        cr_expect(json_object_get(f->calls[f->call_count - 1].pairs, name), "%s is missing", name);
    fake_bye(f, &c, "a1", "b1", 0, AT(20));
    fake_bye(f, &c, "a1", "b1", 200, AT(21));
    fake_turn(f);
    cr_assert(f->calls[f->call_count - 1].mode == CALL_END_ANSWERED);
    expect_known(f, KNOWN_OURS);
    fake_free(f);
}

/* If no answer has come, its end may stand there, which no plain command may go over. */
Test(calls_store, call_that_may_have_ended)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    f->call_result = CALL_FAILED;
    fake_bye(f, &c, "a1", "b1", 0, AT(20));
    fake_bye(f, &c, "a1", "b1", 200, AT(21));
    fake_turn(f);
    cr_assert(f->calls[f->call_count - 1].mode == CALL_END_ANSWERED);
    expect_known(f, KNOWN_OURS);
    f->call_result = CALL_WRITTEN;
    fake_set(f, &c, "x", "1");
    fake_turn(f);
    cr_assert(f->calls[f->call_count - 1].mode == CALL_BEGIN);
    expect_known(f, KNOWN_NOTHING);
    fake_pass(f, 1000);
    cr_assert(fake_writes(f, CALL_END_ANSWERED) == 2);
    fake_free(f);
}

/* An answer that has not come, or not this one, says nothing of what stands there. */
Test(calls_store, call_whose_record_may_be_another_one)
{
    static const enum call_result results[] = {CALL_FAILED, CALL_REFUSED, CALL_OTHER};

    for (size_t i = 0; i < COUNT(results); i++)
        for (int first = 0; first <= 1; first++) {
            struct leg c = call_make(1);
            struct fake *f = fake_peers();

            f->polite = f->answer_puts = true;
            f->call_result = first ? results[i] : CALL_WRITTEN;
            fake_invite(f, &c, NULL, AT(10));
            fake_turn(f);
            f->call_result = results[i];
            fake_replied(f, &c, "0", 180, NULL, AT(11));
            fake_pass(f, first ? 0 : 1);
            f->call_result = CALL_WRITTEN;
            fake_pass(f, 20000);
            expect_known(f, KNOWN_NOTHING);
            fake_free(f);
        }
}

/* One of an older version would take its record for none. */
Test(calls_store, call_beside_an_older_node)
{
    for (int older = 0; older <= 1; older++) {
        struct leg c = call_make(1);
        struct fake *f = fake_peers();

        fake_version(f, 6, NODE_VERSION + 1);
        fake_version(f, 7, NODE_VERSION - older);
        fake_invite(f, &c, NULL, AT(10));
        fake_turn(f);
        expect_known(f, older ? KNOWN_NOTHING : KNOWN_NEW);
        fake_free(f);
    }
}

/* Its caller comes again, maybe at another node. */
Test(calls_store, call_of_a_challenged_caller)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 407, NULL, AT(11));
    fake_turn(f);
    expect_text(f, "node", "-1");
    expect_known(f, KNOWN_NOTHING);
    fake_free(f);
}

/* ---- time ---- */

Test(calls_store, call_that_nobody_ends_is_ended)
{
    struct leg c = call_make(1), other = call_make(2);
    struct fake *f = fake_peers();

    f->conf.call_max_ms = 1200000;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    f->polite = true;
    fake_invite(f, &c, NULL, AT(10));
    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_set(f, &other, "x", "1");
    fake_pass(f, 1190000);
    cr_expect(fake_status(f).calls == 2 && fake_writes(f, CALL_END) == 0);
    fake_pass(f, 130000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1, "the other one is not ours to end");
    expect_text(f, "how", "unknown");
    expect_text(f, "by", "kamsync");
    fake_free(f);
}

/* Else it would begin the record of a call anew whose end it did not hear of. */
Test(calls_store, record_is_written_again_before_that_of_an_ended_call_is_gone)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_turn(f);
    fake_forget(f);
    f->call_result = CALL_OVER;
    fake_pass(f, f->conf.ended_ttl_ms);
    cr_expect(f->call_count == 1 && fake_status(f).calls == 0);
    fake_free(f);
}

/* ---- takeover ---- */

static const char *whole_with_vars(const struct leg *c)
{
    char *record = fake_orphan(c, 2, "200.1");

    return scratch("%.*s,\"at\":%lld,\"vars\":{\"color\":\"red\"}}", (int)strlen(record) - 1, record, (long long)AT(7));
}

static struct fake *taking(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    fake_death(f);
    f->found = whole_with_vars(c);
    f->answer_puts = true;
    fake_stray(f, 1, c, "CANCEL");
    fake_turn(f);
    cr_assert(f->put_count == 1 && json_is_true(fake_put_field(f, "taking")));
    return f;
}

Test(calls_store, takeover_takes_the_call_and_its_variables_over)
{
    struct leg c;
    struct fake *f = taking(&c);
    char *msg = fake_sent(f, "why=takeover", 0, NULL);
    cr_assert_not_null(msg);
    cr_expect(strstr(msg, scratch("X-Kamsync-Call: %s %s\r\n", base64_of("{\"state\":\"ringing\"}"),
                                  base64_of("{\"color\":\"red\"}"))),
              "%s", msg);
    cr_expect(f->call_count == 0);
    fake_taken(f, f->events + 1, 1);
    fake_turn(f);
    cr_assert(f->call_count == 1 && f->calls[0].mode == CALL_TAKE);
    expect_text(f, "node", "1");
    expect_text(f, "inc", "100.1");
    expect_text(f, "trying", scratch("%lld", (long long)AT(7)));
    expect_text(f, "var.color", "red");
    fake_replied(f, &c, "0", 200, "b1", AT(20));
    fake_turn(f);
    expect_text(f, "state", "answered");
    cr_expect(f->calls[1].mode == CALL_BEGIN);
    fake_free(f);
}

static void doubt_and_find_nothing(struct fake *f)
{
    engine_link_down(f->e, f->now);
    fake_pass(f, 700);
    fake_forget(f);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_assert(f->put_count > 0, "the transaction is this node's still");
}

/* Whoever has it as well, and does not know that it has moved. */
static void expect_told_to_all(const struct fake *f)
{
    const char *said = fake_text(fake_tell(f, f->tell_count - 1), "t");

    cr_expect(f->tells[f->tell_count - 1].node == 0 && said && strcmp(said, "over") == 0);
}

/* Its transaction stays for some seconds, and is written again after a doubt. */
Test(calls_store, call_that_was_taken_over_and_has_ended_does_not_begin_anew)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_taken(f, f->events + 1, 1);
    fake_replied(f, &c, "0", 200, "b1", AT(20));
    fake_turn(f);
    fake_bye(f, &c, "a1", "b1", 200, AT(21));
    fake_turn(f);
    cr_assert(fake_status(f).calls == 0 && fake_writes(f, CALL_END_ANSWERED) == 1);
    expect_told_to_all(f);
    doubt_and_find_nothing(f);
    cr_expect(fake_status(f).calls == 0 && f->call_count == 0);
    fake_free(f);
}

Test(calls_store, rejection_of_a_call_that_was_taken_over_is_told_to_all)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_taken(f, f->events + 1, 1);
    fake_replied(f, &c, "0", 486, NULL, AT(20));
    fake_pass(f, 2000);
    cr_assert(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1);
    expect_told_to_all(f);
    fake_free(f);
}

/* Rather without them than not at all. */
Test(calls_store, takeover_with_variables_that_are_too_long_for_a_frame)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();
    char *record = fake_orphan(&c, 2, "200.1");

    f->polite = true;
    fake_death(f);
    f->found = scratch("%.*s,\"vars\":{\"x\":\"%050000d\"}}", (int)strlen(record) - 1, record, 1);
    f->answer_puts = true;
    fake_stray(f, 1, &c, "CANCEL");
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 1 && fake_sent_count(f, " e30=\r\n") == 1, "{}");
    fake_free(f);
}

Test(calls_store, settled_call_is_answered)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();
    char *reply = scratch("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0\r\n%s", c.tm,
                          strstr(sip_request(&c, "INVITE"), "Via: "));

    f->polite = true;
    fake_death(f);
    f->found = whole_with_vars(&c);
    f->answer_puts = true;
    fake_say(f, "%s", stray_text(1, reply, ""));
    fake_turn(f);
    cr_assert(f->call_count == 1 && f->calls[0].mode == CALL_TAKE);
    expect_text(f, "state", "answered");
    expect_text(f, "var.color", "red");
    fake_free(f);
}

/* ---- transactions that go ---- */

Test(calls_store, call_whose_transaction_another_node_has_is_not_listed_any_more)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_put_done(f, 1, true);
    engine_link_down(f->e, f->now);
    fake_pass(f, 700);
    cr_assert(fake_status(f).calls == 1);
    f->answer_puts = true;
    f->record = fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_expect(fake_status(f).calls == 0 && engine_counters(f->e)->txns_lost == 1);
    fake_free(f);
}

Test(calls_store, call_ends_when_its_transaction_is_given_up)
{
    struct leg c;
    struct fake *f = begun(&c);

    fake_reply(f, 2, &c, "0", 180);
    fake_pass(f, f->conf.tx_max_ms + 11000); /* what rings is looked at every ten seconds */
    cr_expect(engine_counters(f->e)->txns_expired == 1 && fake_status(f).calls == 0);
    cr_expect(f->calls[f->call_count - 1].mode == CALL_END);
    expect_text(f, "how", "timed out");
    expect_text(f, "by", "kamsync");
    fake_free(f);
}
