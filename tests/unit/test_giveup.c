/* A takeover that fails is let go: others may claim it then, and this node again. Node 2 is the owner that died, node 3
 * another survivor. */
#include "cluster.h"
#include "fake.h"

TestSuite(giveup, .fini = no_leaks, .timeout = 60);

#define CLAIM_OF(name) "kamsync:claim:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060:" name

static const struct counters *count(const struct fake *f)
{
    return engine_counters(f->e);
}

static size_t takeovers(const struct fake *f)
{
    struct engine_status s;

    engine_status(f->e, &s);
    return s.takeovers;
}

static size_t txns(const struct fake *f)
{
    struct engine_status s;

    engine_status(f->e, &s);
    return s.txns;
}

/* The n-th claim is this one. */
static void expect_claim(const struct fake *f, size_t n, const char *key, const char *value)
{
    cr_assert(f->claim_count == n + 1, "%zu claims", f->claim_count);
    cr_expect_str_eq(f->claims[n].key, key);
    cr_expect_str_eq(f->claims[n].value, value);
}

static void stray(struct fake *f, int k, const struct leg *c)
{
    fake_stray(f, k, c, "CANCEL");
    fake_answer(f, fake_orphan(c, 2, "200.1"));
}

static struct fake *claiming(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    fake_death(f);
    stray(f, 1, c);
    expect_claim(f, 0, CLAIM_OF("200.1"), "1 100.1");
    return f;
}

/* The claim is won, and the INVITE is in Kamailio. */
static struct fake *injected(struct leg *c)
{
    struct fake *f = claiming(c);

    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    fake_ack_all(f);
    f->polite = true;
    return f;
}

static struct fake *refused(struct leg *c)
{
    struct fake *f = injected(c);

    fake_taken(f, 1, 0);
    fake_turn(f);
    return f;
}

Test(giveup, refused_is_let_go_at_once)
{
    struct leg c;
    struct fake *f = refused(&c);

    expect_claim(f, 1, CLAIM_OF("100.1"), "0 100.1~1");
    cr_expect(f->claims[1].ttl_ms >= f->claims[0].ttl_ms && takeovers(f) == 0 && count(f)->takeovers_failed == 1);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_pass(f, 20000);
    cr_expect(f->claim_count == 2 && f->put_count == 0);
    fake_free(f);
}

/* The script takes no INVITE that is older than 10 s: until then it may come to life. */
Test(giveup, unconfirmed_is_let_go_when_it_cannot_come_to_life_any_more)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 1000);
    cr_expect(fake_sent_count(f, "why=takeover") == 3);
    fake_pass(f, 10000);
    cr_expect(f->claim_count == 1 && count(f)->takeovers_failed == 1 && takeovers(f) == 0);
    fake_pass(f, 3000);
    expect_claim(f, 1, CLAIM_OF("100.1"), "0 100.1~1");
    fake_free(f);
}

Test(giveup, what_comes_to_life_late_is_taken_and_not_let_go)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 9000);
    cr_assert(count(f)->takeovers_failed == 1);
    fake_taken(f, 1, 0); /* one of the copies */
    fake_taken(f, 2, 1);
    fake_turn(f);
    cr_expect(txns(f) == 1 && f->put_count == 1 && count(f)->takeovers_done == 1);
    f->answer_puts = true;
    fake_pass(f, 20000);
    cr_expect(f->claim_count == 1 && txns(f) == 1);
    fake_free(f);
}

/* One of several copies was refused: the others may not be. */
Test(giveup, refusal_of_one_of_several_copies_lets_nothing_go)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 500);
    fake_taken(f, 1, 0);
    fake_pass(f, 10000);
    cr_expect(f->claim_count == 1 && count(f)->takeovers_failed == 1);
    fake_free(f);
}

Test(giveup, stray_that_comes_meanwhile_is_adopted)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 3000);
    f->found = fake_orphan(&c, 2, "200.1");
    fake_stray(f, 2, &c, "CANCEL");
    fake_pass(f, 200);
    cr_expect(fake_sent_count(f, "CANCEL sip:bob0@203.0.113.5:5060 SIP/2.0") >= 1);
    cr_expect(fake_sent_count(f, "why=takeover") == 3 && f->claim_count == 1);
    fake_free(f);
}

Test(giveup, it_is_let_go_until_the_store_has_it)
{
    struct leg c;
    struct fake *f = refused(&c);

    fake_claimed(f, CLAIM_FAILED, NULL);
    fake_pass(f, 200);
    expect_claim(f, 2, CLAIM_OF("100.1"), "0 100.1~1");
    fake_claimed(f, CLAIM_LOST, "1 100.1"); /* a claim of its own on itself, of before */
    fake_pass(f, 200);
    expect_claim(f, 3, CLAIM_OF("100.1"), "0 100.1~1");
    fake_claimed(f, CLAIM_LOST, "0 100.1~1"); /* the first time it had arrived */
    fake_pass(f, 2000);
    cr_expect(f->claim_count == 4);
    fake_free(f);
}

Test(giveup, what_was_followed_meanwhile_is_not_let_go)
{
    struct leg c;
    struct fake *f = refused(&c);

    fake_claimed(f, CLAIM_LOST, "3 300.1");
    fake_pass(f, 2000);
    cr_expect(f->claim_count == 2);
    fake_free(f);
}

/* It may have won all the same: then it must be let go, since the owner may be back by now. */
Test(giveup, failed_claim_is_made_again_and_let_go)
{
    struct leg c;
    struct fake *f = claiming(&c);

    fake_claimed(f, CLAIM_FAILED, NULL);
    fake_pass(f, 100);
    cr_expect(f->claim_count == 1 && takeovers(f) == 1);
    fake_pass(f, 100);
    cr_assert(f->claim_count == 2);
    cr_expect_str_eq(f->claims[1].key, CLAIM_OF("200.1"));
    fake_claimed(f, CLAIM_LOST, "1 100.1");
    cr_assert(f->claim_count == 3 && fake_sent_count(f, "why=takeover") == 0);
    cr_expect_str_eq(f->claims[2].key, CLAIM_OF("100.1"));
    cr_expect_str_eq(f->claims[2].value, "0 100.1~1");
    f->found = fake_orphan(&c, 2, "200.1");
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_assert(f->claim_count == 4, "it begins anew");
    cr_expect_str_eq(f->claims[3].key, CLAIM_OF("200.1"));
    fake_free(f);
}

Test(giveup, failed_claim_that_had_not_won_ends_it)
{
    struct leg c;
    struct fake *f = claiming(&c);

    fake_claimed(f, CLAIM_FAILED, NULL);
    fake_pass(f, 200);
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    cr_expect(f->claim_count == 2 && takeovers(f) == 0);
    fake_free(f);
}

/* ---- once more ---- */

/* It is claimed again, by its next name. */
static struct fake *again(struct leg *c)
{
    struct fake *f = refused(c);

    fake_claimed(f, CLAIM_WON, NULL);
    f->found = "";
    fake_pass(f, 5000); /* the first stray */
    f->found = NULL;
    stray(f, 2, c);
    expect_claim(f, 2, CLAIM_OF("200.1"), "1 100.1");
    fake_claimed(f, CLAIM_LOST, "1 100.1");
    expect_claim(f, 3, CLAIM_OF("100.1"), "1 100.1");
    fake_claimed(f, CLAIM_LOST, "0 100.1~1");
    expect_claim(f, 4, CLAIM_OF("100.1~1"), "1 100.1~2");
    return f;
}

Test(giveup, node_that_has_let_go_may_take_it_over_later)
{
    struct leg c;
    struct fake *f = again(&c);

    cr_expect(f->claims[4].ttl_ms == f->claims[0].ttl_ms);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 2);
    fake_taken(f, 2, 1);
    fake_turn(f);
    cr_expect(txns(f) == 1 && f->put_count == 1);
    fake_free(f);
}

Test(giveup, and_let_go_again)
{
    struct leg c;
    struct fake *f = again(&c);

    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    fake_taken(f, 2, 0);
    fake_turn(f);
    expect_claim(f, 5, CLAIM_OF("100.1~2"), "0 100.1~3");
    fake_free(f);
}

Test(giveup, another_node_has_it_by_then)
{
    struct leg c;
    struct fake *f = again(&c);

    fake_claimed(f, CLAIM_LOST, "3 300.1");
    cr_expect_str_eq(f->looked, CLAIM_OF("300.1"));
    cr_expect(takeovers(f) == 0 && fake_sent_count(f, "why=takeover") == 1);
    fake_free(f);
}

/* A node that hung looks whether it has lost what it has taken so: its own names are no other node. */
Test(giveup, owner_finds_its_own_claims)
{
    struct leg c;
    struct fake *f = again(&c);

    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    fake_taken(f, 2, 1);
    fake_turn(f);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    expect_claim(f, 5, CLAIM_OF("100.1"), "1 100.1");
    fake_claimed(f, CLAIM_LOST, "0 100.1~1");
    expect_claim(f, 6, CLAIM_OF("100.1~1"), "1 100.1~2");
    fake_claimed(f, CLAIM_LOST, "1 100.1~2");
    expect_claim(f, 7, CLAIM_OF("100.1~2"), "1 100.1~2");
    cr_expect(f->claims[7].ttl_ms == 1000 && f->put_count == 1);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(txns(f) == 1 && f->put_count == 2);
    fake_free(f);
}

/* ---- another's ---- */

/* This node was thought dead; node 3 took a transaction of it, and could not. */
static struct fake *returned(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    fake_branch(f, 1, c, "0", true);
    fake_reply(f, 2, c, "0", 180);
    fake_turn(f);
    fake_put_done(f, 1, true);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_forget(f);
    fake_turn(f);
    expect_claim(f, 0, CLAIM_OF("100.1"), "1 100.1");
    return f;
}

Test(giveup, owner_that_is_back_gets_it_again)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->left = "0 300.1~1";
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    cr_expect_str_eq(f->looked, CLAIM_OF("300.1"));
    expect_claim(f, 1, CLAIM_OF("300.1~1"), "1 100.1~1");
    fake_turn(f);
    cr_expect(f->put_count == 0);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 1 && txns(f) == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

Test(giveup, owner_that_is_back_finds_what_it_has_claimed_so)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->left = "0 300.1~1";
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    fake_claimed(f, CLAIM_LOST, "1 100.1~1");
    expect_claim(f, 2, CLAIM_OF("100.1~1"), "1 100.1~1");
    cr_expect(f->claims[2].ttl_ms == 1000);
    f->left = NULL;
    f->found = fake_orphan(&c, 2, "200.1");
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    fake_turn(f);
    cr_expect(txns(f) == 0, "and node 2 has claimed it from there");
    fake_free(f);
}

Test(giveup, owner_that_is_back_has_lost_what_another_has_taken)
{
    static const char *const there[] = {NULL, "x", "3 300.1"};
    struct leg c;

    for (size_t i = 0; i < COUNT(there); i++) {
        struct fake *f = returned(&c);

        f->left = there[i];
        f->found = fake_orphan(&c, 3, "300.1");
        fake_claimed(f, CLAIM_LOST, "3 300.1");
        fake_turn(f);
        cr_expect(txns(f) == 0 && f->claim_count == 1 && fake_count(f, "lost") == 1);
        fake_free(f);
    }
}

/* It may be behind: the claims are newer. */
Test(giveup, owner_that_is_back_need_not_look_at_the_record_of_another)
{
    struct leg c;
    struct fake *f = returned(&c);

    engine_store_down(f->e, f->now);
    engine_store_up(f->e, f->now);
    f->found = fake_orphan(&c, 2, "200.1");
    f->left = "0 300.1~1";
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    expect_claim(f, 1, CLAIM_OF("300.1~1"), "1 100.1~1");
    fake_claimed(f, CLAIM_WON, NULL);
    fake_pass(f, 300);
    cr_expect(txns(f) == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

/* The record is still this node's: node 3 may yet fail. */
Test(giveup, owner_that_is_back_waits_while_another_is_at_work)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->found = fake_orphan(&c, 1, "100.1");
    f->holder = "3 300.1";
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    fake_pass(f, 13000);
    cr_expect(txns(f) == 1 && f->put_count == 0 && fake_count(f, "lost") == 0);
    f->left = "0 300.1~1";
    f->holder = NULL;
    fake_pass(f, 200);
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    cr_expect_str_eq(f->claims[f->claim_count - 1].key, CLAIM_OF("300.1~1"));
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(txns(f) == 1 && f->put_count == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

/* Node 3, which lives, has let it go in a store that failed over: it cannot have it any more. */
Test(giveup, owner_that_is_back_does_not_wait_for_ever)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->found = fake_orphan(&c, 1, "100.1");
    f->holder = "3 300.1";
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    fake_pass(f, 13500);
    cr_expect(txns(f) == 1 && f->put_count == 0);
    fake_pass(f, 1500);
    cr_expect(txns(f) == 1 && f->put_count == 1 && fake_count(f, "lost") == 0 && takeovers(f) == 0);
    fake_free(f);
}

Test(giveup, owner_that_is_back_follows_who_died_at_work)
{
    struct leg c;
    struct fake *f = returned(&c);

    f->found = fake_orphan(&c, 1, "100.1");
    fake_claimed(f, CLAIM_LOST, "3 300.0");
    expect_claim(f, 1, CLAIM_OF("300.0"), "1 100.1~1");
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(txns(f) == 1 && f->put_count == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

/* Node 3, which lives, has claimed it; this stands where one would claim from it. */
static struct fake *of_the_living(struct leg *c, const char *left)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    fake_death(f);
    stray(f, 1, c);
    f->left = left;
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    cr_expect_str_eq(f->looked, CLAIM_OF("300.1"));
    return f;
}

Test(giveup, what_a_living_node_has_let_go_is_claimed)
{
    struct leg c;
    struct fake *f = of_the_living(&c, "0 300.1~1");

    expect_claim(f, 1, CLAIM_OF("300.1~1"), "1 100.1");
    cr_expect(f->asked == 1, "of the owner; nobody else is to be asked whether he lives");
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 1);
    fake_free(f);
}

Test(giveup, what_a_living_node_is_at_work_with_is_left_to_it)
{
    static const char *const there[] = {NULL, "", "x", "3 300.1"};
    struct leg c;

    for (size_t i = 0; i < COUNT(there); i++) {
        struct fake *f = of_the_living(&c, there[i]);

        cr_expect(f->claim_count == 1 && takeovers(f) == 0 && count(f)->claims_lost == 1);
        fake_free(f);
    }
}

Test(giveup, living_nodes_that_let_go_in_a_circle_end_it)
{
    struct leg c;
    struct fake *f = of_the_living(&c, "0 300.1~1");

    for (int i = 0; i < 20 && takeovers(f); i++)
        fake_claimed(f, CLAIM_LOST, "3 300.1");
    cr_expect(takeovers(f) == 0 && f->claim_count <= 8);
    fake_free(f);
}

/* ---- names that lead elsewhere ---- */

/* This node had it before, and lost it to node 2 or let it go. Who follows that name must come to this node. */
Test(giveup, name_that_something_was_claimed_from_is_not_used_again)
{
    static const char *const there[] = {"2 200.1", "0 100.1~1", "3 300.1~2"};
    struct leg c = call_make(1);

    for (size_t i = 0; i < COUNT(there); i++) {
        struct fake *f = fake_peers();

        fake_death(f);
        f->left = there[i];
        f->left_at = CLAIM_OF("100.1");
        stray(f, 1, &c);
        expect_claim(f, 0, CLAIM_OF("200.1"), "1 100.1~1");
        fake_free(f);
    }
}

Test(giveup, names_without_end_are_given_up)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    f->left = "2 200.1";
    stray(f, 1, &c);
    cr_expect(f->claim_count == 0 && takeovers(f) == 0);
    fake_free(f);
}

/* ---- in a cluster ---- */

static struct cluster *after_a_death(bool silent)
{
    struct cluster *c = cluster_new(3);

    for (int i = 0; i < 20; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 2000);
    c->site[1].refuse = !silent;
    c->site[1].silent = silent;
    cluster_kill(c, 0);
    cluster_run(c, 20000);
    return c;
}

static void cancel_all(struct cluster *c, size_t node)
{
    for (int i = 0; i < 20; i++)
        cluster_cancel(c, node, i);
    cluster_run(c, 5000);
    for (size_t i = 0; i < c->cancel_count; i++)
        cr_expect(c->delivered[i] == 1 && !c->refused[i], "CANCEL %zu: %u, %u", i, c->delivered[i], c->refused[i]);
    for (int i = 0; i < 20; i++)
        cr_expect(c->injected[i] == 1, "call %d was taken over %u times", i, c->injected[i]);
}

Test(giveup, survivor_takes_over_what_another_could_not)
{
    for (int silent = 0; silent < 2; silent++) {
        struct cluster *c = after_a_death(silent);
        size_t lost = 0;

        for (int i = 0; i < 20; i++)
            lost += cluster_holders(c, i, NULL) == 0;
        cr_expect(lost < 20 && (lost > 0 || !silent), "%zu, silent %d", lost,
                  silent); /* what was refused is let go at once */
        cancel_all(c, 2);
        cluster_free(c);
    }
}

Test(giveup, node_that_could_not_is_well_again)
{
    struct cluster *c = after_a_death(false);

    c->site[1].refuse = false;
    cancel_all(c, 1);
    cluster_free(c);
}
