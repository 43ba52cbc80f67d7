/* What a dead Kamailio has left, and a store that was away then and came back empty does not have. */
#include "fake.h"

TestSuite(left, .fini = no_leaks);

static const char key[] = "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060";

/* Owns call 1; knows nodes 2 and 3. */
static struct fake *with_call(void)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);

    f->answer_puts = true;
    f->found = "";
    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    cr_assert(f->put_count == 1);
    f->answer_puts = false;
    return f;
}

static void own_beat(struct fake *f)
{
    cr_assert(f->beat_count > 0);
    engine_node(f->e, span_of(f->beats[(f->beat_count - 1) % COUNT(f->beats)].record), f->now);
    engine_nodes_read(f->e, true, f->now);
    fake_turn(f);
}

static void store_away(struct fake *f)
{
    engine_store_down(f->e, f->now);
    fake_turn(f);
}

static void store_back(struct fake *f)
{
    fake_pass(f, 1000);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    own_beat(f);
}

static size_t written(const struct fake *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->put_count; i++)
        n += strcmp(f->puts[i].key, key) == 0;
    return n;
}

static const char *last_told(const struct fake *f)
{
    return f->tell_count ? fake_text(fake_tell(f, f->tell_count - 1), "t") : "";
}

/* No newer epoch: whoever has taken it over stays its owner. */
#define AS_IT_WAS "{\"epoch\":1,\"owner\":1,\"inc\":\"100.1\",\"state\""

Test(left, record_is_written_as_it_was)
{
    struct fake *f = with_call();

    store_away(f);
    engine_link_down(f->e, f->now);
    store_back(f);
    cr_assert(written(f) == 1 && f->put_count == 1, "%zu, %zu", written(f), f->put_count);
    cr_expect(strncmp(f->puts[0].value, AS_IT_WAS, strlen(AS_IT_WAS)) == 0, "%s", f->puts[0].value);
    cr_expect_str_neq(last_told(f), "left");
    fake_put_done(f, 1, true);
    cr_expect_str_eq(last_told(f), "left");
    cr_expect(engine_counters(f->e)->records_left == 1);
    fake_pass(f, 5000);
    cr_expect(written(f) == 1);
    fake_free(f);
}

Test(left, who_has_taken_it_over_has_written_it)
{
    struct fake *f = with_call();
    struct leg c = call_make(1);

    store_away(f);
    engine_link_down(f->e, f->now);
    store_back(f);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false));
    fake_pass(f, 5000);
    cr_expect(written(f) == 1 && engine_counters(f->e)->records_left == 0 && engine_counters(f->e)->txns_lost == 0);
    fake_free(f);
}

/* The caller has sent his INVITE again, and it went to a node that lives. */
Test(left, who_has_routed_the_invite_since_keeps_it)
{
    struct fake *f = with_call();
    struct leg c = call_make(1);

    store_away(f);
    engine_link_down(f->e, f->now);
    fake_pass(f, 10000);
    f->answer_puts = true;
    f->record = fake_orphan(&c, 2, "200.1");
    store_back(f);
    cr_expect(written(f) == 1 && engine_counters(f->e)->records_left == 0);
    fake_free(f);
}

Test(left, not_before_this_node_is_known_to_be_there)
{
    struct fake *f = with_call();

    fake_pass(f, 1000);
    own_beat(f);
    store_away(f);
    engine_link_down(f->e, f->now);
    fake_pass(f, 100);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(written(f) == 0);
    own_beat(f);
    cr_expect(written(f) == 1);
    fake_free(f);
}

Test(left, a_write_that_failed_is_made_again)
{
    struct fake *f = with_call();

    store_away(f);
    engine_link_down(f->e, f->now);
    store_back(f);
    fake_put_done(f, 1, false);
    fake_pass(f, 249);
    cr_expect(written(f) == 1);
    fake_pass(f, 1);
    cr_expect(written(f) == 2);
    fake_put_done(f, 1, true);
    fake_free(f);
}

/* The others have taken over what the store had; some of it is over. */
Test(left, what_the_store_had_for_long_is_the_others)
{
    for (int late = 0; late <= 1; late++) {
        struct fake *f = with_call();

        engine_link_down(f->e, f->now);
        fake_pass(f, late ? 2001 : 2000);
        store_away(f);
        store_back(f);
        cr_expect(written(f) == !late);
        fake_free(f);
    }
}

Test(left, a_store_that_forgot_all_gets_it_too)
{
    struct fake *f = with_call();

    engine_link_down(f->e, f->now);
    fake_forget(f);
    engine_store_forgot(f->e, f->now);
    fake_turn(f);
    fake_pass(f, 1000);
    own_beat(f);
    cr_expect(written(f) == 1);
    fake_free(f);
}

Test(left, another_node_has_said_that_it_took_it)
{
    struct fake *f = with_call();

    engine_link_down(f->e, f->now);
    fake_message(f, "{\"t\":\"taken\",\"node\":2,\"call_id\":\"call-1@caller.example\",\"from_tag\":\"a1\"}");
    store_away(f);
    store_back(f);
    cr_expect(written(f) == 0);
    fake_free(f);
}

Test(left, of_one_that_was_restarted)
{
    struct fake *f = with_call();

    store_away(f);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.2");
    store_back(f);
    cr_assert(written(f) == 1);
    cr_expect(strncmp(f->puts[0].value, AS_IT_WAS, strlen(AS_IT_WAS)) == 0, "%s", f->puts[0].value);
    fake_free(f);
}

/* Its connection only broke: it has its transactions, which are written as ever, with another epoch. */
Test(left, of_one_that_lives)
{
    struct fake *f = with_call();

    store_away(f);
    engine_link_down(f->e, f->now);
    fake_pass(f, 1000);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    own_beat(f);
    cr_expect(written(f) == 1 && json_integer_value(fake_put_field(f, "epoch")) == 2);
    fake_put_done(f, 1, true);
    fake_pass(f, 5000);
    cr_expect(engine_counters(f->e)->records_left == 0);
    fake_free(f);
}

Test(left, word_of_it_begins_a_search)
{
    struct fake *f = fake_peers();
    size_t scans;

    fake_pass(f, 5000);
    scans = f->scans;
    fake_message(f, "{\"t\":\"left\"}");
    fake_turn(f);
    cr_expect(f->scans == scans + 1);
    fake_free(f);
}

/* The store never had this node's first record. Another node has taken over what was left, and is gone, too. */
Test(left, call_that_comes_back_with_its_first_record_ends_here)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);

    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    store_away(f);
    fake_put_done(f, 1, false);
    engine_link_down(f->e, f->now);
    store_back(f);
    fake_put_done(f, 1, true);
    fake_message(f, "{\"t\":\"taken\",\"node\":3,\"call_id\":\"call-1@caller.example\",\"from_tag\":\"a1\"}");
    f->polite = f->answer_puts = true;
    f->record = fake_epoch(fake_orphan(&c, 3, "300.0"), 2, false);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    own_beat(f);
    fake_pass(f, 1000);
    cr_assert(fake_status(f).txns == 1 && json_integer_value(fake_put_field(f, "epoch")) == 3);
    fake_reply(f, f->events + 1, &c, "0", 200);
    fake_pass(f, 1000);
    cr_expect(f->call_count > 0 && strcmp(fake_call_text(f, "state"), "answered") == 0);
    fake_free(f);
}
