/* The transactions that this node owns: from Kamailio's events to what is known of each.
 *
 *     branch, reply ▶ txn changes ▶ marked dirty ▶ (once per loop turn) owner_write.c ▶ the store
 *
 * Kamailio does not report when it ends a transaction itself: a 2xx ends it; after a negative reply on every branch
 * Kamailio is asked (state.c), since failure_route may still be at work; a branch without any reply ends with tm's
 * fr_timer (RFC 3261 timer B, 64*T1). */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include <errno.h>
#include <utlist.h>

#include "base64.h"
#include "count.h"
#include "key.h"

#define TIMER_C_MS 200000 /* RFC 3261 16.6: over three minutes; tm's fr_inv_timer is shorter */
#define LINGER_MS 5000    /* late events of a finished transaction still find it */
#define TAKEN_MS 2000     /* after a takeover all far ends answer the same INVITE at once */
#define SILENT_MS 100     /* silent far ends after a takeover: as long as takeovers wait for them */
#define WAITING_MAX 1024  /* frames to Kamailio; beyond that a 100 waits for the next pass, */
#define PROMISE_MS 500    /* as a caller repeats his CANCEL (T1) */
#define QUIET_MS 10000    /* a ringing transaction is checked at least this often */
#define QUIET_PART 30     /* and this many times within its TTL */

/* The dead node had accepted the caller's CANCEL, so the caller does not repeat it. Kamailio gets it as if it came now:
 * tm cancels each branch as soon as allowed. Repeated until Kamailio has reported it: the takeover may be in progress.
 */
static void keep_promise(struct engine *e, struct txn *t, int64_t now)
{
    struct handover h = {.to = e->self.id, .inc = e->self.inc, .why = "owner", .src = t->src, .dst = t->dst};
    size_t len = 0;
    char *msg = e->link.waiting_count > WAITING_MAX ? NULL : sip_cancel_of_caller(t->req, &len), *text;

    t->cancel_ms = now + PROMISE_MS;
    if (!msg)
        return;
    text = engine_handover(e, h, (struct span){msg, len});
    engine_decided(e, span_of(t->call_id), 0, "its CANCEL was accepted before it was taken over: given to tm");
    engine_send(e, e->self.sip, NULL, text, now);
    free(text);
    free(msg);
}

void owner_take(struct engine *e, struct txn *t, int64_t now)
{
    bool kept = owner_add(e, t) == 0;

    t->taken_ms = now;
    if (t->hold == HOLD_OWNED && !txn_is_done(t)) /* else once that is known, or its call has ended */
        calls_take(e, t, now);
    engine_post(e, (struct notice){.type = NOTICE_TAKEN_OVER, .key = t->key}, now); /* its strays look for it */
    if (!kept) {
        txn_free(t);
        return;
    }
    txns_mark(&e->txns, t);
    early_take(e, span_of(t->id), now);
    if (t->final)
        finish_failed(e, t, now);
    else if (t->cancelled)
        keep_promise(e, t, now);
    early_take(e, span_of(t->key), now); /* a CANCEL */
}

void owner_doubt(struct engine *e, bool all)
{
    struct txn *t, *next;

    takeover_doubt(e);
    HASH_ITER(hh, e->txns.by_id, t, next)
    {
        /* Also a transaction that is over: its end may have come just now, from a Kamailio that hung. */
        if (e->conf.takeover && (all || t->taken_ms))
            fence_doubt(e, t);
        else
            txns_mark(&e->txns, t);
    }
}

/* The branch of a transaction in takeover: Kamailio has it now. */
static struct txn *taken_over(struct engine *e, struct span branch, int *index, int64_t now)
{
    struct span id;
    struct txn *t;

    t = txn_split_branch(branch, &id, index) == 0 ? takeover_confirm(e, id, now) : NULL;
    if (!t)
        return NULL;
    owner_take(e, t, now);
    return txns_by_branch(&e->txns, branch, index);
}

static void note_withheld(struct engine *e, const struct txn *t, int index)
{
    if (!txn_withholds(t, index))
        return;
    e->count.branches_withheld++;
    engine_log_call(e, LOG_LEVEL_WARN, (struct about){.call_id = span_of(t->call_id)},
                    "what the script has changed in branch %d is too large: a takeover will not send it again", index);
}

/* Adds the branch, or renews one that was taken over: it rings, as far as known, but tm does not know that. */
static int take_branch(struct engine *e, struct txn *t, const struct event *ev, const struct sip_sent *sent, int index,
                       int64_t now)
{
    int code = txn_branch_code(t, index), rc;

    if (t->stateless && txn_has_branch(t, index))
        return 0; /* the caller's retransmission, which is routed like the first */
    rc = txn_add_branch(t, ev, sent, now);

    note_withheld(e, t, index);
    if (rc == 0 && t->taken_ms && code > 100 && code < 200)
        txn_rang(t, index, code);
    return rc;
}

/* That of the branch, also if it has just been taken over. */
static struct txn *txn_of(struct engine *e, struct span branch, int *index, int64_t now)
{
    struct txn *t = txns_by_branch(&e->txns, branch, index);

    return t ? t : taken_over(e, branch, index, now);
}

/* Logged once, until there is room again. Callers choose how long their transactions are. */
static bool is_full(struct engine *e)
{
    size_t max = (size_t)e->conf.txns_max, bytes = max * TXNS_BYTES;

    if (e->txns.count < max && e->txns.bytes < bytes) {
        e->owner.full = e->owner.full && (e->txns.count > max / 10 * 9 || e->txns.bytes > bytes / 10 * 9);
        return false;
    }
    if (!e->owner.full)
        engine_log(e, LOG_LEVEL_ERROR,
                   "%zu transactions, %zu MB (txns_max, and %d kB for each): further calls go on without kamsync",
                   e->txns.count, e->txns.bytes >> 20, TXNS_BYTES >> 10);
    e->owner.full = true;
    return true;
}

/* Whether one more transaction may be kept; else the call goes on without. */
static bool has_room(struct engine *e, const struct event *ev, int64_t now)
{
    if (!is_full(e))
        return true;
    e->count.txns_shed++;
    untracked_begin(e, ev, ev->req, "full", now);
    return false;
}

/* A transaction begins. Its INVITE is parsed once for all users. */
static struct txn *begin(struct engine *e, const struct event *ev, const struct sip_sent *sent, int64_t now, int *rc)
{
    struct txn *t = NULL;
    struct sip_id id;

    *rc = sip_read_id(&id, ev->req);
    if (*rc == 0)
        *rc = txn_begin(&t, ev, &id, sent, now);
    if (!t)
        return NULL;
    t->epoch = 1;
    *rc = owner_add(e, t);
    if (*rc < 0) {
        txn_free(t);
        return NULL;
    }
    t->at = calls_time(e, ev);
    if (id.from_tag.n && memchr(id.from_tag.p, 0, id.from_tag.n)) /* not valid in a call's name */
        untracked_begin(e, ev, ev->req, "unreadable", now);
    else
        calls_begin(e, t, &id, t->at, now);
    early_take(e, span_of(t->key), now); /* a CANCEL */
    return t;
}

/* Another branch of a transaction that is not (yet) known. */
static void keep_branch(struct engine *e, struct event *ev, struct span branch, int64_t now)
{
    struct span id;
    int index;

    if (txn_split_branch(branch, &id, &index) == 0)
        early_keep(e, ev, id, now);
    else
        e->count.events_foreign++;
}

static void not_understood(struct engine *e, const struct event *ev, const struct txn *t, int rc, int64_t now)
{
    e->count.frames_bad++;
    engine_log_call(e, LOG_LEVEL_WARN, about_msg(ev->sent), "branch event not understood: %s", strerror(-rc));
    if (!t && ev->req.n)
        untracked_begin(e, ev, ev->req, rc == -ENOMEM ? "full" : "unreadable", now);
}

/* The transaction has that branch now: early events of it are handled. */
static void branched(struct engine *e, struct txn *t, int64_t now)
{
    txn_set_done(t, txn_state(t) == TXN_ANSWERED);
    txns_count(&e->txns, t);
    txns_mark(&e->txns, t);
    early_take(e, span_of(t->id), now);
}

/* A branch of no own transaction that begins none either: another node has the INVITE, or there is no room. */
static bool is_passed_over(struct engine *e, struct event *ev, const struct sip_sent *sent, int64_t now)
{
    return second_branch(e, ev, sent, now) || (ev->req.n && !has_room(e, ev, now));
}

/* The transaction of this INVITE, if it had no branch until now. */
static struct txn *pending(struct engine *e, const struct event *ev, const struct sip_sent *sent, int64_t now)
{
    struct txn *taken = pending_taken(e, ev, now);

    if (taken)
        owner_take(e, taken, now);
    return pending_begun(e, ev, sent);
}

void owner_branch(struct engine *e, struct event *ev, int64_t now)
{
    struct sip_sent sent;
    struct txn *t;
    int index = 0, rc = sip_read_sent(&sent, ev->sent);

    e->count.events_branch += !ev->early_ms;
    advice_leg(e, ev->sock, now);
    t = rc == 0 ? txn_of(e, sent.branch, &index, now) : NULL;
    t = t || rc < 0 ? t : pending(e, ev, &sent, now);
    if (!t && rc == 0 && is_passed_over(e, ev, &sent, now))
        return;
    if (t)
        rc = take_branch(e, t, ev, &sent, index, now);
    else if (rc == 0 && ev->req.n)
        t = begin(e, ev, &sent, now, &rc);
    if (rc < 0)
        not_understood(e, ev, t, rc, now);
    else if (t)
        branched(e, t, now);
    else
        keep_branch(e, ev, sent.branch, now);
}

void owner_replied(struct engine *e, struct txn *t, int index, int code, struct span to_tag, int64_t at, int64_t now)
{
    bool news = txn_reply(t, index, code, now);

    if (news)
        t->last = at;
    if (news || code / 100 == 2) /* two phones behind one branch may have answered */
        calls_reply(e, t, code, to_tag, at);
    if (!news)
        return;
    txn_set_done(t, t->final || txn_state(t) == TXN_ANSWERED);
    /* While tm reads the 2xx of one branch, it does not cancel another branch whose provisional reply it is reading
     * (cancel_branch() looks at last_received before reply_received() sets it), and that branch gets no later
     * CANCEL. A second CANCEL does no harm. */
    if (txn_is_done(t) && t->taken_ms && now - t->taken_ms < TAKEN_MS)
        adopt_cancel(e, t, now);
    txns_mark(&e->txns, t);
}

/* False when no transaction has that branch (yet). */
static bool take_reply(struct engine *e, const struct event *ev, int64_t now)
{
    int index = 0;
    struct txn *t = txns_by_branch(&e->txns, ev->via, &index);

    if (!t || !txn_has_branch(t, index))
        return false;
    owner_replied(e, t, index, (int)ev->code, ev->to_tag, calls_time(e, ev), now);
    if (t->taken_ms && !txn_is_silent(t))
        takeover_answered(e, t->key);
    if (ev->msg.n) {
        txn_reply_head(t, index, ev->msg);
        txns_count(&e->txns, t);
    }
    return true;
}

void owner_reply(struct engine *e, struct event *ev, int64_t now)
{
    struct span id;
    int index;

    e->count.events_reply += !ev->early_ms;
    if (txn_split_branch(ev->via, &id, &index) < 0)
        e->count.events_foreign++;
    else if (!take_reply(e, ev, now) && !second_replied(e, ev, now))
        early_keep(e, ev, id, now);
}

void owner_gave_up(struct engine *e, struct event *ev, int64_t now)
{
    char *key = key_tx(ev->call_id, (uint32_t)ev->cseq, ev->branch, ev->sent_by);
    struct txn *t = key ? txns_by_key(&e->txns, key) : NULL;

    e->count.events_reply += !ev->early_ms;
    if (t && txn_has_branch(t, (int)ev->i))
        owner_replied(e, t, (int)ev->i, (int)ev->code, (struct span){0}, calls_time(e, ev), now);
    else if (key)
        early_keep(e, ev, span_of(t ? t->id : key), now);
    free(key);
}

/* The record has it, too: the node that reports how the call ended may not have seen the CANCEL. */
void owner_cancel(struct engine *e, struct event *ev, int64_t now)
{
    char *key = key_tx(ev->call_id, (uint32_t)ev->cseq, ev->branch, ev->sent_by);
    struct txn *t = key ? txns_by_key(&e->txns, key) : NULL;

    if (!t) {
        if (key && !second_cancelled(e, key, now))
            early_keep(e, ev, span_of(key), now);
    } else {
        t->cancel_ms = 0;
        if (!t->cancelled)
            txns_mark(&e->txns, t);
        t->cancelled = true;
    }
    free(key);
}

/* A branch that was never answered has ended in Kamailio. */
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

static bool send_trying(struct engine *e, const struct txn *t, const struct txn_branch *b, int64_t now)
{
    size_t len = 0;
    char *msg = sip_trying(t->req, b->via, &len);
    char *text = msg ? base64_text((struct span){msg, len}) : NULL;
    bool sent = text != NULL;

    engine_send(e, e->self.sip, NULL, text, now);
    free(msg);
    free(text);
    return sent;
}

/* A branch that rang when it was taken over, and whose far end does not answer the INVITE that was sent again, or with
 * a reply that the script drops. tm is told its state before its fr_timer ends the branch: after a 100 it waits as long
 * as for any ringing branch, and can cancel it. But then it no longer repeats the INVITE, so that is done here: most
 * far ends answer that with what may have been lost. */
static void tell_ringing(struct engine *e, struct txn *t, int64_t now)
{
    static const int64_t after_ms[] = {SILENT_MS, 1000, 2000};

    for (size_t i = 0; i < t->branch_count; i++) {
        struct txn_branch *b = &t->branches[i];

        if (!b->silent || now - b->sent_ms < after_ms[b->told] || e->link.waiting_count > WAITING_MAX)
            continue;
        if (b->told > 0 && !msg_is_connection(b->to)) /* a connection loses nothing */
            adopt_invite(e, t, b, now);
        if (b->told > 0 || send_trying(e, t, b, now))
            b->told++;
        b->silent = b->told < COUNT(after_ms);
    }
}

void owner_unanswered(struct engine *e, const char *key, int64_t now)
{
    struct txn *t = txns_by_key(&e->txns, key);

    if (t && t->taken_ms && !txn_is_done(t))
        tell_ringing(e, t, now);
}

/* Of one whose caller is gone the store may need the record again, as long as its far end may repeat a 2xx. */
static int64_t linger_ms(const struct engine *e, const struct txn *t)
{
    return t->gone ? e->conf.done_ttl_ms : LINGER_MS;
}

static void look_after(struct engine *e, struct txn *t, int64_t now)
{
    bool expired = (!txn_is_done(t) || t->hold == HOLD_PROVING) && now - t->begun_ms > e->conf.tx_max_ms;

    e->count.txns_expired += expired;
    if (expired)
        calls_failed(e, t, now);
    if (expired || (txn_is_done(t) && t->record == RECORD_CLEAN && t->hold != HOLD_PROVING &&
                    now - t->changed_ms > linger_ms(e, t))) {
        txns_remove(&e->txns, t);
        return;
    }
    if (!txn_is_done(t) && t->hold != HOLD_PROVING &&
        (t->end == END_UNSURE || txn_state(t) == TXN_FAILED || txn_is_pending(t)))
        state_look(e, t, now);
    if (t->taken_ms && !txn_is_done(t))
        tell_ringing(e, t, now);
    if (t->taken_ms || t->end == END_NO_TM)
        finish_look(e, t, now);
    if (t->cancel_ms && !txn_is_done(t) && now >= t->cancel_ms && txn_state(t) != TXN_FAILED)
        keep_promise(e, t, now);
    if (time_out_branches(t, now) || (!txn_is_done(t) && now - t->put_ms > e->conf.tx_ttl_ms / 2))
        txns_mark(&e->txns, t);
}

/* Only an event, or a long time, will change it: most transactions ring. */
static bool is_quiet(const struct txn *t)
{
    return t->record == RECORD_CLEAN && t->end == END_OPEN && !t->taken_ms && !t->retry_ms &&
           txn_state(t) != TXN_FAILED && !txn_is_pending(t);
}

/* How often these are checked, since there may be very many. */
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
