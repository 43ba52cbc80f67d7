/* A cluster that has accidents: whole kamsyncd cores, each with a modelled Kamailio, a store that fails over, callers
 * and a gateway, under a virtual clock (life.c). One seed is one life, the same each time.
 *
 *     sim [--seeds N] [--first SEED] [--steps N] [--nodes N] [--junit FILE] [--until-failed N] [--break FAULT]
 *         [--without adrift,shuffle,twice,again,forget,deaf,late,unheard,refuse,failover,stale,empty,masters,move,
 *                    unwilling,full,lost,evacuate,near,sites,connects]
 *
 * Seed 0 is a storm, and comes with seed 1. With --junit, and without --nodes, it also breaks the store in several ways
 * (`broken` in cluster.h), and expects that a seed fails then; faults.py does so with the core. With --break one of
 * these faults is in from the beginning, and --without leaves accidents out: to look at what a seed does.
 *
 * What must be true stands in invariants.c. More cannot be promised: who is cut off from the store, hangs or stands
 * still cannot know that others have claimed its calls, and goes on with them until it is back. */
#include "life.h"

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#define BREAK_SEEDS 300 /* of so many one must notice a broken store */

static uint64_t seed;
static const char *broken;  /* the fault of the store */
static bool quiet;          /* failures are expected, and not printed */
static const char *without; /* what does not happen */
static size_t nodes;        /* of each cluster, 0: as few as usual */
static long failed_max;     /* so many failures are enough */
static const char *junit;   /* file, or NULL */

static bool life(int steps)
{
    struct life *l = calloc(1, sizeof(*l));
    bool good;

    if (!l)
        abort();
    l->seed = seed;
    l->nodes = nodes;
    l->quiet = quiet;
    l->without = without;
    good = seed ? life_live(l, steps, broken) : life_storm(l);
    free(l);
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

    for (seed = first; failed < failed_max && seed < first + (uint64_t)count; seed++) {
        if (life(steps))
            continue;
        failed++;
        add_case("<failure/>", "seed %llu; again: CLUSTER_LOG=1 build/tests/sim/sim --nodes %zu --seeds 1 --first %llu",
                 (unsigned long long)seed, nodes, (unsigned long long)seed);
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
    static const char *const faults[] = {"fence", "claim", "end", "same"};
    long seeds = number(argc, argv, "--seeds", 800), first = number(argc, argv, "--first", 1);
    int steps = (int)number(argc, argv, "--steps", 120);
    bool good;

    junit = argument(argc, argv, "--junit", NULL);
    broken = argument(argc, argv, "--break", NULL);
    nodes = (size_t)number(argc, argv, "--nodes", 0);
    failed_max = number(argc, argv, "--until-failed", LONG_MAX);
    without = argument(argc, argv, "--without", "");
    signal(SIGABRT, on_death);
    signal(SIGSEGV, on_death);
    json_object_seed(1);
    write_junit("<testcase classname=\"sim\" name=\"it did not end\"><failure/></testcase>\n");
    good = run_seeds((uint64_t)first, seeds, steps) == 0;
    good = (first != 1 || run_seeds(0, 1, steps) == 0) && good; /* seed 0: the storm */
    for (size_t i = 0; junit && !nodes && i < COUNT(faults); i++)
        good = is_noticed(faults[i], steps) && good;
    write_junit(cases);
    free(cases);
    return good ? 0 : 1;
}
