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
#include "count.h"
#include "key.h"

#define CALLS_MAX 1000000 /* calls in memory */
#define WRITING_MAX 1024  /* writes under way */
#define AGAIN_MS 10000    /* who was challenged or redirected has tried again by then */
#define TRIES_MAX 3       /* another node has the call: it may be about to leave it */
#define TRY_MS 500
#define CHECK_MS 60000      /* each call is looked at so often */
#define REFRESH_MS 600000   /* and written again at least so often: should its end have been missed, that shows it */
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

/* The call lives by this transaction from now on. False when memory is short. */
static bool follow(struct engine *e, struct call *c, const struct txn *t, const struct sip_id *id, int64_t at)
{
    if (call_set_text(&c->tx, span_of(t->key)) < 0 || call_set_text(&c->caller, id->from_uri) < 0 ||
        call_set_text(&c->callee, id->to_uri) < 0 || call_set_text(&c->from_tag, id->from_tag) < 0 ||
        call_set_text(&c->inc, span_of(e->self.inc)) < 0)
        return false;
    c->trying = at;
    c->ringing = c->answered = c->ended = c->code = 0;
    c->how = c->by = NULL;
    c->refused = c->taken = c->finishing = c->inherited = c->had = c->elsewhere = c->adrift = false;
    c->tries = 0;
    c->back_ms = 0;
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
    if (!c || call_is_told(c, t->key) || !follow(e, c, t, &id, t->at ? t->at : at))
        return;
    if (txn_state(t) == TXN_RINGING || txn_state(t) == TXN_ANSWERED) {
        c->ringing = at;
        c->code = txn_code(t);
        c->answered = txn_state(t) == TXN_ANSWERED && !t->settled ? at : 0;
    }
    json_object_foreach(t->vars, name, value)
        call_set(c, name, (struct span){json_string_value(value), json_string_length(value)}, false);
    c->take = c->taken = true;
    mark(e, c);
}

static struct call *of_txn(const struct engine *e, const struct txn *t)
{
    struct call *c = find(e, span_of(t->call_id));

    return c && c->own && c->tx && !c->how && strcmp(c->tx, t->key) == 0 ? c : NULL;
}

void calls_reply(struct engine *e, const struct txn *t, int code, struct span to_tag, int64_t at)
{
    struct call *c = of_txn(e, t);
    bool changed = false;

    if (!c)
        return;
    if (c->answered)
        return; /* a fork's other branches end */
    if (code >= 200 && code < 300) {
        c->answered = at;
        if (to_tag.n)
            call_set_text(&c->to_tag, to_tag);
        changed = true;
    } else if (code >= 180 && code < 200 && !c->ringing) {
        c->ringing = at;
        changed = true;
    }
    /* The next INVITE may reach another node: the record is for the taking; unless the script tried another branch. */
    if (changed || call_asks_for_more(code) || (c->refused && code < 200)) {
        changed = changed || c->refused != call_asks_for_more(code);
        c->refused = call_asks_for_more(code);
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

/* The far end never said so: it is our own conclusion. */
static bool is_concluded(const struct txn *t)
{
    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].concluded)
            return true;
    return false;
}

void calls_lose(struct engine *e, const struct txn *t)
{
    struct call *c = of_txn(e, t);

    if (c)
        drop(e, c);
}

void calls_failed(struct engine *e, const struct txn *t, int64_t now)
{
    struct call *c = of_txn(e, t);
    int code = txn_code(t);
    bool timed_out = !t->cancelled && (code == 408 || code == 487 || code < 300);

    if (!c || c->answered)
        return;
    c->code = code;
    c->refused = call_asks_for_more(code);
    over(e, c,
         t->cancelled ? "cancelled"
         : timed_out  ? "timed out"
                      : "rejected",
         t->cancelled ? "caller"
         : timed_out  ? "kamsync"
                      : "callee",
         t->last && !is_concluded(t) ? t->last : calls_time(e, NULL));
    if (!c->refused)
        return;
    c->back_ms = now + AGAIN_MS;
    if (c->place != CALL_WRITING)
        hold(e, c, c->back_ms);
}

/* ---- variables ---- */

void calls_set(struct engine *e, const struct event *ev, int64_t now)
{
    struct call *c = find_or_add(e, ev->call_id, calls_time(e, ev), now);
    char call_id[128];
    int rc = c ? call_set(c, ev->name, ev->value, true) : -ENOMEM;

    if (rc == 0) {
        mark(e, c);
        return;
    }
    if (c && !c->own && !json_object_size(c->vars))
        drop(e, c); /* nothing of it is to be written */
    e->count.frames_bad++;
    engine_log(e, LOG_LEVEL_WARN, "variable %s not kept (%s) call-id=%s", ev->name,
               rc == -EINVAL ? "its value is no UTF-8 text of at most 1024 bytes" : "too many, or memory is short",
               printable(call_id, sizeof(call_id), ev->call_id));
}

json_t *calls_vars(const struct engine *e, const char *call_id)
{
    const struct call *c = find(e, span_of(call_id));
    struct call_pairs p;
    json_t *vars;

    if (!c || !json_object_size(c->vars))
        return NULL;
    call_pairs(&p, c, e->self.id, false);
    vars = pairs_vars(p.list, p.count);
    if (json_object_size(vars))
        return vars;
    json_decref(vars);
    return NULL;
}

/* ---- writing ---- */

static void give_to_store(struct engine *e, struct call *c, const char *key)
{
    struct call_pairs p;
    struct call_write w = {.key = key, .node = e->self.id, .pairs = p.list};

    w.mode = c->finishing ? CALL_END : c->take ? CALL_TAKE : c->own ? CALL_BEGIN : CALL_ADD;
    w.ttl_ms = c->finishing ? e->conf.ended_ttl_ms : e->conf.call_max_ms + TTL_MORE_MS;
    if (c->own) /* who only adds to another node's call leaves it that node's */
        c->node = c->refused ? CALL_NOBODY : e->self.id;
    call_pairs(&p, c, e->self.id, c->finishing);
    w.count = p.count;
    w.weak = p.weak;
    call_vars_sent(c);
    c->again = false;
    c->token = ++e->last_token;
    move(e, c, CALL_WRITING);
    e->count.call_writes++;
    e->io.call_write(e->io.ctx, &w, c->token);
}

static void write_call(struct engine *e, struct call *c)
{
    char *key = key_call(span_of(c->call_id)); /* not kept: calls are many, and most are not written for hours */

    if (key)
        give_to_store(e, c, key);
    else
        move(e, c, CALL_DIRTY); /* memory is short: later */
    free(key);
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
    if (c->take && c->taken)
        told_taken(e, c->call_id);
    c->take = false;
    c->had = c->own && !c->inherited;
    if (c->finishing) {
        e->count.calls_ended++;
        drop(e, c);
        return;
    }
    move(e, c, CALL_IDLE);
    c->finishing = c->how && !c->again && !c->back_ms;
    if (c->again || c->finishing)
        mark(e, c);
    else if (c->how)
        hold(e, c, c->back_ms);
}

/* Another node has made the record its own, but not the transaction that the call lives by until it is answered: it
 * thought this one lost, or its predecessor, and has inherited the call while this one took it over, or came back. */
static bool is_ours(const struct engine *e, const struct call *c)
{
    bool lives = c->inc && strcmp(c->inc, e->self.inc) == 0; /* else its transaction died with its Kamailio */

    return lives && c->had && !c->answered && !c->refused;
}

/* It stays another node's call; this one has only added variables to it. */
static void leave(struct engine *e, struct call *c)
{
    char **const texts[] = {&c->caller, &c->callee, &c->from_tag, &c->to_tag, &c->tx, &c->inc};

    for (size_t i = 0; i < COUNT(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    c->node = c->trying = c->ringing = c->answered = c->ended = c->code = 0;
    c->how = c->by = NULL;
    c->own = c->take = c->had = c->finishing = c->refused = false;
    c->back_ms = 0;
    move(e, c, CALL_IDLE);
    mark(e, c);
}

/* The list is in the order of tokens, and so are the answers: it is the first, or it is none of these. */
static struct call *find_token(const struct engine *e, uint64_t token)
{
    struct call *c = e->calls.writing;

    while (c && c->token < token)
        c = c->next;
    return c && c->token == token ? c : NULL;
}

static void leave_or_drop(struct engine *e, struct call *c)
{
    if (json_object_size(c->vars))
        leave(e, c);
    else
        drop(e, c);
}

bool calls_written(struct engine *e, uint64_t token, enum call_result result, int64_t now)
{
    struct call *c = find_token(e, token);
    bool fine;

    if (!c)
        return false;
    fine = result == CALL_WRITTEN || (result == CALL_OTHER && (!c->own || c->finishing));
    call_vars_arrived(c, fine);
    if (result != CALL_FAILED)
        rewrite_taken(e, now);
    if (fine) {
        written(e, c);
    } else if (result == CALL_OTHER && is_ours(e, c)) {
        c->take = true;
        move(e, c, CALL_DIRTY);
    } else if (result == CALL_OTHER && c->tries++ < TRIES_MAX) {
        hold(e, c, now + TRY_MS);
    } else if (result == CALL_OTHER) {
        leave_or_drop(e, c);
    } else if (result == CALL_OVER) {
        drop(e, c);
    } else {
        move(e, c, CALL_IDLE);
        c->finishing = false;                         /* its beginning must be there before its end */
        c->had = c->had || (c->own && !c->inherited); /* it may have arrived */
        if (result == CALL_FAILED)
            rewrite_refused(e, now);
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

void calls_mark_one(struct engine *e)
{
    struct call *c = e->calls.oldest;

    if (c && c->place != CALL_HELD)
        mark(e, c);
}

const struct call *calls_find(const struct engine *e, struct span call_id)
{
    return find(e, call_id);
}

void calls_over(struct engine *e, struct span call_id)
{
    struct call *c = find(e, call_id);

    if (c)
        drop(e, c);
}

/* Its node may not know: only its Kamailio was restarted, and the calls of that stay where they are. Should the store
 * forget all, it would write the call as its own again, and nobody would end it. While Kamailio may still have the
 * transaction, that is not decided: claims do it, or the next hello. */
void calls_taken(struct engine *e, struct span call_id)
{
    struct call *c = find(e, call_id);

    if (!c || !c->own || !c->tx)
        return;
    if (!txns_by_key(&e->txns, c->tx))
        leave_or_drop(e, c);
    else if (!e->self.up)
        c->elsewhere = true;
}

void calls_looked(struct engine *e, struct span call_id, bool found)
{
    struct call *c = find(e, call_id);
    bool again = c && c->adrift;

    if (!c)
        return;
    c->adrift = !found;
    if (found || !again)
        return;
    over(e, c, "timed out", "kamsync", calls_time(e, NULL));
}

void calls_hello(struct engine *e, bool restarted)
{
    struct call *c, *next;

    HASH_ITER(hh, e->calls.by_id, c, next)
    {
        if (c->elsewhere && restarted)
            leave_or_drop(e, c);
        else
            c->elsewhere = false;
    }
}

/* ---- reading ---- */

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
    c->take = c->inherited = take;
    c->had = !take;
    if (c->trying > 0 && c->trying < c->joined)
        c->begun_ms = now - (c->joined - c->trying); /* so old it is already */
    c->joined = pairs_joined(pairs, count, e->self.id, c->joined);
    if (take)
        mark(e, c);
    return true;
}

/* ---- time ---- */

/* Before the record of an ended call is gone: else it would begin anew. */
static int64_t refresh_ms(const struct engine *e)
{
    return e->conf.ended_ttl_ms * 2 / 3 < REFRESH_MS ? e->conf.ended_ttl_ms * 2 / 3 : REFRESH_MS;
}

static int64_t check_ms(const struct engine *e)
{
    int64_t soonest = e->conf.call_max_ms / 10 < refresh_ms(e) / 4 ? e->conf.call_max_ms / 10 : refresh_ms(e) / 4;

    return soonest < CHECK_MS ? soonest : CHECK_MS;
}

static void check(struct engine *e, struct call *c, int64_t now)
{
    if (!c->how && now - c->begun_ms > e->conf.call_max_ms) {
        if (c->own)
            over(e, c, "unknown", "kamsync", calls_time(e, NULL));
        else
            drop(e, c);
        return;
    }
    if (now - c->refreshed_ms >= refresh_ms(e)) {
        c->refreshed_ms = now;
        mark(e, c);
    }
    lapse_look(e, c, now);
}

void calls_janitor(struct engine *e, int64_t now)
{
    int64_t every = check_ms(e);
    struct call *c, *next;

    DL_FOREACH_SAFE(e->calls.held, c, next)
    {
        if (now < c->hold_ms)
            continue;
        c->back_ms = 0;
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
