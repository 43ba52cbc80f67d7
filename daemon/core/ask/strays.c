/* Strays: a message that reached a node which has no transaction for it. Whose is it, and what follows?
 *
 *     stray ▶ own index ▶ store ──found──▶ verdict ▶ handover to the owner, or back to this Kamailio with the verdict
 *                          │  ▲
 *                          │  └ absent or failed: asked again in a moment, since the record may be on its way
 *                          └ time is up: unknown (the store said "absent", after all nodes had answered a roll-call,
 * and no Kamailio has acted, though all have the message), unavailable (it said nothing, or they did not)
 *
 * An ACK may be one for a 2xx, which any node can route and which must not wait. So the script routes every stray ACK
 * on at once, as it would without kamsync, and kamsyncd only sees to it that the owner gets a copy; all nodes do when
 * the store says nothing. An ACK that arrives twice does no harm (proto/messages.md).
 *
 * A CANCEL that the script has sent to all nodes already is looked up a moment later: then its owner, if it lives, has
 * acted, its kamsyncd or its record says so, and nothing is left to do. In a larger cluster all get what has no record
 * after some looks: there may be a transaction all the same (perhaps.c). An ACK without record goes to all at once.
 *
 * An INVITE is a stray where the script asks about each (KAMSYNC_CLAIM); a reply, when the node in its Via is gone. */
#include "ask_impl.h"
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

#define STRAYS_MAX 2048         /* lookups under way, */
#define STRAYS_BYTES (32 << 20) /* and of their messages and names */
#define FIRST_RETRY_MS 5        /* doubled each time, up to: */
#define LAST_RETRY_MS 20
#define ROLL_RETRY_MS 100 /* who has it will say so; asked again in case that gets lost */
#define ACT_MS 20         /* the owner's Kamailio reports a CANCEL within 13 ms, and its record is written at once */
#define INVITE_MS 50      /* an ordinary call waits no longer for the store */
#define REPLY_MS 30       /* the record of a transaction is older than the reply to it */
#define FINAL_MS 1000  /* a final reply comes again, and what is passed on without its owner leaves branches behind */
#define ORPHAN_MS 3000 /* how long a stray waits for the takeover of its transaction */

static const char *const verdict_names[] = {"mine", "owner", "acted", "orphan", "done", "unknown", "unavailable"};

enum stray_kind { STRAY_CANCEL, STRAY_ACK, STRAY_INVITE, STRAY_REPLY };

static const char *const kind_names[] = {"CANCEL", "ACK", "INVITE", "reply"};

struct stray {
    struct stray *prev, *next;
    UT_hash_handle hh; /* by token */
    uint64_t token;
    enum stray_kind kind;
    int code;      /* of a reply */
    bool asked;    /* a lookup is under way */
    bool orphan;   /* its transaction is being taken over */
    bool hopeless; /* that failed */
    bool rival;    /* an INVITE that a node has claimed which looks dead: it may be back, and its record on its way */
    struct absence absent;
    size_t bytes;
    struct span msg; /* owned, as are the texts */
    char *src, *dst, *key, *call_id, *via;
    char *all;      /* NULL unless all nodes have had it: the owner knows by this that it has acted already */
    int64_t all_ms; /* since when they have */
    int64_t begun_ms, again_ms, retry_ms;
    int64_t asked_ms; /* when the store was last asked */
};

static void stray_free(struct stray *s)
{
    free((char *)s->msg.p);
    free(s->src);
    free(s->dst);
    free(s->key);
    free(s->call_id);
    free(s->via);
    free(s->all);
    free(s);
}

static void stray_end(struct engine *e, struct stray *s)
{
    DL_DELETE(e->strays.list, s);
    HASH_DELETE(hh, e->strays.by_token, s); /* NOLINT(clang-analyzer-*): uthash */
    e->strays.count--;
    e->strays.bytes -= s->bytes;
    stray_free(s);
}

static void count_verdict(struct counters *c, enum verdict v)
{
    uint64_t *const counter[] = {&c->verdict_mine, &c->verdict_owner,   &c->verdict_acted,      &c->verdict_orphan,
                                 &c->verdict_done, &c->verdict_unknown, &c->verdict_unavailable};

    ++*counter[v];
}

/* The stray as a handover to that node: base64, which the caller frees, or NULL. */
static char *handed_to(struct engine *e, const struct stray *s, const struct node *to, enum verdict why)
{
    struct handover h = {
        .to = to->id, .inc = to->inc, .why = verdict_names[why], .src = s->src, .dst = s->dst, .at = s->all};

    return engine_handover(e, h, s->msg);
}

/* Sends the stray on: to its owner, or back to this Kamailio, which then does what Kamailio does best. */
static void send_on(struct engine *e, const struct stray *s, enum verdict v, const struct node *to, int64_t now)
{
    /* "mine": Kamailio may have the transaction by now, or it has just ended. To the script both are a handover; but a
     * reply without transaction would come back from there as a stray again. */
    enum verdict said = v != VERDICT_MINE ? v : s->kind == STRAY_REPLY ? VERDICT_DONE : VERDICT_OWNER;
    char *text = handed_to(e, s, to, said);

    engine_send(e, to->sip, NULL, text, now);
    free(text);
}

static void note(struct engine *e, const struct stray *s, const char *what, int owner)
{
    char code[16] = "";

    if (s->kind == STRAY_REPLY)
        snprintf(code, sizeof(code), " %d", s->code);
    engine_trace(e, span_of(s->call_id), "stray %s%s from=%s: %s, owner=%d", kind_names[s->kind], code, s->src, what,
                 owner);
}

static void conclude(struct engine *e, struct stray *s, enum verdict v, int owner, int64_t now)
{
    char call_id[128];

    count_verdict(&e->count, v);
    if (s->kind != STRAY_INVITE || v != VERDICT_UNKNOWN)
        note(e, s, verdict_names[v], owner);
    engine_log_some(e, s->kind == STRAY_INVITE && v == VERDICT_UNKNOWN ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
                    "stray %s verdict=%s owner=%d from=%s waited=%" PRId64 "ms call-id=%s", kind_names[s->kind],
                    verdict_names[v], owner, s->src, now - s->begun_ms,
                    printable(call_id, sizeof(call_id), span_of(s->call_id)));
    if (s->code / 100 == 2 && (v == VERDICT_MINE || v == VERDICT_DONE || v == VERDICT_ORPHAN))
        calls_passed(e, s->key, s->msg);
    if (v == VERDICT_OWNER)
        send_on(e, s, v, nodes_find(&e->nodes, owner), now);
    else if (v != VERDICT_ACTED && (s->kind != STRAY_ACK || v == VERDICT_UNAVAILABLE || v == VERDICT_MINE))
        send_on(e, s, v, &e->self, now);
    stray_end(e, s);
}

static void ask(struct engine *e, struct stray *s, int64_t now)
{
    s->asked = true;
    s->asked_ms = now;
    roll_before(e, &s->absent);
    e->count.lookups++;
    e->io.get(e->io.ctx, s->key, s->token);
}

/* The answer waited while the host stood still: the call may long have begun elsewhere, even with the claim lost. */
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

/* claim=strict: of all nodes that an INVITE reaches one may route it. */
static void claim_invite(struct engine *e, struct stray *s, int64_t now)
{
    const struct holder nobody = holder_of(0, "new"), self = holder_of(e->self.id, e->self.inc);

    s->asked_ms = now;
    s->asked = claim_write(e, s->key, &nobody, &self, e->conf.tx_ttl_ms, s->token);
}

/* Plans the next lookup. */
static void later(struct stray *s, int64_t now)
{
    s->again_ms = now + s->retry_ms;
    s->retry_ms = s->retry_ms * 2 < LAST_RETRY_MS ? s->retry_ms * 2 : LAST_RETRY_MS;
}

static int fill(struct stray *s, const struct arrived *a, const struct sip_id *id)
{
    char *copy = span_dup(a->msg);

    s->msg = (struct span){copy, a->msg.n};
    s->src = span_dup(span_of(a->src));
    s->dst = span_dup(span_of(a->dst));
    s->key = key_tx(id->call_id, id->cseq, id->branch, id->sent_by);
    s->call_id = span_dup(id->call_id);
    s->via = span_dup(id->via);
    s->all = a->all ? span_dup(span_of(a->all)) : NULL;
    if (a->all && !s->all)
        return -ENOMEM;
    return copy && s->src && s->dst && s->key && s->call_id && s->via ? 0 : -ENOMEM;
}

static enum stray_kind kind_of(const struct sip_id *id)
{
    if (id->code)
        return STRAY_REPLY;
    if (span_eq(id->method, span_of("INVITE")))
        return STRAY_INVITE;
    return span_eq(id->method, span_of("ACK")) ? STRAY_ACK : STRAY_CANCEL;
}

/* 0 and *out, or a negative code: the stray cannot be looked up. */
static int stray_new(struct stray **out, const struct arrived *a, uint64_t token, int64_t now)
{
    struct sip_id id;
    struct stray *s;
    int rc = sip_read_id(&id, a->msg);

    if (rc < 0)
        return rc;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->token = token;
    s->code = id.code;
    s->kind = kind_of(&id);
    s->begun_ms = s->again_ms = s->all_ms = now;
    s->retry_ms = FIRST_RETRY_MS;
    rc = fill(s, a, &id);
    if (rc < 0)
        stray_free(s);
    else
        *out = s;
    return rc;
}

static int stray_add(struct engine *e, struct stray *s)
{
    HASH_ADD(hh, e->strays.by_token, token, sizeof(s->token), s);
    if (!s->hh.tbl)
        return -ENOMEM;
    DL_APPEND(e->strays.list, s);
    e->strays.count++;
    s->bytes = s->msg.n + strlen(s->key) + strlen(s->call_id) + strlen(s->via);
    e->strays.bytes += s->bytes;
    return 0;
}

/* A negative reply behind a 2xx, of a transaction that no Kamailio has: the caller must not see it. Or one of a branch
 * that had ended before a takeover: the dead node's ACK was lost. */
static bool acknowledge(struct engine *e, struct stray *s, struct txn *own, int64_t now)
{
    struct span id;
    int index;

    if (!own || s->kind != STRAY_REPLY || s->code < 300 || txn_split_branch(span_of(s->via), &id, &index) < 0 ||
        (!own->settled && !(own->taken_ms && txn_branch_code(own, index) >= 300)))
        return false;
    finish_replied(e, own, index, s->code, s->msg, now);
    stray_end(e, s);
    return true;
}

static void begin(struct engine *e, struct stray *s, int64_t now)
{
    struct txn *own = txns_by_key(&e->txns, s->key);
    bool full = e->strays.count > STRAYS_MAX || e->strays.bytes > STRAYS_BYTES;

    if (acknowledge(e, s, own, now))
        return;
    e->count.strays_shed += full && !own;
    if (own)
        conclude(e, s, VERDICT_MINE, e->self.id, now);
    else if (full || !e->store.up)
        conclude(e, s, VERDICT_UNAVAILABLE, 0, now);
    else if (s->kind == STRAY_INVITE && e->conf.claim_strict)
        claim_invite(e, s, now);
    else if (s->all && acted_by(e, s->all))
        conclude(e, s, VERDICT_ACTED, acted_by(e, s->all), now);
    else if (s->all)
        s->again_ms = now + ACT_MS;
    else
        ask(e, s, now);
}

void strays_take(struct engine *e, const struct arrived *a, int64_t now)
{
    struct stray *s = NULL;
    int rc = stray_new(&s, a, ++e->last_token, now);

    e->count.strays++;
    if (rc == 0 && (rc = stray_add(e, s)) < 0)
        stray_free(s);
    if (rc == 0) {
        begin(e, s, now);
        return;
    }
    e->count.frames_bad++;
    engine_log_some(e, LOG_LEVEL_WARN, "stray from %s cannot be looked up: %s", a->src, strerror(-rc));
}

/* The caller's request to the far end, as a stateless proxy would. False when there is nobody to send it to. */
static bool adopt_stray(struct engine *e, const struct stray *s, struct span text, int64_t now)
{
    struct txn *t = NULL;
    size_t count = 0;

    if (s->kind != STRAY_REPLY && record_txn(&t, text, now) == 0)
        count = adopt(e, t, s->msg, s->kind == STRAY_ACK, now);
    txn_free(t);
    return count > 0;
}

/* Whether the transaction is to live on, and the stray with it. A 2xx needs nobody: it goes on to the caller as it is.
 * An ACK acknowledged a reply of the dead owner, who cannot miss it. A reply comes again, since the INVITE does. */
static bool wants_takeover(const struct engine *e, const struct stray *s, const struct record *r)
{
    return e->conf.takeover && r->whole && !s->hopeless && s->kind != STRAY_ACK && s->code / 100 != 2;
}

static void settle(struct engine *e, const struct stray *s, struct span text, int64_t now)
{
    struct sip_id answer;

    if (sip_read_id(&answer, s->msg) == 0)
        takeover_settle(e, s->key, text, &answer, now);
}

static void on_orphan(struct engine *e, struct stray *s, const struct record *r, struct span text, int64_t now)
{
    if (wants_takeover(e, s, r)) {
        s->orphan = true;
        later(s, now);
        takeover_begin(e, s->key, text, now);
        return;
    }
    if (s->kind == STRAY_REPLY && s->code / 100 == 2 && r->whole) {
        /* It goes on when that is done, or to the node that takes the call over, whose tm has branches to cancel. */
        s->orphan = true;
        later(s, now);
        settle(e, s, text, now);
        return;
    }
    if (adopt_stray(e, s, text, now)) {
        note(e, s, "adopted", r->owner);
        e->count.verdict_orphan++;
        stray_end(e, s);
    } else {
        conclude(e, s, VERDICT_ORPHAN, r->owner, now);
    }
}

/* The owner lives and only the way between the two Kamailios is cut: the handover goes from kamsyncd to kamsyncd. */
static void relay(struct engine *e, struct stray *s, const struct node *owner)
{
    char *text = handed_to(e, s, owner, VERDICT_OWNER);

    e->count.verdict_cut++;
    e->count.relayed_out += text != NULL;
    note(e, s, "its owner is out of reach: handed over through the store", owner->id);
    told_handover(e, owner->id, text);
    free(text);
    stray_end(e, s);
}

/* All nodes have had the CANCEL, and its owner's tm, which still has the transaction, has seen this one or one before
 * it. */
static bool has_acted(const struct stray *s, const struct record *r)
{
    return s->all && r->cancelled && !r->done;
}

static void on_record(struct engine *e, struct stray *s, const struct record *r, struct span text, int64_t now)
{
    enum verdict v = engine_judge(e, r, now);

    if (v == VERDICT_UNAVAILABLE) {
        later(s, now);
    } else if (v == VERDICT_OWNER && !nodes_find(&e->nodes, r->owner)->reached) {
        relay(e, s, nodes_find(&e->nodes, r->owner));
    } else if (v == VERDICT_OWNER && has_acted(s, r)) {
        conclude(e, s, VERDICT_ACTED, r->owner, now);
    } else if (v == VERDICT_ORPHAN) {
        on_orphan(e, s, r, text, now);
    } else {
        conclude(e, s, v, r->owner, now);
    }
}

static int64_t give_up(const struct engine *e, const struct stray *s)
{
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

/* To all Kamailios. Beyond so many such ones it is dropped, which is no answer: it comes again. */
static bool give_to_all(struct engine *e, struct stray *s, int64_t now)
{
    if (!perhaps_nodes(e))
        return true;
    if (!perhaps_may(e, now)) {
        e->count.strays_dropped++;
        note(e, s, "dropped: too many that nobody knows", 0);
        stray_end(e, s);
        return false;
    }
    e->count.verdict_perhaps++;
    note(e, s, "no record: given to all Kamailios", 0);
    send_on(e, s, VERDICT_UNAVAILABLE, &e->self, now);
    return true;
}

/* A CANCEL whose record is not there, and not on its way. Its owner may be a node whose kamsyncd cannot say so, or
 * knows nothing of it: only when that is ruled out, nobody has it. */
static void on_no_record(struct engine *e, struct stray *s, int64_t now)
{
    if (!s->all) {
        s->all = perhaps_at(e);
        s->all_ms = now;
        if (!s->all || !give_to_all(e, s, now))
            return;
    }
    if (!s->absent.roll)
        perhaps_relay(e, (struct handover){.src = s->src, .dst = s->dst, .at = s->all}, s->msg);
    roll_absent(e, &s->absent, s->key);
    s->again_ms = s->absent.sure ? INT64_MAX : now + ROLL_RETRY_MS;
    if (now >= give_up(e, s))
        conclude(e, s, last_word(e, s, now), 0, now);
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
        conclude(e, s, VERDICT_UNKNOWN, 0, now); /* an ordinary call */
    } else {
        later(s, now);
    }
}

bool strays_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now)
{
    struct stray *s;
    struct record r;

    HASH_FIND(hh, e->strays.by_token, &token, sizeof(token), s);
    if (!s)
        return false;
    s->asked = false;
    if (status == GET_FOUND && record_read(&r, text) == 0)
        on_record(e, s, &r, text, now);
    else if (status != GET_FAILED)
        on_absent(e, s, now);
    else
        later(s, now);
    return true;
}

/* The claim on an INVITE: won, it is this node's to route; lost, its holder has it, or is dead and left a record. */
bool strays_claimed(struct engine *e, uint64_t token, enum claim_status status, const struct holder *h, int64_t now)
{
    struct stray *s;

    HASH_FIND(hh, e->strays.by_token, &token, sizeof(token), s);
    if (!s)
        return false;
    s->asked = false;
    if (status == CLAIM_LOST && holder_is_self(e, h))
        conclude(e, s, VERDICT_MINE, h->id, now);
    else if (status == CLAIM_LOST && node_is_alive(nodes_find(&e->nodes, h->id), h->inc))
        conclude(e, s, VERDICT_OWNER, h->id, now);
    else if (status == CLAIM_LOST) {
        s->rival = h->id && h->id != e->self.id;
        ask(e, s, now);
    } else if (status == CLAIM_WON && is_stale(s, now))
        ask_anew(e, s, now);
    else
        conclude(e, s, status == CLAIM_WON ? VERDICT_UNKNOWN : VERDICT_UNAVAILABLE, 0, now);
    return true;
}

void strays_wake(struct engine *e, const char *key, int64_t now)
{
    struct stray *s, *next;

    DL_FOREACH_SAFE(e->strays.list, s, next)
    {
        if (s->orphan && strcmp(s->key, key) == 0)
            conclude(e, s, VERDICT_MINE, e->self.id, now);
    }
}

void strays_despair(struct engine *e, const char *key)
{
    struct stray *s;

    DL_FOREACH(e->strays.list, s)
    {
        if (s->orphan && strcmp(s->key, key) == 0)
            s->hopeless = true; /* the next look at its record finds out what is left */
    }
}

void strays_look(struct engine *e, const char *key, int64_t now)
{
    struct stray *s;

    DL_FOREACH(e->strays.list, s)
    {
        if (key ? strcmp(s->key, key) == 0 : s->absent.roll && s->absent.roll <= e->roll.n && !s->absent.sure)
            s->again_ms = now;
    }
}

void strays_acted(struct engine *e, const char *at, int node, int64_t now)
{
    struct stray *s, *next;

    DL_FOREACH_SAFE(e->strays.list, s, next)
    {
        /* one that is taken over has a new owner, who has heard of no CANCEL */
        if (s->all && !s->orphan && strcmp(s->all, at) == 0)
            conclude(e, s, VERDICT_ACTED, node, now);
    }
}

static void look_after(struct engine *e, struct stray *s, int64_t now)
{
    if (now >= give_up(e, s))
        conclude(e, s, last_word(e, s, now), 0, now);
    else if (!s->asked && e->store.up && now >= s->again_ms)
        ask(e, s, now);
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
        due = earlier(due, give_up(e, s));
        if (!s->asked && e->store.up)
            due = earlier(due, s->again_ms);
    }
    return due;
}

void strays_clear(struct engine *e)
{
    while (e->strays.list)
        stray_end(e, e->strays.list);
}
