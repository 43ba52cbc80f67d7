/* The set of takeovers under way. takeover_table.c is their state machine. */
#include "takeovers.h"

#include <utlist.h>

struct takeover *takeover_by_token(const struct engine *e, uint64_t token)
{
    struct takeover *t;

    DL_FOREACH(e->takeovers.list, t)
    {
        if (t->state == WANTED)
            return NULL;
        if (t->token == token)
            return t;
    }
    return NULL;
}

struct takeover *takeover_answer_to(const struct engine *e, uint64_t token)
{
    struct takeover *t = takeover_by_token(e, token);

    if (!t || !t->asked)
        return NULL;
    t->asked = false;
    return t;
}

struct takeover *takeover_by_key(const struct engine *e, const char *key)
{
    struct takeover *t;

    HASH_FIND_STR(e->takeovers.by_key, key, t);
    return t;
}

/* Counts a takeover in that state. */
static void count(struct engine *e, enum takeover_state state, int one)
{
    e->takeovers.count += (size_t)(state < TAKEN ? one : 0);
    e->takeovers.active += (size_t)(state != WANTED && state < TAKEN ? one : 0);
    e->takeovers.unanswered += (size_t)(state == TAKEN ? one : 0);
}

void takeover_end(struct engine *e, struct takeover *t)
{
    count(e, t->state, -1);
    DL_DELETE(e->takeovers.list, t);
    HASH_DELETE(hh, e->takeovers.by_key, t); /* NOLINT(clang-analyzer-*): uthash */
    txn_free(t->txn);
    free(t->src);
    free(t->dst);
    free(t->to_tag);
    free(t->key);
    free(t);
}

/* Those under way are in front, so that answers find them at once. */
static void set_state(struct engine *e, struct takeover *t, enum takeover_state state)
{
    if ((t->state == WANTED) != (state == WANTED))
        DL_DELETE(e->takeovers.list, t);
    if (t->state == WANTED && state != WANTED)
        DL_PREPEND(e->takeovers.list, t);
    else if (t->state != WANTED && state == WANTED)
        DL_APPEND(e->takeovers.list, t);
    count(e, t->state, -1);
    t->state = state;
    count(e, t->state, 1);
}

void takeover_go(struct engine *e, struct takeover *t, enum takeover_event event, int64_t now)
{
    const struct takeover_step *s = takeover_step(t->state, event);

    if (!s)
        return; /* no such transition; the table says why (test_takeover_table.c) */
    if (s->next != TAKEOVER_ENDED)
        set_state(e, t, s->next);
    if (s->act)
        s->act(e, t, now);
    if (s->next == TAKEOVER_ENDED)
        takeover_end(e, t);
}

struct takeover *takeover_add(struct engine *e, const char *key, int64_t now)
{
    struct takeover *t = calloc(1, sizeof(*t));

    if (t)
        t->key = span_dup(span_of(key));
    if (t && t->key)
        HASH_ADD_KEYPTR(hh, e->takeovers.by_key, t->key, strlen(t->key), t); /* NOLINT(clang-analyzer-*): uthash */
    if (!t || !t->key || !t->hh.tbl) {
        free(t ? t->key : NULL);
        free(t);
        return NULL;
    }
    t->begun_ms = now;
    DL_APPEND(e->takeovers.list, t);
    count(e, WANTED, 1);
    return t;
}

void takeover_wait(struct engine *e, const char *key, enum round round, int64_t now)
{
    struct takeover *t = takeover_by_key(e, key);

    t = t ? t : takeover_add(e, key, now);
    if (t && t->round < round)
        t->round = round;
}

/* Frees the slot of a takeover that is done. */
struct takeover *takeover_find(struct engine *e, const char *key)
{
    struct takeover *t = takeover_by_key(e, key);

    if (!t || t->state != TAKEN)
        return t;
    takeover_end(e, t);
    return NULL;
}

void takeover_doubt(struct engine *e)
{
    struct takeover *t;

    DL_FOREACH(e->takeovers.list, t)
    {
        t->doubt = t->silent = true;
    }
}

void takeover_answered(struct engine *e, const char *key)
{
    takeover_find(e, key);
}

/* The transaction, which is the caller's now. */
struct txn *takeover_hand_out(struct engine *e, struct takeover *t, int64_t now)
{
    struct txn *txn = t->txn;

    owner_hold(txn, &t->from, t->epoch, t->doubt);
    t->txn = NULL;
    e->count.takeovers_done += !txn->final;
    if (!txn->final)
        histogram_add(&e->took.takeover, 1000 * (now - t->begun_ms));
    engine_decided(e, span_of(txn->call_id), 0, "taken over: this node has the transaction now");
    takeover_go(e, t, EV_TAKEN, now);
    return txn;
}

struct txn *takeover_confirm(struct engine *e, struct span tm_id, int64_t now)
{
    struct takeover *t;

    DL_FOREACH(e->takeovers.list, t)
    {
        if (t->state == WANTED)
            return NULL;
        if ((t->state == INJECTED || t->state == FAILED) && span_eq(span_of(t->txn->id), tm_id))
            return takeover_hand_out(e, t, now);
    }
    return NULL;
}

void takeover_clear(struct engine *e)
{
    while (e->takeovers.list)
        takeover_end(e, e->takeovers.list);
    e->search = (struct search){.running = e->search.running}; /* the store still answers the scan under way */
}
