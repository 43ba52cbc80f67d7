/* The calls that this node knows: begun here, taken over, or given a variable here.
 *
 *     INVITE, replies (owner.c) ▶ call changes ▶ dirty ▶ (once per loop turn) call_write ▶ the store
 *     variable (script)         ▶
 *
 * A call is its INVITE's (Call-ID, From tag) and follows one transaction, the first: another one with the same Call-ID
 * is a spiral or a fork upstream, and changes nothing. A caller who was challenged or redirected tries again with the
 * same Call-ID; so such an end is held back for a moment.
 *
 * Every node keeps what it has added until the call is over, so that it can write it again should the store forget. */
#include "engine_impl.h"

#include <errno.h>
#include <stdio.h>
#include <utlist.h>

#include "call.h"

#define CALLS_MAX 1000000 /* calls in memory */
#define WRITING_MAX 1024  /* writes under way */
#define AGAIN_MS 10000    /* who was challenged or redirected has tried again by then */
#define TRIES_MAX 3       /* another node has the call: it may be about to leave it */
#define TRY_MS 500
#define CHECK_MS 60000      /* each call is looked at so often */
#define REFRESH_MS 600000   /* and written again so often: should this node have missed its end, it learns of it */
#define TTL_MORE_MS 3600000 /* the record outlives the longest call */

static struct call *find(const struct engine *e, struct span call_id)
{
    struct call *c;

    HASH_FIND(hh, e->calls.by_id, call_id.p, call_id.n, c);
    return c;
}

/* ---- the lists ---- */

static struct call **list_of(struct engine *e, enum call_place place)
{
    struct call **const lists[] = {NULL, &e->calls.dirty, &e->calls.writing, &e->calls.held};

    return lists[place];
}

static void move(struct engine *e, struct call *c, enum call_place place)
{
    struct call **list = list_of(e, c->place);

    if (list)
        DL_DELETE(*list, c);
    e->calls.at[c->place]--;
    c->place = place;
    e->calls.at[place]++;
    list = list_of(e, place);
    if (list)
        DL_APPEND(*list, c);
}

static void mark(struct engine *e, struct call *c)
{
    if (c->place == CALL_WRITING)
        c->again = true;
    else if (c->place != CALL_DIRTY)
        move(e, c, CALL_DIRTY);
}

static void hold(struct engine *e, struct call *c, int64_t until)
{
    move(e, c, CALL_HELD);
    c->hold_ms = until;
}

static void drop(struct engine *e, struct call *c)
{
    move(e, c, CALL_IDLE);
    e->calls.at[CALL_IDLE]--;
    DL_DELETE2(e->calls.oldest, c, older, newer);
    HASH_DELETE(hh, e->calls.by_id, c); /* NOLINT(clang-analyzer-*): uthash */
    e->calls.count--;
    call_free(c);
}

static struct call *add(struct engine *e, struct span call_id, int64_t at, int64_t now)
{
    struct call *c = e->calls.count < CALLS_MAX ? call_new(call_id) : NULL;

    if (c)
        HASH_ADD_KEYPTR(hh, e->calls.by_id, c->call_id, call_id.n, c); /* NOLINT(clang-analyzer-*): uthash */
    if (!c || !c->hh.tbl) {
        e->count.calls_shed++;
        call_free(c);
        return NULL;
    }
    c->joined = at;
    c->begun_ms = c->checked_ms = c->refreshed_ms = now;
    DL_APPEND2(e->calls.oldest, c, older, newer);
    e->calls.at[CALL_IDLE]++;
    e->calls.count++;
    return c;
}

static struct call *find_or_add(struct engine *e, struct span call_id, int64_t at, int64_t now)
{
    struct call *c = find(e, call_id);

    return c ? c : add(e, call_id, at, now);
}

int64_t calls_time(const struct engine *e, const struct event *ev)
{
    return ev && ev->at ? ev->at : e->io.wall(e->io.ctx);
}

/* ---- what the INVITE's transaction does to it ---- */

static int set_text(char **at, struct span value)
{
    char *copy = span_dup(value);

    if (!copy)
        return -ENOMEM;
    free(*at);
    *at = copy;
    return 0;
}

/* The call lives by this transaction from now on. False when memory is short. */
static bool follow(struct engine *e, struct call *c, const struct txn *t, const struct sip_id *id, int64_t at)
{
    if (set_text(&c->tx, span_of(t->key)) < 0 || set_text(&c->caller, id->from_uri) < 0 ||
        set_text(&c->callee, id->to_uri) < 0 || set_text(&c->from_tag, id->from_tag) < 0 ||
        set_text(&c->inc, span_of(e->self.inc)) < 0)
        return false;
    c->trying = at;
    c->ringing = c->answered = c->ended = c->code = 0;
    c->how = c->by = NULL;
    c->cancelled = c->refused = false;
    c->tries = 0;
    c->node = e->self.id;
    c->own = true;
    return true;
}

/* Another INVITE of a known call: the same caller tries again, after an answer that asked him to. */
static bool tries_again(const struct call *c, const struct sip_id *id)
{
    return !c->tx || (c->refused && span_eq(span_of(c->from_tag), id->from_tag));
}

void calls_begin(struct engine *e, const struct txn *t, const struct sip_id *id, int64_t at, int64_t now)
{
    struct call *c = id->to_tag.n ? NULL : find_or_add(e, id->call_id, at, now); /* with a tag: within a call */

    if (!c || !tries_again(c, id))
        return;
    if (follow(e, c, t, id, at))
        mark(e, c);
    else
        drop(e, c);
}

void calls_take(struct engine *e, const struct txn *t, int64_t now)
{
    int64_t at = calls_time(e, NULL);
    const char *name;
    json_t *value;
    struct sip_id id;
    struct call *c;

    if (sip_read_id(&id, t->req) < 0 || id.to_tag.n)
        return;
    c = find_or_add(e, id.call_id, at, now);
    if (!c || !follow(e, c, t, &id, t->at ? t->at : at))
        return;
    json_object_foreach(t->vars, name, value)
        call_set(c, name, (struct span){json_string_value(value), json_string_length(value)});
    c->take = true;
    mark(e, c);
}

static struct call *of_txn(const struct engine *e, const struct txn *t)
{
    struct call *c = find(e, span_of(t->call_id));

    return c && c->own && c->tx && !c->how && strcmp(c->tx, t->key) == 0 ? c : NULL;
}

/* Whether the caller is expected to try again with the same Call-ID: RFC 3261 8.1.3.4 and 8.1.3.5. */
static bool asks_for_more(int code)
{
    return code / 100 == 3 || code == 401 || code == 407 || code == 413 || code == 415 || code == 416 || code == 420 ||
           code == 422 || code == 428 || code == 494;
}

void calls_reply(struct engine *e, const struct txn *t, int code, struct span to_tag, int64_t at)
{
    struct call *c = of_txn(e, t);
    bool changed = false;

    if (!c)
        return;
    c->last = at;
    if (code >= 180 && code < 200 && !c->ringing && !c->answered) {
        c->ringing = at;
        changed = true;
    } else if (code >= 200 && code < 300 && !c->answered) {
        c->answered = at;
        if (to_tag.n)
            set_text(&c->to_tag, to_tag);
        changed = true;
    } else if (asks_for_more(code)) {
        c->refused = changed = true; /* the next INVITE may reach another node: the record is for the taking */
    }
    if (!changed)
        return;
    c->code = code;
    mark(e, c);
}

static void over(struct engine *e, struct call *c, const char *how, const char *by, int64_t at)
{
    c->how = how;
    c->by = by;
    c->ended = at;
    mark(e, c);
}

void calls_failed(struct engine *e, const struct txn *t, int64_t now)
{
    struct call *c = of_txn(e, t);
    int code = txn_code(t);
    bool timed_out = c && !c->cancelled && (code == 408 || code == 487);

    if (!c || c->answered)
        return;
    c->code = code;
    over(e, c,
         c->cancelled ? "cancelled"
         : timed_out  ? "timed out"
                      : "rejected",
         c->cancelled ? "caller"
         : timed_out  ? "kamsync"
                      : "callee",
         c->last ? c->last : calls_time(e, NULL));
    if (c->refused && c->place != CALL_WRITING)
        hold(e, c, now + AGAIN_MS);
}

void calls_cancelled(struct engine *e, const struct event *ev)
{
    struct call *c = find(e, ev->call_id);

    if (c)
        c->cancelled = true;
}

/* ---- variables ---- */

void calls_set(struct engine *e, const struct event *ev, int64_t now)
{
    struct call *c = find_or_add(e, ev->call_id, calls_time(e, ev), now);
    char call_id[128];
    int rc = c ? call_set(c, ev->name, ev->value) : -ENOMEM;

    if (rc == 0) {
        mark(e, c);
        return;
    }
    e->count.frames_bad++;
    engine_log(e, LOG_LEVEL_WARN, "variable %s not kept (%s) call-id=%s", ev->name,
               rc == -EINVAL ? "its value is no UTF-8 text of at most 1024 bytes" : "too many, or memory is short",
               printable(call_id, sizeof(call_id), ev->call_id));
}

json_t *calls_vars(const struct engine *e, const char *call_id)
{
    const struct call *c = find(e, span_of(call_id));
    struct call_pairs p;

    if (!c || !json_object_size(c->vars))
        return NULL;
    call_pairs(&p, c, e->self.id, false);
    return pairs_vars(p.list, p.count);
}

/* ---- writing ---- */

static void write_call(struct engine *e, struct call *c)
{
    struct call_pairs p;
    struct call_write w = {.key = c->key, .node = e->self.id, .pairs = p.list};

    w.mode = c->finishing ? CALL_END : c->take ? CALL_TAKE : c->own ? CALL_BEGIN : CALL_ADD;
    w.ttl_ms = c->finishing ? e->conf.ended_ttl_ms : e->conf.call_max_ms + TTL_MORE_MS;
    c->node = c->refused ? CALL_NOBODY : e->self.id;
    call_pairs(&p, c, e->self.id, c->finishing);
    w.count = p.count;
    c->again = false;
    c->token = ++e->last_token;
    move(e, c, CALL_WRITING);
    e->count.call_writes++;
    e->io.call_write(e->io.ctx, &w, c->token);
}

void calls_flush(struct engine *e)
{
    struct call *c, *last = e->calls.dirty ? e->calls.dirty->prev : NULL;
    bool more = last && e->store_up && e->self.id;

    while (more && (c = e->calls.dirty) != NULL && e->calls.at[CALL_WRITING] < WRITING_MAX) {
        more = c != last; /* what an answer from within the call marks again waits for the next turn */
        write_call(e, c);
    }
}

/* It stands in the store as it is here: is there more to do? */
static void written(struct engine *e, struct call *c)
{
    c->take = false;
    if (c->finishing) {
        e->count.calls_ended++;
        drop(e, c);
        return;
    }
    move(e, c, CALL_IDLE);
    c->finishing = c->how && !c->again;
    if (c->again || c->finishing)
        mark(e, c);
}

static struct call *find_token(const struct engine *e, uint64_t token)
{
    struct call *c;

    DL_FOREACH(e->calls.writing, c)
    {
        if (c->token == token)
            return c;
    }
    return NULL;
}

bool calls_written(struct engine *e, uint64_t token, enum call_result result, int64_t now)
{
    struct call *c = find_token(e, token);

    if (!c)
        return false;
    if (result == CALL_WRITTEN || (result == CALL_OTHER && !c->own)) {
        written(e, c);
    } else if (result == CALL_OTHER && c->tries++ < TRIES_MAX) {
        hold(e, c, now + TRY_MS);
    } else if (result == CALL_OVER || result == CALL_OTHER) {
        drop(e, c);
    } else {
        move(e, c, CALL_IDLE);
        c->finishing = false; /* its beginning must be there before its end */
        if (result == CALL_FAILED)
            engine_rewrite(e, now);
        else
            mark(e, c);
    }
    return true;
}

void calls_mark_all(struct engine *e)
{
    struct call *c, *next;

    HASH_ITER(hh, e->calls.by_id, c, next)
    {
        if (c->place != CALL_HELD)
            mark(e, c);
    }
}

void calls_over(struct engine *e, struct span call_id)
{
    struct call *c = find(e, call_id);

    if (c)
        drop(e, c);
}

/* ---- reading ---- */

const struct call *calls_find(const struct engine *e, struct span call_id)
{
    return find(e, call_id);
}

bool calls_read(struct engine *e, struct span call_id, const struct pair *pairs, size_t count, bool take, int64_t now)
{
    struct call *c = find(e, call_id) ? NULL : add(e, call_id, calls_time(e, NULL), now);

    if (!c)
        return false;
    if (call_read(c, pairs, count) < 0) {
        drop(e, c);
        return false;
    }
    c->own = true;
    c->node = e->self.id;
    c->take = take;
    c->begun_ms = now - (c->joined - (c->trying ? c->trying : c->joined)); /* so old it is already */
    if (take)
        mark(e, c);
    return true;
}

/* ---- time ---- */

static void check(struct engine *e, struct call *c, int64_t now)
{
    if (!c->how && now - c->begun_ms > e->conf.call_max_ms) {
        if (c->own)
            over(e, c, "unknown", "kamsync", calls_time(e, NULL));
        else
            drop(e, c);
    } else if (now - c->refreshed_ms > REFRESH_MS) {
        c->refreshed_ms = now;
        mark(e, c);
    }
}

void calls_janitor(struct engine *e, int64_t now)
{
    int64_t every = e->conf.call_max_ms / 10 < CHECK_MS ? e->conf.call_max_ms / 10 : CHECK_MS;
    struct call *c, *next;

    DL_FOREACH_SAFE(e->calls.held, c, next)
    {
        if (now >= c->hold_ms)
            mark(e, c);
    }
    /* all wait equally long, so the list is in order */
    while ((c = e->calls.oldest) != NULL && now - c->checked_ms >= every) {
        DL_DELETE2(e->calls.oldest, c, older, newer);
        DL_APPEND2(e->calls.oldest, c, older, newer);
        c->checked_ms = now;
        check(e, c, now);
    }
}

void calls_clear(struct engine *e)
{
    while (e->calls.oldest)
        drop(e, e->calls.oldest);
}
