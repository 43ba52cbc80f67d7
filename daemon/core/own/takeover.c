/* Takeover: an orphan comes to life again in this node's Kamailio.
 *
 *     a stray for it, or a search after a death
 *          ▼
 *     waiting ▶ reading ▶ asking ▶ claiming ▶ injected (the INVITE is back in Kamailio) ▶ taken: this is the owner
 *               no orphan: end   alive: end   lost: end   no answer: again, then given up (giveup.c)
 *
 * A claim is a key that can be written once for each incarnation that died (claim.c). Should its holder die half-way,
 * the next claim is one on the holder's incarnation: a chain, each step of it atomic, with no script in the store. A
 * holder that lives may have let it go: that is looked at.
 *
 * Who counts as dead here may be back, and the word of it on its way. But a node beats before it writes anything else,
 * so its record in the store, read after what it wrote, is new enough: that is what is asked before each claim. And who
 * was thought dead claims its own transactions, as the others do: so of them and it one wins, whatever comes first.
 *
 * tm makes its Via branches of the INVITE alone (t_calc_branch() and char_msg_val() in Kamailio), so the INVITE as
 * received, sent to where it was sent before, is a retransmission to the far end. Branches that have ended are sent to
 * this node itself, whose script answers with the recorded code; so all keep their index, and failure_route sees what
 * it saw. */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include <utlist.h>

#include "record.h"
#include "takeovers.h"

#define LOSSES_MAX 1024 /* frames that wait for Kamailio; beyond that it is not told of more losses */
#define TRIES_MAX 3
/* The far end said 2xx, and the caller has it: the transaction is over, but for the branches that still ring. */
static void settle(struct engine *e, struct takeover *t, int64_t now)
{
    struct txn *txn = t->txn;

    t->txn = NULL;
    txn_reply(txn, t->answered, t->answer, now);
    txn->done = txn->settled = true;
    finish_look(e, txn, now);
    calls_take(e, txn, now);
    calls_reply(e, txn, t->answer, span_of(t->to_tag), calls_time(e, NULL));
    takeover_end(e, t);
    engine_post(e, (struct notice){.type = NOTICE_TAKEN_OVER, .key = txn->key}, now);
    owner_adopt(e, txn);
}

static void won(struct engine *e, struct takeover *t, int64_t now)
{
    if (t->txn->done && t->txn->final < 300)
        finish_answered(e, t, now);
    else if (t->answer)
        settle(e, t, now);
    else
        takeover_inject(e, t, now);
}

static void on_asked(struct engine *e, struct takeover *t, enum get_status status, struct span record, int64_t now)
{
    if (status == GET_FOUND)
        engine_node(e, record, now);
    if (status == GET_FAILED || !peers_dead(e, t->from.id, t->from.inc, now)) {
        if (t->late)
            giveup_leave(e, t, now);
        else
            takeover_end(e, t); /* alive; or unknown: the second search comes by */
    } else if (t->late) {
        won(e, t, now);
    } else {
        takeover_claim(e, t);
    }
}

/* Another claim stands there: has anybody followed it? Also when it is this node's own, of before. */
static void on_lost(struct engine *e, struct takeover *t, struct holder h, int64_t now)
{
    if (holder_same_name(&h, &t->from) && holder_is_self(e, &h)) {
        t->due_ms = now + RECHECK_MS; /* an earlier look, whose claim may end any moment: again */
    } else if (holder_same_name(&h, &t->from) || ++t->chain >= CHAIN_MAX) {
        e->count.claims_lost++; /* to the owner itself, who is back */
        takeover_end(e, t);
    } else if (!h.id || holder_is_self(e, &h) || peers_dead(e, h.id, h.inc, now)) {
        takeover_claim_from(e, t, h);
    } else {
        takeover_look(e, t, h); /* has it let it go? */
    }
}

static void on_claim(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h,
                     int64_t now)
{
    if (t->blind || status == CLAIM_FAILED) {
        giveup_blind(e, t, status, h, now);
    } else if (status == CLAIM_WON) {
        if (!takeover_doubts_claim(e, t, now))
            won(e, t, now);
    } else if (status == CLAIM_LOST && *h->inc) {
        on_lost(e, t, *h, now);
    } else {
        e->count.claims_lost++;
        takeover_end(e, t);
    }
}

/* What stands where one would claim from that living holder: nothing, as long as it is at work. */
static void on_looked(struct engine *e, struct takeover *t, enum get_status status, struct span text, int64_t now)
{
    struct holder h;

    if (status == GET_FOUND && holder_read(&h, text)) {
        on_lost(e, t, h, now);
        return;
    }
    e->count.claims_lost++;
    takeover_end(e, t);
}

/* A record of this node's own that this kamsyncd does not know. If it was just started beside a living Kamailio, it
 * learns it back, once it is known that nobody else has claimed it. Else the transaction was lost to another node,
 * whose record is on its way. */
static void learn(struct engine *e, struct takeover *t, struct span text, int64_t now)
{
    struct txn *txn = NULL;
    bool good = e->learning && !txns_by_key(&e->txns, t->key) && record_txn(&txn, text, now) == 0 && !txn->done &&
                strcmp(txn->key, t->key) == 0;

    takeover_end(e, t);
    if (!good) {
        txn_free(txn);
        return;
    }
    txn->unsure = true;
    owner_adopt(e, txn);
}

/* The record is an orphan's: claims it, or ends. */
static void consider(struct engine *e, struct takeover *t, struct span text, int64_t now)
{
    struct record r;
    bool wanted = record_read(&r, text) == 0 && (!r.done || r.whole);
    enum verdict v = wanted ? engine_judge(e, &r, now) : VERDICT_UNKNOWN;

    if (v == VERDICT_MINE) {
        learn(e, t, text, now);
        return;
    }
    wanted = (v == VERDICT_ORPHAN || v == VERDICT_DONE) && r.whole && !e->peers.unheard && !t->foreign &&
             (e->conf.takeover || t->answer || r.cancelled || r.done);
    if (!wanted || record_txn(&t->txn, text, now) < 0 || strcmp(t->txn->key, t->key) != 0 ||
        !finish_wanted(e, t->txn)) {
        takeover_end(e, t);
        return;
    }
    t->owner = holder_of(r.owner, r.inc);
    naming_begin(e, t);
}

bool takeover_claimed(struct engine *e, uint64_t token, enum claim_status status, const struct holder *h, int64_t now)
{
    struct takeover *t = takeover_by_token(e, token);

    if (t && t->own)
        recheck_claimed(e, t, status, h, now);
    else if (t && t->state == CLAIMING)
        on_claim(e, t, status, h, now);
    else if (t && t->state == LEAVING)
        giveup_left(e, t, status, h, now);
    return t != NULL;
}

bool takeover_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    struct takeover *t = takeover_by_token(e, token);

    if (!t)
        return false;
    if (t->own)
        recheck_got(e, t, status, text, now);
    else if (t->state == ASKING)
        on_asked(e, t, status, text, now);
    else if (t->naming)
        naming_looked(e, t, status, text);
    else if (t->state == LOOKING)
        on_looked(e, t, status, text, now);
    else if (status == GET_FOUND)
        consider(e, t, text, now);
    else
        takeover_end(e, t); /* gone, or unknown: the second search comes by */
    return true;
}

/* The takeover of that key, if it is not under way already, nor over, whatever a record says that was read before; NULL
 * also when memory is short. */
static struct takeover *begin(struct engine *e, const char *key)
{
    struct takeover *t = takeover_find(e, key);

    if (txns_by_key(&e->txns, key))
        return NULL;
    if (!t)
        return takeover_add(e, key);
    return t->state == WAITING ? t : NULL;
}

void takeover_begin(struct engine *e, const char *key, struct span record, int64_t now)
{
    struct takeover *t = begin(e, key);

    if (t)
        consider(e, t, record, now);
    else if ((t = takeover_by_key(e, key)) != NULL && t->state == FAILED)
        engine_post(e, (struct notice){.type = NOTICE_GIVEN_UP, .key = key}, now); /* it was tried a moment ago */
}

void takeover_settle(struct engine *e, const char *key, struct span record, const struct sip_id *answer, int64_t now)
{
    struct takeover *t = begin(e, key);
    struct span id;

    if (!t)
        return; /* this node's, or in a moment, and the far end repeats its 2xx */
    if (txn_split_branch(answer->via, &id, &t->answered) == 0)
        t->answer = answer->code;
    free(t->to_tag);
    t->to_tag = span_dup(answer->to_tag);
    consider(e, t, record, now);
}

/* ---- taken ---- */

void takeover_taken(struct engine *e, const struct event *ev, int64_t now)
{
    struct takeover *t = takeover_by_token(e, (uint64_t)ev->token);
    struct txn *txn;

    if (!t || (t->state != INJECTED && (t->state != FAILED || !ev->ok)))
        return;
    if (!ev->ok) {
        giveup(e, t, now);
        return;
    }
    txn = takeover_confirm(e, span_of(t->txn->id), now);
    if (txn)
        owner_take(e, txn, now);
}

/* ---- time ---- */

static void read_record(struct engine *e, struct takeover *t)
{
    takeover_activate(e, t, READING);
    e->io.get(e->io.ctx, t->key, t->token);
}

static void run_waiting(struct engine *e)
{
    struct takeover *t, *next;

    DL_FOREACH_SAFE(e->takeovers.list, t, next)
    {
        if (!takeover_may_begin(e))
            return;
        if (t->state != WAITING || (e->peers.unheard && !t->own))
            continue; /* who cannot be seen to live would lose it to the next one at once */
        if (t->own && e->link.waiting_count > LOSSES_MAX)
            return; /* each loss is told to Kamailio, whose acknowledgement brings us back here */
        if (t->own)
            takeover_claim_from(e, t, holder_of(e->self.id, e->self.inc));
        else
            read_record(e, t);
    }
}

/* Kamailio hangs, or did a moment ago: it may yet carry the INVITE out. */
static bool is_silent(const struct engine *e, struct takeover *t, int64_t now)
{
    bool was = t->silent;

    t->silent = link_oldest(&e->link) >= 0 && now - e->contact.progress_ms > CONFIRM_MS;
    return was || t->silent;
}

static void unanswered(struct engine *e, struct takeover *t, int64_t now)
{
    owner_unanswered(e, t->key, now);
    takeover_end(e, t);
}

static void run_late(struct engine *e, int64_t now)
{
    struct takeover *t, *next;

    DL_FOREACH_SAFE(e->takeovers.list, t, next)
    {
        if (t->state == WAITING)
            return;
        if (!t->due_ms || now < t->due_ms)
            continue;
        if (t->state == CLAIMING)
            takeover_claim(e, t);
        else if (t->state == TAKEN)
            unanswered(e, t, now);
        else if (t->state != LEAVING && is_silent(e, t, now))
            t->due_ms = now + CONFIRM_MS;
        else if (t->state > TAKEN)
            giveup_leave(e, t, now);
        else if (t->tries < TRIES_MAX)
            takeover_inject(e, t, now);
        else
            giveup(e, t, now);
    }
}

void takeover_run(struct engine *e, int64_t now)
{
    if (!e->contact.hello || !e->self.up || !e->store.up)
        return;
    search_run(e, now);
    run_late(e, now);
    run_waiting(e);
    if (e->learning && !e->search.learn && !e->takeovers.count && !e->heirs.count) {
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
        if (t->state == WAITING)
            break;
        if (t->due_ms && t->due_ms < due)
            due = t->due_ms;
    }
    return due;
}

void takeover_clear(struct engine *e)
{
    while (e->takeovers.list)
        takeover_end(e, e->takeovers.list);
    e->search = (struct search){.running = e->search.running}; /* what the store was asked it still answers */
}
