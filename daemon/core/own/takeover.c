/* Takeover: an orphan continues in this node's Kamailio. takeover_table.c is the state machine, takeover_act.c has the
 * actions; this file begins takeovers, feeds them events, and sets their pace.
 *
 *     a stray for it, or a search after a death ▶ its record ▶ this node as its owner ▶ INVITE into Kamailio ▶ taken
 *
 * A node that looks dead here may be back, with its heartbeat under way. Then one of the two is fenced at its next
 * write of the record, and drops the transaction: there are never two that may write it.
 *
 * tm makes its Via branches from the INVITE alone (t_calc_branch() and char_msg_val() in Kamailio), so the INVITE as
 * received, sent to its old destination, is a retransmission for the far end. Branches that have ended are sent to
 * this node itself, whose script answers with the recorded code; so all keep their index, and failure_route sees what
 * it saw before. */
#include "takeovers.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include <utlist.h>

#define CHAIN_MAX 8 /* owners that died in a row */
#define TRIES_MAX 3

/* ---- a record ---- */

/* A transaction of this node's Kamailio that this kamsyncd does not know, with the epoch that this node last had there.
 * If it has just started beside a living Kamailio, it reads it back, and proves it; or has tm forget it, if it is over
 * at the node that took it. Otherwise the transaction was lost to another node, whose record is under way. */
static void learn(struct engine *e, const struct takeover *t, const struct record *r, int64_t epoch, struct span text,
                  int64_t now)
{
    struct txn *txn = NULL;

    if (!e->learning || txns_by_key(&e->txns, t->key) || record_txn(&txn, text, now) < 0)
        return;
    if (txn_is_done(txn) || strcmp(txn->key, t->key) != 0) {
        if (txn_is_done(txn) && r->owner != e->self.id) {
            engine_decided(e, span_of(txn->call_id), 0, "it is over at node %d, which had it last: tm forgets it here",
                           r->owner);
            owner_release(e, txn, now);
        }
        txn_free(txn);
        return;
    }
    txn->hold = HOLD_PROVING;
    txn->from = r->from;
    txn->proven_epoch = epoch;
    txn->epoch = epoch + 1;
    owner_adopt(e, txn);
}

/* The kamsyncd before this one has died after another node took it over, and before Kamailio here was told: so tm still
 * has it. The proof will find the new owner, or that it could not take it. */
static bool was_taken_from_here(const struct engine *e, const struct record *r)
{
    return e->learning && r->owner != e->self.id && r->from.owner == e->self.id &&
           strcmp(r->from.inc, e->self.inc) == 0;
}

/* Its owner lives, and wants another node to take it over. A node that is itself to be empty does not. */
static bool is_given(const struct engine *e, const struct record *r, int64_t now)
{
    return r->state == HEAD_GIVEN && !r->done && !e->evacuation.since_ms && engine_judge(e, r, now) == VERDICT_OWNER;
}

/* Whether no living node has it, and this node is to take it over: also from itself, if this kamsyncd restarted during
 * the takeover. */
static bool is_orphan(const struct engine *e, const struct takeover *t, const struct record *r, int64_t now)
{
    enum verdict v = engine_judge(e, r, now);
    bool mine = v == VERDICT_MINE && r->state == HEAD_TAKING, given = is_given(e, r, now);

    return (mine ||
            ((v == VERDICT_ORPHAN || v == VERDICT_DONE || given) && sites_may_take(e, r->owner, t->key, t->round))) &&
           r->whole && !e->peers.unheard && (e->conf.takeover || t->answer || r->cancelled || r->done);
}

/* The record has this node as owner. */
static enum takeover_event won(const struct engine *e, const struct takeover *t, int64_t now)
{
    if (takeover_is_back(e, t, now))
        return EV_BACK;
    return t->answer || gone_is(e, t) || (txn_is_done(t->txn) && t->txn->final < 300) ? EV_OVER : EV_WON;
}

static bool take_record(struct engine *e, struct takeover *t, struct span text, int64_t now)
{
    struct holder from = record_holder(text);
    struct txn *txn = NULL;

    if (!from.epoch || record_txn(&txn, text, now) < 0)
        return false;
    t->chain += t->state == TAKING;
    if (strcmp(txn->key, t->key) != 0 || !finish_wanted(e, txn) || t->chain > CHAIN_MAX) {
        txn_free(txn);
        return false;
    }
    txn_free(t->txn);
    t->txn = txn;
    t->from = from;
    t->epoch = from.epoch + 1;
    return true;
}

/* He who has cancelled does not come back. */
static bool awaits_caller(const struct engine *e, const struct takeover *t)
{
    return !t->awaited && t->state != CHECKING && gone_is(e, t) && !txn_is_done(t->txn) && !t->txn->cancelled;
}

/* The event that this record is for the takeover. */
static enum takeover_event event_of(struct engine *e, struct takeover *t, struct span text, int64_t now)
{
    bool taking = t->state == TAKING;
    struct record r;

    if (record_read(&r, text) < 0) /* perhaps memory was short; a release goes over no other node's record */
        return t->state == CHECKING ? won(e, t, now) : taking ? EV_LOST : EV_OTHER;
    if (engine_judge(e, &r, now) == VERDICT_MINE && t->txn && r.state == HEAD_TAKING && r.epoch == t->epoch)
        return won(e, t, now);
    if (engine_judge(e, &r, now) == VERDICT_MINE && r.state != HEAD_TAKING) {
        learn(e, t, &r, r.epoch, text, now);
        return taking ? EV_LOST : EV_OWN;
    }
    if (!taking && was_taken_from_here(e, &r)) {
        learn(e, t, &r, r.from.epoch, text, now);
        return EV_OWN;
    }
    if (is_orphan(e, t, &r, now) && take_record(e, t, text, now)) {
        if (!taking && awaits_caller(e, t))
            return EV_GONE;
        return !r.owner || r.owner == e->self.id || is_given(e, &r, now) ? EV_FREE : EV_ORPHAN;
    }
    if (t->written && !taking && r.epoch < t->epoch && engine_judge(e, &r, now) == VERDICT_OWNER)
        return EV_BACK;
    return taking ? EV_LOST : EV_OTHER;
}

static enum takeover_event node_event(struct engine *e, const struct takeover *t, enum get_status status,
                                      struct span record, int64_t now)
{
    if (status == GET_FOUND)
        engine_node(e, record, now);
    return peers_dead(e, t->from.owner, t->from.inc, now) ? EV_DEAD : t->written ? EV_BACK : EV_ALIVE;
}

bool takeover_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    struct takeover *t = takeover_answer_to(e, token);

    if (!t)
        return false;
    if (status == GET_FAILED)
        takeover_go(e, t, EV_UNKNOWN, now);
    else if (t->state == ASKING)
        takeover_go(e, t, node_event(e, t, status, text, now), now);
    else
        takeover_go(e, t, status == GET_FOUND ? event_of(e, t, text, now) : EV_OTHER, now);
    return true;
}

bool takeover_put_done(struct engine *e, uint64_t token, enum put_status status, struct span record, int64_t now)
{
    struct takeover *t = takeover_answer_to(e, token);

    if (!t)
        return false;
    t->written = status == PUT_DONE || status == PUT_FAILED;
    if (status == PUT_DONE)
        takeover_go(e, t, won(e, t, now), now);
    else if (status == PUT_FENCED)
        takeover_go(e, t, t->state == TAKING ? event_of(e, t, record, now) : EV_LOST, now);
    else
        takeover_go(e, t, status == PUT_FAILED ? EV_UNKNOWN : EV_LOST, now);
    return true;
}

/* The caller has come back there. A takeover that has not begun yet goes on with that. */
static void note_caller(struct takeover *t, const struct arrived *back)
{
    if (t->src || (t->state >= INJECTED && t->state != AWAITING))
        return;
    free(t->dst);
    t->dst = span_dup(span_of(back->dst));
    t->src = t->dst ? span_dup(span_of(back->src)) : NULL;
}

/* The takeover of that key, unless it is under way or over already, whatever an earlier read of the record says; NULL
 * also when out of memory. */
static struct takeover *begin(struct engine *e, const char *key, int64_t now)
{
    struct takeover *t = takeover_find(e, key);

    if (txns_by_key(&e->txns, key))
        return NULL;
    t = t ? t : takeover_add(e, key, now);
    if (!t || (t->state != WANTED && t->state != AWAITING))
        return NULL;
    t->round = ROUND_ALL;
    return t;
}

void takeover_begin(struct engine *e, const char *key, struct span record, const struct arrived *back, int64_t now)
{
    struct takeover *t = begin(e, key, now), *any = t ? t : takeover_by_key(e, key);

    if (any && back)
        note_caller(any, back);
    if (t)
        takeover_go(e, t, event_of(e, t, record, now), now);
    else if (any && any->state == FAILED)
        engine_post(e, (struct notice){.type = NOTICE_GIVEN_UP, .key = key}, now); /* it was tried a moment ago */
}

void takeover_settle(struct engine *e, const char *key, struct span record, const struct sip_id *answer, int64_t now)
{
    struct takeover *t = begin(e, key, now);
    struct span id;

    if (!t)
        return; /* it is this node's, or will be, and the far end repeats its 2xx */
    if (txn_split_branch(answer->via, &id, &t->answered) == 0)
        t->answer = answer->code;
    free(t->to_tag);
    t->to_tag = span_dup(answer->to_tag);
    takeover_go(e, t, event_of(e, t, record, now), now);
}

/* ---- Kamailio ---- */

void takeover_taken(struct engine *e, const struct event *ev, int64_t now)
{
    struct takeover *t = takeover_by_token(e, (uint64_t)ev->token);

    if (!t || (t->state != INJECTED && t->state != FAILED))
        return;
    if (ev->ok)
        owner_take(e, takeover_hand_out(e, t, now), now);
    else
        takeover_go(e, t, EV_REFUSED, now);
}

/* ---- time ---- */

static void run_waiting(struct engine *e, int64_t now)
{
    struct takeover *t, *next;

    DL_FOREACH_SAFE(e->takeovers.list, t, next)
    {
        if (e->takeovers.active + e->takeovers.unanswered + e->takeovers.fewer >= TAKEOVERS_MAX)
            return;
        if (t->state == WANTED && !e->peers.unheard) /* a node not seen alive would lose it at once */
            takeover_go(e, t, EV_TURN, now);
    }
}

/* Kamailio hangs, or did a moment ago: it may still carry out the INVITE. */
static bool is_silent(const struct engine *e, struct takeover *t, int64_t now)
{
    bool was = t->silent;

    t->silent = link_oldest(&e->link) >= 0 && now - e->contact.progress_ms > CONFIRM_MS;
    return was || t->silent;
}

static void run_late(struct engine *e, int64_t now)
{
    struct takeover *t, *next;

    DL_FOREACH_SAFE(e->takeovers.list, t, next)
    {
        if (t->state == WANTED)
            return;
        if (!t->due_ms || now < t->due_ms)
            continue;
        if ((t->state == INJECTED || t->state == FAILED) && is_silent(e, t, now))
            t->due_ms = now + CONFIRM_MS;
        else if (t->state == AWAITING && txns_by_key(&e->txns, t->key))
            takeover_go(e, t, EV_OWN, now);
        else
            takeover_go(e, t, t->state == INJECTED && t->tries >= TRIES_MAX ? EV_LAST_TIME : EV_TIME, now);
    }
}

void takeover_run(struct engine *e, int64_t now)
{
    if (!e->contact.hello || !e->self.up || !e->store.up)
        return;
    search_run(e, now);
    run_late(e, now);
    run_waiting(e, now);
    if (e->learning && !e->search.learn && !e->takeovers.count && !e->failovers.count) {
        state_missed(e);
        early_learnt(e, now);
    }
}

int64_t takeover_due(const struct engine *e)
{
    int64_t due = search_due(e);
    const struct takeover *t;

    if (!e->contact.hello || !e->self.up || !e->store.up)
        return INT64_MAX;
    DL_FOREACH(e->takeovers.list, t)
    {
        if (t->state == WANTED)
            break;
        if (t->due_ms && t->due_ms < due)
            due = t->due_ms;
    }
    return due;
}
