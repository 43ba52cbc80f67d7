/* Without calls: how often kamsyncd wakes, and that it still notices a Kamailio that hangs. */
#include "fake.h"
#include "turn.h"

TestSuite(idle, .fini = no_leaks);

#define HANG_MS 1500

/* Two other nodes, which beat and answer probes, and may have nothing to do either. */
struct quiet {
    struct fake *f;
    bool idle;
    int64_t beat, beat_ms;
    size_t turns;
};

static void beats(const struct quiet *q, int id)
{
    struct node n = {.id = id, .beat = q->beat, .up = true, .version = NODE_VERSION, .idle = q->idle};
    char *record;

    snprintf(n.name, sizeof(n.name), "node%d", id);
    snprintf(n.sip, sizeof(n.sip), "192.0.2.%d:5060", id);
    snprintf(n.inc, sizeof(n.inc), "%d00.1", id);
    record = node_record(&n, "");
    engine_node(q->f->e, span_of(record), q->f->now);
    engine_nodes_read(q->f->e, true, q->f->now);
    free(record);
    fake_settle(q->f);
}

static void turn(void *world)
{
    struct quiet *q = world;

    q->turns++;
    if (q->f->now >= q->beat_ms + 1000) {
        q->beat_ms = q->f->now;
        q->beat++;
        beats(q, 2);
        beats(q, 3);
    }
    fake_turn(q->f);
}

static void pass(struct quiet *q, int64_t ms)
{
    turn_pass(q->f->e, &q->f->now, ms, turn, q);
}

static struct quiet quiet(bool idle)
{
    struct quiet q = {.f = fake_peers(), .beat = 1000, .idle = idle};

    q.f->polite = true;
    q.f->conf.hang_ms = HANG_MS;
    cr_assert(engine_configure(q.f->e, &q.f->conf, q.f->now) == 0);
    pass(&q, 5000);
    q.turns = q.f->written = 0;
    fake_forget(q.f);
    return q;
}

/* In the last beat. */
static bool said(const struct fake *f, const char *what)
{
    return f->beat_count && strstr(f->beats[f->beat_count - 1].record, what);
}

Test(idle, all_is_done_when_nodes_are_probed)
{
    struct quiet q = quiet(false);

    pass(&q, 10000);
    cr_expect(q.turns >= 20 && q.turns <= 22, "%zu turns", q.turns);
    cr_expect(q.f->beat_count >= 10 && q.f->beat_count <= 11, "%zu beats", q.f->beat_count);
    cr_expect(q.f->written >= 40 && q.f->written <= 42, "%zu frames: two probes twice a second, an ack for 16 answers",
              q.f->written);
    fake_free(q.f);
}

Test(idle, idle_nodes_are_probed_more_rarely)
{
    struct quiet q = quiet(true);

    pass(&q, 10000);
    cr_expect(q.turns >= 20 && q.turns <= 22, "%zu turns", q.turns);
    cr_expect(q.f->written >= 15 && q.f->written <= 17, "%zu frames: two probes each 2 s, else a ping with the beat",
              q.f->written);
    q.idle = false;
    pass(&q, 2000);
    q.f->written = 0;
    pass(&q, 10000);
    cr_expect(q.f->written >= 40 && q.f->written <= 42, "%zu frames: two probes twice a second", q.f->written);
    fake_free(q.f);
}

/* Whoever reads the last beat probes this node as its state demands. */
Test(idle, node_with_a_call_says_that_it_is_not_idle)
{
    struct quiet q = quiet(true);
    struct leg c = call_make(1);

    pass(&q, 1000);
    cr_expect(said(q.f, "\"idle\":true"));
    fake_invite(q.f, &c, NULL, FAKE_EPOCH);
    pass(&q, 1000);
    cr_expect(!said(q.f, "\"idle\":true"));
    fake_free(q.f);
}

Test(idle, beats_come_together_with_probes_again)
{
    struct quiet q = quiet(false);

    fake_pass(q.f, 130);
    engine_store_down(q.f->e, q.f->now);
    engine_store_up(q.f->e, q.f->now); /* it beats at once */
    pass(&q, 5000);
    q.turns = 0;
    pass(&q, 10000);
    cr_expect(q.turns >= 20 && q.turns <= 22, "%zu turns", q.turns);
    fake_free(q.f);
}

Test(idle, hang_is_noticed_by_probes)
{
    struct quiet q = quiet(false);
    int64_t begun = q.f->now;

    q.f->deaf = q.f->unreachable = true;
    q.f->polite = false;
    while (!said(q.f, "\"up\":false") && q.f->now < begun + 10000)
        pass(&q, 10);
    cr_expect(q.f->now - begun >= HANG_MS && q.f->now - begun <= HANG_MS + 510, "after %lld ms",
              (long long)(q.f->now - begun));
    cr_expect(fake_counters(q.f)->hangs == 1);
    fake_free(q.f);
}
