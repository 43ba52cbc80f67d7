/* A record of this node's that the store refuses, since a newer one is there (record.h): what happens to the
 * transaction. Each write is the check, so this node learns of it with the next write, or at once when it has reason
 * to doubt its ownership: then it raises the epoch, which fences off any takeover under way.
 *
 *     NEW             ▶ if the other node is alive, it had routed the same INVITE: this one is the second (second.c)
 *     PROVING, OWNED  ▶ it has taken the transaction over: this one drops it */
#include "own_impl.h"
#include "cluster_impl.h"

#include "count.h"
#include "key.h"
#include "record.h"

#define WAIT_MS 200     /* by then more may be known of the other node, or its takeover may be done */
#define TAKING_MS 14500 /* longer than a failing takeover takes (takeover_act.c) */

/* The holder of the newer record. */
enum rival { BY_SELF, BY_OWNER, BY_FORMER, BY_TAKER, BY_DEAD, BY_UNKNOWN };

struct fenced {
    struct txn *txn;
    struct record r;
    struct span text;
};

static void in_doubt(struct txn *t)
{
    if (t->hold == HOLD_OWNED)
        t->hold = HOLD_PROVING;
}

/* It is no longer given away, if it was. */
static void claim_back(struct txn *t)
{
    if (t->hold != HOLD_NEW)
        t->hold = HOLD_PROVING;
}

static void write_over(struct engine *e, struct fenced *f, int64_t now)
{
    f->txn->epoch = f->r.epoch + 1;
    f->txn->from = record_holder(f->text);
    f->txn->wait_ms = 0;
    claim_back(f->txn);
    if (f->txn->from.epoch)
        txns_mark(&e->txns, f->txn);
    else
        owner_retry(e, f->txn, now + WAIT_MS); /* it cannot say what it goes over, so it may be fenced again */
}

static void wait(struct engine *e, struct fenced *f, int64_t now)
{
    in_doubt(f->txn);
    owner_retry(e, f->txn, now + WAIT_MS);
}

/* As in a takeover (takeover_table.c): the rival's heartbeat is read after its record, and then the write is tried
 * again. */
static void ask_and_write_over(struct engine *e, struct fenced *f, int64_t now)
{
    char key[KEY_SHORT_MAX];

    if (!f->r.owner || f->r.owner == e->self.id || (!f->txn->ask_token && f->txn->asked_rival == f->r.epoch)) {
        write_over(e, f, now);
        return;
    }
    in_doubt(f->txn);
    if (f->txn->ask_token)
        return; /* continues with the answer */
    f->txn->asked_rival = f->r.epoch;
    f->txn->ask_token = engine_token(e);
    e->io.get(e->io.ctx, key_node(key, f->r.owner), f->txn->ask_token);
}

void fence_got(struct engine *e, uint64_t token, enum get_status status, struct span record, int64_t now)
{
    struct txn *t = e->txns.by_id;

    while (t && t->ask_token != token)
        t = t->hh.next;
    if (!t)
        return;
    t->ask_token = 0;
    if (status == GET_FAILED) {
        t->asked_rival = 0;
        owner_retry(e, t, now + WAIT_MS);
        return;
    }
    if (status == GET_FOUND)
        engine_node(e, record, now);
    txns_mark(&e->txns, t);
}

/* The rival takes it over, and may have to let go again. If it does not finish in time, its record was a late write. */
static void wait_for_taker(struct engine *e, struct fenced *f, int64_t now)
{
    if (!f->txn->wait_ms || f->txn->wait_epoch != f->r.epoch) {
        f->txn->wait_ms = now + TAKING_MS;
        f->txn->wait_epoch = f->r.epoch;
    }
    if (now >= f->txn->wait_ms)
        write_over(e, f, now);
    else
        wait(e, f, now);
}

/* Another node has routed the same INVITE, or has taken the transaction over. */
static void give_way(struct engine *e, struct fenced *f, int64_t now)
{
    if (f->txn->hold != HOLD_NEW)
        second_heir(e, f->txn, f->r.owner, f->text, now);
    else if (f->txn->stateless)
        second_leave(e, f->txn);
    else
        second_lose(e, f->txn, &f->r, f->text, now);
}

/* The store has had a record of this node's with that epoch or a later one, and has gone back in time: that node has
 * lost the transaction, or took it in the meantime. It is to look at the record. Whoever gives way does so to an epoch
 * higher than any of its own: so no two nodes give way to each other, whichever old records they see. */
static void go_on(struct engine *e, struct fenced *f, int64_t now)
{
    f->r.epoch = f->txn->proven_epoch;
    f->txn->outdated = true;
    write_over(e, f, now);
}

static void (*const table[])(struct engine *e, struct fenced *f, int64_t now) = {
    [BY_SELF] = write_over, /* the caller reuses the branch, or this kamsyncd was restarted */
    [BY_OWNER] = give_way,       [BY_FORMER] = go_on,
    [BY_TAKER] = wait_for_taker, [BY_DEAD] = ask_and_write_over, /* this node's Kamailio still has it */
    [BY_UNKNOWN] = wait,
};

static enum rival rival_of(const struct engine *e, const struct fenced *f, int64_t now)
{
    const struct record *r = &f->r;

    switch (engine_judge(e, r, now)) {
    case VERDICT_MINE:
        return BY_SELF;
    case VERDICT_OWNER:
        if (r->state == HEAD_TAKING)
            return BY_TAKER;
        return f->txn->hold != HOLD_NEW && r->epoch <= f->txn->proven_epoch ? BY_FORMER : BY_OWNER;
    case VERDICT_UNAVAILABLE:
        return BY_UNKNOWN;
    default:
        return BY_DEAD;
    }
}

void fence_met(struct engine *e, struct txn *t, struct span text, int64_t now)
{
    struct fenced f = {.txn = t, .text = text};

    if (record_read(&f.r, text) < 0) { /* whatever it is, it is no node's transaction */
        f.r.epoch = record_epoch(text);
        write_over(e, &f, now);
        return;
    }
    table[rival_of(e, &f, now)](e, &f, now);
}

void fence_raise(struct txn *t)
{
    t->epoch = t->proven_epoch + 1; /* a node that has taken it over since then has the same epoch, or a higher one */
    t->asked_epoch = 0;
    t->wait_ms = 0;
    claim_back(t);
}

void fence_doubt(struct engine *e, struct txn *t)
{
    fence_raise(t);
    txns_mark(&e->txns, t);
}
