/* The records of this node's own transactions: written to the store, and what it says to that.
 *
 *     dirty ▶ record ▶ put ▶ done:    no other node has the transaction
 *                          ▶ fenced:  fence.c
 *                          ▶ refused: again later
 *                          ▶ failed:  resync.c, all of them again */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"

#include "record.h"

#define LOSSES_MAX 1024 /* writes and losses under way: beyond that no record is written that may be lost */
#define OWN 1           /* in the token of such a write: a late answer to a claim, say, comes here, too */
#define PUT_PLACE(number) ((number) % PUTS_MAX)

static uint64_t next_put(struct engine *e)
{
    uint64_t token = ++e->owner.last_put << 1 | OWN;

    e->owner.under_way[PUT_PLACE(e->owner.last_put)] = token;
    e->owner.puts++;
    return token;
}

/* Answers may overtake each other: then a write that is far behind still has the place of the next one. */
static bool may_put(const struct engine *e)
{
    return !e->owner.under_way[PUT_PLACE(e->owner.last_put + 1)];
}

/* False: it has been answered already. */
static bool is_answer(struct engine *e, uint64_t token)
{
    uint64_t *place = &e->owner.under_way[PUT_PLACE(token >> 1)];

    if (!(token & OWN))
        return true;
    if (*place != token)
        return false;
    *place = 0;
    e->owner.puts--;
    return true;
}

static void put(struct engine *e, struct txn *t, int64_t now)
{
    enum head_state state = t->hold == HOLD_GIVEN ? HEAD_GIVEN : HEAD_HELD;
    const struct head head = {t->epoch, e->self.id, e->self.inc, state, &t->from};
    int64_t ttl_ms = txn_is_done(t) ? e->conf.done_ttl_ms : e->conf.tx_ttl_ms;
    const char *record = record_put(&e->owner.record, t, &head, calls_vars(e, t), e->conf.takeover);

    if (!record) {
        txns_mark(&e->txns, t); /* out of memory: later */
        return;
    }
    t->put_ms = now;
    t->retry_ms = 0;
    e->count.puts++;
    t->token = next_put(e);
    if (t->hold != HOLD_OWNED)
        txns_ask(&e->txns, t, t->token);
    if (t->epoch == 1 && t->hold == HOLD_NEW) /* no record should be there: that costs the store less */
        e->io.claim(e->io.ctx, t->key, record, ttl_ms, t->token);
    else
        e->io.put(e->io.ctx, t->key, record, ttl_ms, t->token);
}

/* Each loss takes two frames to Kamailio, whose acknowledgement makes this node continue here. */
static bool is_behind(const struct engine *e, const struct txn *t)
{
    return t->hold == HOLD_PROVING && (e->link.waiting_count > LOSSES_MAX || e->owner.puts >= LOSSES_MAX);
}

void owner_flush(struct engine *e, int64_t now)
{
    size_t n = e->txns.dirty_count;

    if (!e->store.up || !e->self.up || e->peers.unheard)
        return; /* a writer must have been seen alive, or others take over what it has just written */
    while (n-- > 0 && may_put(e) && !is_behind(e, e->txns.dirty)) {
        struct txn *t = txns_take_dirty(&e->txns);

        if (t->hold == HOLD_GIVEN && evacuate_keeps(e, t))
            fence_raise(t);
        put(e, t, now);
    }
}

/* The key has a value of another type, or the like. That says nothing about the store: no other node is told, and no
 * other record written again. */
static void back_off(struct engine *e, struct txn *t, int64_t now)
{
    e->count.puts_failed++;
    owner_retry(e, t, now + doubt_pause(&t->refusals));
    if (t->quiet)
        txns_quiet(&e->txns, t, false);
}

/* No other node has it. */
static void proven(struct engine *e, struct txn *t, int64_t now)
{
    bool was_new = t->hold == HOLD_NEW && !t->away;

    t->hold = HOLD_OWNED;
    t->proven_epoch = t->epoch;
    t->away = false;
    t->wait_ms = 0;
    if (was_new)
        return;
    if (t->given_ms)
        t->given_ms = now; /* it has come back, maybe long after it was given */
    if (t->outdated)
        message_taken(e, t->call, t->key);
    t->outdated = false;
    calls_keep(e, t);
    if (t->taken_ms && !(txn_is_done(t) && txn_state(t) == TXN_FAILED)) /* else its call has ended */
        calls_take(e, t, now);
}

/* Called seldom, so there is no index. */
static struct txn *find_token(const struct engine *e, uint64_t token)
{
    struct txn *t = e->txns.by_id;

    while (t && t->token != token)
        t = t->hh.next;
    return t;
}

void owner_put_done(struct engine *e, uint64_t token, enum put_status status, struct span record, int64_t now)
{
    struct txn *t;

    if (!is_answer(e, token))
        return;
    t = txns_answered(&e->txns, token);
    e->count.puts_failed += status == PUT_FAILED;
    if (status == PUT_DONE || status == PUT_FENCED)
        resync_taken(e, now);
    else if (status == PUT_FAILED)
        resync_refused(e, now);
    if (!t && (status == PUT_FENCED || status == PUT_REFUSED))
        t = find_token(e, token);
    if (!t)
        return;
    if (status == PUT_DONE && t->asked_epoch == t->epoch)
        (t->hold == HOLD_GIVEN ? evacuate_given : proven)(e, t, now);
    else if (status == PUT_FENCED)
        fence_met(e, t, record, now);
    else if (status == PUT_REFUSED)
        back_off(e, t, now);
}

int64_t owner_due(const struct engine *e)
{
    return e->owner.retry_ms && e->store.up ? e->owner.retry_ms : INT64_MAX;
}

void owner_tick(struct engine *e, int64_t now)
{
    struct txn *t, *next;

    if (now < owner_due(e))
        return;
    e->owner.retry_ms = 0;
    HASH_ITER(hh, e->txns.by_id, t, next)
    {
        if (t->retry_ms && now >= t->retry_ms)
            txns_mark(&e->txns, t);
        else if (t->retry_ms)
            owner_retry(e, t, t->retry_ms);
    }
}
