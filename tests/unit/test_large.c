/* A cluster in which not every node asks every other one all the time: who is dead is known as soon as in a small one.
 */
#include "cluster.h"

#include "engine_parts.h"

#define MANY 64
#define FEW 3
#define TICK 500
#define TURNS 5 /* ticks in which a node asks all of MANY */

TestSuite(large, .fini = no_leaks, .timeout = 60);

static const struct node *seen_by(const struct cluster *c, size_t by, size_t node)
{
    return nodes_find(&c->site[by].e->nodes, (int)node + 1);
}

static bool is_lost(const struct node *n)
{
    return n->lost;
}

static bool is_out_of_reach(const struct node *n)
{
    return !n->reached;
}

/* After how long it is true of the first node, as all others see it. */
static int64_t until_all(struct cluster *c, bool (*is)(const struct node *n))
{
    int64_t began = c->now;

    for (size_t by = 1; by < c->count; by++)
        while (!is(seen_by(c, by, 0))) {
            cluster_run(c, 10);
            cr_assert(c->now - began < 20000);
        }
    return c->now - began;
}

Test(large, each_asks_each_in_turn)
{
    struct cluster *c = cluster_new(MANY);
    uint64_t before[MANY];

    for (size_t i = 0; i < MANY; i++)
        before[i] = c->site[i].e->peers.probes;
    cluster_run(c, 10L * TURNS * TICK);
    for (size_t i = 0; i < MANY; i++) {
        uint64_t probes = c->site[i].e->peers.probes - before[i];

        cr_expect(probes >= 10 * (MANY - 1) - 13 && probes <= 10 * (MANY - 1) + 13, "%d probes", (int)probes);
        for (size_t k = 0; k < MANY; k++)
            cr_expect(i == k || c->now - seen_by(c, i, k)->asked_ms <= TURNS * TICK);
    }
    cluster_free(c);
}

static int64_t until_lost(size_t nodes)
{
    struct cluster *c = cluster_new(nodes);
    int64_t ms;

    cluster_cut(c, 0); /* its host is gone: nobody announces it */
    c->site[0].isolated = true;
    ms = until_all(c, is_lost);
    cluster_free(c);
    return ms;
}

Test(large, who_dies_is_lost_as_soon)
{
    int64_t few = until_lost(FEW), many = until_lost(MANY);

    cr_expect(few > 2000 && many < few + TICK, "%d and %d ms", (int)few, (int)many);
}

/* Nobody has to ask again since others were first. */
Test(large, all_ask_all_at_once)
{
    struct cluster *c = cluster_new(MANY);

    for (size_t i = 0; i < MANY; i++)
        cluster_cancel(c, i, 1);
    cluster_run(c, 300);
    for (size_t i = 0; i < MANY; i++) {
        cr_expect(engine_counters(c->site[i].e)->barriers == 1);
        cr_expect(c->refused[i] == 1, "node %zu: nobody has the call", i + 1);
    }
    cluster_free(c);
}

#define CALLS 300

/* Node 1 has died: how many records all survivors have read for that, of calls that live at node 2. */
static unsigned reads_of_a_search(size_t nodes)
{
    struct cluster *c = cluster_new(nodes);
    unsigned before;

    for (int i = 0; i < CALLS; i++)
        cluster_call(c, 1, i);
    cluster_run(c, 2000);
    before = c->reads;
    cluster_kill(c, 0);
    cluster_run(c, 6000);
    before = c->reads - before;
    cluster_free(c);
    return before;
}

Test(large, search_reads_no_record_at_each_node)
{
    unsigned few = reads_of_a_search(FEW), many = reads_of_a_search(MANY);

    cr_expect(few > CALLS && few < 2 * CALLS, "%u: node 3 reads its share, and then all", few);
    cr_expect(many > 4 * CALLS && many <= 5 * CALLS, "%u: one reads each, and then four do", many);
}

#define LOST_CALLS 60

/* Their kamsyncds have lost the store, and their Kamailios live: who is left finds all that a dead node had. */
Test(large, who_is_cut_off_from_the_store_is_no_searcher)
{
    struct cluster *c = cluster_new(MANY);

    for (int i = 0; i < LOST_CALLS; i++)
        cluster_call(c, 1, i);
    for (size_t i = 2; i < MANY - 20; i++)
        cluster_cut(c, i);
    cluster_run(c, 8000);
    cr_assert(seen_by(c, MANY - 1, 2)->unseen);
    cluster_kill(c, 1);
    cluster_run(c, 8000);
    for (int i = 0; i < LOST_CALLS; i++)
        cr_expect(cluster_holders(c, i, NULL) == 1, "call %d", i);
    cluster_free(c);
}

static int64_t until_out_of_reach(size_t nodes)
{
    struct cluster *c = cluster_new(nodes);
    int64_t ms;

    c->site[0].isolated = true;
    ms = until_all(c, is_out_of_reach);
    cr_expect(!seen_by(c, 1, 0)->lost, "it beats");
    c->site[0].isolated = false;
    cluster_run(c, TICK + 100);
    for (size_t by = 1; by < nodes; by++)
        cr_expect(seen_by(c, by, 0)->reached, "it is asked each time until it answers");
    cluster_free(c);
    return ms;
}

Test(large, who_cannot_be_reached_is_found_in_its_turn)
{
    int64_t few = until_out_of_reach(FEW), many = until_out_of_reach(MANY);

    cr_expect(many <= few + TURNS * TICK, "%d and %d ms", (int)few, (int)many);
}
