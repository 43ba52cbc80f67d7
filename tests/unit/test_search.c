/* The search for orphans after a death: which of them, how many at a time, and what becomes of the rest. */
#include "fake.h"

TestSuite(search, .fini = no_leaks);

/* Node 2 has just died; the search waits for its first part. Only node 3 lives besides. */
static struct fake *searching(void)
{
    struct fake *f = fake_peers();

    f->mute_scans = true;
    fake_node(f, 2, 9, "200.1", false);
    fake_turn(f);
    cr_assert(f->scans == 1 && f->cursor == 0);
    return f;
}

/* Whether call i is read: the gets of it. */
static size_t gets_of(const struct fake *f, unsigned i)
{
    char *key = scratch("kamsync:tx:{call-%u@caller.example}:1:z9hG4bK-caller-%u:198.51.100.9:5060", i, i);
    size_t n = 0;

    for (size_t g = 0; g < f->get_count; g++)
        n += strcmp(f->gets[g].key, key) == 0;
    return n;
}

Test(search, begins_when_a_node_dies_and_only_then)
{
    struct fake *f = fake_peers();

    f->mute_scans = true;
    fake_node(f, 2, 8, "200.1", true);
    fake_pass(f, 1500);
    cr_expect(f->scans == 0, "a beat is no death");
    fake_node(f, 3, 8, "300.2", true);
    fake_turn(f);
    cr_expect(f->scans == 1, "restarted: its incarnation before is dead");
    fake_free(f);
}

Test(search, beats_that_end_begin_it)
{
    struct fake *f = fake_peers();
    int beat = 10;

    f->unreachable = true;
    for (int i = 0; i < 6; i++) {
        fake_pass(f, 1000);
        fake_node(f, 3, beat++, "300.1", true);
    }
    fake_pass(f, 600);
    cr_expect(f->scans >= 1);
    fake_free(f);
}

/* Three nodes with the same names of records; each record is read by exactly one of the two survivors. */
Test(search, survivors_share_the_orphans)
{
    bool first[300] = {false};
    size_t count = 0;

    for (int who = 0; who < 2; who++) {
        struct fake *f = fake_new();
        int me = who ? 3 : 1, other = who ? 1 : 3;

        engine_store_up(f->e, f->now);
        engine_link_up(f->e, "tag-1", f->now);
        fake_turn(f);
        fake_hello(f, me, scratch("%d00.1", me));
        fake_node(f, 2, 1, "200.1", true);
        fake_node(f, other, 1, scratch("%d00.1", other), true);
        fake_pass(f, 3000);
        fake_ack_all(f);
        f->mute_scans = true;
        f->scans = 0;
        f->found = ""; /* read, and gone */
        fake_node(f, 2, 9, "200.1", false);
        fake_node(f, other, 9, scratch("%d00.1", other), true);
        fake_turn(f);
        cr_assert(f->scans == 1);
        fake_scanned(f, 0, COUNT(first), true, 0);
        fake_turn(f);
        for (unsigned i = 0; i < COUNT(first); i++) {
            size_t gets = gets_of(f, i);

            cr_assert(gets <= 1);
            cr_expect(!who || (gets == 1) != first[i], "call %u: %s", i, gets ? "read by both" : "read by nobody");
            first[i] = gets == 1;
            count += gets;
        }
        cr_expect(f->get_count > 75 && f->get_count < 225, "%zu of 300 are no share", f->get_count);
        fake_free(f);
    }
    cr_expect(count == COUNT(first));
}

Test(search, names_of_other_things_are_passed_over)
{
    static const char *const names[] = {"kamsync:claim:{a@b}:1:z9hG4bK1:new", "kamsync:node:1", "kamsync:nodes",
                                        "kamsync:cdr", "kamsync:tx"};
    struct fake *f = searching();

    f->found = "";
    for (int second = 0; second < 2; second++) {
        for (size_t i = 0; i < COUNT(names); i++)
            engine_scan_key(f->e, names[i]);
        fake_scanned(f, 0, 0, true, 0);
        fake_pass(f, 2000);
    }
    cr_expect(f->scans == 2 && f->get_count == 0);
    fake_free(f);
}

Test(search, second_one_takes_what_others_left)
{
    struct fake *f = searching();

    f->found = "";
    fake_scanned(f, 0, 100, true, 0);
    fake_turn(f);
    cr_expect(f->get_count < 80, "%zu: no share", f->get_count);
    fake_pass(f, 1999);
    cr_expect(f->scans == 1);
    fake_pass(f, 1);
    cr_assert(f->scans == 2 && f->cursor == 0);
    fake_scanned(f, 0, 100, true, 0);
    fake_turn(f);
    for (unsigned i = 0; i < 100; i++)
        cr_expect(gets_of(f, i) >= 1, "call %u was left", i);
    fake_pass(f, 60000);
    cr_expect(f->scans == 2, "there is no third one");
    fake_free(f);
}

Test(search, in_parts)
{
    struct fake *f = searching();

    f->found = "";
    fake_scanned(f, 0, 10, true, 77);
    fake_turn(f);
    cr_assert(f->scans == 2 && f->cursor == 77);
    fake_scanned(f, 10, 0, true, 78); /* a part may be empty */
    fake_turn(f);
    cr_assert(f->scans == 3 && f->cursor == 78);
    fake_scanned(f, 10, 10, true, 0);
    fake_turn(f);
    cr_expect(f->scans == 3 && f->get_count > 5);
    fake_free(f);
}

/* Redis may give a name twice. */
Test(search, name_that_comes_twice_is_read_once)
{
    struct fake *f = searching();

    for (int i = 0; i < 2; i++) {
        fake_scanned(f, 0, 20, true, 5);
        fake_turn(f);
    }
    for (unsigned i = 0; i < 20; i++)
        cr_expect(gets_of(f, i) <= 1);
    fake_free(f);
}

Test(search, failed_part_is_repeated)
{
    struct fake *f = searching();

    fake_scanned(f, 0, 0, true, 77);
    fake_turn(f);
    fake_scanned(f, 0, 0, false, 0);
    for (int round = 3; round <= 5; round++) {
        fake_pass(f, 1999);
        cr_expect(f->scans == (size_t)round - 1, "not at once: the store has trouble");
        fake_pass(f, 1);
        cr_assert(f->scans == (size_t)round && f->cursor == 0, "%zu scans", f->scans);
        fake_scanned(f, 0, 0, false, 0);
    }
    f->found = "";
    fake_pass(f, 2000);
    fake_scanned(f, 0, 50, true, 0);
    fake_turn(f);
    for (unsigned i = 0; i < 50; i++)
        cr_expect(gets_of(f, i) == 1);
    fake_free(f);
}

Test(search, another_death_meanwhile_begins_it_again)
{
    struct fake *f = searching();

    fake_node(f, 3, 9, "300.1", false);
    fake_turn(f);
    cr_expect(f->scans == 1, "one part at a time");
    f->found = "";
    fake_scanned(f, 0, 0, true, 77);
    fake_turn(f);
    cr_assert(f->scans == 2 && f->cursor == 0, "from the start");
    fake_scanned(f, 0, 50, true, 0);
    fake_turn(f);
    for (unsigned i = 0; i < 50; i++)
        cr_expect(gets_of(f, i) == 1, "this node is alone now");
    fake_free(f);
}

Test(search, pace_is_limited)
{
    struct fake *f = searching();
    size_t answered = 0, taken = 0, measured = 0;

    f->answer_puts = true;
    fake_scanned(f, 0, 100, true, 1);
    fake_pass(f, 500);
    cr_expect(f->get_count <= 64);
    for (int round = 0; round < 400; round++) {
        if (f->scanning)
            fake_scanned(f, 100 + 10 * (unsigned)round, round < 20 ? 10 : 0, true,
                         round < 20 ? 2 + (uint64_t)round : 0);
        while (answered < f->get_count) {
            fake_got_orphan(f, answered++);
            fake_settle(f);
        }
        fake_pass(f, 10);
        cr_assert(f->get_count - taken <= 64, "%zu under way", f->get_count - taken);
        while (taken < f->get_count && taken < fake_sent_count(f, "why=takeover")) {
            char *msg = fake_sent(f, "why=takeover", taken++, NULL);

            fake_say(f, "{\"t\":\"events\",\"n\":%zu}{\"t\":\"taken\",\"token\":%lld,\"ok\":1}", taken,
                     strtoll(strstr(msg, "-Branches: ") + strlen("-Branches: "), NULL, 10));
        }
        f->put_count = 0;
        fake_ack_all(f);
        if (round > 40 && !fake_status(f).takeovers)
            break;
    }
    cr_expect(taken > 130 && fake_status(f).takeovers == 0 && engine_counters(f->e)->takeovers_done == taken);
    for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
        measured += engine_histograms(f->e)->takeover.count[i];
    cr_expect(measured == taken && engine_histograms(f->e)->takeover.sum_us > 0, "the last ones had to wait");
    fake_free(f);
}

/* Many names: the next part is not asked for while enough of them wait. */
Test(search, does_not_read_all_names_at_once)
{
    struct fake *f = searching();

    fake_scanned(f, 0, 1000, true, 9);
    fake_pass(f, 1500);
    cr_expect(f->scans == 1 && f->get_count == 64, "%zu scans, %zu lookups", f->scans, f->get_count);
    fake_free(f);
}

static void expect_left_alone(const char *(*record)(const struct leg *c))
{
    struct fake *f = searching();
    unsigned i;

    fake_scanned(f, 0, 20, true, 0);
    fake_turn(f);
    cr_assert(f->get_count > 0);
    for (size_t g = f->get_count; g-- > 0;) {
        struct leg c;

        sscanf(f->gets[g].key, "kamsync:tx:{call-%u@", &i);
        c = call_make(i);
        engine_got(f->e, f->gets[g].token, GET_FOUND, span_of(record(&c)), f->now);
    }
    fake_pass(f, 500);
    cr_expect(fake_count(f, "send") == 0 && fake_status(f).takeovers == 0 && f->put_count == 0);
    fake_free(f);
}

static const char *done_record(const struct leg *c)
{
    return fake_record(c, 2, "200.1", true);
}

static const char *record_of_the_living(const struct leg *c)
{
    return fake_orphan(c, 3, "300.1");
}

static const char *record_without_request(const struct leg *c)
{
    return fake_record(c, 2, "200.1", false);
}

static const char *record_of_another_key(const struct leg *c)
{
    struct leg other = *c;

    other.cseq = 99;
    return fake_orphan(&other, 2, "200.1");
}

static const char *broken_record(const struct leg *c)
{
    (void)c;
    return "{\"owner\":2";
}

Test(search, leaves_alone_what_is_no_orphan_or_cannot_be_taken)
{
    expect_left_alone(done_record);
    expect_left_alone(record_of_the_living);
    expect_left_alone(record_without_request);
    expect_left_alone(record_of_another_key);
    expect_left_alone(broken_record);
}

/* ---- this kamsyncd was started anew ---- */

/* Before a node's beat had time to come one cannot say that it is dead; afterwards its calls are orphans. */
Test(search, owner_never_heard_of_is_dead_after_its_time_to_live_and_then_searched_for)
{
    struct fake *f = fake_new();
    struct leg c = call_make(1);
    size_t answered = 0;

    f->mute_scans = true;
    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    for (int ms = 0; ms < 20000; ms += 100) {
        fake_pass(f, 100);
        if (ms % 1000 == 0)
            engine_nodes_read(f->e, true, f->now);
        if (f->scanning)
            fake_scanned(f, 1, 1, true, 0);
        while (answered < f->get_count)
            engine_got(f->e, f->gets[answered++].token, GET_FOUND, span_of(fake_orphan(&c, 9, "900.1")), f->now);
        cr_assert(ms >= 3000 || f->put_count == 0, "too early");
    }
    cr_expect(f->put_count > 0, "its calls are never found");
    fake_free(f);
}

/* kamsyncd started beside a Kamailio that lived on: call 1 is its own. */
static struct fake *learning(bool takeover, unsigned more)
{
    struct fake *f = fake_new();

    f->conf.takeover = takeover;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    f->mute_scans = true;
    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    engine_nodes_read(f->e, true, f->now);
    fake_turn(f);
    cr_assert(f->scans == 1);
    fake_scanned(f, 100, 0, true, more);
    fake_turn(f);
    return f;
}

/* The record says that it is this node's own. Whoever was about to take it is kept out by the next epoch. */
static void answer_own(struct fake *f, const char *record)
{
    f->answer_puts = true;
    fake_answer(f, record);
    fake_turn(f);
    cr_assert(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 2, "learnt without a proof");
}

static void expect_learnt(struct fake *f, const char *record)
{
    struct leg c = call_make(1);

    fake_reply(f, 1, &c, "0", 183); /* before it is known */
    cr_assert(f->scanning, "the second part is not asked for");
    fake_scanned(f, 1, 1, true, 0);
    fake_turn(f);
    cr_expect(!fake_status(f).settled);
    answer_own(f, record);
    fake_pass(f, 1000);
    cr_expect(fake_status(f).settled && fake_status(f).txns == 1 && f->put_count > 0);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 183, "the reply that came meanwhile counts");
    fake_free(f);
}

Test(search, own_transactions_are_learnt_back_from_all_parts)
{
    struct leg c = call_make(1);

    expect_learnt(learning(true, 5), fake_orphan(&c, 1, "100.1"));
}

Test(search, own_transactions_are_learnt_back_without_takeover_too)
{
    struct leg c = call_make(1);

    expect_learnt(learning(false, 5), fake_orphan(&c, 1, "100.1"));
}

Test(search, without_takeover_it_takes_no_orphan)
{
    struct leg c = call_make(1);
    struct fake *f = fake_new();

    f->conf.takeover = false;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    f->mute_scans = true;
    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_node(f, 2, 1, "200.2", true);
    fake_turn(f);
    fake_scanned(f, 1, 1, true, 0);
    fake_turn(f);
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_turn(f);
    cr_expect(f->put_count == 0, "taken, though takeover is off");
    fake_free(f);
}

Test(search, failed_search_for_own_transactions_is_repeated)
{
    struct leg c = call_make(1);
    struct fake *f = learning(true, 5);

    fake_reply(f, 1, &c, "0", 183);
    fake_scanned(f, 0, 0, false, 0);
    for (int i = 0; i < 100 && !f->scanning; i++)
        fake_pass(f, 100);
    cr_assert(f->scanning);
    fake_scanned(f, 1, 1, true, 0);
    fake_turn(f);
    answer_own(f, fake_orphan(&c, 1, "100.1"));
    fake_pass(f, 1000);
    cr_expect(fake_status(f).txns == 1 && f->put_count > 0);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 183, "the reply that came meanwhile counts");
    fake_free(f);
}

/* The owner wrote it while takeover was switched off. */
Test(search, learnt_record_without_request_stays_one_without)
{
    struct leg c = call_make(1);
    struct fake *f = learning(true, 5);
    char *record = scratch("%s", fake_orphan(&c, 1, "100.1"));

    strcpy(strstr(record, ",\"req\":"), "}");
    fake_scanned(f, 1, 1, true, 0);
    fake_turn(f);
    answer_own(f, record);
    fake_reply(f, 1, &c, "0", 183);
    fake_turn(f);
    cr_assert(fake_status(f).txns == 1 && f->put_count > 0);
    cr_expect(!fake_put_field(f, "req"), "an empty request is none that a survivor could inject");
    fake_free(f);
}
