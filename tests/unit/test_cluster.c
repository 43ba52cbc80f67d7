/* Several nodes at once, around one store: who takes over what, and who lets go of it. */
#include "cluster.h"

TestSuite(cluster, .fini = no_leaks, .timeout = 60);

static void expect_holder(struct cluster *c, int call, size_t node)
{
    size_t who = 99, n = cluster_holders(c, call, &who);
    json_t *record = cluster_record(c, call);

    cr_expect(n == 1 && who == node, "call %d: %zu holders, the last is node %zu", call, n, who + 1);
    cr_assert_not_null(record);
    cr_expect(json_integer_value(json_object_get(record, "owner")) == (int)node + 1);
    cr_expect_str_eq(json_string_value(json_object_get(record, "inc")), c->site[node].inc);
    json_decref(record);
}

/* Exactly one of the living holds each of the calls, was given it once, and the record says so. */
static void expect_taken(struct cluster *c, int from, int to, size_t dead)
{
    for (int i = from; i < to; i++) {
        size_t who = 99, n = cluster_holders(c, i, &who);

        cr_assert(n == 1 && who != dead, "call %d: %zu holders, the last is node %zu", i, n, who + 1);
        cr_expect(c->injected[i] == 1, "call %d was injected %u times", i, c->injected[i]);
        expect_holder(c, i, who);
    }
}

static struct cluster *with_calls(size_t nodes, int calls)
{
    struct cluster *c = cluster_new(nodes);

    for (int i = 0; i < calls; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 2000);
    for (int i = 0; i < calls; i++)
        expect_holder(c, i, 0);
    return c;
}

static void quiet(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct engine_status s;

        engine_status(c->site[i].e, &s);
        if (c->site[i].dead)
            continue;
        cr_expect(s.takeovers == 0 && s.strays == 0 && s.queued == 0 && s.puts == 0, "node %zu is busy", i + 1);
    }
    cluster_free(c);
}

Test(cluster, owner_that_dies)
{
    struct cluster *c = with_calls(3, 30);

    cluster_kill(c, 0);
    cluster_run(c, 6000);
    expect_taken(c, 0, 30, 0);
    quiet(c);
}

Test(cluster, owner_that_restarts)
{
    struct cluster *c = with_calls(3, 30);

    cluster_restart(c, 0);
    cluster_run(c, 6000);
    expect_taken(c, 0, 30, 99);
    quiet(c);
}

Test(cluster, owner_whose_beats_end)
{
    struct cluster *c = with_calls(3, 30);

    cluster_cut(c, 0); /* its host is gone: nobody announces it */
    c->site[0].isolated = true;
    cluster_run(c, 1900);
    for (int i = 0; i < 30; i++)
        cr_expect(c->injected[i] == 0, "too early");
    cluster_run(c, 8000);
    c->site[0].dead = true;
    expect_taken(c, 0, 30, 0);
    cluster_free(c);
}

Test(cluster, owner_that_is_only_cut_off_from_the_store_keeps_its_calls)
{
    struct cluster *c = with_calls(3, 10);

    cluster_cut(c, 0);
    cluster_run(c, 20000);
    cluster_join(c, 0);
    cluster_run(c, 5000);
    for (int i = 0; i < 10; i++) {
        cr_expect(c->injected[i] == 0 && c->lost[i] == 0);
        expect_holder(c, i, 0);
    }
    quiet(c);
}

Test(cluster, owner_that_hangs)
{
    struct cluster *c = with_calls(3, 30);

    cluster_hang(c, 0, true);
    cluster_run(c, 8000);
    for (int i = 0; i < 30; i++)
        cr_expect(c->injected[i] == 1 && cluster_holders(c, i, NULL) == 2, "call %d", i);
    cluster_hang(c, 0, false);
    cluster_run(c, 3000);
    for (int i = 0; i < 30; i++)
        cr_expect(c->lost[i] == 1);
    expect_taken(c, 0, 30, 0);
    quiet(c);
}

Test(cluster, single_node_that_restarts)
{
    struct cluster *c = with_calls(1, 10);

    cluster_restart(c, 0);
    cluster_run(c, 6000);
    expect_taken(c, 0, 10, 99);
    quiet(c);
}

Test(cluster, many_calls_at_a_pace)
{
    struct cluster *c = with_calls(3, 390);

    cluster_kill(c, 0);
    cluster_run(c, 10000);
    expect_taken(c, 0, 390, 0);
    quiet(c);
}

/* CANCELs reach both survivors at once: one wins the claim, both are delivered there. */
Test(cluster, both_survivors_try_at_once)
{
    for (int64_t ahead = 0; ahead < 8; ahead++) {
        struct cluster *c = with_calls(3, 1);
        size_t first, second;

        cluster_kill(c, 0);
        cluster_run(c, ahead);
        first = cluster_cancel(c, 1, 0);
        second = cluster_cancel(c, 2, 0);
        cluster_run(c, 5000);
        cr_expect(c->injected[0] == 1, "%u INVITEs", c->injected[0]);
        cr_expect(c->delivered[first] + c->delivered[second] == 2 && c->ended[0], "the call rings on");
        cr_expect(c->delivered[first] + c->refused[first] == 1 && c->delivered[second] + c->refused[second] == 1);
        quiet(c);
    }
}

Test(cluster, cancel_during_takeover_is_delivered)
{
    struct cluster *c = with_calls(3, 20);
    size_t number[20];

    cluster_kill(c, 0);
    cluster_run(c, 3);
    for (int i = 0; i < 20; i++)
        number[i] = cluster_cancel(c, 1 + (size_t)i % 2, i);
    cluster_run(c, 5000);
    for (int i = 0; i < 20; i++)
        cr_expect(c->delivered[number[i]] == 1 && c->refused[number[i]] == 0, "CANCEL %d", i);
    quiet(c);
}

/* Whether all nodes get it at once, or kamsyncd is asked first. */
Test(cluster, cancel_at_any_node_reaches_the_owner)
{
    for (int large = 0; large < 2; large++) {
        struct cluster *c = with_calls(3, 3);

        c->large = large;
        for (size_t i = 0; i < 3; i++)
            cluster_cancel(c, i, (int)i);
        cluster_run(c, 1000);
        for (size_t i = 0; i < 3; i++)
            cr_expect(c->delivered[i] == 1 && c->refused[i] == 0 && c->ended[i]);
        quiet(c);
    }
}

/* Its owner acts upon the first copy; the further ones, by kamsyncd, which looks before it hears of that, are dropped.
 */
static int64_t slow_ms(struct cluster *c)
{
    (void)c;
    return 40;
}

/* A CANCEL at node 1 for the call of node 0. */
static void cancel_astray(struct cluster *c)
{
    cluster_cancel(c, 1, 0);
    cluster_run(c, 1000);
    cr_expect(c->delivered[0] == 1 && c->refused[0] == 0);
}

Test(cluster, cancel_that_all_have_is_acted_upon_once)
{
    struct cluster *c = with_calls(3, 1);

    c->delay = slow_ms;
    cancel_astray(c);
    cr_expect(engine_counters(c->site[1].e)->verdict_owner == 1);
    quiet(c);
}

Test(cluster, cancel_that_its_owner_has_acted_upon_needs_nobody)
{
    struct cluster *c = with_calls(3, 1);

    c->final[0] = 486; /* on its way: until then tm has the transaction */
    cancel_astray(c);
    cr_expect(engine_counters(c->site[1].e)->verdict_acted == 1);
    quiet(c);
}

/* Its Kamailio knows the others from before. */
Test(cluster, cancel_needs_no_kamsyncd)
{
    struct cluster *c = with_calls(3, 1);

    for (size_t i = 0; i < 3; i++)
        cluster_crash(c, i);
    cluster_cancel(c, 1, 0);
    cluster_run(c, 100);
    cr_expect(c->delivered[0] == 1 && c->refused[0] == 0 && c->ended[0]);
    cluster_free(c);
}

/* The sender has not heard that it was restarted: what is left of it there is a CANCEL from the network, which only
 * that node's kamsyncd gets. */
Test(cluster, cancel_for_another_incarnation_is_not_told_on)
{
    struct cluster *c = with_calls(3, 1);

    cluster_break(c, 1);
    cluster_restart(c, 2);
    cluster_run(c, 1000);
    cluster_cancel(c, 1, 0);
    cluster_run(c, 1000);
    cr_assert(c->cancel_count == 2 && c->astray[1]);
    for (size_t i = 0; i < 2; i++)
        cr_expect(c->delivered[i] == 1 && c->refused[i] == 0, "CANCEL %zu: %u, %u", i, c->delivered[i], c->refused[i]);
    cr_expect(engine_counters(c->site[2].e)->strays == 1);
    cluster_free(c);
}

/* The claimant dies after it claimed and before its Kamailio had it; the next one follows the chain. */
Test(cluster, claimants_that_die_half_way)
{
    struct cluster *c = with_calls(4, 10);

    c->site[1].silent = c->site[2].silent = true;
    cluster_kill(c, 0);
    cluster_run(c, 100);
    cluster_kill(c, 1);
    cluster_run(c, 100);
    cluster_kill(c, 2);
    cluster_run(c, 6000);
    for (int i = 0; i < 10; i++)
        expect_holder(c, i, 3);
    quiet(c);
}

Test(cluster, failed_scan_is_repeated)
{
    struct cluster *c = with_calls(3, 30);

    c->scan_failures = 3;
    cluster_kill(c, 0);
    cluster_run(c, 10000);
    expect_taken(c, 0, 30, 0);
    quiet(c);
}

Test(cluster, calls_of_the_living_are_left_alone)
{
    struct cluster *c = with_calls(3, 10);

    for (int i = 10; i < 20; i++)
        cluster_call(c, 1, i);
    for (int i = 0; i < 5; i++)
        cluster_answer(c, i);
    cluster_run(c, 1000);
    cluster_kill(c, 0);
    cluster_run(c, 6000);
    for (int i = 0; i < 5; i++)
        cr_expect(c->injected[i] == 0, "it was answered");
    expect_taken(c, 5, 10, 0);
    for (int i = 10; i < 20; i++) {
        cr_expect(c->injected[i] == 0);
        expect_holder(c, i, 1);
    }
    quiet(c);
}

static void expect_outage(int64_t ms, bool taken)
{
    struct cluster *c = with_calls(3, 10);

    cluster_cut(c, 0);
    c->site[0].isolated = true;
    cluster_run(c, ms);
    c->site[0].isolated = false;
    cluster_join(c, 0);
    cluster_run(c, 6000);
    for (int i = 0; i < 10; i++) {
        cr_expect(c->injected[i] == taken && c->lost[i] == taken, "%lld ms: call %d: injected %u, lost %u",
                  (long long)ms, i, c->injected[i], c->lost[i]);
        cr_expect(cluster_holders(c, i, NULL) == 1, "%lld ms: call %d has %zu owners", (long long)ms, i,
                  cluster_holders(c, i, NULL));
    }
    quiet(c);
}

Test(cluster, short_outage_of_the_store_costs_nothing)
{
    expect_outage(1000, false);
    expect_outage(1600, false);
}

Test(cluster, owner_that_returns_loses_what_was_taken)
{
    expect_outage(10000, true);
    expect_outage(60000, true);
}

/* Longer than the claims live. */
Test(cluster, owner_that_returns_very_late_loses_what_was_taken)
{
    expect_outage(150000, true);
}

Test(cluster, store_that_is_away_for_all_costs_nothing)
{
    struct cluster *c = with_calls(3, 10);

    for (size_t i = 0; i < 3; i++)
        cluster_cut(c, i);
    cluster_run(c, 20000);
    for (size_t i = 0; i < 3; i++)
        cluster_join(c, i);
    cluster_run(c, 6000);
    for (int i = 0; i < 10; i++) {
        cr_expect(c->injected[i] == 0 && c->lost[i] == 0);
        expect_holder(c, i, 0);
    }
    quiet(c);
}

/* The link to the claimant's Kamailio breaks while it takes over; it counts as dead until the link is mended. */
Test(cluster, claimant_whose_link_breaks_for_a_moment)
{
    for (int64_t gone = 1; gone < 2000; gone += 60) {
        struct cluster *c = with_calls(3, 10);

        cluster_kill(c, 0);
        cluster_run(c, 4);
        cluster_break(c, 1);
        cluster_run(c, gone);
        cluster_mend(c, 1);
        cluster_run(c, 8000);
        for (int i = 0; i < 10; i++)
            cr_expect(cluster_holders(c, i, NULL) == 1, "gone %lld ms: call %d has %zu owners", (long long)gone, i,
                      cluster_holders(c, i, NULL));
        quiet(c);
    }
}

Test(cluster, claimant_that_hangs_for_a_moment)
{
    for (int64_t hung = 200; hung < 5000; hung += 200) {
        struct cluster *c = with_calls(3, 10);

        cluster_kill(c, 0);
        cluster_run(c, 1);
        cluster_hang(c, 1, true);
        cluster_run(c, hung);
        cluster_hang(c, 1, false);
        cluster_run(c, 10000);
        for (int i = 0; i < 10; i++)
            cr_expect(cluster_holders(c, i, NULL) == 1, "hung %lld ms: call %d has %zu owners", (long long)hung, i,
                      cluster_holders(c, i, NULL));
        quiet(c);
    }
}

/* Its INVITE waits in its Kamailio; the others learn that only kamsyncd has died by the beats that stay away. */
Test(cluster, cancel_of_a_call_whose_kamsyncd_is_dead)
{
    for (int64_t after = 0; after < 6000; after += 400) {
        struct cluster *c = with_calls(3, 0);
        size_t number;

        c->large = true;
        cluster_crash(c, 0);
        cluster_call(c, 0, 1);
        cluster_run(c, after);
        number = cluster_cancel(c, 1, 1);
        cluster_run(c, 1000);
        cr_expect(c->delivered[number] == 1 && c->refused[number] == 0, "after %lld ms", (long long)after);
        cluster_free(c);
    }
}

/* It is back, and has yet to read what waited. */
Test(cluster, cancel_of_a_call_whose_kamsyncd_was_dead)
{
    for (int64_t after = 0; after < 400; after += 7) {
        struct cluster *c = with_calls(3, 0);
        size_t number;

        c->large = true;
        cluster_crash(c, 0);
        cluster_call(c, 0, 1);
        cluster_run(c, 1000);
        number = cluster_cancel(c, 1, 1);
        cluster_run(c, after);
        cluster_join(c, 0);
        cluster_mend(c, 0);
        cluster_run(c, 3000);
        cr_expect(c->delivered[number] == 1 && c->refused[number] == 0, "back after %lld ms", (long long)after);
        cluster_free(c);
    }
}

Test(cluster, cancel_of_no_call)
{
    for (int large = 0; large < 2; large++) {
        struct cluster *c = with_calls(3, 0);

        c->large = large;
        cluster_cancel(c, 1, 1);
        cluster_run(c, 1000);
        cr_expect(c->refused[0] == 1);
        quiet(c);
    }
}

/* The store has lost the claim that cost this node its call, but not what its new owner has written since. */
Test(cluster, owner_that_comes_back_to_a_store_that_has_forgotten)
{
    struct cluster *c = with_calls(3, 10);

    cluster_break(c, 0);
    cluster_run(c, 6000);
    for (int i = 0; i < 10; i++)
        cr_assert(c->injected[i] == 1 && c->site[0].holds[i], "call %d", i);
    cluster_forget(c);
    cluster_run(c, 3000);
    cluster_mend(c, 0);
    cluster_run(c, 8000);
    for (int i = 0; i < 10; i++)
        cr_expect(cluster_holders(c, i, NULL) == 1 && !c->site[0].holds[i], "call %d", i);
    quiet(c);
}

/* The caller's node is dead, and he does not come back: his call is cancelled by a node that hangs. */
Test(cluster, branch_of_a_caller_who_is_gone_is_cancelled_however_long_kamailio_hangs)
{
    struct cluster *c = cluster_new(2);

    c->connects = true;
    cluster_connect(c, 0, 1);
    cluster_call(c, 0, 1);
    cluster_run(c, 1000);
    cluster_kill(c, 0);
    cluster_run(c, c->site[1].conf.caller_wait_ms - 1000);
    cluster_hang(c, 1, true);
    cluster_run(c, 20000);
    cr_assert(cluster_is_connected(c, 1) && c->final[1] == 0);
    cluster_hang(c, 1, false);
    cluster_run(c, 3000);
    cr_expect(c->final[1] == 487, "it rings on: %d", c->final[1]);
    quiet(c);
}

/* It learns what its Kamailio had, and does not know yet that others have it by now. */
Test(cluster, cancels_of_what_was_given_away_when_the_kamsyncd_is_new)
{
    struct cluster *c = with_calls(3, 100);

    c->large = true;
    cr_assert_null(engine_evacuate(c->site[0].e, true, c->now));
    cluster_run(c, 3000);
    cluster_crash(c, 0);
    cluster_mend(c, 0);
    cluster_join(c, 0);
    for (int i = 0; i < 100; i++) {
        cr_assert(!c->site[0].holds[i] && cluster_cancel(c, 0, i) == (size_t)i);
        cluster_run(c, 1);
    }
    cluster_run(c, 3000);
    for (int i = 0; i < 100; i++)
        cr_expect(c->delivered[i] == 1 && c->refused[i] == 0, "call %d", i);
    cluster_free(c);
}

/* ---- a node of which the others do not know yet that it lives ---- */

#define LATE_MS 200 /* the master that has the nodes has its beats so much later than the others what they get */

static void stood_still(struct cluster *c, bool over)
{
    cluster_stand(c, 0, !over);
}

static void kamailio_died(struct cluster *c, bool over)
{
    if (over)
        cluster_restart(c, 0);
    else
        cluster_kill(c, 0);
}

static void link_was_broken(struct cluster *c, bool over)
{
    (over ? cluster_mend : cluster_break)(c, 0);
}

static void all_was_away(struct cluster *c, bool over)
{
    if (!over)
        cluster_crash(c, 0);
    else
        cluster_join(c, 0);
    kamailio_died(c, over);
}

/* A call whose record is at another master than the nodes'. */
static int call_elsewhere(const struct cluster *c)
{
    int call = 0;

    while (cluster_master_of(c, call) == 0)
        call++;
    return call;
}

/* A call begins there, and its INVITE comes to a second node, which thinks that the first is dead. */
static void begin_unknown(void (*befalls)(struct cluster *c, bool over))
{
    struct cluster *c = cluster_new(3);
    int call;

    c->masters = 3;
    call = call_elsewhere(c);
    befalls(c, false);
    cluster_run(c, 20000);
    cluster_delay(c, 0, 0, LATE_MS);
    befalls(c, true);
    cluster_delay(c, 0, 0, LATE_MS);
    cluster_run(c, 10); /* the script's first words */
    cluster_call(c, 0, call);
    cluster_invite(c, 1, call);
    cluster_run(c, 10000);
    cr_expect(cluster_holders(c, call, NULL) == 1, "%zu nodes have it", cluster_holders(c, call, NULL));
    quiet(c);
}

Test(cluster, call_of_a_host_that_stood_still_and_is_thought_dead)
{
    begin_unknown(stood_still);
}

Test(cluster, call_of_a_kamailio_that_has_just_started)
{
    begin_unknown(kamailio_died);
}

Test(cluster, call_of_a_kamailio_whose_link_was_broken)
{
    begin_unknown(link_was_broken);
}

Test(cluster, call_of_a_node_that_has_just_started)
{
    begin_unknown(all_was_away);
}
