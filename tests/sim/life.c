/* Three nodes, or two sites of two, calls, CANCELs and BYEs at any node, and Kamailios that die, restart and hang,
 * hosts that stand still, links that break, stores that go away, forget, refuse, or become another one. Everything
 * takes a random time. In every fourth life only kamsyncds die, and are started again: then no CANCEL of a call that
 * lives is refused. */
#include "life.h"

#include <stdarg.h>

#include "call.h"
#include "call_impl.h"

void complain(const struct life *l, const char *fmt, ...)
{
    va_list ap;

    if (l->quiet)
        return;
    fprintf(stderr, "seed %llu, at %lld: ", (unsigned long long)l->seed, (long long)l->c->now);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* xorshift64* */
unsigned dice(struct cluster *c, unsigned sides)
{
    c->rng ^= c->rng >> 12;
    c->rng ^= c->rng << 25;
    c->rng ^= c->rng >> 27;
    return (unsigned)((c->rng * 2685821657736338717ull) >> 33) % sides;
}

#define LET_GO_MS 4000 /* what could not be taken over just before that is let go so much later than WELL_MS */
#define DEAF_MS 6000   /* a caller who hears no answer for so long cancels what tm has forgotten */
#define BEATEN_MS 3000 /* by then all nodes know the site of each */
#define FULL_MS 11000  /* a socket is full for less: some handovers are too old when they are read */

static int64_t some_ms(struct cluster *c)
{
    return dice(c, 20) ? 1 + dice(c, 5) : 1 + dice(c, 80);
}

static bool perhaps(struct cluster *c)
{
    return dice(c, 2);
}

bool happens(const struct life *l, const char *what)
{
    return !strstr(l->without, what);
}

/* As after a death, when all that it had comes to the others. */
static void fill_sockets(struct life *l)
{
    for (size_t i = 0; happens(l, "full") && i < l->c->count; i++)
        if (l->c->site[i].full_ms <= l->c->now)
            l->c->site[i].full_ms = l->c->now + dice(l->c, FULL_MS);
}

/* A Kamailio, or its host. */
static void accident_there(struct life *l, size_t n)
{
    struct cluster *c = l->c;
    struct site *s = &c->site[n];
    unsigned what = dice(c, 7);

    if (what > 1) /* no death */
        l->touch_ms[n] = c->now;
    switch (what) {
    case 0:
        cluster_kill(c, n);
        break;
    case 5:
        *(dice(c, 2) ? &s->refuse : &s->silent) ^= happens(l, "unwilling");
        break;
    case 6:
        fill_sockets(l);
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
static void accident_between(struct life *l, size_t n)
{
    struct cluster *c = l->c;

    switch (dice(c, 7)) {
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
    case 5:
        forget(l);
        break;
    default:
        c->scan_failures = 1;
    }
}

bool only_kamsyncds(const struct life *l)
{
    return l->seed % 4 == 0;
}

/* Answers of the store that come too late for an INVITE are else too rare. */
static bool stalls_often(const struct life *l)
{
    return l->seed % 7 == 2;
}

/* Two sites, of two nodes each if not told otherwise; the second one may lose the first, and with it the store. */
static bool has_sites(const struct life *l)
{
    return l->seed % 5 == 3 && happens(l, "sites");
}

static void part(struct life *l)
{
    for (size_t i = 0; i < l->c->count; i++)
        if (!l->c->site[i].still)
            l->well_ms[i] = l->touch_ms[i] = l->c->now;
    cluster_part(l->c, !l->c->parted);
}

static bool writes(struct cluster *c, size_t n)
{
    struct engine_status s;

    engine_status(c->site[n].e, &s);
    return s.dirty || s.puts;
}

/* Its Kamailio is to be stopped, or not any more. */
static void evacuate(struct life *l, size_t n)
{
    struct engine *e = l->c->site[n].e;

    if (happens(l, "evacuate"))
        engine_evacuate(e, !e->evacuation.since_ms, l->c->now);
}

/* Then nobody empties another node. */
static bool is_any_crashed(const struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->site[i].crashed)
            return true;
    return false;
}

/* kamsyncd dies, or is there again. */
static void accident_beside(struct life *l)
{
    struct cluster *c = l->c;
    size_t n = dice(c, (unsigned)c->count);

    l->well_ms[n] = c->now;
    if (dice(c, 3) == 0 && !is_any_crashed(c))
        evacuate(l, n);
    if (!c->site[n].crashed) {
        cluster_run(c, 200); /* what it has read and not yet written dies with it */
        for (int i = 0; i < 100 && writes(c, n); i++)
            cluster_run(c, 5);
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

    if (has_near(l) && dice(c, 4) == 0) {
        accident_near(l, n);
        return;
    }
    l->well_ms[n] = c->now;
    if (c->site[n].still)
        cluster_stand(c, n, false);
    else if (stalls_often(l) && dice(c, 2))
        cluster_stand(c, n, true);
    else if (has_sites(l) && dice(c, c->parted ? 4 : 12) == 0)
        part(l);
    else if (c->masters > 1 && dice(c, 2))
        accident_of_a_master(l, n, dice(c, (unsigned)c->masters));
    else if (dice(c, l->fails_over ? 5 : 12) == 0)
        evacuate(l, n);
    else if (dice(c, l->fails_over ? 2 : 4) == 0)
        accident_of_the_store(l, n);
    else if (dice(c, 11) < 5)
        accident_there(l, n);
    else
        accident_between(l, n);
}

static void all_well(struct cluster *c)
{
    cluster_part(c, false);
    for (size_t i = 0; i < c->count; i++) {
        cluster_stand(c, i, false);
        c->site[i].isolated = c->site[i].refuse = c->site[i].silent = false;
        cluster_refuse(c, i, false);
        if (c->site[i].hung)
            cluster_hang(c, i, false);
        if (c->site[i].dead)
            cluster_restart(c, i);
        cluster_mend(c, i);
        cluster_join(c, i);
        engine_evacuate(c->site[i].e, false, c->now);
    }
    c->scan_failures = 0;
    masters_are_well(c);
}

/* What people do. */
static void people(struct life *l, int *calls)
{
    struct cluster *c = l->c;
    int call;

    if (*calls < CALLS && dice(c, 3) == 0)
        phones_call(c, dice(c, (unsigned)c->count), (*calls)++);
    if (!*calls)
        return;
    call = (int)dice(c, (unsigned)*calls);
    if (dice(c, 10) == 0)
        phones_cancel(c, call);
    call = (int)dice(c, (unsigned)*calls);
    if (dice(c, 6) == 0)
        phones_answer(c, call, dice(c, 4) ? 200 : 486);
    call = (int)dice(c, (unsigned)*calls);
    if (dice(c, 3) == 0)
        phones_reinvite(c, (int)dice(c, (unsigned)*calls));
    if (dice(c, 6) == 0)
        phones_bye(c, call, dice(c, 2));
    if (dice(c, 4) == 0)
        phones_bye(c, call, dice(c, 2)); /* maybe both at once */
}

static bool step(struct life *l, int *calls)
{
    struct cluster *c = l->c;

    people(l, calls);
    if (dice(c, 12) == 0)
        (only_kamsyncds(l) ? accident_beside : accident)(l);
    cluster_run(c, dice(c, 4) ? 1 + dice(c, 300) : 1 + dice(c, 3000));
    return holds_always(l);
}

/* Some do not hear at once what that says. Whether it rings, and its caller hears. */
static bool hang_up(struct life *l, int call)
{
    struct phone *p = &l->phones.phone[call];
    bool rings;

    l->alive[call] = is_alive(l, call);
    rings = l->alive[call] && !l->c->final[call];
    if (rings && dice(l->c, 4) == 0) {
        p->deaf_ms = l->c->now + DEAF_MS;
        rings = false;
    }
    phones_cancel(l->c, call);
    phones_bye(l->c, call, p->final.answered ? dice(l->c, 2) : 0);
    return rings;
}

/* The callers hang up, each at some node. */
static bool all_hang_up(struct life *l)
{
    struct cluster *c = l->c;
    bool rings[CALLS];

    for (int i = 0; i < CALLS; i++)
        rings[i] = hang_up(l, i);
    cluster_run(c, 1500);
    for (int i = 0; i < CALLS; i++)
        check(!rings[i] || is_contested(l, i) || l->phones.phone[i].cancel_code == 200,
              "call %d: its CANCEL was answered %d", i, l->phones.phone[i].cancel_code);
    cluster_run(c, 20000); /* of 32 for which a CANCEL is sent again */
    if (!all_answered(l))
        return false;
    cluster_time_out(c);
    cluster_run(c, 15000);
    return true;
}

bool life_live(struct life *l, int steps, const char *broken)
{
    struct cluster *c = cluster_new(l->nodes ? l->nodes : has_sites(l) ? 4 : 3);
    bool good = true;
    int calls = 0;

    l->c = c;
    c->rng = l->seed * 0x9e3779b97f4a7c15ull + 1;
    c->delay = some_ms;
    c->maybe = perhaps;
    c->broken = broken;
    c->adrift = dice(c, 2) && happens(l, "adrift");
    c->shuffle = dice(c, 2) && happens(l, "shuffle");
    c->twice = dice(c, 2) && happens(l, "twice");
    c->again = dice(c, 4) == 0 && happens(l, "again");
    c->lossy = dice(c, 2) && happens(l, "lost");
    c->dice = dice;
    c->invites = dice(c, 3);
    c->large = dice(c, 2);
    c->connects = l->seed % 2 && happens(l, "connects");
    stores_begin(l);
    cluster_route(c, c->invites == ROUTE_CLAIMED);
    for (size_t i = 0; has_sites(l) && i < c->count; i++)
        cluster_site(c, i, i < c->count / 2 ? "east" : "west");
    l->sited_ms = c->now + BEATEN_MS;
    l->phones.dice = dice;
    phones_begin(c, &l->phones);
    for (int i = 0; good && i < steps; i++)
        good = step(l, &calls);
    if (good) {
        all_well(c);
        l->phones.lossless = true;
        c->lossy = false;
        cluster_run(c, WELL_MS / 2); /* what those say who were hung or stood still */
        good = holds_always(l);
        cluster_run(c, WELL_MS / 2 + LET_GO_MS);
    }
    good = good && holds_always(l) && holds_when_well(l);
    if (good && has_near(l))
        move_unseen(l);
    good = good && all_hang_up(l) && holds_at_the_end(l);
    cluster_free(c);
    scratch_clear();
    return good;
}

/* ---- a storm ---- */

#define STORM 2500 /* CANCELs in one moment: more than may wait */

static int64_t long_ms(struct cluster *c)
{
    (void)c;
    return 200;
}

static int64_t one_ms(struct cluster *c)
{
    (void)c;
    return 1;
}

static bool storm(struct life *l, bool large)
{
    struct cluster *c = cluster_new(3);
    bool good;

    l->c = c;
    c->rng = 1;
    c->large = large;
    cluster_call(c, 0, 0);
    cluster_run(c, 1000);
    l->phones.phone[0].cancel.since_ms = c->now;
    c->delay = long_ms;
    for (int i = 0; i < STORM; i++)
        cluster_cancel(c, 1, 0);
    good = holds_always(l);
    c->delay = one_ms;
    cluster_run(c, 5000);
    good = good && holds_always(l) && holds_when_well(l);
    for (size_t i = 0; good && i < c->cancel_count; i++)
        good = c->delivered[i] + c->refused[i] == 1;
    if (!good)
        complain(l, "the storm");
    cluster_free(c);
    scratch_clear();
    return good;
}

bool life_storm(struct life *l)
{
    struct life other = *l;

    return storm(l, false) && storm(&other, true);
}
