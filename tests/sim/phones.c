#include "phones.h"

#define T1 500
#define T2 4000
#define GIVE_UP (64 * T1) /* timers B, F, H */
#define LOSS 12           /* one packet in so many */

static void start(struct cluster *c, struct repeat *r)
{
    if (!r->since_ms)
        *r = (struct repeat){.since_ms = c->now, .at_ms = c->now, .gap_ms = T1};
}

static void stop(struct repeat *r)
{
    r->answered = true;
    r->at_ms = 0;
}

/* When it is due, and plans the next time: timers A, E and G. */
static bool take_due(struct cluster *c, struct repeat *r)
{
    if (!r->at_ms || c->now < r->at_ms)
        return false;
    r->at_ms = c->now - r->since_ms < GIVE_UP ? c->now + r->gap_ms : 0;
    r->gap_ms = r->gap_ms * 2 < T2 ? r->gap_ms * 2 : T2;
    return r->at_ms != 0;
}

static bool is_lost(struct cluster *c)
{
    return !c->phones->lossless && c->phones->dice(c, LOSS) == 0;
}

static size_t any(struct cluster *c)
{
    return c->phones->dice(c, (unsigned)c->count);
}

/* Where the caller's next message goes: over his connection, if he has one, or a new one to that node if it has ended.
 */
static size_t way_of(struct cluster *c, int call, size_t node)
{
    size_t there;

    if (!cluster_is_connected(c, call) || c->site[node].dead)
        return node;
    if (cluster_connection(c, call, &there))
        return there;
    cluster_connect(c, node, call);
    return node;
}

static void send_due(struct cluster *c, int call, struct phone *p)
{
    if (take_due(c, &p->invite)) {
        if (!is_lost(c))
            cluster_invite(c, way_of(c, call, p->node), call);
        p->node = any(c);
    }
    if (take_due(c, &p->re) && !is_lost(c))
        cluster_reinvite(c, any(c), call, p->re_n);
    if (take_due(c, &p->re_final) && !is_lost(c))
        cluster_re_final(c, c->phones->dice(c, 4) ? p->re_node : any(c), call, p->re_answered);
    if (take_due(c, &p->final) && !is_lost(c))
        cluster_final(c, any(c), call);
    if (take_due(c, &p->cancel) && !is_lost(c))
        cluster_cancel(c, way_of(c, call, any(c)), call);
    for (size_t side = 0; side < 2; side++)
        if (take_due(c, &p->bye[side]) && !is_lost(c))
            cluster_bye(c, any(c), call, side, 0);
}

static int64_t due(const struct phone *p)
{
    const int64_t at[] = {p->invite.at_ms, p->re.at_ms,     p->re_final.at_ms, p->final.at_ms,
                          p->cancel.at_ms, p->bye[0].at_ms, p->bye[1].at_ms};
    int64_t first = INT64_MAX;

    for (size_t i = 0; i < COUNT(at); i++)
        first = at[i] && at[i] < first ? at[i] : first;
    return first;
}

static int64_t ring(struct cluster *c)
{
    int64_t first = INT64_MAX;

    for (int i = 0; i < CALLS_MAX; i++) {
        struct phone *p = &c->phones->phone[i];

        if (p->called && due(p) <= c->now)
            send_due(c, i, p);
        if (p->called && due(p) < first)
            first = due(p);
    }
    return first;
}

/* A caller who is answered after all, though he has hung up, hangs up again. */
static void on_final(struct cluster *c, struct phone *p, const struct heard *h)
{
    if (!p->code) {
        p->code = h->code;
        p->code_ms = c->now;
    }
    stop(&p->invite);
    if (!is_lost(c))
        stop(&p->final); /* his ACK */
    if (p->code == 200 && p->cancel.since_ms)
        start(c, &p->bye[0]);
}

/* The far end takes its time to answer a re-INVITE; what is repeated it answers as before. */
static void on_re(struct cluster *c, struct phone *p, const struct heard *h)
{
    int n = (int)h->number;

    if (n < p->re_n || (n == p->re_answered && p->re_final.answered))
        return;
    p->re_node = h->node;
    if (n == p->re_answered)
        return;
    p->re_answered = n;
    c->re_code[h->call] = c->phones->dice(c, 4) ? 200 : 488;
    p->re_final = (struct repeat){0};
    start(c, &p->re_final);
    p->re_final.at_ms += c->phones->dice(c, 3000);
}

static void on_re_final(struct cluster *c, struct phone *p, const struct heard *h)
{
    if ((int)h->number != p->re_n)
        return;
    stop(&p->re);
    if (is_lost(c))
        return; /* his ACK */
    stop(&p->re_final);
    cluster_re_ack(c, any(c), h->call, p->re_n);
}

/* Whoever gets a BYE answers it, whatever he thinks of the call; the answer comes to any node. */
static void on_bye(struct cluster *c, struct phone *p, const struct heard *h)
{
    if (h->code)
        stop(&p->bye[h->side]);
    else if (!is_lost(c))
        cluster_bye(c, any(c), h->call, h->side, p->bye[!h->side].since_ms && any(c) == 0 ? 481 : 200);
}

static void hear_it(struct cluster *c, struct phone *p, const struct heard *h)
{
    if (h->what == HEARD_RINGING) {
        p->rang = true;
        stop(&p->invite);
    } else if (h->what == HEARD_RE) {
        on_re(c, p, h);
    } else if (h->what == HEARD_RE_FINAL) {
        on_re_final(c, p, h);
    } else if (h->what == HEARD_FINAL) {
        on_final(c, p, h);
    } else if (h->what == HEARD_ACK) {
        stop(&p->final);
    } else if (h->what == HEARD_BYE) {
        on_bye(c, p, h);
    } else {
        p->cancel_code = p->cancel.answered ? p->cancel_code : h->code;
        stop(&p->cancel);
    }
}

static bool is_deaf(const struct cluster *c, const struct phone *p, const struct heard *h)
{
    return c->now < p->deaf_ms && (h->what == HEARD_FINAL || h->what == HEARD_CANCELLED);
}

/* A CANCEL that gets lost on its way to the far end tm sends again. */
static void hear(struct cluster *c, const struct heard *h)
{
    struct phone *p = &c->phones->phone[h->call];

    if (h->what == HEARD_CANCEL)
        start(c, &p->final);
    else if (!is_deaf(c, p, h) && !is_lost(c))
        hear_it(c, p, h);
}

void phones_begin(struct cluster *c, struct phones *p)
{
    c->phones = p;
    c->hear = hear;
    c->ring = ring;
}

void phones_call(struct cluster *c, size_t node, int call)
{
    struct phone *p = &c->phones->phone[call];

    p->called = true;
    p->called_ms = c->now;
    p->node = node;
    start(c, &p->invite);
}

void phones_reinvite(struct cluster *c, int call)
{
    struct phone *p = &c->phones->phone[call];

    if (p->code != 200 || !p->final.answered || p->re.at_ms || p->bye[0].since_ms || p->bye[1].since_ms)
        return;
    p->re_n++;
    p->re = (struct repeat){0};
    start(c, &p->re);
}

void phones_answer(struct cluster *c, int call, int code)
{
    if (!c->begun[call] || c->final[call])
        return;
    c->final[call] = code;
    start(c, &c->phones->phone[call].final);
}

void phones_cancel(struct cluster *c, int call)
{
    struct phone *p = &c->phones->phone[call];

    if (p->rang && !p->code)
        start(c, &p->cancel);
}

void phones_bye(struct cluster *c, int call, size_t side)
{
    struct phone *p = &c->phones->phone[call];

    if (p->code == 200 && (side == 0 || p->final.answered))
        start(c, &p->bye[side]);
}
