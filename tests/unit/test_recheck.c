/* Who was thought dead goes quiet: nothing is written of a transaction before it is known that no other node claimed
 * it. And Kamailio that hangs: its node says so, and others take over. */
#include "base64.h"
#include "fake.h"

TestSuite(recheck, .fini = no_leaks);

static struct engine_status status_of(const struct fake *f)
{
    struct engine_status s;

    engine_status(f->e, &s);
    return s;
}

#define CLAIM_KEY "kamsync:claim:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060:100.1"

/* The link broke and was mended: the engine asks for a claim. */
static struct fake *returned(struct leg *c)
{
    struct fake *f = fake_owning(c);

    engine_link_down(f->e, f->now);
    fake_pass(f, 700);
    fake_forget(f);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_assert(f->claim_count == 1);
    cr_expect_str_eq(f->claims[0].key, CLAIM_KEY);
    cr_expect_str_eq(f->claims[0].value, "1 100.1");
    f->found = "";
    return f;
}

Test(recheck, nothing_is_written_before_it_is_known)
{
    struct leg c;
    struct fake *f = returned(&c);

    fake_reply(f, 1, &c, "0", 183);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 0);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "code")) == 183);
    fake_free(f);
}

Test(recheck, what_is_not_claimed_is_written_again)
{
    struct leg c;
    struct fake *f = returned(&c);

    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 1 && status_of(f).txns == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

Test(recheck, what_is_claimed_is_lost)
{
    struct leg c;
    struct fake *f = returned(&c);
    json_t *lost;

    f->found = fake_orphan(&c, 2, "200.1");
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    fake_turn(f);
    lost = fake_last(f, "lost");
    cr_assert(fake_count(f, "lost") == 1);
    cr_expect_str_eq(fake_text(lost, "call_id"), base64_of(c.call_id));
    cr_expect(fake_int(lost, "cseq") == c.cseq && fake_int(lost, "n") > 0);
    cr_expect(status_of(f).txns == 0 && engine_counters(f->e)->txns_lost == 1);
    fake_reply(f, 1, &c, "0", 200);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 0, "no word more of it");
    fake_free(f);
}

/* Kamailio must learn it, however often the link breaks before it has acknowledged that. */
Test(recheck, loss_is_told_until_it_is_acknowledged)
{
    struct leg c;
    struct fake *f = returned(&c);

    engine_link_down(f->e, f->now);
    f->found = fake_orphan(&c, 2, "200.1");
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    for (int i = 0; i < 4; i++) {
        fake_pass(f, 5000);
        fake_forget(f);
        engine_link_up(f->e, scratch("tag-%d", i + 3), f->now);
        fake_turn(f);
        fake_hello(f, 1, i < 3 ? "100.1" : "100.2");
        fake_turn(f);
        cr_expect(fake_count(f, "lost") == (i < 2), "connection %d: told %zu times", i, fake_count(f, "lost"));
        if (i == 1)
            fake_ack_all(f);
        engine_link_down(f->e, f->now);
    }
    cr_expect(status_of(f).txns == 0);
    fake_free(f);
}

/* Another incarnation has nothing that it could have lost. */
Test(recheck, loss_is_not_told_to_another_incarnation)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->found = fake_orphan(&c, 2, "200.1");
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    fake_turn(f);
    engine_link_down(f->e, f->now);
    fake_pass(f, 5000);
    fake_forget(f);
    engine_link_up(f->e, "tag-3", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.2");
    fake_turn(f);
    cr_expect(fake_count(f, "lost") == 0);
    fake_free(f);
}

/* Else tm's timers would one day end a call that is another node's. */
Test(recheck, lost_transaction_is_given_back_so_that_tm_forgets_it)
{
    struct leg c;
    struct fake *f = returned(&c);
    char *rest;

    f->found = fake_orphan(&c, 2, "200.1");
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    fake_turn(f);
    cr_assert(fake_sent_count(f, "why=lost") == 1 && fake_count(f, "send") == 1);
    cr_expect(strstr(fake_handover(f, &rest), "X-Kamsync: to=1;inc=100.1;why=lost;src=udp:198.51.100.9:5060;"));
    cr_expect(strncmp(rest, scratch("INVITE sip:%s@kamsync SIP/2.0\r\nVia: ", c.tm), strlen(c.tm) + 34) == 0, "%s",
              rest);
    cr_expect(strstr(rest, c.branch) && strstr(rest, c.call_id) && strstr(rest, "INVITE\r\n"), "%s", rest);
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "to"), "192.0.2.1:5060");
    fake_free(f);
}

/* Two frames for each are more than may wait at once. */
Test(recheck, many_losses_are_all_told)
{
    static const unsigned many = 2500;
    struct fake *f = fake_ready();

    f->answer_puts = true;
    for (unsigned i = 1; i <= many; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    fake_turn(f);
    engine_link_down(f->e, f->now);
    fake_pass(f, 100);
    fake_forget(f);
    f->holder = "2 200.1";
    f->found = ""; /* answered and over, there */
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    f->polite = true;
    for (int i = 0; i < 4000 && fake_count(f, "send") < many; i++)
        fake_turn(f);
    cr_expect(engine_counters(f->e)->txns_lost == many && engine_counters(f->e)->frames_shed == 0, "%zu lost, %zu shed",
              (size_t)engine_counters(f->e)->txns_lost, (size_t)engine_counters(f->e)->frames_shed);
    cr_expect(fake_count(f, "lost") == many && fake_count(f, "send") == many, "%zu and %zu", fake_count(f, "lost"),
              fake_count(f, "send"));
    fake_free(f);
}

/* "I could not claim" is neither "I hold it" nor "another does". */
Test(recheck, failed_claim_is_no_knowledge)
{
    struct leg c;
    struct fake *f = returned(&c);

    fake_claimed(f, CLAIM_FAILED, NULL);
    fake_pass(f, 100);
    cr_expect(f->put_count == 0, "written without knowing");
    fake_pass(f, 5000);
    cr_expect(f->claim_count >= 2, "asked again");
    fake_free(f);
}

/* The claim of an earlier look ends any moment, and does not count: another node may have decided meanwhile. */
Test(recheck, own_claim_of_before_is_made_anew)
{
    struct leg c;
    struct fake *f = returned(&c);

    cr_expect(f->claims[0].ttl_ms == 1000, "it must be gone when the search for orphans comes by again");
    fake_claimed(f, CLAIM_LOST, "1 100.1");
    fake_pass(f, 1000);
    cr_expect(f->put_count == 0 && f->claim_count == 2);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 1 && status_of(f).takeovers == 0);
    fake_free(f);
}

/* Two reasons to look at once: the store comes back while Kamailio hangs, then Kamailio answers. */
Test(recheck, second_reason_while_the_first_is_open_changes_nothing)
{
    struct leg c;
    struct fake *f = returned(&c);

    fake_ack_all(f);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-3", f->now);
    fake_hello(f, 1, "100.1");
    fake_reply(f, 1, &c, "0", 183);
    fake_turn(f);
    cr_expect(f->put_count == 0, "written, though the first question is not answered");
    f->found = fake_orphan(&c, 2, "200.1");
    for (size_t i = 0; i < f->claim_count; i++)
        engine_claimed(f->e, f->claims[i].token, CLAIM_LOST, span_of("2 200.1"), f->now);
    fake_turn(f);
    cr_expect(status_of(f).txns == 0 && fake_count(f, "lost") == 1, "claimed by node 2, but not lost");
    fake_free(f);
}

static void link_again(struct fake *f)
{
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-3", f->now);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
}

/* Only an answer that was under way then is too old: each further claim on itself would have to wait until the last one
 * has ended, a second. */
Test(recheck, second_reason_before_the_claim_is_made_costs_no_further_one)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->polite = true;
    fake_claimed(f, CLAIM_LOST, "1 100.1"); /* an earlier look's: later */
    link_again(f);
    fake_pass(f, 300);
    cr_assert(f->claim_count == 2);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->claim_count == 2 && f->put_count == 1);
    fake_free(f);
}

Test(recheck, second_reason_while_a_claim_is_under_way_costs_a_further_one)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->polite = true;
    link_again(f);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_pass(f, 300);
    cr_expect(f->claim_count == 2 && f->put_count == 0);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 1);
    fake_free(f);
}

Test(recheck, transaction_that_ends_meanwhile)
{
    struct leg c;
    struct fake *f = returned(&c);

    fake_reply(f, 1, &c, "0", 200);
    fake_pass(f, 7000);
    f->found = fake_orphan(&c, 2, "200.1");
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    fake_pass(f, 1000);
    cr_expect(f->put_count == 0 && status_of(f).takeovers == 0);
    fake_free(f);
}

Test(recheck, many_are_asked_at_a_pace)
{
    struct fake *f = fake_ready();
    size_t answered = 0;

    f->answer_puts = true;
    for (unsigned i = 1; i <= 500; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    fake_turn(f);
    fake_ack_all(f);
    engine_link_down(f->e, f->now);
    fake_forget(f);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    f->found = "";
    for (int i = 0; i < 50; i++) {
        fake_turn(f);
        cr_assert(f->claim_count - answered <= 64);
        while (answered < f->claim_count) {
            engine_claimed(f->e, f->claims[answered].token, answered % 2 ? CLAIM_LOST : CLAIM_WON,
                           span_of(answered % 2 ? "2 200.1" : NULL), f->now);
            answered++;
        }
    }
    cr_expect(answered == 500 && f->put_count == 250 && status_of(f).txns == 250);
    fake_free(f);
}

/* ---- the store was away ---- */

static void expect_after_outage(int ms, size_t claims, size_t puts)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    engine_nodes_read(f->e, true, f->now);
    engine_store_down(f->e, f->now);
    fake_pass(f, ms);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(f->claim_count == claims && f->put_count == puts, "%d ms: %zu claims, %zu writes", ms, f->claim_count,
              f->put_count);
    fake_free(f);
}

/* Half of the time to live: nobody can have taken us for dead. */
Test(recheck, store_outage)
{
    expect_after_outage(1400, 0, 1);
    expect_after_outage(1600, 1, 0);
    expect_after_outage(60000, 1, 0);
}

/* Node 2 had claimed it, and let it go; then this node claimed it, but has not written its record yet. */
Test(recheck, own_claim_behind_another_one_counts_more_than_the_record)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    engine_nodes_read(f->e, true, f->now);
    engine_store_down(f->e, f->now);
    fake_pass(f, 1600);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    f->found = fake_orphan(&c, 3, "300.1");
    f->left = "0 200.1~1";
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    cr_assert(f->claim_count == 2);
    fake_claimed(f, CLAIM_LOST, "1 100.1~1");
    cr_assert(f->claim_count == 3);
    cr_expect_str_eq(f->claims[2].key, CLAIM_KEY "~1");
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 1 && status_of(f).txns == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

/* An outage begins when the store stops to answer, not when that is noticed. */
Test(recheck, store_outage_counts_from_the_last_answer)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    engine_nodes_read(f->e, true, f->now);
    fake_pass(f, 2900); /* beats and readings are asked for, nothing is answered */
    engine_store_down(f->e, f->now);
    fake_pass(f, 1200);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(f->put_count == 0 && f->claim_count == 1, "silent for 4.1 s, and written at once");
    fake_free(f);
}

/* A host that was suspended: no connection broke, no timer ran. */
Test(recheck, time_that_jumped)
{
    struct leg c;
    struct fake *f = fake_owning(&c);
    int announced = 0;

    engine_nodes_read(f->e, true, f->now);
    fake_forget(f);
    f->now += 10000;
    fake_reply(f, 2, &c, "0", 183);
    fake_turn(f);
    cr_expect(f->put_count == 0, "ten seconds without a beat, and written at once");
    cr_expect(f->claim_count == 1 && engine_counters(f->e)->hangs == 0, "Kamailio had no time to answer");
    for (size_t i = 0; i < f->beat_count; i++)
        announced += f->beats[i].announce;
    cr_expect(announced == 1, "and nobody was told that it is back");
    fake_free(f);
}

/* The claim must be there as long as a node may come back and ask for it: as long as a call may ring. */
Test(recheck, claim_lives_as_long_as_a_transaction_may)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    cr_assert(f->claim_count == 1);
    cr_expect(f->claims[0].ttl_ms >= f->conf.tx_ttl_ms, "%lld ms", (long long)f->claims[0].ttl_ms);
    fake_free(f);
}

/* ---- Kamailio hangs ---- */

#define HANG_MS 1500

static struct fake *watching(struct leg *c)
{
    struct fake *f = fake_owning(c);

    f->conf.hang_ms = HANG_MS;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_pass(f, 1100); /* also the credit for the events is written */
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
    return f;
}

static bool said(const struct fake *f, const char *what)
{
    return f->beat_count && strstr(f->beats[f->beat_count - 1].record, what);
}

static struct fake *hung(struct leg *c)
{
    struct fake *f = watching(c);

    f->deaf = true;
    fake_pass(f, HANG_MS + 1000);
    cr_assert(said(f, "\"up\":false"));
    return f;
}

Test(hang, is_noticed_in_time)
{
    struct leg c;
    struct fake *f = watching(&c);
    int64_t begun = f->now;

    f->deaf = true;
    while (!said(f, "\"up\":false") && f->now < begun + 10000)
        fake_pass(f, 10);
    cr_expect(f->now - begun <= HANG_MS + f->conf.heartbeat_ms + 10, "after %lld ms", (long long)(f->now - begun));
    cr_expect(f->now - begun >= HANG_MS);
    cr_expect(engine_counters(f->e)->hangs == 1 && strstr(f->logs, "does not answer"));
    for (size_t i = 0; i < f->beat_count; i++)
        cr_expect(f->beats[i].announce == (i == f->beat_count - 1), "told to all at once");
    fake_pass(f, 60000);
    cr_expect(engine_counters(f->e)->hangs == 1 && fake_count(f, "ping") == 2, "two pings are enough");
    fake_free(f);
}

Test(hang, what_was_learnt_last_is_written_before)
{
    struct leg c;
    struct fake *f = watching(&c);

    f->deaf = true;
    fake_pass(f, 2000);
    cr_assert(engine_wait(f->e, f->now) > 0);
    f->now += engine_wait(f->e, f->now);
    fake_reply(f, 2, &c, "0", 183);
    f->now += 900;
    fake_turn(f);
    cr_expect(f->put_count == 1 && engine_counters(f->e)->hangs == 1);
    fake_free(f);
}

Test(hang, is_over_when_the_ack_comes)
{
    struct leg c;
    struct fake *f = hung(&c);

    f->found = "";
    fake_reply(f, 2, &c, "0", 183);
    fake_pass(f, 1000);
    cr_expect(f->put_count == 0, "a node that counts as dead writes nothing");
    f->deaf = false;
    fake_ack_all(f);
    cr_expect(said(f, "\"up\":true") && f->beats[f->beat_count - 1].announce);
    fake_turn(f);
    cr_assert(f->claim_count == 1);
    cr_expect_str_eq(f->claims[0].key, CLAIM_KEY);
    cr_expect_str_eq(f->claims[0].value, "1 100.1");
    cr_expect(f->put_count == 0);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 1 && engine_counters(f->e)->hangs == 1);
    fake_pass(f, 20000);
    cr_expect(engine_counters(f->e)->hangs == 1);
    fake_free(f);
}

Test(hang, can_happen_again)
{
    struct leg c;
    struct fake *f = hung(&c);

    f->holder = "";
    f->deaf = false;
    fake_ack_all(f);
    fake_pass(f, 5000);
    fake_forget(f);
    f->deaf = true;
    fake_pass(f, HANG_MS + 1000);
    cr_expect(said(f, "\"up\":false") && engine_counters(f->e)->hangs == 2);
    fake_free(f);
}

Test(hang, no_false_alarm_while_acks_flow)
{
    struct leg c;
    struct fake *f = watching(&c);

    f->found = "";
    for (int i = 0; i < 300; i++) { /* a busy Kamailio: each ack comes late, never all */
        fake_stray(f, i + 1, &c, "CANCEL");
        fake_pass(f, 100);
        if (i >= 5)
            fake_say(f, "{\"t\":\"ack\",\"n\":%lld}",
                     (long long)fake_int(json_array_get(f->frames, (size_t)i - 5), "n"));
    }
    cr_expect(engine_counters(f->e)->hangs == 0);
    fake_free(f);
}

Test(hang, idle_kamailio_does_not_hang)
{
    struct leg c;
    struct fake *f = watching(&c);

    fake_pass(f, 120000);
    cr_expect(engine_counters(f->e)->hangs == 0 && status_of(f).link);
    fake_free(f);
}

/* Whoever hangs takes nothing over: what lies in its socket would be carried out when others own it. */
Test(hang, hung_node_claims_nothing)
{
    struct leg c;
    struct fake *f = hung(&c);

    fake_forget(f);
    f->mute_scans = true;
    fake_node(f, 2, 1, "200.1", true);
    fake_node(f, 2, 2, "200.2", true);
    fake_turn(f);
    if (f->scanning) {
        fake_scanned(f, 50, 20, true, 0);
        fake_turn(f);
        for (size_t i = f->get_count; i-- > 0;) {
            unsigned number = 0;
            struct leg other;

            sscanf(f->gets[i].key, "kamsync:tx:{call-%u@", &number);
            other = call_make(number);
            engine_got(f->e, f->gets[i].token, GET_FOUND, span_of(fake_orphan(&other, 2, "200.1")), f->now);
        }
    }
    cr_expect(f->claim_count == 0, "%zu claims", f->claim_count);
    fake_free(f);
}

Test(hang, link_that_breaks_during_it)
{
    struct leg c;
    struct fake *f = hung(&c);

    f->found = "";
    engine_link_down(f->e, f->now);
    fake_pass(f, 3000);
    f->deaf = false;
    f->holder = "";
    fake_forget(f);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_pass(f, 5000);
    cr_expect(said(f, "\"up\":true") && f->claim_count == 1 && f->put_count == 1 && engine_counters(f->e)->hangs == 1);
    fake_free(f);
}
