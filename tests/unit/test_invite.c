/* Stray INVITEs: a call that waits for nobody, unless another node or this one has it already. */
#include "fake.h"

TestSuite(invite, .fini = no_leaks);

static struct fake *with_invite(bool strict, struct leg *c)
{
    struct fake *f = fake_peers();

    f->conf.claim_strict = strict;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    fake_forget(f);
    *c = call_make(1);
    fake_stray(f, 1, c, "INVITE");
    cr_assert(f->get_count == !strict && f->claim_count == strict);
    return f;
}

static void expect_back(struct fake *f, const char *why)
{
    struct leg c = call_make(1);
    char *rest;

    fake_turn(f);
    cr_assert(fake_count(f, "send") == 1, "%zu", fake_count(f, "send"));
    cr_expect(strstr(fake_handover(f, &rest), scratch("X-Kamsync: to=1;inc=100.1;why=%s;", why)), "not %s", why);
    cr_expect_str_eq(rest, sip_request(&c, "INVITE"));
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "to"), "192.0.2.1:5060");
    cr_expect(fake_status(f).strays == 0);
    fake_free(f);
}

Test(invite, unknown_is_given_back_at_once)
{
    struct leg c;
    struct fake *f = with_invite(false, &c);

    fake_answer(f, NULL);
    cr_expect(fake_counters(f)->verdict_unknown == 1);
    expect_back(f, "unknown");
}

Test(invite, own_goes_to_its_owner)
{
    struct leg c;
    struct fake *f = with_invite(false, &c);

    fake_answer(f, fake_record(&c, 1, "100.1", false));
    expect_back(f, "owner");
}

Test(invite, own_needs_no_lookup)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_branch(f, 1, &c, "0", true);
    fake_stray(f, 1, &c, "INVITE");
    cr_expect(f->get_count == 0);
    expect_back(f, "owner");
}

Test(invite, of_another_node_is_handed_over)
{
    struct leg c;
    struct fake *f = with_invite(false, &c);

    fake_answer(f, fake_record(&c, 2, "200.1", false));
    fake_turn(f);
    cr_expect(fake_count(f, "send") == 1 && fake_sent_count(f, "X-Kamsync: to=2;inc=200.1;why=owner;") == 1);
    fake_free(f);
}

Test(invite, of_an_orphan_is_taken_over_and_then_delivered)
{
    struct leg c;
    struct fake *f = with_invite(false, &c);

    fake_answer(f, fake_orphan(&c, 2, "200.0"));
    cr_assert(f->put_count == 1);
    fake_put_done(f, 1, true);
    f->found = fake_orphan(&c, 2, "200.0");
    fake_pass(f, 100);
    cr_expect(fake_sent_count(f, "why=takeover") == 1 && fake_count(f, "send") == 1, "it waits longer than 50 ms");
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=owner") == 1 && fake_count(f, "send") == 2 && fake_status(f).strays == 0);
    fake_free(f);
}

Test(invite, slow_store_holds_nobody_up)
{
    for (int strict = 0; strict < 2; strict++) {
        struct leg c;
        struct fake *f = with_invite(strict, &c);

        fake_pass(f, 49);
        cr_expect(fake_count(f, "send") == 0);
        fake_pass(f, 1);
        cr_expect(fake_counters(f)->verdict_unavailable == 1);
        expect_back(f, "unavailable");
    }
}

Test(invite, late_answers_change_nothing)
{
    struct leg c;
    struct fake *f = with_invite(false, &c);

    fake_pass(f, 50);
    fake_answer(f, fake_record(&c, 2, "200.1", false));
    expect_back(f, "unavailable");
    f = with_invite(true, &c);
    fake_pass(f, 50);
    fake_claimed(f, CLAIM_WON, NULL);
    expect_back(f, "unavailable");
}

Test(invite, failed_lookup_is_tried_again_within_the_time)
{
    struct leg c;
    struct fake *f = with_invite(false, &c);

    engine_got(f->e, f->gets[0].token, GET_FAILED, (struct span){0}, f->now);
    fake_pass(f, 30);
    cr_assert(f->get_count > 1 && fake_count(f, "send") == 0);
    fake_answer(f, NULL);
    expect_back(f, "unknown");
}

Test(invite, store_that_is_down_holds_nobody_up)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    engine_store_down(f->e, f->now);
    fake_stray(f, 1, &c, "INVITE");
    expect_back(f, "unavailable");
}

/* ---- claim=strict ---- */

Test(invite, strict_claims_it)
{
    struct leg c;
    struct fake *f = with_invite(true, &c);

    cr_expect_str_eq(f->claims[0].key,
                     "kamsync:claim:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060:new");
    cr_expect_str_eq(f->claims[0].value, "1 100.1");
    cr_expect(f->claims[0].ttl_ms == 300000);
    fake_free(f);
}

Test(invite, strict_won_is_ours_to_route)
{
    struct leg c;
    struct fake *f = with_invite(true, &c);

    fake_claimed(f, CLAIM_WON, NULL);
    expect_back(f, "unknown");
}

Test(invite, strict_lost_to_a_living_node_is_handed_over)
{
    struct leg c;
    struct fake *f = with_invite(true, &c);

    fake_claimed(f, CLAIM_LOST, "3 300.1");
    fake_turn(f);
    cr_expect(fake_count(f, "send") == 1 && fake_sent_count(f, "X-Kamsync: to=3;inc=300.1;why=owner;") == 1);
    fake_free(f);
}

/* Otherwise kamsyncd could end while a record is unwritten. */
Test(invite, strict_answered_too_late_is_no_write_that_was_answered)
{
    struct leg c, other = call_make(2);
    struct fake *f = with_invite(true, &c);

    fake_branch(f, 1, &other, "0", true);
    fake_turn(f);
    fake_pass(f, 1000);
    cr_assert(fake_status(f).strays == 0 && fake_status(f).puts == 1);
    fake_claimed(f, CLAIM_WON, NULL);
    cr_expect(fake_status(f).puts == 1);
    fake_put_done(f, 1, true);
    cr_expect(fake_status(f).puts == 0);
    fake_free(f);
}

/* A retransmission that reached the same node. */
Test(invite, strict_lost_to_ourselves)
{
    struct leg c;
    struct fake *f = with_invite(true, &c);

    fake_claimed(f, CLAIM_LOST, "1 100.1");
    expect_back(f, "owner");
}

Test(invite, strict_lost_to_a_dead_node_looks_for_its_record)
{
    static const char *const dead[] = {"1 100.0", "nonsense", ""};

    for (size_t i = 0; i < COUNT(dead); i++) {
        struct leg c;
        struct fake *f = with_invite(true, &c);

        fake_claimed(f, CLAIM_LOST, dead[i]);
        cr_assert(f->get_count == 1, "'%s'", dead[i]);
        fake_answer(f, NULL);
        expect_back(f, "unknown");
        f = with_invite(true, &c);
        fake_claimed(f, CLAIM_LOST, dead[i]);
        fake_answer(f, fake_orphan(&c, 2, "200.0"));
        cr_expect(f->put_count == 1 && json_is_true(fake_put_field(f, "taking")) && fake_count(f, "send") == 0);
        fake_free(f);
    }
}

/* Who looks dead may be back a moment ago, and its record on its way. */
Test(invite, strict_lost_to_a_node_that_looks_dead_waits_for_its_record)
{
    static const char *const rivals[] = {"2 200.0", "9 900.1"};

    for (size_t i = 0; i < COUNT(rivals); i++) {
        struct leg c;
        struct fake *f = with_invite(true, &c);

        f->found = "";
        fake_claimed(f, CLAIM_LOST, rivals[i]);
        fake_pass(f, 40);
        cr_expect(fake_count(f, "send") == 0 && f->get_count > 1, "'%s'", rivals[i]);
        fake_pass(f, 20);
        expect_back(f, "unavailable");
    }
}

/* The host stood still between the claim and its answer. */
Test(invite, strict_won_long_ago_looks_for_a_record)
{
    struct leg c;
    struct fake *f = with_invite(true, &c);

    f->now += 5000;
    fake_claimed(f, CLAIM_WON, NULL);
    cr_assert(f->get_count == 1);
    fake_answer(f, NULL);
    expect_back(f, "unknown");
}

Test(invite, strict_failed_claim_is_unavailable)
{
    struct leg c;
    struct fake *f = with_invite(true, &c);

    fake_claimed(f, CLAIM_FAILED, NULL);
    expect_back(f, "unavailable");
}

/* Only INVITEs are claimed. */
Test(invite, strict_changes_nothing_for_cancel)
{
    struct leg c;
    struct fake *f = with_invite(true, &c);

    fake_stray(f, 2, &c, "CANCEL");
    cr_expect(f->claim_count == 1 && f->get_count == 1);
    fake_free(f);
}
