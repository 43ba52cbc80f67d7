/* Records of this node's that a newer one keeps out: the table in core/own/fence.c, cell by cell, and what makes this
 * node doubt that a transaction is still its own. */
#include "base64.h"
#include "fake.h"
#include "record.h"

TestSuite(fence, .fini = no_leaks);

#define NEWER 5 /* the epoch of the record that stands there */

enum hold { NEW, PROVING, OWNED, HOLDS };

static int64_t epoch(const struct fake *f)
{
    return json_integer_value(fake_put_field(f, "epoch"));
}

/* Long enough for the others to think this node dead. */
static void stand_still(struct fake *f)
{
    f->now += f->conf.node_ttl_ms;
    fake_turn(f);
}

/* A write of call 1, which this node is so sure of, is under way; node 2 with incarnation 200.1 lives, of any other
 * node this one does not know yet. */
static struct fake *writing(enum hold hold, struct leg *c)
{
    struct fake *f = fake_ready();

    *c = call_make(1);
    f->polite = f->mute_nodes = true;
    fake_branch(f, 1, c, "0", true);
    fake_turn(f);
    if (hold != NEW)
        fake_put_done(f, 1, true);
    if (hold == OWNED)
        fake_reply(f, 2, c, "0", 180);
    fake_turn(f);
    if (hold == PROVING)
        stand_still(f);
    fake_node(f, 2, 1, "200.1", true);
    fake_turn(f);
    cr_assert(f->unanswered_count == 1 && epoch(f) == 1 + (hold == PROVING));
    fake_forget(f);
    return f;
}

/* ---- the table ---- */

static void expect_kept(const struct fake *f, size_t puts)
{
    cr_expect(f->put_count == puts && fake_status(f).txns == 1 && fake_count(f, "lost") == 0, "%zu writes, %zu lost",
              f->put_count, fake_count(f, "lost"));
}

/* The store takes the last write over that record. */
static bool goes_over(const struct fake *f, const char *record)
{
    return !record_fences(span_of(record), span_of(f->puts[f->put_count - 1].value));
}

static void writes_over(struct fake *f, enum hold hold, const char *record)
{
    (void)hold;
    expect_kept(f, 1);
    cr_expect(epoch(f) == NEWER + 1 && f->asked == 0 && goes_over(f, record));
}

static void is_second(struct fake *f, enum hold hold, const char *record)
{
    (void)hold, (void)record;
    cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 1 && f->put_count == 0);
    cr_expect(engine_counters(f->e)->txns_second == 1 && engine_counters(f->e)->txns_lost == 0);
}

static void lets_go(struct fake *f, enum hold hold, const char *record)
{
    (void)hold, (void)record;
    cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 1 && f->put_count == 0);
    cr_expect(engine_counters(f->e)->txns_second == 0 && engine_counters(f->e)->txns_lost == 1);
}

/* With the same epoch: that goes over nothing that is newer. */
static void tries_again_later(struct fake *f, enum hold hold, const char *record)
{
    (void)record;
    fake_pass(f, 199);
    expect_kept(f, 0);
    fake_pass(f, 1);
    expect_kept(f, 1);
    cr_expect(epoch(f) == 1 + (hold == PROVING) && f->asked == 0);
}

/* He looks dead, but may be back: the store is asked, and then the record is tried again. */
static void asks_for_him(struct fake *f, enum hold hold, const char *record)
{
    fake_pass(f, 1000);
    expect_kept(f, 0);
    cr_assert(f->asked == 1);
    engine_got(f->e, f->node_token, GET_ABSENT, (struct span){0}, f->now);
    fake_turn(f);
    expect_kept(f, 1);
    cr_expect(epoch(f) == 1 + (hold == PROVING));
    fake_put_fenced(f, record);
    fake_turn(f);
    expect_kept(f, 2);
    cr_expect(epoch(f) == NEWER + 1 && f->asked == 1 && goes_over(f, record));
}

typedef void expect(struct fake *f, enum hold hold, const char *record);

static const struct {
    const char *name;
    int owner;
    const char *inc;
    bool taking;
    expect *each[HOLDS]; /* NEW, PROVING, OWNED */
} rivals[] = {
    {"this node itself", 1, "100.1", false, {writes_over, writes_over, writes_over}},
    {"one who lives", 2, "200.1", false, {is_second, lets_go, lets_go}},
    {"one who takes it over", 2, "200.1", true, {tries_again_later, tries_again_later, tries_again_later}},
    {"one who is dead", 2, "200.0", false, {asks_for_him, asks_for_him, asks_for_him}},
    {"one who died in the takeover", 2, "200.0", true, {asks_for_him, asks_for_him, asks_for_him}},
    {"one who is not known", 9, "900.1", false, {tries_again_later, tries_again_later, tries_again_later}},
    {"nobody: it was released", 0, "none", false, {writes_over, writes_over, writes_over}},
    {"a Kamailio of before", 1, "100.0", false, {writes_over, writes_over, writes_over}},
};

Test(fence, every_cell_of_the_table)
{
    for (size_t i = 0; i < COUNT(rivals); i++)
        for (int hold = NEW; hold < HOLDS; hold++) {
            struct leg c;
            struct fake *f = writing(hold, &c);
            char *record = fake_epoch(fake_orphan(&c, rivals[i].owner, rivals[i].inc), NEWER, rivals[i].taking);

            cr_log_info("%s, hold %d", rivals[i].name, hold);
            f->asked = 0;
            fake_put_fenced(f, record);
            fake_turn(f);
            rivals[i].each[hold](f, hold, record);
            fake_free(f);
        }
}

Test(fence, what_is_no_record_is_written_over)
{
    static const char damaged[] = "{\"epoch\":5,\"owner\":2,\"inc\":\"200.1\",\"from\":\"4 1 100.1\",\"state\":";
    struct leg c;
    struct fake *f = writing(OWNED, &c);

    fake_put_fenced(f, damaged);
    fake_turn(f);
    writes_over(f, OWNED, damaged);
    fake_free(f);
}

/* Its head says more than this node can repeat. */
Test(fence, what_is_no_record_makes_no_busy_loop)
{
    static const char *const damaged[] = {"{\"epoch\":5,\"owner\":99999999999999999999999,\"inc\":\"200.1\"",
                                          "{\"epoch\":0,\"owner\":2,\"inc\":\"200.1\"",
                                          "{\"epoch\":05,\"owner\":2,\"inc\":\"200.1\"",
                                          "{\"epoch\":5,\"owner\":02,\"inc\":\"200.1\"",
                                          "{\"epoch\":5,\"owner\":2,\"inc\":\"200\\u002e1\"",
                                          "{\"epoch\":5,\"owner\":2,\"inc\":\"\""};

    for (size_t i = 0; i < COUNT(damaged); i++) {
        struct leg c;
        struct fake *f = writing(OWNED, &c);

        f->answer_puts = true;
        f->record = damaged[i];
        fake_put_fenced(f, damaged[i]);
        fake_pass(f, 1000);
        cr_expect(f->put_count == 5 && fake_status(f).txns == 1, "%s: %zu writes", damaged[i], f->put_count);
        fake_free(f);
    }
}

/* ---- who looked dead ---- */

Test(fence, one_who_looked_dead_and_lives)
{
    struct leg c;
    struct fake *f = writing(PROVING, &c);
    char *record = fake_epoch(fake_orphan(&c, 2, "200.2"), NEWER, false);

    f->mute_nodes = false;
    f->node_record = "{\"id\":2,\"name\":\"b\",\"sip\":\"192.0.2.2:5060\",\"inc\":\"200.2\",\"beat\":7,\"up\":true}";
    fake_put_fenced(f, record);
    fake_turn(f);
    cr_assert(f->put_count == 1 && epoch(f) == 2);
    fake_put_fenced(f, record);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0 && engine_counters(f->e)->txns_lost == 1);
    fake_free(f);
}

Test(fence, store_that_does_not_say_whether_he_lives_is_asked_again)
{
    struct leg c;
    struct fake *f = writing(PROVING, &c);
    char *record = fake_epoch(fake_orphan(&c, 2, "200.0"), NEWER, false);

    f->asked = 0;
    for (size_t i = 1; i <= 3; i++) {
        fake_put_fenced(f, record);
        fake_turn(f);
        cr_assert(f->asked == i);
        engine_got(f->e, f->node_token, GET_FAILED, (struct span){0}, f->now);
        fake_pass(f, 199);
        cr_assert(f->put_count == i - 1, "not as fast as the store can say no");
        fake_pass(f, 1);
        cr_assert(f->put_count == i && epoch(f) == 2);
    }
    fake_free(f);
}

/* What Kamailio says meanwhile is no answer of the store's. */
Test(fence, an_event_while_it_is_asked_writes_nothing_over)
{
    struct leg c;
    struct fake *f = writing(PROVING, &c);

    f->answer_puts = true;
    f->record = fake_epoch(fake_orphan(&c, 2, "200.0"), NEWER, false);
    fake_put_fenced(f, f->record);
    fake_turn(f);
    fake_reply(f, 2, &c, "0", 183);
    fake_pass(f, 1000);
    cr_expect(epoch(f) < NEWER, "written over one who may live");
    engine_got(f->e, f->node_token, GET_ABSENT, (struct span){0}, f->now);
    fake_pass(f, 1000);
    cr_expect(epoch(f) == NEWER + 1 && fake_status(f).txns == 1, "%zu %zu %zu %s", f->unanswered_count, f->put_count,
              fake_status(f).txns, f->logs);
    fake_free(f);
}

/* ---- who takes it over ---- */

static struct fake *waiting(struct leg *c)
{
    struct fake *f = writing(PROVING, c);

    f->answer_puts = true;
    f->record = fake_epoch(fake_orphan(c, 2, "200.1"), NEWER, true);
    fake_put_fenced(f, f->record);
    fake_pass(f, 1000);
    cr_assert(f->put_count > 0 && epoch(f) == 2 && fake_count(f, "lost") == 0);
    return f;
}

Test(fence, taker_who_has_it)
{
    struct leg c;
    struct fake *f = waiting(&c);

    f->record = fake_epoch(fake_orphan(&c, 2, "200.1"), NEWER, false);
    fake_pass(f, 200);
    cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 1 && epoch(f) == 2);
    fake_free(f);
}

Test(fence, taker_who_lets_it_go)
{
    struct leg c;
    struct fake *f = waiting(&c);

    f->record = fake_epoch(fake_orphan(&c, 0, "none"), NEWER + 1, false);
    fake_pass(f, 200);
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0 && epoch(f) == NEWER + 2);
    fake_free(f);
}

/* A write of his that came late, or his takeover has ended and he could not say so: a takeover that fails is under way
 * for less than 14 s. */
Test(fence, taker_who_never_finishes)
{
    struct leg c;
    struct fake *f = waiting(&c);

    for (int beat = 2; beat < 15; beat++) {
        fake_node(f, 2, beat, "200.1", true);
        fake_pass(f, 1000);
    }
    cr_expect(epoch(f) == 2, "14 s have passed, and he may have it yet");
    fake_pass(f, 800);
    cr_expect(epoch(f) == NEWER + 1 && fake_status(f).txns == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

/* The next one has his own time. */
Test(fence, taker_who_follows_another)
{
    struct leg c;
    struct fake *f = waiting(&c);

    for (int beat = 2; beat < 30; beat++) {
        if (beat == 13)
            f->record = fake_epoch(fake_orphan(&c, 3, "300.1"), NEWER + 1, true);
        fake_node(f, 2, beat, "200.1", true);
        fake_node(f, 3, beat, "300.1", true);
        fake_pass(f, 1000);
        cr_assert(epoch(f) == (beat < 27 ? 2 : NEWER + 2), "beat %d: %lld", beat, (long long)epoch(f));
    }
    fake_free(f);
}

/* ---- doubt ---- */

static void link_again(struct fake *f)
{
    engine_link_down(f->e, f->now);
    fake_pass(f, 700);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
}

Test(fence, link_that_is_back_is_a_doubt)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    link_again(f);
    cr_expect(f->put_count == 1 && epoch(f) == 2 && fake_count(f, "lost") == 0);
    link_again(f);
    cr_expect(f->put_count == 2 && epoch(f) == 3, "the store had taken the second");
    fake_free(f);
}

/* What was said before may have been true no more when it came: only a write of after the doubt proves anything. */
Test(fence, doubt_while_a_write_is_under_way)
{
    for (int hold = NEW; hold < HOLDS; hold++) {
        struct leg c;
        struct fake *f = writing(hold, &c);
        int64_t now = hold == NEW ? 1 : 2;

        stand_still(f);
        cr_expect(f->put_count == (hold == OWNED), "one at a time, but for what proves nothing");
        fake_put_done(f, 1, true);
        fake_turn(f);
        cr_assert(f->put_count == 1 && epoch(f) == now, "hold %d: epoch %d", hold, (int)epoch(f));
        fake_reply(f, 3, &c, "0", 183);
        fake_turn(f);
        cr_expect(f->put_count == 1, "hold %d: the first was no proof", hold);
        fake_put_done(f, 1, true);
        fake_turn(f);
        cr_expect(f->put_count == 2 && epoch(f) == now, "the second was");
        stand_still(f);
        cr_expect(f->put_count == 3 && epoch(f) == now + 1);
        fake_free(f);
    }
}

Test(fence, nothing_follows_before_the_store_has_answered)
{
    struct leg c;
    struct fake *f = writing(PROVING, &c);

    fake_reply(f, 2, &c, "0", 183);
    fake_pass(f, 2000);
    cr_expect(f->put_count == 0);
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "code")) == 183);
    fake_free(f);
}

/* Neither this node's nor another's. */
Test(fence, failed_write_is_no_knowledge)
{
    struct leg c;
    struct fake *f = writing(PROVING, &c);

    fake_put_done(f, 1, false);
    fake_pass(f, 1000);
    cr_assert(f->put_count == 1 && epoch(f) == 2);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false));
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0 && engine_counters(f->e)->txns_lost == 1);
    fake_free(f);
}

/* Its end is written, or another node's. */
Test(fence, transaction_that_ends_meanwhile)
{
    struct leg c;
    struct fake *f = writing(PROVING, &c);

    fake_reply(f, 2, &c, "0", 200);
    fake_pass(f, 7000);
    cr_assert(fake_status(f).txns == 1, "%zu %zu %zu %s", f->unanswered_count, f->put_count, fake_status(f).txns,
              f->logs);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false));
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0 && engine_counters(f->e)->txns_lost == 1 && f->put_count == 0);
    fake_free(f);
}

static void expect_after_outage(int ms, int64_t wanted)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    engine_nodes_read(f->e, true, f->now);
    engine_store_down(f->e, f->now);
    fake_pass(f, ms);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(f->put_count == 1 && epoch(f) == wanted, "%d ms: epoch %d", ms, (int)epoch(f));
    fake_free(f);
}

/* Half of the time to live: nobody can have taken us for dead. */
Test(fence, store_outage)
{
    expect_after_outage(1400, 1);
    expect_after_outage(1600, 2);
    expect_after_outage(60000, 2);
}

/* An outage begins when the store stops to answer, not when that is noticed. */
Test(fence, store_outage_counts_from_the_last_answer)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    engine_nodes_read(f->e, true, f->now);
    fake_pass(f, 2900); /* beats and readings are asked for, nothing is answered */
    engine_store_down(f->e, f->now);
    fake_pass(f, 1200);
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(f->put_count == 1 && epoch(f) == 2, "silent for 4.1 s, and no doubt");
    fake_free(f);
}

/* The store forgot the record, the caller repeated the INVITE, and node 2 has routed it, and has had no higher epoch.
 */
Test(fence, one_who_has_routed_the_same_invite_in_a_store_that_forgot)
{
    struct leg c;
    struct fake *f = fake_owning(&c);

    engine_nodes_read(f->e, true, f->now);
    fake_node(f, 2, 1, "200.1", true);
    engine_store_down(f->e, f->now);
    fake_pass(f, 1600);
    fake_forget(f);
    f->record = fake_epoch(fake_orphan(&c, 2, "200.1"), 1, false);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_expect(f->put_count == 2 && epoch(f) == 2 && goes_over(f, f->record));
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0 && engine_counters(f->e)->txns_lost == 0);
    fake_free(f);
}

/* A host that was suspended: no connection broke, no timer ran. */
Test(fence, time_that_jumped)
{
    struct leg c;
    struct fake *f = fake_owning(&c);
    int announced = 0;

    engine_nodes_read(f->e, true, f->now);
    fake_forget(f);
    f->now += 10000;
    fake_reply(f, 2, &c, "0", 183);
    fake_turn(f);
    cr_expect(f->put_count == 1 && epoch(f) == 2, "ten seconds without a beat, and no doubt");
    cr_expect(engine_counters(f->e)->hangs == 0, "Kamailio had no time to answer");
    for (size_t i = 0; i < f->beat_count; i++)
        announced += f->beats[i].announce;
    cr_expect(announced == 1, "and nobody was told that it is back");
    fake_free(f);
}

/* ---- what is lost ---- */

static struct fake *lost(struct leg *c)
{
    struct fake *f = writing(PROVING, c);

    f->polite = false;
    fake_ack_all(f);
    fake_put_fenced(f, fake_epoch(fake_orphan(c, 2, "200.1"), 2, false));
    fake_turn(f);
    return f;
}

Test(fence, what_another_node_has_is_lost)
{
    struct leg c;
    struct fake *f = lost(&c);
    json_t *frame = fake_last(f, "lost");

    cr_assert(fake_count(f, "lost") == 1);
    cr_expect_str_eq(fake_text(frame, "call_id"), base64_of(c.call_id));
    cr_expect(fake_int(frame, "cseq") == c.cseq && fake_int(frame, "n") > 0);
    fake_reply(f, 2, &c, "0", 200);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 0, "no word more of it");
    fake_free(f);
}

static size_t told_to(struct fake *f, const char *tag, const char *inc)
{
    engine_link_down(f->e, f->now);
    fake_pass(f, 5000);
    fake_forget(f);
    engine_link_up(f->e, tag, f->now);
    fake_turn(f);
    fake_hello(f, 1, inc);
    fake_turn(f);
    return fake_count(f, "lost");
}

/* Kamailio must learn it, however often the link breaks before it has acknowledged that. */
Test(fence, loss_is_told_until_it_is_acknowledged)
{
    struct leg c;
    struct fake *f = lost(&c);

    cr_expect(told_to(f, "tag-3", "100.1") == 1);
    cr_expect(told_to(f, "tag-4", "100.1") == 1);
    fake_ack_all(f);
    cr_expect(told_to(f, "tag-5", "100.1") == 0);
    fake_free(f);
}

/* Another incarnation has nothing that it could have lost. */
Test(fence, loss_is_not_told_to_another_incarnation)
{
    struct leg c;
    struct fake *f = lost(&c);

    cr_expect(told_to(f, "tag-3", "100.2") == 0);
    fake_free(f);
}

/* Else tm's timers would one day end a call that is another node's. */
Test(fence, lost_transaction_is_given_back_so_that_tm_forgets_it)
{
    struct leg c;
    struct fake *f = lost(&c);
    char *rest;

    cr_assert(fake_sent_count(f, "why=lost") == 1 && fake_count(f, "send") == 1);
    cr_expect(strstr(fake_handover(f, &rest), "X-Kamsync: to=1;inc=100.1;why=lost;src=udp:198.51.100.9:5060;"));
    cr_expect(strncmp(rest, scratch("INVITE sip:%s@kamsync SIP/2.0\r\nVia: ", c.tm), strlen(c.tm) + 34) == 0, "%s",
              rest);
    cr_expect(strstr(rest, c.branch) && strstr(rest, c.call_id) && strstr(rest, "INVITE\r\n"), "%s", rest);
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "to"), "192.0.2.1:5060");
    fake_free(f);
}

/* Two frames for each are more than may wait at once. */
Test(fence, many_losses_are_all_told)
{
    static const unsigned many = 2500;
    struct fake *f = fake_ready();
    struct leg first = call_make(1);

    f->answer_puts = true;
    for (unsigned i = 1; i <= many; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    fake_turn(f);
    fake_node(f, 2, 1, "200.1", true);
    fake_turn(f);
    fake_forget(f);
    f->record = fake_epoch(fake_orphan(&first, 2, "200.1"), 2, false);
    f->polite = true;
    stand_still(f);
    for (int i = 0; i < 4000 && fake_count(f, "send") < many; i++)
        fake_turn(f);
    cr_expect(engine_counters(f->e)->txns_lost == many && engine_counters(f->e)->frames_shed == 0, "%zu lost, %zu shed",
              (size_t)engine_counters(f->e)->txns_lost, (size_t)engine_counters(f->e)->frames_shed);
    cr_expect(fake_count(f, "lost") == many && fake_count(f, "send") == many, "%zu and %zu", fake_count(f, "lost"),
              fake_count(f, "send"));
    fake_free(f);
}
