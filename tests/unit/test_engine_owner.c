/* The transactions that this node owns: from Kamailio's events to records in the store. */
#include "fake.h"

TestSuite(owner, .fini = no_leaks);

/* A ready engine which owns call 1, written and acknowledged. */
static struct fake *with_call(struct leg *c)
{
    struct fake *f = fake_ready();

    *c = call_make(1);
    f->answer_puts = true;
    fake_branch(f, 1, c, "0", true);
    fake_turn(f);
    cr_assert(f->put_count == 1 && fake_status(f).txns == 1);
    return f;
}

static bool last_done(const struct fake *f)
{
    return json_is_true(fake_put_field(f, "done"));
}

Test(owner, branch_becomes_a_record)
{
    struct leg c;
    struct fake *f = with_call(&c);

    cr_expect_str_eq(f->puts[0].key, "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060");
    cr_expect(f->puts[0].ttl_ms == 300000);
    cr_expect(json_integer_value(fake_put_field(f, "owner")) == 1);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "inc")), "100.1");
    cr_expect(!last_done(f));
    fake_free(f);
}

/* The script has sent it by forward(). */
static void forwarded(struct fake *f, const struct leg *c)
{
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}%s", f->events + 1,
             branch_text(sip_sent_on(c, "0"), sip_request(c, "INVITE"), ",\"stateless\":1"));
}

/* Without its request nobody can take it over, but CANCEL and ACK go their way. */
Test(owner, what_tm_does_not_have_is_not_to_be_taken_over)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);

    f->answer_puts = true;
    forwarded(f, &c);
    fake_turn(f);
    cr_assert(f->put_count == 1 && fake_status(f).txns == 1);
    cr_expect(json_is_true(fake_put_field(f, "stateless")));
    cr_expect_null(fake_put_field(f, "req"));
    fake_reply(f, f->events + 1, &c, "0", 180);
    forwarded(f, &c);
    fake_turn(f);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 180, "a retransmission is no new beginning");
    fake_free(f);
}

static const char *recorded_request(const char *more)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);
    const char *req = sip_request(&c, "INVITE"), *rest = strchr(req, '\n') + 1;

    req = scratch("%.*sAuthorization: a\r\nProxy-Authorization: b\r\n%s", (int)(rest - req), req, rest);
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}%s", f->events + 1, branch_text(sip_sent_on(&c, "0"), req, more));
    fake_turn(f);
    req = scratch("%s", json_string_value(fake_put_field(f, "req")));
    fake_free(f);
    return req;
}

/* What the script had taken out of the INVITE no far end gets in a takeover, and nobody reads it in the store. */
Test(owner, credentials_that_were_consumed_are_not_kept)
{
    const char *all = recorded_request(""), *one = recorded_request(",\"consumed\":1"),
               *other = recorded_request(",\"consumed\":2");

    cr_expect(strstr(all, "\r\nAuthorization: a\r\n") && strstr(all, "\r\nProxy-Authorization: b\r\n"), "%s", all);
    cr_expect(strstr(one, "\r\nAuthorization: a\r\n") && !strstr(one, "Proxy-Authorization"), "%s", one);
    cr_expect(!strstr(other, "\r\nAuthorization") && strstr(other, "\r\nProxy-Authorization: b\r\n"), "%s", other);
}

/* Another INVITE of the script's own has none. */
Test(owner, what_the_script_keeps_is_each_branchs_own)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);
    json_t *branches;

    fake_say(f, "{\"t\":\"events\",\"n\":1}%s%s",
             branch_text(sip_sent_on(&c, "0"), sip_request(&c, "INVITE"), ",\"kept\":\"MzIgNjQg\""),
             branch_text(sip_sent_on(&c, "1"), NULL, ",\"step\":1"));
    fake_turn(f);
    branches = fake_put_field(f, "branches");
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(branches, 0), "kept")), "32 64 ");
    cr_expect_null(json_object_get(json_array_get(branches, 1), "kept"));
    fake_free(f);
}

Test(owner, many_events_one_put)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);

    fake_branch(f, 1, &c, "0", true);
    for (int i = 1; i < 8; i++)
        fake_branch(f, 1 + i, &c, scratch("%d", i), false);
    for (int i = 0; i < 8; i++)
        fake_reply(f, 9 + i, &c, scratch("%d", i), 180 + i);
    cr_expect(f->put_count == 0, "not before the end of the turn");
    fake_turn(f);
    cr_expect(f->put_count == 1);
    cr_expect(json_array_size(fake_put_field(f, "branches")) == 8);
    fake_turn(f);
    cr_expect(f->put_count == 1, "and not again");
    fake_free(f);
}

Test(owner, answered_is_done)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_reply(f, 2, &c, "0", 180);
    fake_turn(f);
    cr_expect(f->put_count == 2 && f->puts[1].ttl_ms == 300000 && !last_done(f));
    fake_reply(f, 3, &c, "0", 200);
    fake_turn(f);
    cr_expect(f->put_count == 3 && f->puts[2].ttl_ms == 32000 && last_done(f));
    fake_pass(f, 10000);
    cr_expect(fake_status(f).txns == 0, "tm forgot it, so do we");
    cr_expect(f->put_count == 3);
    fake_free(f);
}

Test(owner, all_branches_negative_is_done_after_the_grace_time)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_branch(f, 2, &c, "1", false);
    fake_reply(f, 3, &c, "0", 503);
    fake_turn(f);
    fake_pass(f, 5000);
    cr_expect(!last_done(f), "branch 1 is pending");
    fake_reply(f, 4, &c, "1", 486);
    fake_turn(f);
    cr_expect(!last_done(f) && f->puts[f->put_count - 1].ttl_ms == 300000);
    fake_pass(f, 900);
    cr_expect(!last_done(f), "failure_route may still send a branch");
    fake_pass(f, 1200);
    cr_expect(last_done(f) && f->puts[f->put_count - 1].ttl_ms == 32000);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 486);
    fake_free(f);
}

/* Who says nothing is given up by tm, and would else get the INVITE again in a takeover. */
Test(owner, branch_that_tm_gave_up_has_ended)
{
    struct leg c, other = call_make(7);
    struct fake *f = with_call(&c);

    fake_branch(f, 2, &c, "1", false);
    fake_gave_up(f, 3, &c, 0, 408);
    fake_gave_up(f, 4, &other, 0, 408);
    fake_gave_up(f, 5, &c, 9, 408);
    fake_turn(f);
    cr_expect(json_integer_value(json_object_get(json_array_get(fake_put_field(f, "branches"), 0), "code")) == 408);
    cr_expect(json_integer_value(json_object_get(json_array_get(fake_put_field(f, "branches"), 1), "code")) == 0);
    cr_expect(engine_counters(f->e)->frames_bad == 0);
    fake_gave_up(f, 6, &c, 1, 408);
    fake_pass(f, 2100);
    cr_expect(last_done(f));
    cr_expect_str_eq(fake_call_text(f, "how"), "timed out");
    fake_pass(f, 5000);
    cr_expect(engine_counters(f->e)->events_foreign == 2, "what it was about never came");
    fake_free(f);
}

Test(owner, serial_branch_within_the_grace_time_keeps_it_pending)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_reply(f, 2, &c, "0", 503);
    fake_pass(f, 500);
    fake_branch(f, 3, &c, "1", false);
    fake_pass(f, 10000);
    cr_expect(fake_status(f).txns == 1 && !last_done(f));
    cr_expect_str_eq(json_string_value(fake_put_field(f, "state")), "trying");
    fake_free(f);
}

/* A failure_route may take its time (a suspended transaction, a slow database). */
Test(owner, serial_branch_after_the_grace_time_makes_it_pending_again)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_reply(f, 2, &c, "0", 503);
    fake_pass(f, 3000);
    cr_assert(last_done(f));
    fake_branch(f, 3, &c, "1", false);
    fake_turn(f);
    cr_expect(!last_done(f), "a branch is pending, so the request must stand in the record");
    cr_expect(f->puts[f->put_count - 1].ttl_ms == 300000);
    cr_expect_not_null(fake_put_field(f, "req"));
    fake_pass(f, 20000);
    cr_expect(fake_status(f).txns == 1, "and the transaction lives on");
    fake_free(f);
}

Test(owner, branch_without_any_reply_ends_with_408)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_pass(f, 200000);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 0 && f->put_count == 2, "renewed once, else the same");
    fake_pass(f, 2500);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 408);
    fake_pass(f, 2500);
    cr_expect(last_done(f));
    fake_free(f);
}

/* The 408 is only concluded. tm waits longer (fr_inv_timer) for a gateway that said 100, which is not reported. */
Test(owner, real_reply_corrects_a_concluded_408)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_pass(f, 205000);
    cr_expect(last_done(f) && json_integer_value(fake_put_field(f, "code")) == 408);
    fake_reply(f, 2, &c, "0", 180);
    fake_turn(f);
    cr_expect(!last_done(f) && json_integer_value(fake_put_field(f, "code")) == 180);
    fake_reply(f, 3, &c, "0", 200);
    fake_turn(f);
    cr_expect(last_done(f) && json_integer_value(fake_put_field(f, "code")) == 200);
    fake_free(f);
}

Test(owner, ringing_branch_has_no_timer_b)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_reply(f, 2, &c, "0", 180);
    fake_pass(f, 140000);
    cr_expect(fake_status(f).txns == 1 && f->put_count == 2 && !last_done(f));
    fake_pass(f, 20000);
    cr_expect(f->put_count == 3, "renewed at half of its time to live");
    fake_pass(f, 800000);
    cr_expect(fake_status(f).txns == 0 && engine_counters(f->e)->txns_expired == 1);
    fake_free(f);
}

Test(owner, nothing_is_asked_of_a_store_that_is_down)
{
    struct leg c = call_make(1);
    struct fake *f = fake_ready();

    engine_store_down(f->e, f->now);
    fake_forget(f);
    fake_branch(f, 1, &c, "0", true);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 0 && f->get_count == 0 && f->beat_count == 0 && f->node_reads == 0);
    cr_expect(fake_status(f).dirty == 2);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(f->put_count == 1 && f->beat_count > 0 && f->node_reads == 1);
    fake_free(f);
}

Test(owner, store_that_comes_back_gets_everything_again)
{
    struct leg c;
    struct fake *f = with_call(&c);

    for (unsigned i = 2; i <= 50; i++) {
        c = call_make(i);
        fake_branch(f, i, &c, "0", true);
    }
    fake_turn(f);
    engine_store_down(f->e, f->now);
    fake_forget(f);
    fake_pass(f, 2000);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(f->put_count == 50);
    fake_free(f);
}

Test(owner, failed_puts_are_written_again)
{
    struct leg c = call_make(1);
    struct fake *f = fake_ready();

    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    fake_put_done(f, 1, false);
    fake_turn(f);
    cr_expect(f->put_count == 1, "not at once: the store has trouble");
    fake_pass(f, 100);
    cr_expect(f->put_count == 2 && engine_counters(f->e)->puts_failed == 1);
    fake_pass(f, 1000);
    cr_expect(f->put_count == 2, "one at a time");
    fake_put_done(f, 1, true);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 3, "the one that was tried, and then all");
    fake_put_done(f, 1, true);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 3);
    fake_free(f);
}

Test(owner, puts_under_way_are_bounded)
{
    struct fake *f = fake_ready();

    for (unsigned i = 1; i <= 3000; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    fake_turn(f);
    cr_expect(f->put_count == 2048 && fake_status(f).puts == 2048 && fake_status(f).dirty == 952);
    fake_put_done(f, 10, true);
    fake_turn(f);
    cr_expect(f->put_count == 2058);
    fake_put_done(f, 2048, true);
    fake_turn(f);
    cr_expect(f->put_count == 3000);
    fake_put_done(f, 942, true);
    cr_expect(fake_status(f).puts == 0 && fake_status(f).dirty == 0);
    fake_free(f);
}

Test(owner, events_of_unknown_transactions_are_counted)
{
    struct leg c = call_make(1);
    struct fake *f = fake_ready();

    fake_branch(f, 1, &c, "1", false);
    fake_reply(f, 2, &c, "0", 180);
    fake_pass(f, 4000);
    cr_expect(engine_counters(f->e)->events_foreign == 0, "their transaction may yet be told of");
    fake_pass(f, 3000);
    cr_expect(engine_counters(f->e)->events_foreign == 2 && f->put_count == 0);
    fake_free(f);
}

/* Kamailio, or its script, may write what makes no sense; that costs only itself. */
Test(owner, malformed_event_costs_only_itself)
{
    struct leg c = call_make(1);
    struct fake *f = fake_ready();

    fake_branch(f, 1, &c, "0", true);
    fake_say(f,
             "{\"t\":\"events\",\"n\":2}{\"t\":\"reply\",\"via\":\"%s\",\"code\":7}"
             "{\"t\":\"reply\",\"via\":\"%s\",\"code\":183}null",
             base64_of(scratch("%s.0", c.tm)), base64_of(scratch("%s.0", c.tm)));
    fake_say(f, "{\"t\":\"events\",\"n\":3}%s", branch_text("x", "x", ""));
    fake_turn(f);
    cr_expect(engine_counters(f->e)->frames_bad == 3);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 183);
    fake_free(f);
}

Test(owner, lost_events_frames_are_counted)
{
    struct leg c = call_make(1);
    struct fake *f = fake_ready();

    fake_branch(f, 1, &c, "0", true);
    fake_reply(f, 5, &c, "0", 180);
    cr_expect(engine_counters(f->e)->frames_lost == 3);
    fake_free(f);
}

Test(owner, largest_frame_number_is_only_a_number)
{
    struct fake *f = fake_ready();

    fake_say(f, "{\"t\":\"events\",\"n\":9223372036854775807}");
    fake_say(f, "{\"t\":\"events\",\"n\":9223372036854775807}");
    fake_say(f, "{\"t\":\"events\",\"n\":1}");
    fake_turn(f);
    fake_free(f);
}

Test(owner, same_call_id_and_cseq_with_another_branch_is_another_transaction)
{
    struct leg c, merged;
    struct fake *f = with_call(&c);

    merged = call_make(2);
    merged.call_id = c.call_id;
    fake_branch(f, 2, &merged, "0", true);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 2 && f->put_count == 2);
    cr_expect_str_neq(f->puts[0].key, f->puts[1].key);
    fake_reply(f, 3, &merged, "0", 200);
    fake_pass(f, 10000);
    cr_expect(fake_status(f).txns == 1, "the other lives on");
    fake_free(f);
}

Test(owner, caller_that_uses_its_branch_again_replaces_the_old_one)
{
    struct leg c, again;
    struct fake *f = with_call(&c);

    again = c;
    again.tm = "z9hG4bKffff.00000000000000000000000000000001";
    fake_branch(f, 2, &again, "0", true);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && f->put_count == 2);
    fake_reply(f, 3, &again, "0", 180);
    fake_turn(f);
    cr_expect(f->put_count == 3);
    fake_free(f);
}

Test(owner, restarted_kamailio_owns_nothing_of_before)
{
    struct leg c;
    struct fake *f = with_call(&c);

    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now + 10);
    fake_hello(f, 1, "100.2");
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0);
    cr_expect_str_eq(fake_status(f).inc, "100.2");
    fake_reply(f, 1, &c, "0", 200);
    fake_pass(f, 7000);
    cr_expect(engine_counters(f->e)->events_foreign == 1);
    fake_free(f);
}

Test(owner, link_that_only_broke_keeps_everything)
{
    struct leg c;
    struct fake *f = with_call(&c);

    engine_link_down(f->e, f->now);
    fake_pass(f, 3000);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1);
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 2, "so whoever was about to take it is kept out");
    fake_reply(f, 1, &c, "0", 200);
    fake_turn(f);
    cr_expect(last_done(f));
    fake_free(f);
}
