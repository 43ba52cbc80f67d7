/* A cluster that has accidents: three nodes, calls, CANCELs to any node, and Kamailios that die, restart and hang,
 * links that break, stores that go away. Everything takes a random time. One seed is one life, the same each time.
 *
 *     sim [--seeds N] [--first SEED] [--steps N] [--junit FILE] [--break FAULT]
 *
 * In every fourth life only kamsyncds die, and are started again. Then no CANCEL of a call that lives is refused.
 *
 * With --junit it also breaks the store in each of two ways (`broken` in cluster.h), and expects that a seed fails
 * then. With --break one of these faults is in from the beginning, to look at.
 *
 * While it goes on: nothing is due at once after a turn (cluster.c), queues stay within their limits, and of the nodes
 * that have had no trouble for WELL_MS no two own one call. Afterwards, when all have been well for WELL_MS: each call
 * has at most one owner, nothing waits, and each CANCEL of a call that lives is delivered, once.
 *
 * More than that cannot be promised: who is cut off from the store, hangs or stands still cannot know that others have
 * claimed its calls, and goes on with them until it is back. */
#include "cluster.h"

#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#define CALLS 60
#define WELL_MS 12000 /* after an accident: time enough for all to be settled */

#define BREAK_SEEDS 300 /* of so many one must notice a broken store */

static uint64_t seed;
static const char *broken; /* the fault of the store */
static bool quiet;         /* failures are expected, and not printed */
static const char *junit;  /* file, or NULL */

struct life {
    struct cluster *c;
    int64_t well_ms[SITES_MAX]; /* since when the node has had no trouble */
};

__attribute__((format(printf, 1, 2))) static void complain(const char *fmt, ...)
{
    va_list ap;

    if (quiet)
        return;
    fprintf(stderr, "seed %llu: ", (unsigned long long)seed);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

#define check(what, ...)                                                                                               \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            complain(__VA_ARGS__);                                                                                     \
            return false;                                                                                              \
        }                                                                                                              \
    } while (0)

static bool only_kamsyncds(void)
{
    return seed % 4 == 0;
}

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

/* A Kamailio, or its host. */
static void accident_there(struct cluster *c, size_t n)
{
    struct site *s = &c->site[n];

    switch (dice(c, 5)) {
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
    default:
        cluster_stand(c, n, true);
    }
}

/* A way to or from it. */
static void accident_between(struct cluster *c, size_t n)
{
    switch (dice(c, 6)) {
    case 0:
        cluster_break(c, n);
        break;
    case 1:
        cluster_mend(c, n);
        break;
    case 2:
        cluster_cut(c, n);
        break;
    case 3:
        cluster_join(c, n);
        break;
    case 4:
        c->site[n].isolated = !c->site[n].isolated;
        break;
    default:
        c->scan_failures = 1;
    }
}

/* kamsyncd dies, or is there again. */
static void accident_beside(struct life *l)
{
    struct cluster *c = l->c;
    size_t n = dice(c, (unsigned)c->count);

    l->well_ms[n] = c->now;
    if (!c->site[n].crashed) {
        cluster_run(c, 200); /* what it has read and not yet written dies with it */
        cluster_crash(c, n);
        return;
    }
    cluster_mend(c, n);
    cluster_join(c, n);
}

static void accident(struct life *l)
{
    struct cluster *c = l->c;
    size_t n = dice(c, (unsigned)c->count);

    l->well_ms[n] = c->now;
    if (c->site[n].still)
        cluster_stand(c, n, false);
    else if (dice(c, 11) < 5)
        accident_there(c, n);
    else
        accident_between(c, n);
}

static void all_well(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        cluster_stand(c, i, false);
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

/* No two nodes that have had no trouble for long own one call, whatever befalls the third. */
static bool one_owner_among_the_well(struct life *l)
{
    struct cluster *c = l->c;
    size_t owners[CALLS] = {0};

    for (size_t i = 0; i < c->count; i++) {
        struct site *s = &c->site[i];

        if (s->dead || s->hung || s->isolated || s->still || !s->linked || !s->connected)
            l->well_ms[i] = c->now;
        for (int call = 0; c->now - l->well_ms[i] >= WELL_MS && call < CALLS; call++)
            check((owners[call] += s->holds[call]) < 2, "at %lld: call %d has two owners who have long been well",
                  (long long)c->now, call);
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

/* The callers hang up, each at some node. */
static bool cancel_all(struct cluster *c)
{
    size_t number[CALLS], who[CALLS];
    bool lives[CALLS];

    for (int i = 0; i < CALLS; i++) {
        lives[i] = cluster_holders(c, i, &who[i]) == 1 && known(c, i);
        if (lives[i])
            number[i] = cluster_cancel(c, dice(c, (unsigned)c->count), i);
    }
    cluster_run(c, 1500);
    for (int i = 0; i < CALLS; i++)
        check(!lives[i] || (c->delivered[number[i]] == 1 && c->refused[number[i]] == 0),
              "call %d at node %zu: CANCEL delivered %u times, refused %u times", i, who[i] + 1,
              c->delivered[number[i]], c->refused[number[i]]);
    return true;
}

static bool go_on(struct life *l)
{
    struct cluster *c = l->c;

    cluster_run(c, dice(c, 4) ? 1 + dice(c, 300) : 1 + dice(c, 3000));
    return limits(c) && one_owner_among_the_well(l);
}

/* The caller hangs up. */
static bool cancel(struct life *l, size_t node, int call)
{
    struct cluster *c = l->c;
    size_t lived = cluster_holders(c, call, NULL), number = cluster_cancel(c, node, call);

    if (!go_on(l))
        return false;
    check(!only_kamsyncds() || !lived || !cluster_holders(c, call, NULL) || !c->refused[number],
          "at %lld: call %d lives, and its CANCEL is refused at node %zu", (long long)c->now, call, node + 1);
    return true;
}

static bool step(struct life *l, int *calls)
{
    struct cluster *c = l->c;

    if (*calls < CALLS && dice(c, 3) == 0)
        cluster_call(c, dice(c, 3), (*calls)++);
    if (dice(c, 12) == 0)
        (only_kamsyncds() ? accident_beside : accident)(l);
    if (*calls && dice(c, 10) == 0)
        return cancel(l, dice(c, 3), (int)dice(c, (unsigned)*calls));
    return go_on(l);
}

static bool life(int steps)
{
    struct life l = {.c = cluster_new(3)};
    struct cluster *c = l.c;
    bool good = true;
    int calls = 0;

    c->rng = seed * 0x9e3779b97f4a7c15ull + 1;
    c->delay = some_ms;
    c->maybe = perhaps;
    c->broken = broken;
    for (int i = 0; good && i < steps; i++)
        good = step(&l, &calls);
    if (good) {
        all_well(c);
        cluster_run(c, WELL_MS);
    }
    good = good && one_owner(c) && all_quiet(c) && cancel_all(c) && one_owner(c);
    cluster_free(c);
    scratch_clear();
    return good;
}

/* ---- what is run, and what is told of it ---- */

/* Test cases, as JUnit would write them. */
static char *cases;

static void add_case(const char *failure, const char *fmt, ...)
{
    char *name = NULL, *more = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&name, fmt, ap) < 0 || asprintf(&more, "%s<testcase classname=\"sim\" name=\"%s\">%s</testcase>\n",
                                                  cases ? cases : "", name, failure ? failure : "") < 0)
        abort();
    va_end(ap);
    free(name);
    free(cases);
    cases = more;
}

static void write_junit(const char *text)
{
    FILE *f = junit ? fopen(junit, "w") : NULL;

    if (f) {
        fprintf(f, "<testsuites><testsuite name=\"sim\">\n%s</testsuite></testsuites>\n", text);
        fclose(f);
    }
}

/* An assertion failed, or a sanitizer found something: whoever repeats it needs the seed. */
static void on_death(int sig)
{
    dprintf(STDERR_FILENO, "seed %llu: died of signal %d\n", (unsigned long long)seed, sig);
    _exit(3);
}

static long run_seeds(uint64_t first, long count, int steps)
{
    long failed = 0;

    for (seed = first; seed < first + (uint64_t)count; seed++) {
        if (life(steps))
            continue;
        failed++;
        add_case("<failure/>", "seed %llu; again: CLUSTER_LOG=1 build/tests/sim/sim --seeds 1 --first %llu",
                 (unsigned long long)seed, (unsigned long long)seed);
    }
    add_case(NULL, "seeds %llu to %llu have ended", (unsigned long long)first, (unsigned long long)seed - 1);
    printf("%ld seeds, %ld failed\n", count, failed);
    return failed;
}

/* Whether anybody would notice that the store does not do what kamsync relies on. */
static bool is_noticed(const char *fault, int steps)
{
    bool good = true;

    broken = fault;
    quiet = true;
    for (seed = 1; good && seed <= BREAK_SEEDS; seed++)
        good = life(steps);
    printf("store broken on purpose (%s): %s%.0llu\n", fault, good ? "nobody noticed" : "noticed by seed ",
           (unsigned long long)(good ? 0 : seed - 1));
    add_case(good ? "<failure/>" : NULL, "a store that is broken on purpose (%s) is noticed", fault);
    return !good;
}

static const char *argument(int argc, char **argv, const char *name, const char *value)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            value = argv[i + 1];
    return value;
}

static long number(int argc, char **argv, const char *name, long value)
{
    const char *text = argument(argc, argv, name, NULL);

    return text ? strtol(text, NULL, 10) : value;
}

int main(int argc, char **argv)
{
    static const char *const faults[] = {"claim", "return"};
    long seeds = number(argc, argv, "--seeds", 1000), first = number(argc, argv, "--first", 1);
    int steps = (int)number(argc, argv, "--steps", 120);
    bool good;

    junit = argument(argc, argv, "--junit", NULL);
    broken = argument(argc, argv, "--break", NULL);
    signal(SIGABRT, on_death);
    signal(SIGSEGV, on_death);
    json_object_seed(1);
    write_junit("<testcase classname=\"sim\" name=\"it did not end\"><failure/></testcase>\n");
    good = run_seeds((uint64_t)first, seeds, steps) == 0;
    for (size_t i = 0; junit && i < COUNT(faults); i++)
        good = is_noticed(faults[i], steps) && good;
    write_junit(cases);
    free(cases);
    return good ? 0 : 1;
}
