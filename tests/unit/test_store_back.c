/* The store comes back, or refuses: what is written again and when, and what is not believed meanwhile. */
#include "fake.h"

TestSuite(store_back, .fini = no_leaks);

static struct fake *with_call(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->answer_puts = true;
    fake_branch(f, 1, c, "0", true);
    fake_turn(f);
    cr_assert(f->put_count == 1);
    fake_forget(f);
    return f;
}

static void come_back(struct fake *f)
{
    engine_store_down(f->e, f->now);
    fake_pass(f, 100);
    engine_store_up(f->e, f->now);
    engine_nodes_read(f->e, true, f->now);
    fake_turn(f);
}

static const char *verdict_of(struct fake *f, int64_t k, unsigned number)
{
    struct leg c = call_make(number);
    char *rest;

    fake_forget(f);
    f->found = "";
    fake_stray(f, k, &c, "CANCEL");
    fake_pass(f, 400);
    f->found = NULL;
    return strstr(fake_handover(f, &rest), "why=unknown") ? "unknown" : "other";
}

Test(store_back, all_is_written_at_once_and_once_more_later)
{
    struct leg c;
    struct fake *f = with_call(&c);

    come_back(f);
    cr_expect(f->put_count == 1, "at once");
    fake_pass(f, 3000);
    cr_expect(f->put_count == 1);
    fake_pass(f, 2500);
    cr_expect(f->put_count == 2, "what the old connection still held may have come in behind it");
    fake_pass(f, 20000);
    cr_expect(f->put_count == 2);
    fake_free(f);
}

Test(store_back, what_is_not_there_is_not_unknown_at_once)
{
    struct leg c;
    struct fake *f = with_call(&c);

    cr_expect_str_eq(verdict_of(f, 1, 7), "unknown");
    come_back(f);
    cr_expect_str_neq(verdict_of(f, 2, 8), "unknown", "its owner may not be back");
    fake_pass(f, 4000);
    cr_expect_str_eq(verdict_of(f, 3, 9), "unknown");
    fake_free(f);
}

/* READONLY, OOM: one record is tried, however many there are; when it is taken, all are written at once. */
Test(store_back, refused_writes_are_tried_with_one_record)
{
    struct fake *f = fake_peers();

    for (unsigned i = 1; i <= 50; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    fake_turn(f);
    cr_assert(f->put_count == 50);
    fake_put_done(f, 50, false);
    fake_forget(f);
    for (int i = 0; i < 20; i++) {
        fake_pass(f, 100);
        cr_expect(f->put_count == (size_t)i + 1);
        fake_put_done(f, 1, i == 19);
    }
    fake_pass(f, 1);
    cr_expect(f->put_count == 20 + 50, "%zu", f->put_count);
    fake_put_done(f, 50, true);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 20 + 50);
    fake_free(f);
}

/* A store that takes some and refuses some: all is not written in a loop. */
Test(store_back, partly_refused_writes_are_not_written_in_a_loop)
{
    struct fake *f = fake_peers();
    size_t answered = 0;

    for (unsigned i = 1; i <= 50; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    for (int i = 0; i < 600; i++) {
        fake_pass(f, 100);
        for (; answered < f->put_count; answered++)
            fake_put_done(f, 1, answered % 7 != 0);
    }
    cr_expect(f->put_count >= 8 * 50 && f->put_count <= 11 * 50 + 600, "%zu", f->put_count);
    fake_free(f);
}

static bool is_poisoned(const struct fake_put *p)
{
    return strstr(p->key, "call-7@");
}

/* Something else stands where one record goes: that concerns this record alone. */
Test(store_back, one_record_that_is_refused_concerns_no_other)
{
    struct fake *f = fake_peers();
    size_t answered = 0, refused = 0;

    for (unsigned i = 1; i <= 500; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    for (int i = 0; i < 600; i++) {
        fake_pass(f, 100);
        for (; answered < f->put_count; answered++) {
            if (is_poisoned(&f->puts[answered]))
                fake_put_refused(f);
            else
                fake_put_done(f, 1, true);
            refused += is_poisoned(&f->puts[answered]);
        }
    }
    cr_expect(f->put_count == 499 + refused && refused >= 5 && refused <= 8, "%zu, %zu", f->put_count, refused);
    cr_expect(f->tell_count == 0, "nobody else is told");
    cr_expect(engine_counters(f->e)->puts_failed == refused);
    fake_free(f);
}

/* The same once it has been written, and while the whole store takes no writes: the trial is another record's. */
Test(store_back, refused_record_is_no_trial)
{
    struct leg c;
    struct fake *f = with_call(&c);
    size_t before;

    f->answer_puts = false;
    fake_reply(f, f->events + 1, &c, "0", 183);
    fake_turn(f);
    cr_assert(f->put_count == 1);
    fake_put_refused(f);
    fake_pass(f, 500);
    cr_expect(f->put_count == 1);
    fake_pass(f, 1600);
    cr_assert(f->put_count == 2, "tried again");
    fake_put_refused(f);
    c = call_make(9);
    fake_branch(f, f->events + 1, &c, "0", true);
    fake_turn(f);
    cr_assert(f->put_count == 3);
    fake_put_done(f, 1, false);
    before = f->put_count;
    fake_pass(f, 150);
    cr_expect(f->put_count == before + 1 && strstr(f->puts[before].key, "call-9@"), "%s", f->puts[before].key);
    fake_free(f);
}

Test(store_back, a_refusal_is_told_to_all)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    cr_assert(f->put_count == 1);
    fake_put_done(f, 1, false);
    cr_assert(f->tell_count == 1);
    cr_expect(f->tells[0].node == 0);
    cr_expect_str_eq(f->tells[0].text, "{\"t\":\"unwritten\"}");
    cr_expect_str_neq(verdict_of(f, 1, 7), "unknown");
    fake_free(f);
}

Test(store_back, another_nodes_refusal_is_heard)
{
    struct fake *f = fake_peers();

    fake_message(f, "{\"t\":\"unwritten\"}");
    cr_expect_str_neq(verdict_of(f, 1, 7), "unknown");
    fake_pass(f, 3500);
    cr_expect_str_eq(verdict_of(f, 2, 8), "unknown");
    fake_free(f);
}

Test(store_back, more_transactions_than_allowed_are_counted_and_left_alone)
{
    struct fake *f = fake_ready();

    f->answer_puts = true;
    f->conf.txns_max = 1000;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    for (unsigned i = 0; i < 1010; i++) {
        struct leg c = call_make(1 + i);

        fake_branch(f, 1 + i, &c, "0", true);
    }
    fake_turn(f);
    cr_expect(f->put_count == 1000);
    cr_expect(engine_counters(f->e)->txns_shed == 10);
    cr_expect(strstr(f->logs, "txns_max") && !strstr(strstr(f->logs, "txns_max") + 1, "txns_max"), "said once");
    fake_free(f);
}

/* Its data is gone (a replica for a moment, of an empty master), and this node had nothing to write just then. */
Test(store_back, what_another_node_could_not_write_is_a_sign)
{
    struct leg c;
    struct fake *f = with_call(&c);

    fake_message(f, "{\"t\":\"unwritten\"}");
    fake_pass(f, 900);
    cr_expect(f->put_count == 0);
    fake_pass(f, 1200);
    cr_expect(f->put_count == 1, "once more");
    cr_expect(f->tell_count == 0, "or they would tell each other for ever");
    fake_pass(f, 3000);
    cr_expect(f->put_count == 1);
    fake_free(f);
}
