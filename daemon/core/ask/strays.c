/* Strays: messages that reached a node which does not have their transaction. Who owns it, and what follows?
 *
 *     stray ▶ own index ▶ store ──found──▶ verdict ▶ handover to the owner, or back to this Kamailio with the verdict
 *                          │  ▲
 *                          │  └ absent or failed: asked again in a moment, since the record may be on its way
 *                          └ time is up: unknown (the store said "absent", after all nodes had answered a barrier,
 * and no Kamailio has acted, though all have the message), unavailable (no answer from the store, or not from all)
 *
 * An ACK may be one to a 2xx, which any node can route and which must not wait. So the script routes every stray ACK
 * at once, as it would without kamsync, and kamsyncd only ensures that the owner gets a copy; all nodes do if
 * the store does not answer. An ACK that arrives twice does no harm (proto/messages.md).
 *
 * A CANCEL that the script has already sent to all nodes is looked up a moment later: by then its owner, if alive, has
 * acted, as its kamsyncd or its record says, and nothing is left to do. In a larger cluster a CANCEL without record
 * goes to all after some lookups: there may still be a transaction (perhaps.c). An ACK without record goes to all at
 * once.
 *
 * Before the store a replica near by may be asked about a CANCEL (near.c).
 *
 * An INVITE is a stray if the script asks about each (KAMSYNC_CLAIM); a reply, if the node in its Via is gone. */
#include "stray.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"
#include "own_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#include "key.h"
#include "record.h"

#define HOLDER_MAX 128
#define STRAYS_MAX 2048         /* limit of lookups under way, */
#define STRAYS_BYTES (32 << 20) /* and of their messages and names */
#define LAST_RETRY_MS 20        /* longest interval of lookups, which doubles each time */
#define BARRIER_RETRY_MS 100    /* the node that has it will say so; asked again in case that gets lost */
#define ACT_MS 20      /* the owner's Kamailio reports a CANCEL with its 487, and its record is written at once */
#define INVITE_MS 50   /* an ordinary call waits for the store at most this long */
#define REPLY_MS 30    /* the record of a transaction is older than the reply to it */
#define FINAL_MS 3000  /* a final reply is repeated, and one forwarded without its owner leaves branches behind */
#define ORPHAN_MS 3000 /* how long a stray waits for the takeover of its transaction, */
#define HEIR_MS 500    /* of that for the node of another site that was told: then a caller repeats his CANCEL */
#define AWAITS_MS 8000 /* longer than a death goes unnoticed */

static void ask(struct engine *e, struct stray *s, int64_t now)
{
    stray_asks(s, now);
    barrier_before(e, &s->absent);
    e->count.lookups++;
    e->io.get(e->io.ctx, s->key, s->token);
}

/* The answer was delayed while the host stalled: the call may long have begun elsewhere, even with the claim lost. */
static bool is_stale(const struct stray *s, int64_t now)
{
    return now - s->asked_ms > INVITE_MS;
}

static void ask_anew(struct engine *e, struct stray *s, int64_t now)
{
    s->begun_ms = now;
    s->absent.said = false;
    ask(e, s, now);
}

/* claim=strict: of all nodes that an INVITE reaches only one may route it. */
static void claim_invite(struct engine *e, struct stray *s, int64_t now)
{
    char holder[HOLDER_MAX], *key = key_claim(s->key);

    snprintf(holder, sizeof(holder), "%d %s", e->self.id, e->self.inc);
    s->asked_ms = now;
    if (key) {
        stray_asks(s, now);
        e->io.claim(e->io.ctx, key, holder, e->conf.tx_ttl_ms, s->token);
    }
    free(key);
}

/* Schedules the next lookup. */
static void later(struct stray *s, int64_t now)
{
    s->again_ms = now + s->retry_ms;
    s->retry_ms = s->retry_ms * 2 < LAST_RETRY_MS ? s->retry_ms * 2 : LAST_RETRY_MS;
}

/* A negative reply to an own transaction that is over, or on a branch that had ended: the far end repeats it, since an
 * ACK was lost, or tm had given it up. The caller must not get it. No Kamailio has the transaction, or its tm no longer
 * matches replies to it (reply_matching). False if it may be the answer to the call. */
static bool acknowledge(struct engine *e, struct stray *s, struct txn *own, int64_t now)
{
    struct span id;
    int index;

    if (txn_split_branch(span_of(s->via), &id, &index) < 0 || !(txn_is_done(own) || txn_branch_code(own, index) >= 300))
        return false;
    stray_note(e, s, "late: acknowledged", e->self.id);
    finish_replied(e, own, index, s->code, s->msg, now);
    stray_end(e, s);
    return true;
}

/* A 2xx to an own transaction whose caller is gone. */
static bool is_unheard(struct engine *e, struct stray *s, struct txn *own, int64_t now)
{
    struct span id;
    int index;

    if (!own || !own->gone || s->kind != STRAY_REPLY || s->code / 100 != 2 ||
        txn_split_branch(span_of(s->via), &id, &index) < 0)
        return false;
    gone_replied(e, own, index, s->msg, now);
    stray_end(e, s);
    return true;
}

/* The events that say whether it is late may still be on their way. True: it is handled, or waits for these. */
static bool is_late(struct engine *e, struct stray *s, struct txn *own, int64_t now)
{
    if (is_unheard(e, s, own, now))
        return true;
    if (!own || s->kind != STRAY_REPLY || s->code < 300)
        return false;
    if (acknowledge(e, s, own, now))
        return true;
    if (s->waited)
        return false;
    s->waited = true;
    s->again_ms = now + ACT_MS;
    return true;
}

static void begin(struct engine *e, struct stray *s, int64_t now)
{
    struct txn *own = txns_by_key(&e->txns, s->key);
    bool full = e->strays.count > STRAYS_MAX || e->strays.bytes > STRAYS_BYTES;
    bool sure = own && (own->hold != HOLD_PROVING || full || !e->store.up); /* else its record may be another's */

    if (is_late(e, s, own, now))
        return;
    e->count.strays_shed += full && !own;
    if (sure)
        stray_conclude(e, s, VERDICT_MINE, e->self.id, now);
    else if (full || !e->store.up)
        stray_conclude(e, s, VERDICT_UNAVAILABLE, 0, now);
    else if (s->kind == STRAY_INVITE && e->conf.claim_strict)
        claim_invite(e, s, now);
    else if (s->all && acted_by(e, s->at))
        stray_conclude(e, s, VERDICT_ACTED, acted_by(e, s->at), now);
    else if (s->all)
        s->again_ms = now + ACT_MS;
    else if (!near_ask(e, s, now))
        ask(e, s, now);
}

void strays_take(struct engine *e, const struct arrived *a, int64_t now)
{
    struct stray *s = NULL;
    int rc = stray_new(&s, a, engine_token(e), e->io.wall(e->io.ctx), now);

    e->count.strays++;
    if (rc == 0 && (rc = stray_add(e, s)) < 0)
        stray_free(s);
    if (rc == 0) {
        begin(e, s, now);
        return;
    }
    e->count.frames_bad++;
    engine_log_call(e, LOG_LEVEL_WARN, about_msg(a->msg), "stray from %s cannot be looked up: %s", a->src,
                    strerror(-rc));
}

/* Sends the caller's request to the far end, as a stateless proxy would. False when there is no branch to send it to.
 */
static bool adopt_stray(struct engine *e, const struct stray *s, struct span text, int64_t now)
{
    struct txn *t = NULL;
    size_t count = 0;

    if (s->kind != STRAY_REPLY && record_txn(&t, text, now) == 0)
        count = adopt(e, t, s->msg, s->kind == STRAY_ACK, now);
    txn_free(t);
    return count > 0;
}

/* Whether the transaction is to be taken over, and the stray with it. A 2xx needs no owner: it goes to the caller as it
 * is, unless his connection is gone. An ACK acknowledged a reply of the dead owner, which no longer needs it. A reply
 * is repeated, as the INVITE is.
 */
static bool wants_takeover(const struct engine *e, const struct stray *s, const struct record *r)
{
    return e->conf.takeover && r->whole && !s->hopeless && s->kind != STRAY_ACK && (s->code / 100 != 2 || r->connected);
}

/* The caller sends it on another connection than the one that has ended with the owner. */
static bool is_back(const struct stray *s, const struct record *r)
{
    return r->connected && (s->kind == STRAY_CANCEL || s->kind == STRAY_INVITE) && msg_is_connection(s->src);
}

static void settle(struct engine *e, const struct stray *s, struct span text, int64_t now)
{
    struct sip_id answer;

    if (sip_read_id(&answer, s->msg) == 0)
        takeover_settle(e, s->key, text, &answer, now);
}

/* Whether a node of the orphan's own site is about to take it over: it is told of the orphan once. */
static bool is_for_an_heir(struct engine *e, struct stray *s, const struct record *r, int64_t now)
{
    int heir = sites_heir(e, r->owner, s->key);

    if (heir && !s->heir_ms) {
        s->heir_ms = now;
        e->count.orphans_told++;
        stray_note(e, s, "orphan: a node of its site is to take it over", heir);
        message_given(e, heir, s->key);
    }
    return heir && now - s->heir_ms < HEIR_MS;
}

static void on_orphan(struct engine *e, struct stray *s, const struct record *r, struct span text, int64_t now)
{
    if (s->awaits)
        s->begun_ms = now; /* its owner died with it, and the caller does not repeat it */
    s->awaits = false;
    if (wants_takeover(e, s, r)) {
        s->orphan = true;
        later(s, now);
        if (is_back(s, r)) /* here, and nowhere else */
            takeover_begin(e, s->key, text, &(struct arrived){.src = s->src, .dst = s->dst}, now);
        else if (!is_for_an_heir(e, s, r, now))
            takeover_begin(e, s->key, text, NULL, now);
        return;
    }
    if (s->kind == STRAY_REPLY && s->code / 100 == 2 && r->whole) {
        /* It continues after that, or goes to the node that takes the call over, whose tm has branches to cancel. */
        s->orphan = true;
        later(s, now);
        settle(e, s, text, now);
        return;
    }
    if (adopt_stray(e, s, text, now)) {
        stray_show(e, s, NULL);
        stray_note(e, s, "adopted", r->owner);
        e->count.verdict_orphan++;
        stray_end(e, s);
    } else {
        stray_conclude(e, s, VERDICT_ORPHAN, r->owner, now);
    }
}

/* The owner is alive, and only the path between the two Kamailios is cut: the handover goes from kamsyncd to kamsyncd.
 */
static void relay(struct engine *e, struct stray *s, const struct node *owner, int64_t now)
{
    char *text = stray_handed_to(e, s, owner, VERDICT_OWNER);

    e->count.verdict_cut++;
    e->count.relayed_out += text != NULL;
    stray_show(e, s, owner);
    stray_note(e, s, "its owner is out of reach: handed over through the store", owner->id);
    message_handover(e, owner->id, text);
    free(text);
    stray_handed(e, s, now);
    stray_end(e, s);
}

/* All nodes have got the CANCEL, and the owner's tm, which still has the transaction, has seen this copy or an earlier
 * one. */
static bool has_acted(const struct stray *s, const struct record *r)
{
    return s->kind == STRAY_CANCEL && (s->all || s->awaits) && r->cancelled && !r->done;
}

/* Another node is taking it over, and gets the waiting strays then; or this one is, or has tried. */
static void on_taking(struct engine *e, struct stray *s, const struct record *r, enum verdict v, struct span text,
                      int64_t now)
{
    if (v == VERDICT_MINE) {
        on_orphan(e, s, r, text, now);
        return;
    }
    s->orphan = true;
    later(s, now);
}

/* A final reply to a transaction whose caller is gone, which any node may acknowledge. */
static bool on_gone(struct engine *e, struct stray *s, const struct record *r, struct span text, int64_t now)
{
    struct txn *t = NULL;
    struct span id;
    int index;

    if (!r->gone || s->kind != STRAY_REPLY || s->code < 200 || txn_split_branch(span_of(s->via), &id, &index) < 0 ||
        record_txn(&t, text, now) < 0)
        return false;
    gone_replied(e, t, index, s->msg, now);
    txn_free(t);
    stray_end(e, s);
    return true;
}

static void on_record(struct engine *e, struct stray *s, const struct record *r, struct span text, int64_t now)
{
    enum verdict v = engine_judge(e, r, now);

    s->unheard = r->connected && s->kind == STRAY_REPLY;
    if (v == VERDICT_OWNER && s->kind == STRAY_CANCEL && (r->gone || (r->done && msg_is_connection(s->src))))
        v = VERDICT_DONE; /* its owner has no tm for it, nor the connection for the answer */
    if (on_gone(e, s, r, text, now))
        return;
    if (s->awaits && s->kind == STRAY_REPLY && r->done) {
        stray_end(e, s); /* its owner has acted */
        return;
    }
    if (r->state == HEAD_TAKING && (v == VERDICT_OWNER || v == VERDICT_MINE)) {
        on_taking(e, s, r, v, text, now);
    } else if (v == VERDICT_UNAVAILABLE) {
        later(s, now);
    } else if (v == VERDICT_OWNER && has_acted(s, r)) {
        stray_conclude(e, s, VERDICT_ACTED, r->owner, now);
    } else if (v == VERDICT_OWNER && stray_is_repeated_here(s)) {
        stray_await(e, s, nodes_find(&e->nodes, r->owner), now);
    } else if (v == VERDICT_OWNER && !nodes_find(&e->nodes, r->owner)->reached) {
        relay(e, s, nodes_find(&e->nodes, r->owner), now);
    } else if (v == VERDICT_ORPHAN) {
        on_orphan(e, s, r, text, now);
    } else {
        stray_conclude(e, s, v, r->owner, now);
    }
}

static int64_t give_up(const struct engine *e, const struct stray *s)
{
    if (s->awaits && !s->orphan)
        return s->begun_ms + AWAITS_MS;
    if (s->kind == STRAY_REPLY && s->code >= 200 && !s->absent.said && !s->orphan && e->store.up)
        return s->begun_ms + FINAL_MS;
    if (s->kind == STRAY_INVITE && !s->orphan)
        return s->begun_ms + INVITE_MS;
    if (s->kind == STRAY_REPLY && s->absent.said && !s->orphan)
        return s->begun_ms + REPLY_MS;
    if (s->orphan)
        return s->begun_ms + ORPHAN_MS;
    if (s->absent.sure)
        return s->all_ms + e->conf.lookup_ms;
    if (s->absent.said && e->conf.lookup_ms > e->conf.store_wait_ms)
        return s->begun_ms + e->conf.lookup_ms;
    return s->begun_ms + e->conf.store_wait_ms;
}

static enum verdict last_word(const struct engine *e, const struct stray *s, int64_t now)
{
    if (s->orphan)
        return VERDICT_ORPHAN;
    return !s->rival && (s->kind == STRAY_CANCEL ? s->absent.sure : s->absent.said) && now >= e->store.doubt_ms
               ? VERDICT_UNKNOWN
               : VERDICT_UNAVAILABLE;
}

/* Sends it to all Kamailios. Over the limit it is dropped without an answer, so that it is repeated. */
static bool give_to_all(struct engine *e, struct stray *s, int64_t now)
{
    if (!perhaps_nodes(e))
        return true;
    if (!perhaps_may(e, now)) {
        e->count.strays_dropped++;
        stray_note(e, s, "dropped: too many that nobody knows", 0);
        stray_end(e, s);
        return false;
    }
    e->count.verdict_perhaps++;
    stray_note(e, s, "no record: given to all Kamailios", 0);
    stray_send_on(e, s, VERDICT_UNAVAILABLE, &e->self, now);
    return true;
}

/* A CANCEL without a record, present or on its way. Its owner may be a node whose kamsyncd is away, or knows nothing of
 * the transaction: only if that is ruled out, no node has it. */
static void on_no_record(struct engine *e, struct stray *s, int64_t now)
{
    if (!s->at)
        s->at = perhaps_at(e);
    if (!s->all) {
        s->all = s->at != NULL;
        s->all_ms = now;
        if (!s->all || !give_to_all(e, s, now))
            return;
    }
    if (!s->absent.barrier)
        perhaps_relay(e, (struct handover){.src = s->src, .dst = s->dst, .at = s->at}, s->msg);
    barrier_absent(e, &s->absent, s->key);
    s->again_ms = s->absent.sure ? INT64_MAX : now + BARRIER_RETRY_MS;
    if (now >= give_up(e, s))
        stray_conclude(e, s, last_word(e, s, now), 0, now);
}

/* An INVITE must not wait, and a reply names its node. */
static void on_absent(struct engine *e, struct stray *s, int64_t now)
{
    s->absent.said = true;
    if (s->kind == STRAY_ACK) {
        if (!give_to_all(e, s, now))
            return;
        perhaps_relay(e, (struct handover){.src = s->src, .dst = s->dst}, s->msg);
        stray_end(e, s);
    } else if (s->kind == STRAY_CANCEL && (s->all || s->retry_ms >= LAST_RETRY_MS)) {
        on_no_record(e, s, now);
    } else if (s->kind == STRAY_INVITE && is_stale(s, now)) {
        ask_anew(e, s, now);
    } else if (s->kind == STRAY_INVITE && !s->rival) {
        stray_conclude(e, s, VERDICT_UNKNOWN, 0, now); /* an ordinary call */
    } else {
        later(s, now);
    }
}

bool strays_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    struct stray *s = stray_answered(e, token);
    struct record r;

    if (!s)
        return false;
    if (status == GET_FOUND && record_read(&r, text) == 0)
        on_record(e, s, &r, text, now);
    else if (status != GET_FAILED)
        on_absent(e, s, now);
    else
        later(s, now);
    return true;
}

/* The holder of a claim; false: the value is no holder. */
static bool read_holder(int *id, char inc[80], struct span value)
{
    char text[HOLDER_MAX];

    *id = 0;
    *inc = '\0';
    snprintf(text, sizeof(text), "%.*s", (int)value.n, value.n ? value.p : "");
    return sscanf(text, "%d %79s", id, inc) == 2 && *id > 0 && msg_is_word(inc);
}

static void lost_claim(struct engine *e, struct stray *s, struct span holder, int64_t now)
{
    char inc[80];
    int id;
    bool good = read_holder(&id, inc, holder);

    if (good && id == e->self.id && strcmp(inc, e->self.inc) == 0) {
        stray_conclude(e, s, VERDICT_MINE, id, now);
    } else if (good && node_is_alive(nodes_find(&e->nodes, id), inc)) {
        stray_conclude(e, s, VERDICT_OWNER, id, now);
    } else {
        s->rival = good && id != e->self.id;
        ask(e, s, now);
    }
}

/* The claim on an INVITE: won, this node routes it; lost, its holder has it, or is dead and has left a record. */
bool strays_claimed(struct engine *e, uint64_t token, enum claim_status status, struct span holder, int64_t now)
{
    struct stray *s = stray_answered(e, token);

    if (!s)
        return false;
    if (status == CLAIM_LOST) {
        lost_claim(e, s, holder, now);
    } else if (status == CLAIM_WON && is_stale(s, now))
        ask_anew(e, s, now);
    else
        stray_conclude(e, s, status == CLAIM_WON ? VERDICT_UNKNOWN : VERDICT_UNAVAILABLE, 0, now);
    return true;
}

/* The INVITE of the takeover makes the far end repeat a negative reply, and tm may get that first. */
void strays_wake(struct engine *e, const char *key, int64_t now)
{
    struct stray *s, *next;

    DL_FOREACH_SAFE(e->strays.list, s, next)
    {
        if (!s->orphan || strcmp(s->key, key) != 0)
            continue;
        s->orphan = false;
        s->begun_ms = now;
        if (!is_late(e, s, txns_by_key(&e->txns, key), now))
            stray_conclude(e, s, VERDICT_MINE, e->self.id, now);
    }
}

void strays_despair(struct engine *e, const char *key)
{
    struct stray *s;

    DL_FOREACH(e->strays.list, s)
    {
        if (s->orphan && strcmp(s->key, key) == 0)
            s->hopeless = true; /* the next lookup of its record shows what is left to do */
    }
}

void strays_look(struct engine *e, const char *key, int64_t now)
{
    struct stray *s;

    DL_FOREACH(e->strays.list, s)
    {
        if (key ? strcmp(s->key, key) == 0 : s->absent.barrier && s->absent.barrier <= e->barrier.n && !s->absent.sure)
            s->again_ms = now;
    }
}

void strays_acted(struct engine *e, const char *at, int node, int64_t now)
{
    struct stray *s, *next;

    DL_FOREACH_SAFE(e->strays.list, s, next)
    {
        /* after a takeover there is a new owner, which has got no CANCEL */
        if (s->at && !s->orphan && strcmp(s->at, at) == 0)
            stray_conclude(e, s, VERDICT_ACTED, node, now);
    }
}

/* A reply to an own transaction needs no store. */
static bool waits_for_its_time(const struct engine *e, const struct stray *s)
{
    return !s->asked && (e->store.up || s->waited);
}

static void look_after(struct engine *e, struct stray *s, int64_t now)
{
    if (near_goes_on(e, s, now))
        return;
    if (now >= give_up(e, s) && s->awaits && s->kind == STRAY_REPLY)
        stray_end(e, s);
    else if (now >= give_up(e, s))
        stray_conclude(e, s, last_word(e, s, now), 0, now);
    else if (!waits_for_its_time(e, s) || now < s->again_ms)
        return;
    else if (s->waited)
        begin(e, s, now);
    else
        ask(e, s, now);
}

void strays_near_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    struct stray *s;

    HASH_FIND(hh, e->strays.by_id, &token, sizeof(token), s);
    if (!s || s->near != NEAR_ASKED)
        return; /* it came too late */
    near_got(e, s, status, text, now);
    look_after(e, s, now);
}

void strays_tick(struct engine *e, int64_t now)
{
    struct stray *s, *next;

    DL_FOREACH_SAFE(e->strays.list, s, next)
    {
        look_after(e, s, now);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t strays_due(const struct engine *e)
{
    int64_t due = INT64_MAX;
    const struct stray *s;

    DL_FOREACH(e->strays.list, s)
    {
        if (!s->near)
            due = earlier(due, give_up(e, s));
        if (s->near || waits_for_its_time(e, s))
            due = earlier(due, s->again_ms);
    }
    return due;
}

void strays_clear(struct engine *e)
{
    while (e->strays.list)
        stray_end(e, e->strays.list);
}
