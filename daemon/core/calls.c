/* The calls that this node knows: begun here, taken over, or given a variable here.
 *
 *     INVITE, replies (owner.c) ▶ call changes ▶ dirty ▶ (once per loop turn) calls_write.c ▶ the store
 *     variable (script)         ▶
 *
 * A call is its INVITE's (Call-ID, From tag) and follows one transaction, the first: another one with the same Call-ID
 * is a spiral or a fork upstream, and changes nothing. A caller who was challenged or redirected tries again with the
 * same Call-ID; so such an end is held back for a moment.
 *
 * Every node keeps what it has added until the call is over, so that it can write it again should the store forget. */
#include "calls.h"

#include <errno.h>
#include <stdio.h>
#include <utlist.h>

#include "count.h"

#define CALLS_MAX 1000000 /* calls in memory */
#define AGAIN_MS 10000    /* who was challenged or redirected has tried again by then */
#define CHECK_MS 60000    /* each call is looked at so often */
#define REFRESH_MS 600000 /* and written again at least so often: should its end have been missed, that shows it */

static struct call *find(const struct engine *e, struct span call_id)
{
    struct call *c;

    HASH_FIND(hh, e->calls.by_id, call_id.p, call_id.n, c);
    return c;
}

void calls_drop(struct engine *e, struct call *c)
{
    calls_move(e, c, CALL_IDLE);
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
    c->own = c->take = c->had = c->finishing = c->refused = c->elsewhere = false;
    c->back_ms = 0;
    calls_move(e, c, CALL_IDLE);
    calls_mark(e, c);
}

void calls_leave(struct engine *e, struct call *c)
{
    if (json_object_size(c->vars))
        leave(e, c);
    else
        calls_drop(e, c);
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
        calls_mark(e, c);
    else
        calls_drop(e, c);
}

void calls_take(struct engine *e, struct txn *t, int64_t now)
{
    int64_t at = calls_time(e, NULL);
    const char *name;
    json_t *value;
    struct sip_id id;
    struct call *c;

    if (sip_read_id(&id, t->req) < 0 || id.to_tag.n)
        return;
    c = t->call_taken ? find(e, id.call_id) : find_or_add(e, id.call_id, at, now);
    t->call_taken = t->call_taken || c;
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
    calls_mark(e, c);
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
    calls_mark(e, c);
}

static void over(struct engine *e, struct call *c, const char *how, const char *by, int64_t at)
{
    if (c->elsewhere)
        return;
    c->how = how;
    c->by = by;
    c->ended = at;
    calls_mark(e, c);
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
        calls_drop(e, c);
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
        calls_hold(e, c, c->back_ms);
}

/* ---- variables ---- */

void calls_set(struct engine *e, const struct event *ev, int64_t now)
{
    struct call *c = find_or_add(e, ev->call_id, calls_time(e, ev), now);
    char call_id[128];
    int rc = c ? call_set(c, ev->name, ev->value, true) : -ENOMEM;

    if (rc == 0) {
        calls_mark(e, c);
        return;
    }
    if (c && !c->own && !json_object_size(c->vars))
        calls_drop(e, c); /* nothing of it is to be written */
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

const struct call *calls_find(const struct engine *e, struct span call_id)
{
    return find(e, call_id);
}

void calls_over(struct engine *e, struct span call_id)
{
    struct call *c = find(e, call_id);

    if (c)
        calls_drop(e, c);
}

/* Its node may not know: only its Kamailio was restarted, and the calls of that stay where they are. Should the store
 * forget all, it would write the call as its own again, and nobody would end it, or it would end once more. While
 * Kamailio may still have the transaction, whose it is is not decided: claims do it, or the next hello. */
void calls_taken(struct engine *e, struct span call_id)
{
    struct call *c = find(e, call_id);

    if (!c || !c->own || !c->tx)
        return;
    if (!txns_by_key(&e->txns, c->tx)) {
        calls_leave(e, c);
    } else if (!e->self.up && e->conf.takeover) {
        c->elsewhere = true;
        if (c->place != CALL_WRITING)
            calls_move(e, c, CALL_IDLE);
    }
}

void calls_keep(struct engine *e, const struct txn *t)
{
    struct call *c = of_txn(e, t);

    if (!c || !c->elsewhere)
        return;
    c->elsewhere = false;
    calls_mark(e, c);
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

void calls_restarted(struct engine *e)
{
    struct call *c, *next;

    HASH_ITER(hh, e->calls.by_id, c, next)
    {
        if (c->elsewhere)
            calls_leave(e, c);
    }
}

/* ---- reading ---- */

bool calls_read(struct engine *e, struct span call_id, const struct pair *pairs, size_t count, bool take, int64_t now)
{
    struct call *c = find(e, call_id) ? NULL : add(e, call_id, calls_time(e, NULL), now);

    if (!c)
        return false;
    if (call_read(c, pairs, count) < 0) {
        calls_drop(e, c);
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
        calls_mark(e, c);
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
        if (c->own && !c->elsewhere)
            over(e, c, "unknown", "kamsync", calls_time(e, NULL));
        else
            calls_drop(e, c);
        return;
    }
    if (now - c->refreshed_ms >= refresh_ms(e)) {
        c->refreshed_ms = now;
        calls_mark(e, c);
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
        calls_mark(e, c);
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
        calls_drop(e, e->calls.oldest);
}
