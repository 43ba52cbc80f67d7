/* A takeover whose write takes its time, as it may with a slow store: the dead node may be back before the store has
 * it, and may have written its own record. */
#include "fake.h"
#include "record.h"

TestSuite(late_write, .fini = no_leaks);

#define SLOW_MS 1500
#define GIVEN_BACK "{\"epoch\":3,\"owner\":2,\"inc\":\"200.1\",\"from\":\"2 1 100.1\",\"state\":"
#define OWN "{\"epoch\":2,\"owner\":1,\"inc\":\"100.1\",\"from\":\"1 2 200.1\",\"state\":"

/* Node 2 is dead, call 1 its own, and taken over; the store has not answered that write yet. */
static struct fake *taking(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    fake_answer(f, fake_orphan(c, 2, "200.1"));
    fake_turn(f);
    cr_assert(f->put_count == 1 && f->asked == 1);
    f->found = fake_orphan(c, 2, "200.1");
    fake_pass(f, SLOW_MS);
    return f;
}

static void expect_given_back(struct fake *f)
{
    fake_pass(f, 1000);
    cr_expect(fake_sent_count(f, "why=takeover") == 0, "two nodes would have it");
    cr_assert(f->put_count == 2);
    cr_expect(strstr(f->puts[1].value, GIVEN_BACK) == f->puts[1].value, "%.60s", f->puts[1].value);
    fake_free(f);
}

/* Node 2 would lose it by its next write; but it has it in its Kamailio, and need not. */
Test(late_write, from_who_is_back_is_given_back)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_node(f, 2, 99, "200.1", true);
    fake_put_done(f, 1, true);
    expect_given_back(f);
}

/* The same, and the answer was lost. */
Test(late_write, that_is_read_again_is_given_back_too)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_node(f, 2, 99, "200.1", true);
    f->found = fake_epoch(fake_orphan(&c, 1, "100.1"), 2, true);
    fake_put_done(f, 1, false);
    expect_given_back(f);
}

/* The same, and the write comes through only after it was read again: it would stand over the record of a living node,
 * and nobody would be at work with it. */
Test(late_write, that_may_yet_come_through_is_given_back)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_node(f, 2, 99, "200.1", true);
    fake_put_done(f, 1, false);
    expect_given_back(f);
}

/* The store may have this node's write by then, or still the owner's own record: that goes over both. */
Test(late_write, what_is_given_back_goes_over_both)
{
    struct leg c;
    struct fake *f = taking(&c);
    const char *there[] = {fake_epoch(fake_orphan(&c, 1, "100.1"), 2, true), fake_orphan(&c, 2, "200.1"),
                           fake_epoch(fake_orphan(&c, 2, "200.1"), 3, false)};

    fake_node(f, 2, 99, "200.1", true);
    fake_put_done(f, 1, false);
    fake_pass(f, 1000);
    cr_assert(f->put_count == 2);
    for (size_t i = 0; i < COUNT(there); i++)
        cr_expect(!record_fences(span_of(there[i]), span_of(f->puts[1].value)), "%.60s", there[i]);
    cr_expect(record_fences(span_of(fake_epoch(fake_orphan(&c, 2, "200.1"), 4, false)), span_of(f->puts[1].value)),
              "but over no later one of the owner's");
    cr_expect(record_fences(span_of(fake_epoch(fake_orphan(&c, 3, "300.1"), 2, true)), span_of(f->puts[1].value)));
    fake_free(f);
}

/* The store goes back, and knows nothing of it, once the record was read that is to be released: another node has taken
 * the call by then, or is about to. */
Test(late_write, that_releases_does_not_go_over_another_node)
{
    for (int taking_too = 0; taking_too < 2; taking_too++) {
        struct leg c;
        struct fake *f = taking(&c);

        fake_put_done(f, 1, true);
        fake_turn(f);
        f->found = fake_epoch(fake_orphan(&c, 1, "100.1"), 2, true);
        f->answer_puts = true;
        f->record = fake_epoch(fake_orphan(&c, 3, "300.1"), 2, taking_too);
        fake_taken(f, 1, 0);
        fake_pass(f, 2000);
        cr_assert(f->put_count == 2 && json_integer_value(fake_put_field(f, "owner")) == 0, "released, once");
        cr_expect(record_fences(span_of(f->record), span_of(f->puts[1].value)));
        cr_expect(engine_counters(f->e)->takeovers_failed == 1);
        fake_free(f);
    }
}

/* The same, and that is what it reads. */
Test(late_write, that_has_gone_is_not_released)
{
    struct leg c = call_make(1);
    const char *there[] = {"", fake_orphan(&c, 2, "200.1"), fake_epoch(fake_orphan(&c, 3, "300.1"), 2, true),
                           fake_epoch(fake_orphan(&c, 3, "300.1"), 2, false)};

    for (size_t i = 0; i < COUNT(there); i++) {
        struct fake *f = taking(&c);

        fake_put_done(f, 1, true);
        fake_turn(f);
        f->found = there[i];
        fake_taken(f, 1, 0);
        fake_pass(f, 2000);
        cr_expect(f->put_count == 1 && engine_counters(f->e)->takeovers_failed == 1, "case %zu", i);
        fake_free(f);
    }
}

Test(late_write, from_who_is_still_dead_is_good)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(f->put_count == 1 && fake_sent_count(f, "why=takeover") == 1);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(f->put_count == 2);
    fake_free(f);
}

/* Node 2 is back since, and has proved that the transaction is its own: this write comes too late, and the store says
 * so. */
Test(late_write, behind_the_owners_own_is_fenced)
{
    struct leg c;
    struct fake *f = taking(&c);

    fake_node(f, 2, 99, "200.1", true);
    f->found = fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false);
    fake_put_fenced(f, f->found);
    fake_pass(f, 1000);
    cr_expect(f->put_count == 1 && fake_sent_count(f, "why=takeover") == 0);
    cr_expect(fake_sent_count(f, "X-Kamsync: to=2;inc=200.1;why=owner;") == 1, "it has its CANCEL");
    fake_free(f);
}

/* Node 2 comes back while the INVITE is in this Kamailio, or later: that is not undone. Its next write is fenced, and
 * it lets go (owner_that_is_back_has_lost_what_another_has_taken in test_release.c). */
Test(late_write, owner_that_is_back_later_does_not_undo_it)
{
    struct leg c;
    struct fake *f = taking(&c);

    f->found = fake_epoch(fake_orphan(&c, 1, "100.1"), 2, true);
    f->answer_puts = true;
    fake_put_done(f, 1, true);
    fake_turn(f);
    fake_node(f, 2, 99, "200.1", true);
    fake_taken(f, 1, 1);
    fake_pass(f, 1000);
    cr_assert(f->put_count == 2);
    cr_expect(strstr(f->puts[1].value, OWN) == f->puts[1].value, "%.60s", f->puts[1].value);
    cr_expect(fake_sent_count(f, "to=1;inc=100.1;why=perhaps") >= 1 && engine_counters(f->e)->takeovers_done == 1);
    fake_free(f);
}
