/* The transactions that this node owns: from Kamailio's events to records in the store.
 *
 *     branch, reply ▶ txn changes ▶ marked dirty ▶ (once per loop turn) record ▶ put
 *
 * Kamailio does not tell when it ends a transaction itself, so that is concluded: a 2xx ends it; a negative reply on
 * every branch ends it once FAILED_GRACE_MS have passed without a new branch (failure_route runs at once, and its
 * branch is reported within a few ms); a branch without any reply has ended when tm's fr_timer has (RFC 3261 timer B,
 * 64*T1). */
#include "engine_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <utlist.h>

#include "base64.h"
#include "call.h"
#include "record.h"

#define PUTS_MAX 2048        /* records that may be under way to the store */
#define FAILED_GRACE_MS 1000 /* a new branch after the last negative reply comes well within this */
#define TIMER_C_MS 200000    /* RFC 3261 16.6: over three minutes; tm's fr_inv_timer is shorter */
#define LINGER_MS 5000       /* tm keeps a finished transaction that long (wt_timer) */
#define TAKEN_MS 2000        /* after a takeover all far ends answer the same INVITE in one moment */
#define SILENT_MS 2000       /* tm has repeated the INVITE of a takeover twice by then; its fr_timer is longer */
#define WAITING_MAX 1024     /* frames to Kamailio; beyond that a 100 waits for the next pass */
#define LATE_MAX 8192        /* events that wait while own transactions and calls are being learnt back */
#define QUIET_MS 10000       /* what rings is looked at so often, at the least */
#define QUIET_PART 30        /* and so often within its time to live */

struct late_event {
    enum event_type type;
    char *via, *to_tag, *call_id, *name, *value; /* as that type has them */
    int code;
    int64_t at;
};

/* Another transaction of that key can only be an older one: the caller used its branch again. */
static int add(struct engine *e, struct txn *t)
{
    struct txn *old = txns_by_key(&e->txns, t->key);

    if (old)
        txns_remove(&e->txns, old);
    return txns_add(&e->txns, t);
}

static struct txn *find(struct engine *e, struct span branch, int *index)
{
    struct span id;

    return txn_split_branch(branch, &id, index) == 0 ? txns_by_id(&e->txns, id) : NULL;
}

void owner_adopt(struct engine *e, struct txn *t)
{
    if (add(e, t) < 0)
        txn_free(t);
    else if (t->unsure)
        takeover_recheck(e, t);
    else
        txns_mark(&e->txns, t);
}

void owner_take(struct engine *e, struct txn *t, int64_t now)
{
    t->taken_ms = now;
    if (!t->unsure) /* else when that is known */
        calls_take(e, t, now);
    strays_wake(e, t->key, now);
    owner_adopt(e, t);
}

/* Gives the INVITE back to Kamailio, so that tm forgets the transaction: its timers would end, one day, a call that is
 * another node's by now. */
static void release(struct engine *e, const struct txn *t, int64_t now)
{
    struct handover h = {.to = e->self.id, .inc = e->self.inc, .why = "lost", .src = t->src, .dst = t->dst};
    char *text = engine_handover(e, h, t->req);

    engine_send(e, e->self.sip, NULL, text, now);
    free(text);
}

void owner_lose(struct engine *e, struct txn *t, int64_t now)
{
    char call_id[128];

    e->count.txns_lost++;
    engine_log(e, LOG_LEVEL_WARN, "another node has taken over call-id=%s",
               printable(call_id, sizeof(call_id), span_of(t->call_id)));
    losses_add(e, t, now);
    release(e, t, now);
    calls_lose(e, t);
    txns_remove(&e->txns, t);
}

void owner_recheck(struct engine *e, bool all)
{
    struct txn *t, *next;

    takeover_doubt(e);
    HASH_ITER(hh, e->txns.by_id, t, next)
    {
        /* Also what is over: that may have come just now, from a Kamailio that hung. */
        if (e->conf.takeover && (all || t->taken_ms))
            takeover_recheck(e, t);
        else
            txns_mark(&e->txns, t);
    }
}

/* A branch of a transaction that was being taken over: Kamailio has it now. */
static struct txn *taken_over(struct engine *e, struct span branch, int *index, int64_t now)
{
    struct span id;
    struct txn *t;

    t = txn_split_branch(branch, &id, index) == 0 ? takeover_confirm(e, id, now) : NULL;
    if (!t)
        return NULL;
    owner_take(e, t, now);
    return find(e, branch, index);
}

/* Adds the branch, or renews one that was taken over: it rings, as far as is known, but tm does not know that. */
static int take_branch(struct txn *t, const struct event *ev, const struct sip_sent *sent, int index, int64_t now)
{
    int code = txn_branch_code(t, index);
    int rc = txn_add_branch(t, ev, sent, now);

    if (rc == 0 && t->taken_ms && code > 100 && code < 200)
        txn_rang(t, index, code);
    return rc;
}

/* Said once, until there is room for some more again. */
static bool is_full(struct engine *e)
{
    size_t max = (size_t)e->conf.txns_max;

    if (e->txns.count < max) {
        e->txns_full = e->txns_full && e->txns.count > max / 10 * 9;
        return false;
    }
    if (!e->txns_full)
        engine_log(e, LOG_LEVEL_ERROR, "%zu transactions (txns_max): further calls go on without kamsync", max);
    e->txns_full = true;
    return true;
}

/* A transaction that begins. Its INVITE is read once for all that want to know of it. */
static struct txn *begin(struct engine *e, const struct event *ev, const struct sip_sent *sent, int64_t now, int *rc)
{
    struct txn *t = NULL;
    struct sip_id id;

    *rc = sip_read_id(&id, ev->req);
    if (*rc == 0)
        *rc = txn_begin(&t, ev, &id, sent, now);
    if (!t)
        return NULL;
    *rc = add(e, t);
    if (*rc < 0) {
        txn_free(t);
        return NULL;
    }
    t->at = calls_time(e, ev);
    calls_begin(e, t, &id, t->at, now);
    return t;
}

void owner_branch(struct engine *e, const struct event *ev, int64_t now)
{
    struct sip_sent sent;
    struct txn *t;
    int index = 0, rc = sip_read_sent(&sent, ev->sent);

    e->count.events_branch++;
    t = rc == 0 ? find(e, sent.branch, &index) : NULL;
    if (rc == 0 && !t)
        t = taken_over(e, sent.branch, &index, now);
    if (t)
        rc = take_branch(t, ev, &sent, index, now);
    else if (rc == 0 && ev->req.n && is_full(e)) {
        e->count.txns_shed++;
        return;
    } else if (rc == 0 && ev->req.n)
        t = begin(e, ev, &sent, now, &rc);
    if (rc < 0) {
        e->count.frames_bad++;
        engine_log(e, LOG_LEVEL_WARN, "branch event not understood: %s", strerror(-rc));
    } else if (!t) {
        e->count.events_foreign++;
    } else {
        t->done = txn_state(t) == TXN_ANSWERED;
        txns_mark(&e->txns, t);
    }
}

/* False when no transaction has that branch. */
static bool take_reply(struct engine *e, struct span via, int code, struct span to_tag, int64_t at, int64_t now)
{
    int index = 0;
    struct txn *t = find(e, via, &index);

    if (t && t->taken_ms)
        takeover_answered(e, t->key);
    if (t && txn_reply(t, index, code, now)) {
        t->last = at;
        calls_reply(e, t, code, to_tag, at);
        t->done = txn_state(t) == TXN_ANSWERED;
        /* tm cancels no branch whose provisional reply it is reading while it reads the 2xx of another one
         * (cancel_branch() looks at last_received before reply_received() sets it), and it hears of that branch no
         * more. A second CANCEL does no harm. */
        if (t->done && t->taken_ms && now - t->taken_ms < TAKEN_MS)
            adopt_cancel(e, t, now);
        txns_mark(&e->txns, t);
    }
    return t != NULL;
}

bool owner_keep(struct engine *e, const struct event *ev)
{
    struct late_event *more = NULL;

    if (e->learning && e->late_count < LATE_MAX)
        more = realloc(e->late, (e->late_count + 1) * sizeof(*more));
    if (!more)
        return false;
    e->late = more;
    more[e->late_count++] = (struct late_event){.type = ev->type,
                                                .via = span_dup(ev->via),
                                                .to_tag = span_dup(ev->to_tag),
                                                .call_id = span_dup(ev->call_id),
                                                .name = span_dup(span_of(ev->name)),
                                                .value = span_dup(ev->value),
                                                .code = (int)ev->code,
                                                .at = calls_time(e, ev)};
    return true;
}

void owner_reply(struct engine *e, const struct event *ev, int64_t now)
{
    e->count.events_reply++;
    if (!take_reply(e, ev->via, (int)ev->code, ev->to_tag, calls_time(e, ev), now) && !owner_keep(e, ev))
        e->count.events_foreign++;
}

/* It stands in the record, too: whoever has to say how the call ended may not have seen the CANCEL. */
bool owner_cancel(struct engine *e, const struct event *ev)
{
    const struct call *c = calls_find(e, ev->call_id);
    struct txn *t = c && c->tx ? txns_by_key(&e->txns, c->tx) : NULL;

    if (t && !t->cancelled) {
        t->cancelled = true;
        txns_mark(&e->txns, t);
    }
    return t != NULL;
}

/* And frees it. */
static void take_late(struct engine *e, struct late_event *l, int64_t now)
{
    struct event ev = {.type = l->type, .call_id = span_of(l->call_id), .value = span_of(l->value), .at = l->at};

    ev.name = l->name;
    if (l->type == EVENT_CANCEL)
        owner_cancel(e, &ev);
    else if (l->type == EVENT_SET && l->name)
        calls_set(e, &ev, now);
    else if (!l->via || !take_reply(e, span_of(l->via), l->code, span_of(l->to_tag), l->at, now))
        e->count.events_foreign++;
    free(l->via);
    free(l->to_tag);
    free(l->call_id);
    free(l->name);
    free(l->value);
}

void owner_learnt(struct engine *e, int64_t now)
{
    e->learning = false;
    for (size_t i = 0; i < e->late_count; i++)
        take_late(e, &e->late[i], now);
    free(e->late);
    e->late = NULL;
    e->late_count = 0;
}

static void put(struct engine *e, struct txn *t, int64_t now)
{
    char *record;

    if (t->unsure)
        return; /* marked again when it is known to be ours */
    record = record_write(t, e->self.id, e->self.inc, calls_vars(e, t->call_id), e->conf.takeover);
    if (!record) {
        txns_mark(&e->txns, t); /* memory is short: later */
        return;
    }
    t->put_ms = now;
    e->puts_under_way++;
    e->count.puts++;
    e->io.put(e->io.ctx, t->key, record, t->done ? e->conf.done_ttl_ms : e->conf.tx_ttl_ms);
    free(record);
}

void owner_flush(struct engine *e, int64_t now)
{
    size_t n;

    engine_notice_standstill(e, now);
    n = e->txns.dirty_count;
    if (!e->store_up || !e->self.up || e->unheard)
        return; /* whoever writes must have been seen alive: else what was just written is taken over */
    while (n-- > 0 && e->puts_under_way < PUTS_MAX)
        put(e, txns_take_dirty(&e->txns), now);
}

void engine_put_done(struct engine *e, bool ok, int64_t now)
{
    e->puts_under_way--;
    e->count.puts_failed += !ok;
    if (ok)
        rewrite_taken(e, now);
    else
        rewrite_refused(e, now);
}

/* A branch that nobody answered has ended in Kamailio. */
static bool time_out_branches(struct txn *t, int64_t now)
{
    bool changed = false;

    for (size_t i = 0; i < t->branch_count; i++)
        if (!t->branches[i].code && now - t->branches[i].sent_ms > TIMER_C_MS) {
            changed = txn_reply(t, t->branches[i].index, 408, now) || changed;
            t->branches[i].concluded = true;
        }
    return changed;
}

/* A branch that rang when it was taken over, and whose far end says nothing of the INVITE that was sent again, or what
 * the script drops. tm is told what is known: with a 100 it waits as long as for any that rings, and can cancel it. Not
 * before the INVITE was repeated: most far ends answer that with what may have been lost. */
static void tell_ringing(struct engine *e, struct txn *t, int64_t now)
{
    for (size_t i = 0; i < t->branch_count; i++) {
        struct txn_branch *b = &t->branches[i];
        size_t len = 0;
        char *msg, *text;

        if (!b->silent || now - b->sent_ms < SILENT_MS || e->link.waiting_count > WAITING_MAX)
            continue;
        msg = sip_trying(t->req, b->via, &len);
        text = msg ? base64_text((struct span){msg, len}) : NULL;
        b->silent = text == NULL;
        engine_send(e, e->self.sip, NULL, text, now);
        free(msg);
        free(text);
    }
}

static void look_after(struct engine *e, struct txn *t, int64_t now)
{
    bool expired = (!t->done || t->unsure) && now - t->begun_ms > e->conf.tx_max_ms;

    e->count.txns_expired += expired;
    if (expired)
        calls_failed(e, t, now);
    if (expired || (t->done && !t->dirty && !t->unsure && now - t->changed_ms > LINGER_MS)) {
        txns_remove(&e->txns, t);
        return;
    }
    if (!t->done && !t->unsure && txn_state(t) == TXN_FAILED && now - t->changed_ms > FAILED_GRACE_MS) {
        t->done = true;
        txns_mark(&e->txns, t);
        calls_failed(e, t, now);
    }
    if (t->taken_ms && !t->done)
        tell_ringing(e, t, now);
    if (time_out_branches(t, now) || (!t->done && now - t->put_ms > e->conf.tx_ttl_ms / 2))
        txns_mark(&e->txns, t);
}

/* Only an event, or much time, will change it: most transactions ring. */
static bool is_quiet(const struct txn *t)
{
    return !t->dirty && !t->done && !t->taken_ms && txn_state(t) != TXN_FAILED;
}

/* How often those are looked at, since there may be very many. */
static int64_t quiet_ms(const struct engine *e)
{
    int64_t least = e->conf.tx_ttl_ms < e->conf.tx_max_ms ? e->conf.tx_ttl_ms : e->conf.tx_max_ms;

    return least / QUIET_PART < QUIET_MS ? least / QUIET_PART : QUIET_MS;
}

void owner_janitor(struct engine *e, int64_t now)
{
    struct txn *t, *next;

    DL_FOREACH_SAFE2(e->txns.busy, t, next, newer)
    {
        if (is_quiet(t)) {
            t->checked_ms = now;
            txns_quiet(&e->txns, t, true);
        }
        look_after(e, t, now); /* which may make it busy again, or end it */
    }
    while ((t = e->txns.quiet) != NULL && now - t->checked_ms >= quiet_ms(e)) {
        t->checked_ms = now;
        txns_quiet(&e->txns, t, true); /* to the end: all wait equally long */
        look_after(e, t, now);
    }
}
