/* One frame gets lost between kamsyncd and Kamailio, or all do. */
#include "fake.h"

TestSuite(contact, .fini = no_leaks);

#define HANG_MS 1500

/* One that others know, with two nodes in its table; Kamailio does nothing by itself from now on. */
static struct fake *watching(void)
{
    struct fake *f = fake_peers();

    f->conf.hang_ms = HANG_MS;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    fake_ack_all(f);
    fake_forget(f);
    f->unreachable = true;
    f->deaf = true;
    return f;
}

static void ack(struct fake *f, json_t *frame)
{
    fake_say(f, "{\"t\":\"ack\",\"n\":%lld}", (long long)fake_int(frame, "n"));
}

/* So many CANCELs of this node's own transactions come back: as many frames for Kamailio. */
static void give_work(struct fake *f, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        struct leg c = call_make(i);

        fake_branch(f, f->events + 1, &c, "0", true);
        fake_stray(f, i, &c, "CANCEL");
    }
    fake_turn(f);
}

static size_t sends(const struct fake *f)
{
    return fake_sent_count(f, "why=owner");
}

Test(contact, lost_frame_goes_once_more)
{
    struct fake *f = watching();
    size_t nodes;

    give_work(f, 1, 3);
    cr_assert(sends(f) == 3);
    ack(f, json_array_get(f->frames, json_array_size(f->frames) - 1));
    nodes = fake_count(f, "node");
    fake_turn(f);
    cr_expect(sends(f) > 3 && engine_counters(f->e)->frames_again > 0);
    cr_expect(fake_count(f, "node") == nodes + 2, "what Kamailio knows of nodes may have got lost, too");
    fake_free(f);
}

/* The last one got lost, and nothing comes after it: so a ping does. */
Test(contact, ping_shows_that_the_last_one_got_lost)
{
    struct fake *f = watching();

    give_work(f, 1, 1);
    cr_assert(sends(f) == 1 && fake_count(f, "ping") == 0);
    while (fake_count(f, "ping") == 0 && f->now < 1100000)
        fake_pass(f, 10);
    cr_assert(fake_count(f, "ping") == 1);
    ack(f, fake_last(f, "ping"));
    fake_turn(f);
    cr_expect(sends(f) == 2 && engine_counters(f->e)->hangs == 0);
    fake_free(f);
}

/* A window full of frames that got lost: it was full for ever. */
Test(contact, full_window_of_lost_frames_opens_again)
{
    struct fake *f = watching();
    size_t before;

    give_work(f, 1, 100);
    before = sends(f);
    cr_assert(before > 5 && before < 100);
    while (fake_count(f, "ping") == 0 && f->now < 1100000)
        fake_pass(f, 10);
    ack(f, fake_last(f, "ping"));
    fake_turn(f);
    cr_expect(sends(f) >= 2 * before - 2, "%zu, then %zu", before, sends(f));
    f->deaf = false;
    for (int i = 0; i < 50; i++) {
        fake_ack_all(f);
        fake_turn(f);
    }
    cr_expect(sends(f) >= 100 && fake_status(f).queued == 0 && engine_counters(f->e)->hangs == 0);
    fake_free(f);
}

/* The script has used all its credit, and kamsyncd's word of new one got lost. */
Test(contact, lost_credit_is_given_again)
{
    struct fake *f = watching();
    int64_t n;

    for (int i = 0; i < 16; i++)
        fake_say(f, "{\"t\":\"events\",\"n\":%lld}", f->events + 1);
    fake_turn(f);
    cr_assert(fake_count(f, "ack") == 1);
    n = fake_int(fake_last(f, "ack"), "events");
    while (fake_count(f, "ping") == 0 && f->now < 1100000)
        fake_pass(f, 10);
    ack(f, fake_last(f, "ping"));
    fake_turn(f);
    cr_assert(fake_count(f, "ack") == 2);
    cr_expect(fake_int(fake_last(f, "ack"), "events") == n);
    fake_free(f);
}

/* Nothing comes through any more, for whatever reason. */
Test(contact, link_without_progress_is_opened_again)
{
    struct fake *f = watching();
    int64_t begun = f->now;

    while (f->closes == 0 && f->now < begun + 60000)
        fake_pass(f, 100);
    cr_expect(f->closes == 1 && f->now - begun >= 4 * HANG_MS && f->now - begun < 4 * HANG_MS + 3000);
    cr_expect(engine_counters(f->e)->hangs == 1 && engine_counters(f->e)->link_reopens == 1);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    f->deaf = false;
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_pass(f, 60000);
    cr_expect(fake_status(f).up && f->closes == 1);
    fake_free(f);
}

/* A Kamailio that hangs for an hour takes few connections. */
Test(contact, it_is_opened_more_and_more_seldom)
{
    struct fake *f = watching();
    unsigned seen = 0;

    while (f->now < 1000000 + 3600000) {
        fake_pass(f, 1000);
        if (f->closes == seen)
            continue;
        seen = f->closes;
        engine_link_down(f->e, f->now);
        engine_link_up(f->e, scratch("tag-%u", seen), f->now);
    }
    cr_expect(seen > 20 && seen < 60, "%u times", seen);
    fake_free(f);
}
