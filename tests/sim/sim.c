/* A cluster that has accidents: three nodes, calls, CANCELs to any node, and Kamailios that die, restart and hang,
 * links that break, stores that go away. Everything takes a random time. One seed is one life, the same each time.
 *
 *     sim [--seeds N] [--first SEED] [--steps N]
 *
 * While it goes on: nothing is due at once after a turn (cluster.c), queues stay within their limits, and of the nodes
 * that have been well for long enough no two own one call. Afterwards, when all are well again: each call has at most
 * one owner, nothing waits, and each CANCEL of a call that lives is delivered, once. */
#include "cluster.h"

#define CALLS 60
#define WELL_MS 12000 /* after an accident: time enough for all to be settled */

static uint64_t seed;

#define check(what, ...)                                                                                               \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "seed %llu: ", (unsigned long long)seed);                                                  \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, "\n");                                                                                     \
            return false;                                                                                              \
        }                                                                                                              \
    } while (0)

/* xorshift64* */
static unsigned dice(struct cluster *c, unsigned sides)
{
    c->rng ^= c->rng >> 12;
    c->rng ^= c->rng << 25;
    c->rng ^= c->rng >> 27;
    return (unsigned)((c->rng * 2685821657736338717ull) >> 33) % sides;
}

static int64_t some_ms(struct cluster *c)
{
    return dice(c, 20) ? 1 + dice(c, 5) : 1 + dice(c, 80);
}

static bool perhaps(struct cluster *c)
{
    return dice(c, 2);
}

static void accident(struct cluster *c, int64_t *bad_ms)
{
    size_t n = dice(c, (unsigned)c->count);
    struct site *s = &c->site[n];

    switch (dice(c, 10)) {
    case 0:
        cluster_kill(c, n);
        break;
    case 1:
        cluster_restart(c, n);
        break;
    case 2:
        if (!s->dead)
            cluster_hang(c, n, true);
        break;
    case 3:
        if (!s->dead)
            cluster_hang(c, n, false);
        break;
    case 4:
        cluster_break(c, n);
        break;
    case 5:
        cluster_mend(c, n);
        break;
    case 6:
        cluster_cut(c, n);
        break;
    case 7:
        cluster_join(c, n);
        break;
    case 8:
        s->isolated = !s->isolated;
        break;
    default:
        c->scan_failures = 1;
    }
    *bad_ms = c->now;
}

static void all_well(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        c->site[i].isolated = false;
        if (c->site[i].hung)
            cluster_hang(c, i, false);
        if (c->site[i].dead)
            cluster_restart(c, i);
        cluster_mend(c, i);
        cluster_join(c, i);
    }
    c->scan_failures = 0;
}

static bool limits(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct engine_status s;

        engine_status(c->site[i].e, &s);
        check(s.strays <= 2049 && s.queued <= 4200 && s.puts <= 2048 && s.takeovers <= 2 * CALLS, "node %zu: limits",
              i + 1);
    }
    return true;
}

static bool one_owner(struct cluster *c)
{
    for (int i = 0; i < CALLS; i++)
        check(cluster_holders(c, i, NULL) <= 1, "at %lld: call %d has %zu owners", (long long)c->now, i,
              cluster_holders(c, i, NULL));
    return true;
}

static bool all_quiet(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct engine_status s;

        engine_status(c->site[i].e, &s);
        check(!s.takeovers && !s.strays && !s.queued && !s.puts && s.up,
              "node %zu: takeovers %zu, strays %zu, frames %zu, writes %zu", i + 1, s.takeovers, s.strays, s.queued,
              s.puts);
    }
    return true;
}

/* Whether the store says that the call still goes on: only then can anybody know of it. */
static bool known(struct cluster *c, int call)
{
    json_t *record = cluster_record(c, call);
    bool yes = record && json_is_false(json_object_get(record, "done"));

    json_decref(record);
    return yes;
}

static bool cancel_all(struct cluster *c)
{
    for (int i = 0; i < CALLS; i++) {
        size_t who = 0, number;
        bool lives = cluster_holders(c, i, &who) == 1 && known(c, i);

        if (!lives)
            continue;
        number = cluster_cancel(c, dice(c, (unsigned)c->count), i);
        cluster_run(c, 1500);
        check(c->delivered[number] == 1 && c->refused[number] == 0,
              "call %d at node %zu: CANCEL delivered %u times, refused %u times", i, who + 1, c->delivered[number],
              c->refused[number]);
    }
    return true;
}

static bool life(int steps)
{
    struct cluster *c = cluster_new(3);
    int64_t bad_ms = 0;
    int calls = 0;
    bool good = true;

    c->rng = seed * 0x9e3779b97f4a7c15ull + 1;
    c->delay = some_ms;
    c->maybe = perhaps;
    for (int step = 0; good && step < steps; step++) {
        if (calls < CALLS && dice(c, 3) == 0)
            cluster_call(c, dice(c, 3), calls++);
        if (dice(c, 12) == 0)
            accident(c, &bad_ms);
        if (calls && dice(c, 10) == 0)
            cluster_cancel(c, dice(c, 3), (int)dice(c, (unsigned)calls));
        cluster_run(c, dice(c, 4) ? 1 + dice(c, 300) : 1 + dice(c, 3000));
        good = limits(c);
    }
    all_well(c);
    cluster_run(c, WELL_MS);
    good = good && one_owner(c) && all_quiet(c) && cancel_all(c) && one_owner(c);
    cluster_free(c);
    return good;
}

static long argument(int argc, char **argv, const char *name, long value)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            value = strtol(argv[i + 1], NULL, 10);
    return value;
}

int main(int argc, char **argv)
{
    long seeds = argument(argc, argv, "--seeds", 300), first = argument(argc, argv, "--first", 1), failed = 0;
    int steps = (int)argument(argc, argv, "--steps", 120);

    json_object_seed(1);
    for (seed = (uint64_t)first; seed < (uint64_t)(first + seeds); seed++)
        failed += !life(steps);
    printf("%ld seeds, %ld failed\n", seeds, failed);
    return failed ? 1 : 0;
}
