/* A takeover that fails is released, once no INVITE can come to life any more: others may take it then, and this node
 * again, and its owner, if that is back. Node 2 is the owner that died, node 3 another survivor. */
#include "cluster.h"
#include "fake.h"
#include "fake_takeover.h"

TestSuite(release, .fini = no_leaks, .timeout = 60);

/* The n-th write begins so, up to the state. */
static void expect_head(const struct fake *f, size_t n, const char *head)
{
    cr_assert(f->put_count == n + 1, "%zu writes", f->put_count);
    cr_expect(strstr(f->puts[n].value, scratch("{%s,\"state\":", head)) == f->puts[n].value, "%.90s", f->puts[n].value);
}

#define FROM(holder) ",\"from\":\"" holder "\""
#define OWN(epoch) "\"epoch\":" epoch ",\"owner\":1,\"inc\":\"100.1\""
#define TAKING(epoch, holder) OWN(epoch) FROM(holder) ",\"taking\":true"
#define RELEASED(epoch) "\"epoch\":" epoch ",\"owner\":0,\"inc\":\"none\""

/* What stands in the store: that node's, or nobody's. */
static char *there(const struct leg *c, int owner, const char *inc, int epoch, bool taking)
{
    return fake_epoch(fake_orphan(c, owner, inc), epoch, taking);
}

static char *released(const struct leg *c, int epoch)
{
    return there(c, 0, "none", epoch, false);
}

static struct fake *taking(struct leg *c)
{
    struct fake *f = fake_taking(c, NULL);

    expect_head(f, 0, TAKING("2", "1 2 200.1"));
    return f;
}

/* The INVITE is in Kamailio. */
static struct fake *injected(struct leg *c)
{
    struct fake *f = taking(c);

    fake_put_done(f, 1, true);
    fake_turn(f);
    fake_ack_all(f);
    f->polite = true;
    f->found = there(c, 1, "100.1", 2, true);
    return f;
}

static struct fake *refused(struct leg *c)
{
    struct fake *f = injected(c);

    fake_taken(f, 1, 0);
    fake_turn(f);
    expect_head(f, 1, RELEASED("3") FROM("2 1 100.1"));
    return f;
}

Test(release, refused_is_released_at_once)
{
    struct leg c;
    struct fake *f = refused(&c);

    cr_expect_str_eq(f->puts[1].key, f->puts[0].key);
    cr_expect(f->puts[1].ttl_ms >= f->puts[0].ttl_ms && fake_counters(f)->takeovers_failed == 1);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "req")), sip_request(&c, "INVITE"), "the next one needs it");
    f->found = released(&c, 3);
    fake_put_done(f, 1, true);
    fake_pass(f, 20000);
    cr_expect(f->put_count == 2 && fake_status(f).takeovers == 0 && fake_status(f).txns == 0);
    fake_free(f);
}

/* The script takes no INVITE that is older than 10 s: until then it may come to life. */
Test(release, unconfirmed_is_released_when_it_cannot_come_to_life_any_more)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 1000);
    cr_expect(fake_sent_count(f, "why=takeover") == 3);
    fake_pass(f, 10000);
    cr_expect(f->put_count == 1 && fake_counters(f)->takeovers_failed == 1);
    fake_pass(f, 3000);
    expect_head(f, 1, RELEASED("3") FROM("2 1 100.1"));
    fake_free(f);
}

Test(release, what_comes_to_life_late_is_taken_and_not_released)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 9000);
    cr_assert(fake_counters(f)->takeovers_failed == 1);
    fake_taken(f, 1, 0); /* one of the copies */
    fake_taken(f, 2, 1);
    fake_turn(f);
    expect_head(f, 1, OWN("2") FROM("1 2 200.1"));
    cr_expect(fake_status(f).txns == 1 && fake_counters(f)->takeovers_done == 1);
    f->answer_puts = true;
    fake_pass(f, 20000);
    cr_expect(fake_status(f).txns == 1);
    for (size_t i = 0; i < f->put_count; i++)
        cr_expect(!strstr(f->puts[i].value, RELEASED("3")));
    fake_free(f);
}

/* One of several copies was refused: the others may not be. */
Test(release, refusal_of_one_of_several_copies_releases_nothing)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 500);
    fake_taken(f, 1, 0);
    fake_pass(f, 10000);
    cr_expect(f->put_count == 1 && fake_counters(f)->takeovers_failed == 1);
    fake_free(f);
}

Test(release, stray_that_comes_meanwhile_is_adopted)
{
    struct leg c;
    struct fake *f = injected(&c);

    fake_pass(f, 3000);
    fake_stray(f, 2, &c, "CANCEL");
    fake_pass(f, 200);
    cr_expect(fake_sent_count(f, "CANCEL sip:bob0@203.0.113.5:5060 SIP/2.0") >= 1);
    cr_expect(fake_sent_count(f, "why=takeover") == 3 && f->put_count == 1);
    fake_free(f);
}

Test(release, it_is_released_until_the_store_has_it)
{
    struct leg c;
    struct fake *f = refused(&c);

    for (size_t n = 2; n < 5; n++) {
        fake_put_done(f, 1, false);
        fake_pass(f, 200);
        expect_head(f, n, RELEASED("3") FROM("2 1 100.1"));
    }
    fake_put_done(f, 1, true);
    fake_pass(f, 2000);
    cr_expect(f->put_count == 5);
    fake_free(f);
}

Test(release, release_that_had_come_through_counts)
{
    struct leg c;
    struct fake *f = refused(&c);

    f->found = released(&c, 3);
    fake_put_done(f, 1, false);
    fake_pass(f, 2000);
    cr_expect(f->put_count == 2 && fake_status(f).takeovers == 0);
    fake_free(f);
}

/* Node 3 took this one for dead. */
Test(release, what_was_taken_from_here_is_not_released)
{
    struct leg c;
    struct fake *f = refused(&c);

    f->found = there(&c, 3, "300.1", 3, false);
    fake_put_fenced(f, f->found);
    fake_pass(f, 2000);
    cr_expect(f->put_count == 2 && fake_status(f).takeovers == 0);
    fake_free(f);
}

/* ---- the answer gets lost ---- */

/* The store did not say whether it has this node's name; it is read again, and that is there. */
static struct fake *unknown(struct leg *c, const char *record)
{
    struct fake *f = taking(c);

    f->mute_nodes = true;
    fake_put_done(f, 1, false);
    fake_pass(f, 199);
    cr_expect(f->put_count == 1 && fake_status(f).takeovers == 1 && fake_sent_count(f, "why=takeover") == 0);
    f->found = record;
    fake_pass(f, 1);
    return f;
}

Test(release, write_that_had_come_through_counts)
{
    struct leg c = call_make(1);
    struct fake *f = unknown(&c, there(&c, 1, "100.1", 2, true));

    fake_turn(f);
    cr_expect(f->put_count == 1 && f->asked == 1 && fake_sent_count(f, "why=takeover") == 1);
    fake_free(f);
}

/* It may have taken long, so the owner is asked for again. */
Test(release, write_that_had_not_is_repeated)
{
    struct leg c = call_make(1);
    struct fake *f = unknown(&c, fake_orphan(&c, 2, "200.1"));

    fake_turn(f);
    cr_expect(f->put_count == 1 && f->asked == 2);
    engine_got(f->e, f->node_token, GET_ABSENT, (struct span){0}, f->now);
    expect_head(f, 1, TAKING("2", "1 2 200.1"));
    fake_free(f);
}

Test(release, write_that_another_one_was_faster_than_ends_it)
{
    struct leg c = call_make(1);
    struct fake *f = unknown(&c, there(&c, 3, "300.1", 2, true));

    fake_turn(f);
    cr_expect(f->put_count == 1 && fake_status(f).takeovers == 0 && fake_sent_count(f, "why=takeover") == 0);
    fake_free(f);
}

/* ---- once more ---- */

/* Whoever has released it: a stray finds the record of nobody, and nobody need be asked for. */
static struct fake *again(struct leg *c)
{
    struct fake *f = refused(c);

    fake_put_done(f, 1, true);
    f->found = "";
    fake_pass(f, 5000); /* the first stray */
    f->found = NULL;
    fake_stray(f, 2, c, "CANCEL");
    fake_answer(f, released(c, 3));
    cr_expect(f->asked == 1);
    expect_head(f, 2, TAKING("4", "3 0 none"));
    return f;
}

Test(release, what_was_released_may_be_taken_later)
{
    struct leg c;
    struct fake *f = again(&c);

    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 2);
    fake_taken(f, 2, 1);
    fake_turn(f);
    expect_head(f, 3, OWN("4") FROM("3 0 none"));
    cr_expect(fake_status(f).txns == 1);
    fake_free(f);
}

Test(release, and_be_released_again)
{
    struct leg c;
    struct fake *f = again(&c);

    fake_put_done(f, 1, true);
    fake_turn(f);
    f->found = there(&c, 1, "100.1", 4, true);
    fake_taken(f, 2, 0);
    fake_turn(f);
    expect_head(f, 3, RELEASED("5") FROM("4 1 100.1"));
    fake_free(f);
}

Test(release, another_node_has_it_by_then)
{
    struct leg c;
    struct fake *f = again(&c);

    f->found = there(&c, 3, "300.1", 4, true);
    fake_put_fenced(f, f->found);
    fake_turn(f);
    cr_expect(fake_status(f).takeovers == 0 && fake_sent_count(f, "why=takeover") == 1 &&
              fake_counters(f)->takeovers_lost == 1);
    fake_free(f);
}

/* Another node was faster, and has released it before this one has the answer. */
Test(release, what_another_one_has_just_released_is_taken)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_put_fenced(f, released(&c, 3));
    expect_head(f, 1, TAKING("4", "3 0 none"));
    cr_expect(f->asked == 1);
    fake_free(f);
}

Test(release, what_a_living_node_is_at_work_with_is_left_to_it)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    f->found = there(&c, 3, "300.1", 2, true);
    fake_stray(f, 1, &c, "CANCEL");
    fake_pass(f, 1000);
    cr_expect(f->put_count == 0 && fake_status(f).takeovers == 0 && fake_count(f, "send") == 0);
    f->found = released(&c, 3);
    fake_pass(f, 20);
    expect_head(f, 0, TAKING("4", "3 0 none"));
    fake_free(f);
}

/* ---- the owner is back ---- */

/* This node was thought dead, and proves that it has its transaction; but that record is there. */
static struct fake *returned(struct leg *c, const char *record)
{
    struct fake *f = fake_peers();

    f->polite = true;
    fake_branch(f, 1, c, "0", true);
    fake_reply(f, 2, c, "0", 180);
    fake_turn(f);
    expect_head(f, 0, OWN("1"));
    fake_put_done(f, 1, true);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_forget(f);
    fake_turn(f);
    expect_head(f, 0, OWN("2"));
    f->record = record;
    f->answer_puts = true;
    fake_put_fenced(f, record);
    fake_turn(f);
    return f;
}

static void expect_kept(struct fake *f, size_t n, const char *head)
{
    expect_head(f, n, head);
    fake_pass(f, 1000);
    cr_expect(f->put_count == n + 1 && fake_status(f).txns == 1 && fake_count(f, "lost") == 0 &&
              fake_status(f).takeovers == 0);
    fake_free(f);
}

Test(release, owner_that_is_back_gets_what_was_released)
{
    struct leg c = call_make(1);

    expect_kept(returned(&c, released(&c, 3)), 1, OWN("4") FROM("3 0 none"));
}

Test(release, owner_that_is_back_has_lost_what_another_has_taken)
{
    struct leg c = call_make(1);
    struct fake *f = returned(&c, there(&c, 3, "300.1", 2, false));

    cr_expect(fake_status(f).txns == 0 && f->put_count == 1 && fake_count(f, "lost") == 1);
    fake_free(f);
}

/* Node 3 may yet fail. The record that is written before it has released it is fenced each time. */
Test(release, owner_that_is_back_waits_while_another_is_at_work)
{
    struct leg c = call_make(1);
    struct fake *f = returned(&c, there(&c, 3, "300.1", 2, true));
    size_t n;

    fake_pass(f, 13000);
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0);
    n = f->put_count;
    for (size_t i = 0; i < n; i++)
        cr_expect(strstr(f->puts[i].value, OWN("2")), "%.60s", f->puts[i].value);
    f->record = released(&c, 3);
    fake_pass(f, 200);
    cr_expect(f->put_count == n + 2);
    expect_kept(f, n + 1, OWN("4") FROM("3 0 none"));
}

Test(release, owner_that_is_back_waits_for_an_outcome_and_may_lose_it)
{
    struct leg c = call_make(1);
    struct fake *f = returned(&c, there(&c, 3, "300.1", 2, true));

    fake_pass(f, 5000);
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0);
    f->record = there(&c, 3, "300.1", 2, false);
    fake_pass(f, 200);
    cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 1);
    fake_free(f);
}

/* Node 3, which lives, has released it in a store that failed over, or its write came late: it cannot be at work any
 * more. */
Test(release, owner_that_is_back_does_not_wait_for_ever)
{
    struct leg c = call_make(1);
    struct fake *f = returned(&c, there(&c, 3, "300.1", 2, true));

    fake_pass(f, 14400);
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 2 && fake_status(f).txns == 1);
    fake_pass(f, 400);
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 3);
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

Test(release, owner_that_is_back_takes_it_from_who_died_at_work)
{
    struct leg c = call_make(1);
    struct fake *f = returned(&c, there(&c, 3, "300.0", 2, true));

    cr_expect(f->asked == 1);
    cr_expect(f->put_count == 3, "that epoch once more, since it was asked for, then the next");
    expect_kept(f, f->put_count - 1, OWN("3") FROM("2 3 300.0"));
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

Test(release, survivor_takes_over_what_another_could_not)
{
    for (int silent = 0; silent < 2; silent++) {
        struct cluster *c = after_a_death(silent);
        size_t lost = 0;

        for (int i = 0; i < 20; i++)
            lost += cluster_holders(c, i, NULL) == 0;
        cr_expect(lost < 20 && (lost > 0 || !silent), "%zu, silent %d", lost,
                  silent); /* what was refused is released at once */
        cancel_all(c, 2);
        cluster_free(c);
    }
}

Test(release, node_that_could_not_is_well_again)
{
    struct cluster *c = after_a_death(false);

    c->site[1].refuse = false;
    cancel_all(c, 1);
    cluster_free(c);
}

/* ---- what a living node gives away ---- */

static bool is_in_record(const struct cluster *c, int call, const char *name)
{
    json_t *record = cluster_record(c, call);
    bool yes = json_is_true(json_object_get(record, name));

    json_decref(record);
    return yes;
}

static size_t owner_of(const struct cluster *c, int call)
{
    json_t *record = cluster_record(c, call);
    size_t node = (size_t)json_integer_value(json_object_get(record, "owner")) - 1;

    json_decref(record);
    return node;
}

/* Calls of the first of three nodes, given to the others, whose Kamailios do not answer. */
static struct cluster *given_in_vain(int calls)
{
    struct cluster *c = cluster_new(3);

    for (int i = 0; i < calls; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 2000);
    c->site[1].silent = c->site[2].silent = true;
    cr_assert_null(engine_evacuate(c->site[0].e, true, c->now));
    cluster_run(c, 100);
    for (int i = 0; i < calls; i++)
        cr_assert(is_in_record(c, i, "taking"));
    return c;
}

static void comes_back(struct cluster *c, int call)
{
    for (int ms = 0; ms < 14500 && is_in_record(c, call, "taking"); ms++)
        cluster_run(c, 1);
    cr_assert(!is_in_record(c, call, "taking") && owner_of(c, call) == 0);
}

Test(release, what_was_given_in_vain_stays_for_a_while)
{
    struct cluster *c = given_in_vain(1);

    comes_back(c, 0);
    for (int ms = 0; ms < 2500; ms++) {
        cluster_run(c, 1);
        cr_assert(!is_in_record(c, 0, "given") && !is_in_record(c, 0, "taking"), "after %d ms", ms);
    }
    cluster_run(c, 1000);
    cr_expect(is_in_record(c, 0, "taking"), "then it is given again");
    cluster_free(c);
}

/* The INVITE had also come to the third, which routed it and waits for the outcome: it learns that it is the second. */
Test(release, what_was_given_in_vain_is_nobody_elses)
{
    struct cluster *c = given_in_vain(20);

    for (int i = 0; i < 20; i++) {
        cluster_call(c, 3 - owner_of(c, i), i);
        cluster_run(c, 10);
    }
    for (int i = 0; i < 20; i++)
        comes_back(c, i);
    cluster_run(c, 1000);
    for (int i = 0; i < 20; i++)
        cr_expect(c->site[0].holds[i] && cluster_holders(c, i, NULL) == 1, "call %d", i);
    cluster_free(c);
}
