/* Without calls: how often kamsyncd wakes, and that it still notices a Kamailio that hangs. */
#include "fake.h"
#include "turn.h"

TestSuite(idle, .fini = no_leaks);

#define HANG_MS 1500

/* Two other nodes, which beat and answer probes. */
struct quiet {
    struct fake *f;
    int64_t beat, beat_ms;
    size_t turns;
};

static void turn(void *world)
{
    struct quiet *q = world;

    q->turns++;
    if (q->f->now >= q->beat_ms + 1000) {
        q->beat_ms = q->f->now;
        fake_node(q->f, 2, ++q->beat, "200.1", true);
        fake_node(q->f, 3, q->beat, "300.1", true);
    }
    fake_turn(q->f);
}

static void pass(struct quiet *q, int64_t ms)
{
    turn_pass(q->f->e, &q->f->now, ms, turn, q);
}

static struct quiet quiet(void)
{
    struct quiet q = {.f = fake_peers(), .beat = 1000};

    q.f->polite = true;
    q.f->conf.hang_ms = HANG_MS;
    cr_assert(engine_configure(q.f->e, &q.f->conf, q.f->now) == 0);
    pass(&q, 5000);
    q.turns = q.f->written = 0;
    fake_forget(q.f);
    return q;
}

Test(idle, all_is_done_when_nodes_are_probed)
{
    struct quiet q = quiet();

    pass(&q, 10000);
    cr_expect(q.turns >= 20 && q.turns <= 22, "%zu turns", q.turns);
    cr_expect(q.f->beat_count >= 10 && q.f->beat_count <= 11, "%zu beats", q.f->beat_count);
    cr_expect(q.f->written >= 40 && q.f->written <= 42, "%zu frames: two probes twice a second, an ack for 16 answers",
              q.f->written);
    fake_free(q.f);
}

Test(idle, beats_come_together_with_probes_again)
{
    struct quiet q = quiet();

    fake_pass(q.f, 130);
    engine_store_down(q.f->e, q.f->now);
    engine_store_up(q.f->e, q.f->now); /* it beats at once */
    pass(&q, 5000);
    q.turns = 0;
    pass(&q, 10000);
    cr_expect(q.turns >= 20 && q.turns <= 22, "%zu turns", q.turns);
    fake_free(q.f);
}

static bool said_down(const struct fake *f)
{
    return f->beat_count && strstr(f->beats[f->beat_count - 1].record, "\"up\":false");
}

Test(idle, hang_is_noticed_by_probes)
{
    struct quiet q = quiet();
    int64_t begun = q.f->now;

    q.f->deaf = q.f->unreachable = true;
    q.f->polite = false;
    while (!said_down(q.f) && q.f->now < begun + 10000)
        pass(&q, 10);
    cr_expect(q.f->now - begun >= HANG_MS && q.f->now - begun <= HANG_MS + 510, "after %lld ms",
              (long long)(q.f->now - begun));
    cr_expect(fake_counters(q.f)->hangs == 1);
    fake_free(q.f);
}
