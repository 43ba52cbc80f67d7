/* A transaction becomes this node's own; or another's, and Kamailio is told to drop it. */
#include "own_impl.h"
#include "link_impl.h"

/* Another transaction of that key can only be an older one: the caller has reused its branch. */
int owner_add(struct engine *e, struct txn *t)
{
    struct txn *old = txns_by_key(&e->txns, t->key);

    if (old)
        txns_remove(&e->txns, old);
    e->owner.pendings = e->owner.pendings || txn_is_pending(t);
    return txns_add(&e->txns, t);
}

bool owner_adopt(struct engine *e, struct txn *t)
{
    if (owner_add(e, t) < 0) {
        txn_free(t);
        return false;
    }
    txns_mark(&e->txns, t);
    return true;
}

char *owner_head(struct engine *e, const struct txn *t, const char *why)
{
    struct handover h = {.to = e->self.id, .inc = e->self.inc, .why = why, .src = t->src, .dst = t->dst};
    size_t len = 0;
    char *named = t->req.n ? NULL : sip_named(t->call_id, t->cseq, t->branch, t->sent_by);
    char *msg = sip_question(t->req.n ? t->req : span_of(named), t->id, &len);
    char *text = msg ? engine_handover(e, h, (struct span){msg, len}) : NULL;

    free(named);
    free(msg);
    return text;
}

/* Gives the INVITE's head back to Kamailio, so that tm drops the transaction: otherwise its timers would end a call
 * that is another node's by now. */
static void release(struct engine *e, const struct txn *t, int64_t now)
{
    char *text = owner_head(e, t, "lost");

    engine_send(e, e->self.sip, NULL, text, now);
    free(text);
}

void owner_release(struct engine *e, const struct txn *t, int64_t now)
{
    revoked_add(e, t, now);
    release(e, t, now);
}

void owner_lost(struct engine *e, const struct txn *t, int64_t now)
{
    if (t->hold == HOLD_GIVEN) {
        e->count.txns_given++;
        engine_decided(e, span_of(t->call_id), 0, "given to another node, which has it now: tm forgets it here");
    } else {
        e->count.txns_lost++;
        engine_log_call(e, LOG_LEVEL_WARN, (struct about){.call_id = span_of(t->call_id)},
                        "another node has taken over");
    }
    owner_release(e, t, now);
}

void owner_hold(struct txn *t, const struct holder *from, int64_t epoch, bool doubt)
{
    t->from = *from;
    t->hold = doubt ? HOLD_PROVING : HOLD_OWNED;
    t->proven_epoch = epoch;
    t->epoch = epoch + doubt;
}

void owner_retry(struct engine *e, struct txn *t, int64_t at)
{
    t->retry_ms = at;
    if (!e->owner.retry_ms || at < e->owner.retry_ms)
        e->owner.retry_ms = at;
}
