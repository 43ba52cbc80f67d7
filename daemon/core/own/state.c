/* Whether Kamailio has answered the caller. It does not report when it ends a transaction itself, and a far end's
 * negative reply need not be the end: failure_route may take its time, suspend the transaction, and try another
 * gateway. So Kamailio is asked, for as long as that lasts:
 *
 *     every branch has failed ▶ its INVITE's head goes to Kamailio (why=state) ▶ {"t": "state"}: what tm has answered
 *                               nothing final yet ▶ asked again ▶ …
 *                               a final reply     ▶ that is the end
 *                               no transaction    ▶ the branches decide
 *
 * The same for a transaction that has no branch yet, since the script may answer it (pending.c).
 *
 * Events that were lost, or that came while this kamsyncd was away, may have ended any transaction: Kamailio is asked
 * once about each. */
#include "own_impl.h"
#include "call_impl.h"
#include "link_impl.h"

#define SETTLE_MS 300      /* by then failure_route mostly has added a branch, or tm has answered */
#define UNANSWERED_MS 1000 /* the question may have been lost */
#define OPEN_MS 5000       /* an open transaction is asked about at least this often */
#define TRIES_MAX 3        /* if Kamailio never answers, the branches decide */
#define WAITING_MAX 1024   /* frames to Kamailio; beyond that it is asked later */

static bool ask(struct engine *e, const struct txn *t, int64_t now)
{
    char *text = owner_head(e, t, "state");

    if (text)
        engine_send(e, e->self.sip, NULL, text, now);
    free(text);
    return text;
}

static void over(struct engine *e, struct txn *t, int code, int64_t now)
{
    t->final = (short)code;
    if (!t->last)
        t->last = calls_time(e, NULL);
    t->end = END_DONE;
    txns_mark(&e->txns, t);
    calls_failed(e, t, now);
}

void state_look(struct engine *e, struct txn *t, int64_t now)
{
    if (now - t->changed_ms < (t->req.n ? SETTLE_MS : UNANSWERED_MS) || now < t->ask_ms ||
        e->link.waiting_count > WAITING_MAX)
        return;
    if (t->asked == TRIES_MAX || !t->req.n) { /* tm does not have what the script sent by forward() */
        t->end = END_OPEN;
        if (txn_state(t) == TXN_FAILED)
            over(e, t, 0, now);
        return;
    }
    if (ask(e, t, now))
        t->asked++;
    t->ask_ms = now + UNANSWERED_MS;
}

void state_missed(struct engine *e)
{
    struct txn *t, *next;

    HASH_ITER(hh, e->txns.by_id, t, next)
    {
        t->asked = 0;
        if (txn_is_done(t))
            continue;
        t->end = END_UNSURE;
        txns_quiet(&e->txns, t, false);
    }
}

/* A 2xx whose event was lost. */
static void answered(struct engine *e, struct txn *t, int code, int64_t now)
{
    t->final = (short)code;
    t->end = END_DONE;
    t->changed_ms = now;
    calls_reply(e, t, code, (struct span){0}, calls_time(e, NULL));
    txns_mark(&e->txns, t);
}

/* tm has the transaction, and has not answered yet. */
static void still_open(struct txn *t, int64_t now)
{
    int64_t half = (now - t->changed_ms) / 2;

    if (txn_state(t) == TXN_FAILED)
        t->last = 0; /* the last branch's reply is not the end */
    t->end = END_OPEN;
    t->asked = 0;
    t->ask_ms = now + (half < UNANSWERED_MS ? UNANSWERED_MS : half < OPEN_MS ? half : OPEN_MS);
}

void state_told(struct engine *e, const struct event *ev, int64_t now)
{
    struct txn *t = txns_by_id(&e->txns, ev->via);
    int code = (int)ev->code;

    if (!t || txn_is_done(t) || t->hold == HOLD_PROVING)
        return;
    if (code > 0 && code < 200)
        still_open(t, now);
    else if (code >= 200 && code < 300)
        answered(e, t, code, now);
    else if (code || txn_state(t) == TXN_FAILED || txn_is_pending(t))
        over(e, t, code || !txn_is_pending(t) ? code : 408, now);
    else
        t->end = END_OPEN; /* its end was missed; a remaining final reply shows it, or a timeout */
}
