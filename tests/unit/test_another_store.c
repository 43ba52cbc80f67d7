/* A store that is not what it was: it takes no beats, or has lost the last ones, or what was taken over. Then this node
 * may have lost its transactions to others, and writes them with another epoch, which shows it. */
#include "cluster.h"
#include "fake.h"
#include "record.h"

TestSuite(another_store, .fini = no_leaks);

#define BEATS 10000 /* more than it has said so far */

static struct span own_record(int64_t beat)
{
    return span_of(
        scratch("{\"id\":1,\"name\":\"n\",\"sip\":\"192.0.2.1:5060\",\"inc\":\"100.1\",\"beat\":%lld,\"up\":true}",
                (long long)(BEATS + beat)));
}

static void see_own(struct fake *f, int64_t beat)
{
    engine_node(f->e, own_record(beat), f->now);
    engine_nodes_read(f->e, true, f->now);
}

/* An engine that has seen its own beat 5, and owns call 1, written. */
static struct fake *owning(struct leg *c)
{
    struct fake *f = fake_ready();

    see_own(f, 5);
    fake_own(f, c);
    return f;
}

static void pass_reading(struct fake *f, int ms)
{
    for (int i = 0; i < ms / 100; i++) {
        fake_pass(f, 100);
        engine_nodes_read(f->e, true, f->now);
    }
}

Test(another_store, refused_beats)
{
    struct leg c, other = call_make(2);
    struct fake *f = owning(&c);

    f->answer_puts = false;
    pass_reading(f, 2500);
    fake_reply(f, 2, &c, "0", 180);
    fake_branch(f, 3, &other, "0", true);
    fake_turn(f);
    engine_announced(f->e, own_record(6), f->now); /* a replica takes PUBLISH */
    fake_turn(f);
    cr_expect(f->put_count == 0, "nobody can have seen it alive, and it writes");
    see_own(f, 7);
    fake_turn(f);
    cr_assert(f->put_count == 2);
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 1, "of the other nobody else can know");
    fake_node(f, 2, 1, "200.1", true);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false));
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(f->put_count == 2 && fake_count(f, "lost") == 1);
    fake_free(f);
}

Test(another_store, beats_in_time_are_no_doubt)
{
    struct leg c;
    struct fake *f = owning(&c);

    pass_reading(f, 1000);
    fake_reply(f, 2, &c, "0", 180);
    fake_turn(f);
    cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 1);
    fake_free(f);
}

Test(another_store, beats_that_are_gone)
{
    struct leg c;
    struct fake *f = owning(&c);

    see_own(f, 3);
    fake_turn(f);
    cr_expect(f->put_count == 0, "no beat has been taken yet");
    see_own(f, 6);
    fake_turn(f);
    cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 2);
    fake_free(f);
}

/* Call 1 was taken over from node 2, whose record was of epoch 1. While the store was away, the far end refused it,
 * maybe. Now that is there again, with this record. */
static struct fake *taken_and(struct leg *c, bool refused, const char *record)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->answer_puts = true;
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    fake_answer(f, fake_orphan(c, 2, "200.1"));
    fake_turn(f);
    fake_taken(f, 1, 1);
    fake_turn(f);
    fake_ack_all(f);
    cr_assert(json_integer_value(fake_put_field(f, "epoch")) == 2);
    engine_store_down(f->e, f->now);
    fake_pass(f, 100);
    if (refused) {
        f->state = 486;
        fake_reply(f, 2, c, "0", 486);
        fake_pass(f, 2000);
    }
    fake_forget(f);
    f->record = record;
    engine_store_up(f->e, f->now);
    fake_turn(f);
    return f;
}

/* Over nothing, or over the dead node's, which it was taken from. */
Test(another_store, what_was_taken_over_is_written_again)
{
    struct leg c = call_make(1);
    const char *there[] = {NULL, fake_orphan(&c, 2, "200.1")};

    for (size_t i = 0; i < COUNT(there); i++) {
        struct fake *f = taken_and(&c, false, there[i]);

        cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 3, "case %zu", i);
        cr_expect(fake_count(f, "lost") == 0 && engine_counters(f->e)->txns_lost == 0, "case %zu", i);
        fake_free(f);
    }
}

/* With a higher epoch than this node has had, also if that is the one that it was about to write. */
Test(another_store, what_another_has_taken_over_there_is_lost)
{
    struct leg c = call_make(1);

    for (int epoch = 3; epoch <= 4; epoch++) {
        struct fake *f = taken_and(&c, false, fake_epoch(fake_orphan(&c, 3, "300.1"), epoch, false));

        cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 3, "epoch %d", epoch);
        cr_expect(fake_count(f, "lost") == 1 && engine_counters(f->e)->txns_lost == 1, "epoch %d", epoch);
        fake_free(f);
    }
}

static bool is_told(const struct fake *f, int node)
{
    for (size_t i = 0; i < f->tell_count; i++)
        if (f->tells[i].node == node && strcmp(fake_text(fake_tell(f, i), "t"), "failed") == 0 &&
            fake_int(fake_tell(f, i), "code") == 486)
            return true;
    return false;
}

/* Its Kamailio would ring on: the caller has had his answer here. */
Test(another_store, who_has_it_there_hears_that_it_has_ended_here)
{
    struct leg c = call_make(1);
    struct fake *f = taken_and(&c, true, fake_epoch(fake_orphan(&c, 3, "300.1"), 3, false));

    cr_expect(fake_count(f, "lost") == 1 && is_told(f, 3));
    fake_free(f);
}

/* ---- a store that has gone back in time ---- */

/* This node has taken call 1 over from node 2, at that epoch, and proves it; node 2 is back, and has lost it. */
static struct fake *proving_what_was_taken(struct leg *c, int epoch)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    fake_answer(f, fake_epoch(fake_orphan(c, 2, "200.1"), epoch, false));
    fake_put_done(f, 1, true);
    fake_turn(f);
    fake_taken(f, 1, 1);
    f->polite = true;
    fake_turn(f);
    fake_put_done(f, 1, true);
    fake_node(f, 2, 20, "200.1", true);
    engine_store_down(f->e, f->now);
    fake_pass(f, 100);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_assert(f->unanswered_count == 1 && f->put_count == 1 && fake_status(f).txns == 1);
    return f;
}

static bool has_said_that_it_has_it(const struct fake *f)
{
    for (size_t i = 0; i < f->tell_count; i++)
        if (strcmp(fake_text(fake_tell(f, i), "t"), "taken") == 0)
            return true;
    return false;
}

/* Should node 2 have it all the same, it is to look, once the record is there. */
static void meet_at(int epoch)
{
    struct leg c;
    struct fake *f = proving_what_was_taken(&c, 3);
    char *record = fake_epoch(fake_orphan(&c, 2, "200.1"), epoch, false);
    int64_t before = json_integer_value(fake_put_field(f, "epoch"));

    f->mute_calls = true;
    fake_put_fenced(f, record);
    fake_turn(f);
    cr_assert(f->put_count == 2 && fake_status(f).txns == 1);
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) >= before && !has_said_that_it_has_it(f));
    cr_expect(!record_fences(span_of(record), span_of(f->puts[1].value)));
    fake_put_done(f, 1, true);
    cr_expect(has_said_that_it_has_it(f));
    fake_free(f);
}

/* This node has had it at epoch 4. */
Test(another_store, who_had_it_before_does_not_get_it_back)
{
    for (int epoch = 2; epoch <= 4; epoch++)
        meet_at(epoch);
}

Test(another_store, who_hears_that_another_has_it_looks)
{
    struct leg c;
    struct fake *f = fake_owning(&c);
    char *key;

    fake_reply(f, 2, &c, "0", 180);
    fake_pass(f, 1000);
    key = f->puts[f->put_count - 1].key;
    fake_forget(f);
    f->answer_puts = false;
    fake_message(f, scratch("{\"t\":\"taken\",\"node\":2,\"call_id\":\"%s\",\"from_tag\":\"a1\",\"tx\":\"%s\"}",
                            c.call_id, key));
    fake_turn(f);
    cr_expect(f->put_count == 1 && strcmp(f->puts[0].key, key) == 0);
    fake_free(f);
}

/* He has had it again since then. */
Test(another_store, who_has_had_it_again_has_it)
{
    struct leg c;
    struct fake *f = proving_what_was_taken(&c, 3);

    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 5, false));
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0 && engine_counters(f->e)->txns_lost == 1);
    fake_free(f);
}

/* The second node has routed the same INVITE in a store that lacked the record, and had epoch 1 there, too. Then the
 * store is the one with the first node's record again. */
Test(another_store, two_of_one_epoch_do_not_give_way_to_each_other)
{
    struct cluster *c = cluster_new(3);

    c->lag_ms = 1000;
    cluster_run(c, 1000);
    cluster_call(c, 0, 1);
    cluster_run(c, 500);
    cluster_cut(c, 0);
    cluster_failover(c, 0, 600, 1);
    cluster_run(c, 100);
    cluster_invite(c, 1, 1);
    cluster_run(c, 100);
    cr_assert(cluster_holders(c, 1, NULL) == 2);
    cluster_join(c, 0);
    cluster_run(c, 1000);
    cr_expect(cluster_holders(c, 1, NULL) == 1);
    cluster_failback(c, 0, false, 1);
    cluster_run(c, 3000);
    cr_expect(cluster_holders(c, 1, NULL) == 1, "%zu nodes have it", cluster_holders(c, 1, NULL));
    cluster_free(c);
}

/* Its names come among those of the other masters, whatever their order was. */
Test(another_store, all_that_a_master_has_which_is_back_is_found)
{
    struct cluster *c = cluster_new(3);

    c->masters = 3;
    for (int i = 0; i < 60; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 2000);
    cluster_failover(c, 0, 0, 1);
    cluster_run(c, 2000);
    cluster_kill(c, 0);
    cluster_crash(c, 0); /* nobody writes its records again */
    cluster_failback(c, 0, false, 1);
    cluster_run(c, 8000);
    for (int i = 0; i < 60; i++)
        cr_expect(cluster_holders(c, i, NULL) == 1, "call %d: %zu nodes have it", i, cluster_holders(c, i, NULL));
    cluster_free(c);
}
