/* An INVITE that two nodes have routed: the caller sent it again, and the network delivered it to another node. For the
 * same far end the second INVITE is a retransmission, but this node's tm does not know the first one, and would repeat
 * it, and finally answer 408.
 *
 * The first node's record fences off the second one's (fence.c), so that node learns of it within milliseconds. (Of a
 * parallel fork the record may only have the first branches by then: it is read once more before one is cancelled.) The
 * first node is told what Kamailio here did meanwhile, and this node's tm drops the transaction: its CANCEL and replies
 * are strays from now on, and a branch that went to another far end is cancelled.
 *
 * tm matches a transaction by the Via branch alone, which is the same on both nodes. So a CANCEL to a far end that both
 * have asked would end the good call; and a reply of a far end that only the second has asked must not reach the
 * first one's tm, so that one's Kamailio is told of the branch. */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include <stdio.h>
#include <utlist.h>

#include "call.h"
#include "record.h"
#include "siptext.h"

#define SECONDS_MAX 4096         /* beyond that the oldest are dropped, */
#define SECONDS_BYTES (64 << 20) /* and beyond this */
#define FIRST_MS 30              /* by then the first node's Kamailio knows of the branch */
#define T1_MS 500                /* a CANCEL is retransmitted by RFC 3261's timers E and F */
#define T2_MS 4000
#define KEEP_MS 32000 /* 64 * T1 */

struct second {
    struct second *prev, *next;
    struct txn *txn;   /* owned; branches that went to another far end are marked */
    struct txn *first; /* owned; from the record in the store; NULL: it cannot be read */
    int node;          /* the node of that record */
    bool unsure;       /* a branch is missing there, which the first node may just not have written yet */
    uint64_t token;    /* of the question for its record; 0: none is under way */
    size_t bytes;      /* of both */
    int64_t due_ms, gap_ms, until_ms;
};

static void second_free(struct second *s)
{
    txn_free(s->txn);
    txn_free(s->first);
    free(s);
}

static void second_end(struct engine *e, struct second *s)
{
    DL_DELETE(e->seconds.list, s);
    e->seconds.count--;
    e->seconds.bytes -= s->bytes;
    second_free(s);
}

static struct txn_branch *branch_of(const struct txn *t, int index)
{
    for (size_t i = 0; t && i < t->branch_count; i++)
        if (t->branches[i].index == index)
            return &t->branches[i];
    return NULL;
}

/* The one with that branch, if there is one. */
static struct second *find(const struct engine *e, struct span via, int *index)
{
    struct second *s;
    struct span id;

    if (!e->seconds.list || txn_split_branch(via, &id, index) < 0)
        return NULL;
    DL_FOREACH(e->seconds.list, s)
    {
        if (span_eq(span_of(s->txn->id), id))
            return s;
    }
    return NULL;
}

/* ---- telling the first node ---- */

/* Sends a message to its Kamailio as if the network had delivered it there; frees it. */
static void hand(struct engine *e, const struct second *s, char *msg, size_t len, int64_t now)
{
    const struct node *n = nodes_find(&e->nodes, s->node);
    struct handover h = {.why = "owner", .src = s->txn->src, .dst = s->txn->dst};
    char *text = NULL;

    if (n) {
        h.to = n->id;
        h.inc = n->inc;
        text = msg ? engine_handover(e, h, (struct span){msg, len}) : NULL;
    }
    if (n && n->reached)
        engine_send(e, n->sip, NULL, text, now);
    else if (n)
        message_handover(e, n->id, text);
    free(text);
    free(msg);
}

static void tell_cancel(struct engine *e, const struct second *s, int64_t now)
{
    size_t len = 0;
    char *msg = sip_cancel_of_caller(s->txn->req, &len);

    hand(e, s, msg, len, now);
}

/* The text that identifies a branch. NULL when out of memory. */
static json_t *branch_name(const struct txn *t, const struct txn_branch *b)
{
    char *via = NULL;
    json_t *text = asprintf(&via, "%s.%d", t->id, b->index) > 0 ? sip_text(span_of(via)) : NULL;

    free(via);
    return text;
}

/* The reply's body is gone: the first node can only record the answer. */
static void tell_answer(struct engine *e, const struct second *s, const struct txn_branch *b, struct span to_tag,
                        int64_t at)
{
    message_send(e, s->node,
                 json_pack("{s:s,s:o,s:o,s:i,s:I,s:b}", "t", "answered", "via", branch_name(s->txn, b), "to_tag",
                           sip_text(to_tag), "code", (int)b->code, "at", (json_int_t)at, "elsewhere",
                           (int)b->elsewhere));
}

/* A final reply that reached Kamailio here. If both nodes have seen it, that does no harm. */
static void tell_final(struct engine *e, const struct second *s, const struct txn_branch *b, struct span to_tag,
                       int64_t at, int64_t now)
{
    const struct txn_branch *other = branch_of(s->first, b->index);
    size_t len = 0;
    char *msg;

    if (b->code < 300) {
        tell_answer(e, s, b, to_tag, at);
    } else if (!b->elsewhere && other && other->code < 200) {
        msg = sip_refusal(s->txn->req, other->via, b->code, &len);
        hand(e, s, msg, len, now);
    } else if (b->elsewhere && txn_state(s->txn) == TXN_FAILED) {
        tell_cancel(e, s, now); /* tm has sent it to the caller, who no longer waits */
    }
}

/* After a 2xx no other reply counts. */
static void tell_finals(struct engine *e, const struct second *s, int64_t now)
{
    bool answered = txn_state(s->txn) == TXN_ANSWERED;
    const struct call *c = calls_find(e, s->txn->call);

    c = c && c->tx && strcmp(c->tx, s->txn->key) == 0 ? c : NULL; /* another transaction's To tag is not this one's */
    for (size_t i = 0; i < s->txn->branch_count; i++)
        if (s->txn->branches[i].code >= 200 && !s->txn->branches[i].concluded &&
            (!answered || s->txn->branches[i].code < 300))
            tell_final(e, s, &s->txn->branches[i], span_of(c ? c->to_tag : NULL), s->txn->last, now);
}

/* Tells what tm did here before the transaction's owner was known. */
static void tell_first(struct engine *e, const struct second *s, int64_t now)
{
    tell_finals(e, s, now);
    if (s->txn->cancelled && s->first && !s->first->cancelled)
        tell_cancel(e, s, now);
}

/* The same for a transaction that another node has taken over while this one was cut off from it, but not from caller
 * and far end: it may be over already. */
static void tell_heir(struct engine *e, const struct second *s, int64_t now)
{
    const struct txn *t = s->txn;

    if (txn_is_done(t) && txn_state(t) == TXN_FAILED) {
        message_send(e, s->node,
                     json_pack("{s:s,s:o,s:i,s:I,s:b}", "t", "failed", "via", branch_name(t, &t->branches[0]), "code",
                               txn_code(t), "at", (json_int_t)t->last, "cancelled", (int)t->cancelled));
        return;
    }
    if (t->cancelled)
        tell_cancel(e, s, now);
    tell_finals(e, s, now);
}

static void tell_branch(struct engine *e, const struct second *s, const struct txn_branch *b)
{
    message_send(e, s->node,
                 json_pack("{s:s,s:i,s:o}", "t", "second", "node", e->self.id, "via", branch_name(s->txn, b)));
}

/* ---- becoming the second ---- */

/* For the same far end the same Via branch is the same transaction, whatever the R-URI. sure: a branch that the record
 * lacks is only this node's. Otherwise it is left alone. */
static void mark_elsewhere(struct engine *e, struct second *s, bool sure)
{
    s->unsure = false;
    for (size_t i = 0; s->first && i < s->txn->branch_count; i++) {
        struct txn_branch *b = &s->txn->branches[i], *other = branch_of(s->first, b->index);

        if (b->elsewhere)
            continue;
        b->elsewhere = other ? strcmp(other->to, b->to) != 0 : sure;
        s->unsure = s->unsure || (!other && !sure);
        if (b->elsewhere && b->code < 200)
            tell_branch(e, s, b);
    }
}

/* An heir may still get to a branch that it lacks, and itself asks about one that has ended. */
static bool mark_beside_heir(struct engine *e, struct second *s)
{
    bool any = false;

    for (size_t i = 0; s->first && i < s->txn->branch_count; i++) {
        struct txn_branch *b = &s->txn->branches[i], *other = branch_of(s->first, b->index);

        b->elsewhere = b->code < 200 && other && strcmp(other->to, b->to) != 0;
        any = any || b->elsewhere;
        if (b->elsewhere)
            tell_branch(e, s, b);
    }
    return any;
}

/* The caller's INVITE has come here once more. */
static void forget(struct engine *e, const char *id)
{
    struct second *s, *next;

    DL_FOREACH_SAFE(e->seconds.list, s, next)
    {
        if (strcmp(s->txn->id, id) == 0)
            second_end(e, s);
    }
}

/* Takes ownership of both transactions. */
static struct second *add(struct engine *e, struct txn *own, struct txn *first, int node, int64_t now)
{
    struct second *s = calloc(1, sizeof(*s));

    if (!s) {
        txn_free(own);
        txn_free(first);
        return NULL;
    }
    forget(e, own->id);
    *s = (struct second){.txn = own, .first = first, .node = node, .due_ms = now + FIRST_MS, .gap_ms = T1_MS};
    s->until_ms = now + KEEP_MS;
    s->bytes = txn_size(own) + (first ? txn_size(first) : 0);
    DL_APPEND(e->seconds.list, s);
    e->seconds.count++;
    e->seconds.bytes += s->bytes;
    while (e->seconds.count > SECONDS_MAX || (e->seconds.bytes > SECONDS_BYTES && e->seconds.count > 1))
        second_end(e, e->seconds.list);
    return s;
}

void second_lose(struct engine *e, struct txn *own, const struct record *r, struct span record, int64_t now)
{
    struct txn *first = NULL;
    struct second *s;

    e->count.txns_second++;
    engine_log_call(e, LOG_LEVEL_INFO, (struct about){.call_id = span_of(own->call_id)},
                    "node %d had routed that INVITE already, and goes on alone:", r->owner);
    engine_decided(e, span_of(own->call_id), 0, "node %d had routed the INVITE already: tm forgets it here", r->owner);
    record_txn(&first, record, now);
    owner_release(e, own, now);
    txns_take(&e->txns, own);
    s = add(e, own, first, r->owner, now);
    if (!s)
        return;
    mark_elsewhere(e, s, false);
    tell_first(e, s, now);
    calls_lose(e, own);
}

/* tm does not have it, so there is nothing to undo: both nodes do the same, whatever comes. */
void second_leave(struct engine *e, struct txn *own)
{
    calls_lose(e, own);
    txns_remove(&e->txns, own);
}

void second_heir(struct engine *e, struct txn *own, int node, struct span record, int64_t now)
{
    struct txn *first = NULL;
    struct second *s;

    record_txn(&first, record, now);
    owner_lost(e, own, now);
    txns_take(&e->txns, own);
    s = add(e, own, first, node, now);
    if (!s)
        return;
    /* The branches are the same, and none is cancelled; unless both nodes have continued meanwhile, or the other did
     * not take over this one's record: the store had lost that, and the caller's INVITE also reached that node. */
    if (!mark_beside_heir(e, s))
        s->due_ms = s->until_ms;
    tell_heir(e, s, now);
    calls_lose(e, own);
}

/* ---- later events ---- */

/* The script tried another far end after the first node's record was read. */
bool second_branch(struct engine *e, const struct event *ev, const struct sip_sent *sent, int64_t now)
{
    int index = 0;
    struct second *s = ev->req.n ? NULL : find(e, sent->branch, &index);
    struct txn_branch *b;

    if (!s)
        return false;
    b = txn_add_branch(s->txn, ev, sent, now) == 0 ? branch_of(s->txn, index) : NULL;
    if (b && s->first) {
        s->unsure = true;
        s->due_ms = now + FIRST_MS;
    }
    return true;
}

bool second_replied(struct engine *e, const struct event *ev, int64_t now)
{
    int index = 0;
    struct second *s = find(e, ev->via, &index);
    struct txn_branch *b = s ? branch_of(s->txn, index) : NULL;

    if (!b)
        return false;
    if (txn_reply(s->txn, index, (int)ev->code, now) && b->code >= 200)
        tell_final(e, s, b, ev->to_tag, calls_time(e, ev), now);
    return true;
}

bool second_cancelled(struct engine *e, const char *key, int64_t now)
{
    struct second *s;

    DL_FOREACH(e->seconds.list, s)
    {
        if (strcmp(s->txn->key, key) == 0)
            break;
    }
    if (s && !s->txn->cancelled)
        tell_cancel(e, s, now);
    if (s)
        s->txn->cancelled = true;
    return s;
}

/* Forwards it to the caller, past tm. */
static void pass_on(struct engine *e, const struct arrived *a, int64_t now)
{
    struct handover h = {.to = e->self.id, .inc = e->self.inc, .why = "done", .src = a->src, .dst = a->dst};
    char *text = engine_handover(e, h, a->msg);

    engine_send(e, e->self.sip, NULL, text, now);
    free(text);
}

/* A 2xx is forwarded: the caller ends a second dialog himself, or has no other. */
static void take_stray(struct engine *e, struct second *s, struct txn_branch *b, const struct arrived *a,
                       const struct sip_id *reply, int64_t now)
{
    bool fresh = txn_reply(s->txn, b->index, reply->code, now);

    engine_decided(e, reply->call_id, 0, "stray reply %d from=%s: of a far end that only this node has asked",
                   reply->code, a->src);
    if (reply->code >= 300)
        adopt_ack(e, s->txn, b->index, a->msg, now);
    if (reply->code / 100 != 2)
        return;
    if (fresh)
        tell_answer(e, s, b, reply->to_tag, calls_time(e, NULL));
    pass_on(e, a, now);
}

bool second_stray(struct engine *e, const struct arrived *a, int64_t now)
{
    struct txn_branch *b = NULL;
    struct second *s = NULL;
    struct sip_id reply;
    int index = 0;

    if (!e->seconds.list || sip_read_id(&reply, a->msg) < 0 || !reply.code)
        return false;
    s = find(e, reply.via, &index);
    b = s ? branch_of(s->txn, index) : NULL;
    if (!b || !b->elsewhere || txns_by_id(&e->txns, span_of(s->txn->id)))
        return false;
    take_stray(e, s, b, a, &reply, now);
    return true;
}

/* ---- time ---- */

static bool cancel(struct engine *e, const struct second *s, int64_t now)
{
    bool any = false;

    for (size_t i = 0; i < s->txn->branch_count; i++) {
        const struct txn_branch *b = &s->txn->branches[i];

        if (!b->elsewhere || b->code >= 200)
            continue;
        adopt_cancel_branch(e, s->txn, b, now);
        any = true;
    }
    return any;
}

static void ask(struct engine *e, struct second *s, int64_t now)
{
    s->token = engine_token(e);
    s->due_ms = now + s->gap_ms; /* if no answer comes */
    e->io.get(e->io.ctx, s->txn->key, s->token);
}

bool second_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    struct txn *first = NULL;
    struct second *s;

    DL_FOREACH(e->seconds.list, s)
    {
        if (s->token == token)
            break;
    }
    if (!s)
        return false;
    s->token = 0;
    if (status == GET_FAILED || (status == GET_FOUND && record_txn(&first, text, now) < 0))
        return true;
    if (first) {
        e->seconds.bytes += txn_size(first) - txn_size(s->first);
        s->bytes += txn_size(first) - txn_size(s->first);
        txn_free(s->first);
        s->first = first;
    }
    mark_elsewhere(e, s, true);
    s->due_ms = now + FIRST_MS;
    return true;
}

void second_tick(struct engine *e, int64_t now)
{
    struct second *s, *next;

    DL_FOREACH_SAFE(e->seconds.list, s, next)
    {
        if (now >= s->until_ms)
            second_end(e, s);
        else if (now >= s->due_ms && s->unsure)
            ask(e, s, now);
        else if (now >= s->due_ms) {
            s->due_ms = cancel(e, s, now) ? now + s->gap_ms : s->until_ms;
            s->gap_ms = s->gap_ms * 2 < T2_MS ? s->gap_ms * 2 : T2_MS;
        }
    }
}

int64_t second_due(const struct engine *e)
{
    int64_t due = INT64_MAX;
    const struct second *s;

    DL_FOREACH(e->seconds.list, s)
    {
        due = s->due_ms < due ? s->due_ms : due;
    }
    return due;
}

void second_clear(struct engine *e)
{
    while (e->seconds.list)
        second_end(e, e->seconds.list);
}
