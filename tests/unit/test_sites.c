/* Sites: a dead node's transactions are taken over within its site first. */
#include "fake.h"
#include "nodes.h"

TestSuite(sites, .fini = no_leaks);

/* Another node's record, of a site. */
static void node_at(struct fake *f, int id, const char *site, bool up)
{
    static int64_t beat = 100;

    engine_node(
        f->e,
        span_of(scratch("{\"id\":%d,\"name\":\"n\",\"site\":\"%s\",\"sip\":\"192.0.2.%d:5060\",\"inc\":\"%d00.1\","
                        "\"beat\":%lld,\"up\":%s,\"v\":%d}",
                        id, site, id, id, (long long)beat++, up ? "true" : "false", NODE_VERSION)),
        f->now);
    engine_nodes_read(f->e, true, f->now);
    fake_settle(f);
}

/* This node, 1, is in the east; node 2 and node 3 live where they are said to. */
static struct fake *sites(const char *second, const char *third)
{
    struct fake *f = fake_peers();

    f->conf.site = "east";
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    node_at(f, 2, second, true);
    node_at(f, 3, third, true);
    fake_turn(f);
    f->polite = true;
    fake_forget(f);
    return f;
}

#define CALLS 40

/* Node 2 has died and left that many calls; each search finds them all, and the store has them as they were. How many
 * this node has tried to take over after ms. */
static size_t tried_after(struct fake *f, int64_t ms)
{
    size_t answered = 0;

    f->mute_scans = f->mute_nodes = true;
    for (int64_t end = f->now + ms; f->now < end; fake_pass(f, 10)) {
        if (f->scanning)
            fake_scanned(f, 0, CALLS, true, 0);
        while (answered < f->get_count)
            fake_got_orphan(f, answered++);
    }
    return f->asked;
}

static size_t tried(const char *second, const char *third, int64_t ms)
{
    struct fake *f = sites(second, third);
    size_t count;

    node_at(f, 2, second, false);
    count = tried_after(f, ms);
    fake_free(f);
    return count;
}

Test(sites, what_a_node_of_this_site_had_is_of_its_survivors)
{
    size_t share = tried("east", "east", 1000);

    cr_expect(share > CALLS / 4 && share < 3 * CALLS / 4, "%zu: two survivors", share);
    cr_expect(tried("east", "west", 1000) == CALLS, "one survivor, and one elsewhere");
}

Test(sites, what_another_site_had_waits_for_its_survivor)
{
    cr_expect(tried("west", "west", 3900) == 0);
    cr_expect(tried("west", "west", 4500) == CALLS, "he may not be able to");
}

Test(sites, what_a_dead_site_had_is_of_all_survivors)
{
    size_t share = tried("west", "east", 1000);

    cr_expect(share > CALLS / 4 && share < 3 * CALLS / 4, "%zu", share);
    share = tried("west", "south", 1000);
    cr_expect(share > CALLS / 4 && share < 3 * CALLS / 4, "%zu", share);
    cr_expect(tried("west", "south", 2500) == CALLS);
}

/* Its kamsyncd is gone, or its way to the store: it can take nothing over. */
Test(sites, unseen_node_counts_for_none)
{
    struct fake *f = sites("west", "west");

    for (int i = 0; i < 5; i++) {
        fake_pass(f, 1000);
        node_at(f, 2, "west", true);
    }
    cr_assert(strstr(f->logs, "node 3 (n) at 192.0.2.3:5060 is unseen"));
    node_at(f, 2, "west", false);
    cr_expect(tried_after(f, 2500) == CALLS);
    fake_free(f);
}

/* ---- strays ---- */

#define KEY "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060"

/* A CANCEL for what node 2 had, which died in the west. */
static struct fake *stray(struct leg *c)
{
    struct fake *f = sites("west", "west");

    *c = call_make(1);
    node_at(f, 2, "west", false);
    fake_turn(f);
    fake_forget(f);
    f->found = fake_orphan(c, 2, "200.1");
    fake_stray(f, 1, c, "CANCEL");
    fake_turn(f);
    return f;
}

Test(sites, stray_for_another_sites_orphan_tells_a_node_of_that)
{
    struct leg c;
    struct fake *f = stray(&c);
    json_t *tell = fake_tell(f, 0);

    fake_pass(f, 100);
    cr_assert(f->tell_count == 1 && f->tells[0].node == 3);
    cr_expect_str_eq(json_string_value(json_object_get(tell, "t")), "given");
    cr_expect_str_eq(json_string_value(json_object_get(tell, "key")), KEY);
    cr_expect(fake_counters(f)->orphans_told == 1 && f->put_count == 0, "it is left to that node");
    f->found = fake_epoch(fake_orphan(&c, 3, "300.1"), 2, false);
    fake_pass(f, 100);
    cr_expect(fake_sent_count(f, "why=owner") == 1 && f->put_count == 0 && fake_status(f).strays == 0, "handed over");
    fake_free(f);
}

/* The message is lost, or that node cannot. */
Test(sites, stray_waits_for_the_other_site_half_a_second)
{
    struct leg c;
    struct fake *f = stray(&c);

    fake_pass(f, 450);
    cr_expect(f->put_count == 0);
    fake_pass(f, 100);
    cr_expect(f->put_count == 1 && f->tell_count == 1, "taken over here");
    fake_free(f);
}

Test(sites, what_was_released_is_of_no_site)
{
    struct leg c;
    struct fake *f = stray(&c);

    f->found = fake_epoch(fake_orphan(&c, 0, "none"), 3, false);
    fake_pass(f, 50);
    cr_expect(f->put_count == 1);
    fake_free(f);
}

Test(sites, kamsyncctl_shows_them)
{
    struct fake *f = sites("west", "east");
    json_t *answer;

    fake_ask(f, 7, "{\"cmd\":\"nodes\"}");
    answer = json_object_get(fake_answered(f), "nodes");
    cr_expect_str_eq(fake_text(json_array_get(answer, 0), "site"), "east");
    cr_expect_str_eq(fake_text(json_array_get(answer, 1), "site"), "west");
    fake_ask(f, 7, "{\"cmd\":\"status\"}");
    cr_expect_str_eq(fake_text(fake_answered(f), "site"), "east");
    fake_free(f);
}

Test(sites, who_is_told_takes_it_over_at_once)
{
    struct leg c = call_make(1);
    struct fake *f = sites("east", "west");

    node_at(f, 2, "east", false);
    fake_forget(f);
    f->found = fake_orphan(&c, 2, "200.1");
    fake_message(f, "{\"t\":\"given\",\"key\":\"" KEY "\"}");
    fake_turn(f);
    cr_expect(f->put_count == 1);
    fake_free(f);
}
