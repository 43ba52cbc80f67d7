/* What a dead owner left unfinished: the transaction is over, but the caller may not have got the final reply, or
 * a far end still rings, since a CANCEL got lost. Its record still has the request (txn_unfinished()).
 *
 *     failed   ▶ Kamailio gets the INVITE with the final reply, and repeats that until the caller's ACK
 *     answered ▶ the caller gets a 2xx from the node that sent it: no tm is needed
 *     both     ▶ each far end that may still ring gets a CANCEL, repeatedly; its 487 is acknowledged here
 *
 * A CANCEL that the dead owner had accepted is handled the same way if nothing is taken over (takeover = 0). */
#include "own_impl.h"
#include "call_impl.h"
#include "takeover_life.h"

#define HEARD_MS 8000 /* tm has repeated its final reply four times by then; clocks may differ by a few s */
#define CANCEL_MS 500 /* T1; doubled each time, up to */
#define RING_MS 5000

bool finish_wanted(const struct engine *e, struct txn *t)
{
    if (!txn_is_done(t) && t->cancelled && !e->conf.takeover)
        t->final = 487;
    if (!txn_is_done(t) || txn_state(t) == TXN_ANSWERED)
        return true;
    return calls_time(e, NULL) - t->last < HEARD_MS;
}

void finish_answered(struct engine *e, struct takeover *t, int64_t now)
{
    struct txn *txn = t->txn;

    t->txn = NULL;
    e->count.finished++;
    txn->end = END_NO_TM;
    owner_hold(txn, &t->from, t->epoch, t->doubt);
    if (owner_adopt(e, txn))
        finish_look(e, txn, now);
}

void finish_failed(struct engine *e, struct txn *t, int64_t now)
{
    bool cancelled = !txn_is_done(t);

    e->count.finished++;
    t->end = END_NO_TM;
    if (cancelled)
        calls_failed(e, t, now);
    finish_look(e, t, now);
}

void finish_look(struct engine *e, struct txn *t, int64_t now)
{
    int64_t past;

    if (!e->self.up && t->end == END_NO_TM)
        t->changed_ms = now; /* nothing leaves a Kamailio that hangs: it has its time when that goes on */
    past = now - t->changed_ms;
    if (now < t->finish_ms || past > RING_MS)
        return;
    for (size_t i = 0; i < t->branch_count; i++) {
        const struct txn_branch *b = &t->branches[i];

        if (txn_rings_on(t, b) && (t->end == END_NO_TM || b->code == 408))
            adopt_cancel_branch(e, t, b, now);
    }
    t->finish_ms = now + (past < CANCEL_MS ? CANCEL_MS : past);
}

void finish_replied(struct engine *e, struct txn *t, int index, int code, struct span reply, int64_t now)
{
    adopt_ack(e, t, index, reply, now);
    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].index == index)
            t->branches[i].ended = true;
    txn_reply(t, index, code, now);
    txns_mark(&e->txns, t);
}
