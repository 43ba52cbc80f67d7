#include "stray.h"
#include "call_impl.h"
#include "link_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#include "key.h"

#define AGAIN_MS 500                 /* RFC 3261's T1, for what came over a connection */
#define AT_WORK_MS 5000              /* so long after a takeover the script may still be routing the INVITE, */
#define SOON_MS 20                   /* which takes far less than this, unless the host is busy */
#define OLD_MS 8000                  /* no node takes a handover that is 10 s old (KAMSYNC_FRESH) */
#define FIRST_RETRY_MS 5             /* first interval of lookups */
#define QUESTION (UINT64_C(1) << 48) /* in a token the question's number is above the id of the stray */

static const char *const verdict_names[] = {"mine", "owner", "acted", "orphan", "done", "unknown", "unavailable"};
static const char *const kind_names[] = {"CANCEL", "ACK", "INVITE", "reply"};

void stray_free(struct stray *s)
{
    free((char *)s->msg.p);
    free(s->src);
    free(s->dst);
    free(s->key);
    free(s->call_id);
    free(s->via);
    free(s->at);
    free(s);
}

void stray_end(struct engine *e, struct stray *s)
{
    DL_DELETE(e->strays.list, s);
    HASH_DELETE(hh, e->strays.by_id, s); /* NOLINT(clang-analyzer-*): uthash */
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

/* An event waits in the script's queue, but `all` begins with the time, "<seconds>.<microseconds>.". */
static int64_t came_at(const char *all, int64_t wall)
{
    int64_t seconds, us = 0;
    char *end;

    if (!all)
        return wall;
    seconds = strtoll(all, &end, 10);
    if (*end == '.')
        us = strtoll(end + 1, NULL, 10);
    return seconds > 0 && seconds <= wall / 1000 && us >= 0 && us < 1000000 ? 1000 * seconds + us / 1000 : wall;
}

/* So its sender's copies begin anew, and are acted upon once more: who has been answered by then ignores that. */
static void forget_old(struct engine *e, struct stray *s)
{
    int64_t wall = e->io.wall(e->io.ctx);

    if (!s->at || wall - came_at(s->at, wall) < OLD_MS)
        return;
    free(s->at);
    s->at = NULL;
}

char *stray_handed_to(struct engine *e, struct stray *s, const struct node *to, enum verdict why)
{
    struct handover h = {.to = to->id, .inc = to->inc, .why = verdict_names[why], .src = s->src, .dst = s->dst};

    forget_old(e, s);
    h.at = s->at;
    return engine_handover(e, h, s->msg);
}

void stray_send_on(struct engine *e, struct stray *s, enum verdict v, const struct node *to, int64_t now)
{
    /* "mine": Kamailio may have the transaction by now, or it has just ended. The script gets both as a handover; but a
     * reply without transaction would come back from there as a stray again. */
    enum verdict said = v != VERDICT_MINE ? v : s->kind == STRAY_REPLY ? VERDICT_DONE : VERDICT_OWNER;
    char *text = stray_handed_to(e, s, to, said);

    engine_send(e, to->sip, NULL, text, now);
    free(text);
}

void stray_show(struct engine *e, const struct stray *s, const struct node *to)
{
    engine_show(e, span_of(s->call_id), s->src, s->dst, s->msg);
    if (to)
        engine_show(e, span_of(s->call_id), e->self.sip, to->sip, s->msg);
}

void stray_handed(struct engine *e, const struct stray *s, int64_t now)
{
    histogram_add(&e->took.handover, 1000 * (now - s->came_ms));
}

void stray_note(struct engine *e, const struct stray *s, const char *what, int owner)
{
    char code[16] = "";

    if (s->kind == STRAY_REPLY)
        snprintf(code, sizeof(code), " %d", s->code);
    engine_decided(e, span_of(s->call_id), s->came, "stray %s%s from=%s: %s, owner=%d", kind_names[s->kind], code,
                   s->src, what, owner);
}

/* Its sender repeats it: to whom the caller has come back, or until it is acknowledged for him. */
static bool is_unheard(struct engine *e, struct stray *s, enum verdict v, int owner)
{
    if (!s->unheard || (v != VERDICT_ORPHAN && v != VERDICT_DONE))
        return false;
    stray_note(e, s, "dropped: its caller's connection is gone", owner);
    stray_end(e, s);
    return true;
}

bool stray_give(struct engine *e, struct stray *s, const struct node *to, int64_t now)
{
    struct handover h = {.to = to->id, .inc = to->inc, .why = "perhaps", .src = s->src, .dst = s->dst};
    char *text = NULL;

    forget_old(e, s);
    if (!s->at)
        s->at = perhaps_at(e);
    h.at = s->at;
    if (s->at)
        text = engine_handover(e, h, s->msg);
    if (!text)
        return false;
    if (to->reached || to->id == e->self.id)
        engine_send(e, to->sip, NULL, text, now);
    else
        message_handover(e, to->id, text);
    free(text);
    stray_handed(e, s, now);
    return true;
}

void stray_await(struct engine *e, struct stray *s, const struct node *owner, int64_t now)
{
    if (!s->awaits)
        stray_note(e, s, "its owner gets it, again and again until it has acted", owner->id);
    if (s->kind == STRAY_CANCEL)
        stray_give(e, s, owner, now);
    else if (owner->reached)
        stray_send_on(e, s, VERDICT_OWNER, owner, now);
    s->retry_ms = s->awaits ? 2 * s->retry_ms : owner->id == e->self.id ? SOON_MS : AGAIN_MS;
    s->again_ms = now + s->retry_ms;
    s->awaits = true;
}

void strays_death(struct engine *e, int64_t now)
{
    struct stray *s;

    DL_FOREACH(e->strays.list, s)
    {
        if (s->awaits && s->again_ms > now)
            s->again_ms = now + 1; /* this tick has looked at the strays already */
    }
}

bool stray_is_answered_here(const struct stray *s)
{
    return s->kind == STRAY_CANCEL && msg_is_connection(s->src);
}

bool stray_is_repeated_here(const struct stray *s)
{
    return stray_is_answered_here(s) || (s->kind == STRAY_REPLY && s->code >= 300 && msg_is_connection(s->src));
}

/* Whether the Kamailio of this node, which has just taken the transaction over, may still be at work with its INVITE:
 * the script drops a CANCEL meanwhile, as tm would cancel no branch. It may even have reported the first branch. */
static bool is_at_work(const struct engine *e, const struct stray *s, int64_t now)
{
    const struct txn *own = s->kind == STRAY_CANCEL ? txns_by_key(&e->txns, s->key) : NULL;

    return own && own->taken_ms && now - own->taken_ms < AT_WORK_MS && !txn_is_done(own);
}

void stray_conclude(struct engine *e, struct stray *s, enum verdict v, int owner, int64_t now)
{
    if (v == VERDICT_MINE && is_at_work(e, s, now)) {
        stray_await(e, s, &e->self, now);
        return;
    }
    count_verdict(&e->count, v);
    if (is_unheard(e, s, v, owner))
        return;
    if (s->kind != STRAY_INVITE || v != VERDICT_UNKNOWN) {
        stray_show(e, s, v == VERDICT_OWNER || v == VERDICT_ACTED ? nodes_find(&e->nodes, owner) : NULL);
        stray_note(e, s, verdict_names[v], owner);
    }
    engine_log_call(e, s->kind == STRAY_INVITE && v == VERDICT_UNKNOWN ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
                    (struct about){span_of(s->call_id), verdict_names[v], owner},
                    "stray %s verdict=%s owner=%d from=%s waited=%" PRId64 "ms", kind_names[s->kind], verdict_names[v],
                    owner, s->src, now - s->begun_ms);
    if (s->code / 100 == 2 && (v == VERDICT_MINE || v == VERDICT_DONE || v == VERDICT_ORPHAN))
        calls_passed(e, s->key, s->msg);
    if (v == VERDICT_OWNER) {
        stray_send_on(e, s, v, nodes_find(&e->nodes, owner), now);
        stray_handed(e, s, now);
    } else if (v != VERDICT_ACTED && (s->kind != STRAY_ACK || v == VERDICT_UNAVAILABLE || v == VERDICT_MINE)) {
        stray_send_on(e, s, v, &e->self, now);
    }
    if (v == VERDICT_ACTED && owner != e->self.id && stray_is_answered_here(s))
        stray_send_on(e, s, VERDICT_ACTED, &e->self, now);
    stray_end(e, s);
}

static int fill(struct stray *s, const struct arrived *a, const struct sip_id *id, const char *all)
{
    char *copy = span_dup(a->msg);

    s->msg = (struct span){copy, a->msg.n};
    s->src = span_dup(span_of(a->src));
    s->dst = span_dup(span_of(a->dst));
    s->key = key_tx(id->call_id, id->cseq, id->branch, id->sent_by);
    s->call_id = span_dup(id->call_id);
    s->via = span_dup(id->via);
    s->all = all != NULL;
    s->at = all ? span_dup(span_of(all)) : NULL;
    if (s->all && !s->at)
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

/* What waited long in the script's queue for kamsyncd, over a connection, begins anew: nobody else answers it. */
int stray_new(struct stray **out, const struct arrived *a, uint64_t id, int64_t wall, int64_t now)
{
    struct sip_id sip;
    struct stray *s;
    int rc = sip_read_id(&sip, a->msg);

    if (rc < 0)
        return rc;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->id = s->token = id;
    s->code = sip.code;
    s->kind = kind_of(&sip);
    s->came_ms = s->begun_ms = s->again_ms = s->all_ms = now;
    s->came = came_at(a->all, wall);
    s->retry_ms = FIRST_RETRY_MS;
    rc = fill(s, a, &sip, wall - s->came < OLD_MS ? a->all : NULL);
    if (rc < 0)
        stray_free(s);
    else
        *out = s;
    return rc;
}

void stray_asks(struct stray *s, int64_t now)
{
    s->token += QUESTION;
    s->asked = true;
    s->asked_ms = now;
}

struct stray *stray_answered(const struct engine *e, uint64_t token)
{
    uint64_t id = token % QUESTION;
    struct stray *s;

    HASH_FIND(hh, e->strays.by_id, &id, sizeof(id), s);
    if (!s || s->token != token || !s->asked)
        return NULL;
    s->asked = false;
    return s;
}

int stray_add(struct engine *e, struct stray *s)
{
    HASH_ADD(hh, e->strays.by_id, id, sizeof(s->id), s);
    if (!s->hh.tbl)
        return -ENOMEM;
    DL_APPEND(e->strays.list, s);
    e->strays.count++;
    s->bytes = s->msg.n + strlen(s->key) + strlen(s->call_id) + strlen(s->via);
    e->strays.bytes += s->bytes;
    return 0;
}
