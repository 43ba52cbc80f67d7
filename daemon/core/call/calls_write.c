/* Writes the calls to the store.
 *
 * An ended call is written once as it is, and then its end, which drops it. */
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"
#include "calls_list.h"

#include <utlist.h>

#include "key.h"

#define WRITING_MAX 1024 /* limit of writes under way */
#define TRIES_MAX 3      /* another node owns the call: it may be about to leave it */
#define TRY_MS 500
#define AWAIT_MAX 200      /* so often another node's leg keeps an unanswered call from its end: longer than it rings */
#define OTHER_TRIES_MAX 10 /* the store may have lost the call, and its node writes it again */
#define TTL_MORE_MS 3600000 /* the record outlives the longest call */

/* It may still be undecided whether another node has the transaction that the call follows (fence.c). */
static bool is_decided(const struct engine *e, const struct call *c)
{
    const struct txn *t = c->tx ? txns_by_key(&e->txns, c->tx) : NULL;

    return !t || t->hold == HOLD_OWNED;
}

static enum call_mode mode_of(const struct call *c)
{
    if (c->write_as == WRITE_END)
        return CALL_END;
    if (c->write_as == WRITE_TAKE)
        return CALL_TAKE;
    return c->role != CALL_GUEST ? CALL_BEGIN : CALL_ADD;
}

/* The transaction that the call follows, and the others of it that this node has had: the marks of those are of nodes
 * that have died. The caller frees it. NULL: there are no others, or no memory. */
static char *own_txns(const struct call *c)
{
    const char *key;
    json_t *value;
    char *text = c->tx && json_object_size(c->legs) ? strdup(c->tx) : NULL;

    json_object_foreach(c->legs, key, value) /* c->legs may be NULL */
    {
        char *more = NULL;

        if (text && asprintf(&more, "%s\n%s", text, key) < 0)
            more = NULL;
        free(text);
        text = more;
    }
    return text;
}

/* A node of an older version takes a record that only its own node writes for none (docs/upgrade.md). */
static bool is_read_by_all(const struct engine *e)
{
    for (size_t i = 0; i < e->nodes.count; i++)
        if (!e->nodes.list[i].lost && e->nodes.list[i].version < e->self.version)
            return false;
    return true;
}

/* Whether it may be the only one that writes the record, and has the whole of it. What it has read after a start it
 * may not all know. */
static enum call_known known_of(const struct engine *e, const struct call *c)
{
    if (!is_read_by_all(e) || c->role != CALL_OWNER || call_is_refused(c) || c->other_tag || c->write_as == WRITE_TAKE)
        return KNOWN_NOTHING;
    if (c->write_as == WRITE_NEW)
        return c->tries ? KNOWN_NOTHING : KNOWN_NEW;
    return c->alone ? KNOWN_OURS : KNOWN_NOTHING;
}

static void give_to_store(struct engine *e, struct call *c, const char *key, const char *other)
{
    struct call_pairs p;
    struct call_write w = {.key = key, .other = other, .node = e->self.id, .pairs = p.list, .entry = p.list};
    bool end = c->write_as == WRITE_END;
    char *own = end ? own_txns(c) : NULL;

    w.mode = mode_of(c);
    w.first = c->write_as == WRITE_NEW && (!c->tries || !is_decided(e, c));
    w.ttl_ms = end ? e->conf.ended_ttl_ms : e->conf.call_max_ms + TTL_MORE_MS;
    if (c->role != CALL_GUEST) /* one that only adds to another node's call leaves it with that node */
        c->node = call_is_refused(c) ? CALL_NOBODY : e->self.id;
    w.tx = c->role == CALL_GUEST || (end && c->tries > AWAIT_MAX) ? NULL : own ? own : c->tx;
    call_pairs(&p, c, &e->self, end);
    w.count = p.count;
    w.weak = p.weak;
    w.known = w.tx && !own ? known_of(e, c) : KNOWN_NOTHING;
    if (end)
        w.entry_count = call_entry(&p, c);
    c->alone = !end && w.known != KNOWN_NOTHING;
    call_vars_sent(c);
    c->changed = false;
    c->token = engine_token(e);
    calls_move(e, c, CALL_WRITING);
    e->count.call_writes++;
    e->io.call_write(e->io.ctx, &w, c->token);
    free(own);
}

static void write_call(struct engine *e, struct call *c)
{
    /* built each time: calls are many, and most are not written for hours */
    char *key = key_call(span_of(c->call_id), span_of(c->from_tag));
    char *other = c->other_tag ? key_call(span_of(c->call_id), span_of(c->other_tag)) : NULL;

    if (key && (other || !c->other_tag))
        give_to_store(e, c, key, other);
    else
        calls_move(e, c, CALL_DIRTY); /* out of memory: later */
    free(key);
    free(other);
}

void calls_flush(struct engine *e)
{
    struct call *c, *last = e->calls.dirty ? e->calls.dirty->prev : NULL;
    bool more = last && e->store.up && e->self.id;

    while (more && (c = e->calls.dirty) != NULL && e->calls.at[CALL_WRITING] < WRITING_MAX) {
        more = c != last; /* calls that found no memory wait for the next turn */
        write_call(e, c);
    }
}

/* The record is in the store, or may be: written with its transaction, unless this node lacks that. */
static enum call_write_as is_written_as(const struct call *c)
{
    return c->role == CALL_GUEST || c->role == CALL_HEIR ? WRITE_NEW : WRITE_OURS;
}

static void is_over(struct engine *e, struct call *c)
{
    calls_move(e, c, CALL_IDLE);
    calls_end(e, c);
}

/* The store has the call as it is here: is there more to write? */
static void written(struct engine *e, struct call *c)
{
    if (c->write_as == WRITE_TAKE && c->role == CALL_TAKER)
        message_taken(e, c->name, c->tx);
    if (c->write_as == WRITE_END) {
        e->count.calls_ended++;
        if (call_has_moved(c))
            message_over(e, 0, c->name);
        is_over(e, c);
        return;
    }
    calls_move(e, c, CALL_IDLE);
    c->tries = 0;
    c->write_as = c->how && !c->changed && !c->back_ms ? WRITE_END : is_written_as(c);
    if (c->changed || c->write_as == WRITE_END)
        calls_mark(e, c);
    else if (c->how)
        calls_hold(e, c, c->back_ms);
}

/* Another node owns the record, but not the transaction that the call follows until the answer: that node
 * thought this one lost, or its predecessor, and has inherited the call while this one took it over, or came back. */
static bool is_ours(const struct engine *e, const struct call *c)
{
    bool lives = c->inc && strcmp(c->inc, e->self.inc) == 0; /* else its transaction died with its Kamailio */

    return lives && c->write_as == WRITE_OURS && !c->answered && !call_is_refused(c);
}

/* The list is in the order of tokens, and so are nearly all answers: so it is the first one, or one of the first. */
static struct call *find_token(const struct engine *e, uint64_t token)
{
    struct call *c = e->calls.writing;

    while (c && c->token < token)
        c = c->next;
    return c && c->token == token ? c : NULL;
}

/* Another node owns the record: that may change for a while. */
static void is_others(struct engine *e, struct call *c, int64_t now)
{
    bool ours = c->role != CALL_AWAY && is_ours(e, c);

    calls_move(e, c, CALL_IDLE);
    if (c->role == CALL_AWAY)
        return;
    if (ours)
        c->write_as = WRITE_TAKE;
    if (ours || c->changed) /* maybe it was answered meanwhile, which makes it this node's */
        calls_move(e, c, CALL_DIRTY);
    else if (!is_decided(e, c) || c->tries++ < TRIES_MAX)
        calls_hold(e, c, now + TRY_MS);
    else if (!leg_rings(e, c) || json_object_size(c->vars)) /* else the other leg may yet end before this one */
        calls_leave(e, c);
}

bool calls_elsewhere(const struct call *c)
{
    return !c->how && c->tries > TRIES_MAX;
}

/* Another node's leg goes on: then the call ends with that, or lives by it. */
static void is_awaited(struct engine *e, struct call *c, int64_t now)
{
    c->tries++;
    calls_hold(e, c, now + TRY_MS);
}

/* The record is from another INVITE of the same name: an answer here is one more dialog of that call. A leg that
 * still rings may become one; and this one's end does not end that call. */
static void is_leg(struct engine *e, struct call *c)
{
    calls_move(e, c, CALL_IDLE);
    if (c->changed) {
        calls_mark(e, c);
    } else if (c->how || c->answered) {
        if (!c->how && c->to_tag)
            call_dialog(c, CALL_DIALOG, span_of(c->to_tag), c->answered);
        calls_leave(e, c);
    }
}

static void not_written(struct engine *e, struct call *c, enum call_result result, int64_t now)
{
    calls_move(e, c, CALL_IDLE);
    if (c->write_as != WRITE_TAKE) /* its beginning must be in the store before its end */
        c->write_as = is_written_as(c);
    if (result == CALL_FAILED)
        engine_post(e, (struct notice){.type = NOTICE_STORE_REFUSES}, now);
    else if (result == CALL_REFUSED)
        calls_hold(e, c, now + doubt_pause(&c->refusals));
    else
        calls_mark(e, c);
}

bool calls_written(struct engine *e, uint64_t token, enum call_result result, int64_t now)
{
    struct call *c = find_token(e, token);
    bool fine;

    if (!c)
        return false;
    fine = result == CALL_WRITTEN || (result == CALL_OTHER && (c->role == CALL_GUEST || c->write_as == WRITE_END));
    call_vars_arrived(c, fine);
    c->alone = c->alone && fine;
    if (result != CALL_FAILED && result != CALL_REFUSED)
        engine_post(e, (struct notice){.type = NOTICE_STORE_TAKES}, now);
    if (fine)
        written(e, c);
    else if (result == CALL_OTHER)
        is_others(e, c, now);
    else if (result == CALL_FOREIGN)
        is_leg(e, c);
    else if (result == CALL_GOES_ON)
        is_awaited(e, c, now);
    else if (result == CALL_ABSENT && c->other_tag && c->tries++ < OTHER_TRIES_MAX)
        calls_hold(e, c, now + TRY_MS); /* not yet */
    else if (result == CALL_OVER || (result == CALL_ABSENT && c->other_tag))
        is_over(e, c);
    else
        not_written(e, c, result, now);
    return true;
}

void calls_mark_all(struct engine *e)
{
    struct call *c, *next;

    HASH_ITER(hh, e->calls.by_name, c, next)
    {
        if (c->place != CALL_HELD)
            calls_mark(e, c);
    }
}

void calls_mark_one(struct engine *e)
{
    struct call *c = e->calls.oldest;

    while (c && c->place == CALL_HELD)
        c = c->newer;
    if (c)
        calls_mark(e, c);
}
