/* Who was thought dead claims its own transactions before it writes any of them again, as others may have done:
 *
 *     claim on itself ▶ won ▶ (the store was away) its record ▶ another's: lost
 *                       lost                                  ▶ own, or of before: it is this node's
 *                       let go again: on that                 ▶ taken over, of the dead one: claimed from that once
 * more
 */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "takeovers.h"

#include <stdio.h>

#include "record.h"

/* Longer than another node is at work with a takeover that fails (giveup.c). */
#define WATCH_MS 14500

/* It is this node's, for sure. */
static void keep(struct engine *e, struct txn *own, int64_t now)
{
    own->unsure = own->elsewhere = own->second = false;
    txns_mark(&e->txns, own);
    calls_keep(e, own);
    if (own->taken_ms && !(own->done && txn_state(own) == TXN_FAILED)) /* else its call has ended */
        calls_take(e, own, now);
}

static void from_the_beginning(struct engine *e, struct takeover *t, int64_t due_ms)
{
    t->from = holder_of(e->self.id, e->self.inc);
    t->again = false;
    t->names = 1;
    t->chain = 0;
    t->state = CLAIMING;
    t->due_ms = due_ms;
}

/* Nobody else has it, the store says. Should this node have been thought dead once more since it was asked, that is
 * asked again: a host that stood still finds answers that are old. */
static void settle(struct engine *e, struct takeover *t, struct txn *own, int64_t now)
{
    if (own && own->unsure && t->doubt) {
        t->doubt = false;
        t->watch_ms = 0;
        from_the_beginning(e, t, now + RECHECK_MS);
        return;
    }
    if (own && own->unsure)
        keep(e, own, now);
    takeover_end(e, t);
}

/* Another node's now. */
static void lose(struct engine *e, struct takeover *t, struct txn *own, int64_t now)
{
    if (own && own->unsure)
        owner_lose(e, own, now);
    takeover_end(e, t);
}

/* The same, and that node has it, or is about to: it hears what was done here meanwhile. */
static void lose_to_node(struct engine *e, struct takeover *t, struct txn *own, int node, struct span record,
                         int64_t now)
{
    if (own && own->unsure)
        second_heir(e, own, node, record, now);
    takeover_end(e, t);
}

/* The same, and the record says whose it is. */
static void lose_by_record(struct engine *e, struct takeover *t, struct txn *own, struct span record, int64_t now)
{
    struct record r;

    if (record.n && record_read(&r, record) == 0 && r.owner != e->self.id)
        lose_to_node(e, t, own, r.owner, record, now);
    else
        lose(e, t, own, now);
}

/* By the name that everybody comes to who looks for this node: all its others are found from there. */
static void claim_from_other(struct engine *e, struct takeover *t, struct holder from)
{
    t->again = true;
    t->names = 0;
    takeover_claim_from(e, t, from);
}

/* The record is still as it was when it was taken. */
static bool is_taken_of(const struct txn *own, const struct holder *owner)
{
    struct holder of;

    return own->taken_of && holder_read(&of, span_of(own->taken_of)) && of.id == owner->id &&
           holder_same_name(&of, owner);
}

/* It is that living node's. If it was taken from it, it may only wait until this node's claim is let go. */
static void lose_to(struct engine *e, struct takeover *t, struct txn *own, const struct holder *owner,
                    struct span record, int64_t now)
{
    if (!own || !own->unsure || !is_taken_of(own, owner)) {
        lose_to_node(e, t, own, owner->id, record, now);
        return;
    }
    second_heir(e, own, owner->id, record, now);
    t->own = false;
    giveup_leave(e, t, now);
}

/* One of this node's own that it has taken over, in a store that may not remember that: a replica that was behind, and
 * another node may have taken it over there. So it is claimed again, from whom the record names, as by anybody else. */
static void claim_again(struct engine *e, struct takeover *t, struct txn *own, struct span text, int64_t now)
{
    struct record r;
    struct holder owner = record_read(&r, text) == 0 ? holder_of(r.owner, r.inc) : (struct holder){0};

    if (holder_is_self(e, &owner)) {
        settle(e, t, own, now);
    } else if (engine_judge(e, &r, now) == VERDICT_UNAVAILABLE) {
        t->due_ms = now + RECHECK_MS;
    } else if (peers_dead(e, r.owner, r.inc, now)) {
        claim_from_other(e, t, owner);
    } else {
        lose_to(e, t, own, &owner, text, now);
    }
}

/* Who is claimed from may be back, and the word of it on its way. */
static void on_own_asked(struct engine *e, struct takeover *t, enum get_status status, struct span record, int64_t now)
{
    struct txn *own = txns_by_key(&e->txns, t->key);

    if (status == GET_FOUND)
        engine_node(e, record, now);
    if (status == GET_FAILED || (!t->again && !peers_dead(e, t->from.id, t->from.inc, now))) {
        from_the_beginning(e, t, now + RECHECK_MS);
    } else if (!peers_dead(e, t->from.id, t->from.inc, now)) {
        lose_to(e, t, own, &t->from, (struct span){0}, now);
    } else if (t->late) {
        settle(e, t, own, now);
    } else {
        takeover_claim(e, t);
    }
}

/* The answer to that claim. */
static void on_claim_again(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h,
                           int64_t now)
{
    struct txn *own = txns_by_key(&e->txns, t->key);
    bool mine = status == CLAIM_LOST && holder_is_self(e, h);

    if (status == CLAIM_FAILED) {
        t->due_ms = now + RECHECK_MS;
        return;
    }
    if (status == CLAIM_WON && takeover_doubts_claim(e, t, now))
        return;
    if (status == CLAIM_WON || status == CLAIM_REFUSED || mine)
        settle(e, t, own, now);
    else if (!*h->inc || ++t->chain >= CHAIN_MAX)
        lose(e, t, own, now);
    else if (!h->id || peers_dead(e, h->id, h->inc, now))
        takeover_claim_from(e, t, *h);
    else
        takeover_look(e, t, *h); /* it may have let it go, and this node have claimed it then */
}

/* A claim on this node stands there, or on who claimed it. Whoever it was may have let it go, and this one have claimed
 * it again. */
static void follow(struct engine *e, struct takeover *t, struct holder h, int64_t now)
{
    if (++t->chain >= 2 * CHAIN_MAX)
        lose(e, t, txns_by_key(&e->txns, t->key), now);
    else if (!h.id || holder_is_self(e, &h))
        takeover_claim_from(e, t, h);
    else
        takeover_look(e, t, h);
}

/* It has not let it go: has it taken it over? */
static void on_looked(struct engine *e, struct takeover *t, enum get_status status, struct span text, int64_t now)
{
    struct holder h;

    if (status == GET_FAILED) {
        from_the_beginning(e, t, now + RECHECK_MS);
    } else if (status == GET_FOUND && holder_read(&h, text) && !holder_same_name(&h, &t->from)) {
        follow(e, t, h, now);
    } else if (t->again) {
        /* the record is not this node's */
        lose_to_node(e, t, txns_by_key(&e->txns, t->key), t->from.id, (struct span){0}, now);
    } else {
        t->state = WATCHING;
        t->watch_ms = t->watch_ms ? t->watch_ms : now + WATCH_MS;
        e->io.get(e->io.ctx, t->key, t->token);
    }
}

/* While the record is still this node's, the other one is at work with it, and may have to let it go; or it died.
 * Should neither show in all that time, then it does not have it: it let it go in a store that is not there any more.
 */
static void on_watched(struct engine *e, struct takeover *t, enum get_status status, struct span text, int64_t now)
{
    struct txn *own = txns_by_key(&e->txns, t->key);
    struct holder owner = {0};
    struct record r;

    if (status == GET_FOUND && record_read(&r, text) == 0)
        owner = holder_of(r.owner, r.inc);
    if (status != GET_FAILED && (!holder_is_self(e, &owner) || !own || !own->unsure))
        lose_by_record(e, t, own, status == GET_FOUND ? text : (struct span){0}, now);
    else if (status != GET_FAILED && peers_dead(e, t->from.id, t->from.inc, now))
        takeover_claim_from(e, t, t->from);
    else if (status != GET_FAILED && now >= t->watch_ms)
        settle(e, t, own, now);
    else
        from_the_beginning(e, t, now + RECHECK_MS);
}

/* The store's answer to the claim on an own transaction. */
static void on_own_claim(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h,
                         int64_t now)
{
    struct txn *own = txns_by_key(&e->txns, t->key);
    bool mine = status == CLAIM_LOST && holder_is_self(e, h);

    if (status == CLAIM_FAILED || (mine && holder_same_name(h, &t->from))) {
        t->due_ms = now + RECHECK_MS; /* no knowledge, or an earlier look: again */
        return;
    }
    if (status == CLAIM_LOST && *h->inc) {
        follow(e, t, *h, now);
        return;
    }
    /* What was found behind another node's claim stands behind all that the store has not forgotten. */
    if (own && own->unsure && status == CLAIM_WON && !t->chain) {
        t->due_ms = 0;
        e->io.get(e->io.ctx, t->key, t->token);
        return;
    }
    if (status != CLAIM_LOST) {
        settle(e, t, own, now);
        return;
    }
    lose(e, t, own, now);
}

/* From whom it was taken. */
static void take_again(struct engine *e, struct takeover *t, const struct txn *own)
{
    holder_read(&t->from, span_of(own->taken_from));
    t->again = true;
    t->names = 0;
    takeover_claim(e, t);
}

/* Nobody has claimed it from this node, as far as the store remembers. Should it have been away and have forgotten a
 * claim, then whoever won that has written the record anew. */
static void on_own_record(struct engine *e, struct takeover *t, enum get_status status, struct span text, int64_t now)
{
    struct txn *own = txns_by_key(&e->txns, t->key);
    bool unsure = own && own->unsure, read;
    struct record r;

    if (status == GET_FAILED) {
        t->due_ms = now + RECHECK_MS;
        return;
    }
    if (unsure && own->second && status == GET_FOUND && second_lost(e, own, text, now)) {
        takeover_end(e, t);
        return;
    }
    read = unsure && status == GET_FOUND && record_read(&r, text) == 0;
    if (read && (own->taken_ms || own->second)) {
        claim_again(e, t, own, text, now);
    } else if (unsure && own->taken_from && status == GET_ABSENT) {
        /* It has forgotten that claim, and whoever was claimed from claims the same key when it is back. */
        take_again(e, t, own);
    } else if (read && r.owner != e->self.id) {
        lose_by_record(e, t, own, text, now);
    } else {
        if (status == GET_ABSENT)
            txns_forgotten(own);
        settle(e, t, own, now);
    }
}

void recheck_claimed(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h,
                     int64_t now)
{
    if (t->again)
        on_claim_again(e, t, status, h, now);
    else
        on_own_claim(e, t, status, h, now);
}

void recheck_got(struct engine *e, struct takeover *t, enum get_status status, struct span text, int64_t now)
{
    if (t->state == ASKING)
        on_own_asked(e, t, status, text, now);
    else if (t->state == LOOKING)
        on_looked(e, t, status, text, now);
    else if (t->state == WATCHING)
        on_watched(e, t, status, text, now);
    else
        on_own_record(e, t, status, text, now);
}
