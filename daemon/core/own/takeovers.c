/* All takeovers under way, what each claims, and their pace. takeover.c says what becomes of one. */
#include "takeovers.h"
#include "link_impl.h"

#include <utlist.h>

#include "key.h"

/* The pace after a death. What is under way at once stands before ordinary calls, in the queues of Kamailio's sockets
 * and for its processes: so one that was taken counts until the far end has answered, or ANSWER_MS have passed, and the
 * slower Kamailio confirms, the fewer there are. */
#define ACTIVE_MAX 64
#define ACTIVE_MIN 16
#define SLOW_MS 30    /* to confirm one; a quarter of that is the script's timer */
#define ANSWER_MS 100 /* far ends that say nothing hold nobody up for long */

struct takeover *takeover_by_token(const struct engine *e, uint64_t token)
{
    struct takeover *t;

    DL_FOREACH(e->takeovers.list, t)
    {
        if (t->state == WAITING)
            return NULL;
        if (t->token == token)
            return t;
    }
    return NULL;
}

struct takeover *takeover_by_key(const struct engine *e, const char *key)
{
    struct takeover *t;

    HASH_FIND_STR(e->takeovers.by_key, key, t);
    return t;
}

void takeover_end(struct engine *e, struct takeover *t)
{
    e->takeovers.unanswered -= t->state == TAKEN;
    e->takeovers.active -= t->state != WAITING && t->state < TAKEN;
    e->takeovers.count -= t->state < TAKEN;
    DL_DELETE(e->takeovers.list, t);
    HASH_DELETE(hh, e->takeovers.by_key, t); /* NOLINT(clang-analyzer-*): uthash */
    txn_free(t->txn);
    free(t->to_tag);
    free(t->key);
    free(t);
}

struct takeover *takeover_add(struct engine *e, const char *key)
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
    t->token = ++e->last_token;
    DL_APPEND(e->takeovers.list, t);
    e->takeovers.count++;
    return t;
}

void takeover_wait(struct engine *e, const char *key, bool foreign)
{
    struct takeover *t = takeover_by_key(e, key) ? NULL : takeover_add(e, key);

    if (t)
        t->foreign = foreign;
}

void takeover_activate(struct engine *e, struct takeover *t, enum takeover_state state)
{
    if (t->state == WAITING) {
        e->takeovers.active++;
        DL_DELETE(e->takeovers.list, t);
        DL_PREPEND(e->takeovers.list, t);
    }
    t->state = state;
}

/* What is done, and counts only for the pace, is out of the way. */
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
        t->doubt = !t->own;
        t->silent = true;
    }
}

/* ---- claim ---- */

/* By which name: one that is not in use yet, unless it is claimed from this node itself. */
static struct holder name_for(const struct engine *e, const struct takeover *t)
{
    struct holder h = holder_of(e->self.id, e->self.inc);

    h.n = holder_is_self(e, &t->from) ? t->from.n : t->names;
    return h;
}

void takeover_claim(struct engine *e, struct takeover *t)
{
    takeover_activate(e, t, CLAIMING);
    t->due_ms = 0;
    t->as = name_for(e, t);
    if (t->own && !t->again && !t->chain && !t->from.n)
        t->doubt = false; /* the answers from here on are new enough */
    if (!claim_write(e, t->key, &t->from, &t->as, holder_is_self(e, &t->from) ? OWN_CLAIM_MS : e->conf.tx_ttl_ms,
                     t->token))
        takeover_end(e, t);
}

static void ask_for_node(struct engine *e, struct takeover *t)
{
    char key[KEY_SHORT_MAX];

    takeover_activate(e, t, ASKING);
    t->due_ms = 0;
    t->asked_ms = e->turn_ms;
    e->io.get(e->io.ctx, key_short(key, KEY_NODE, t->from.id), t->token);
}

/* That holder has the transaction, or has claimed it, and looks dead, or has let it go: claims it from there. */
void takeover_claim_from(struct engine *e, struct takeover *t, struct holder from)
{
    t->from = from;
    t->late = false;
    if (strcmp(from.inc, e->self.inc) == 0 && from.n >= t->names)
        t->names = from.n + 1;
    if (!from.id || from.id == e->self.id) {
        takeover_claim(e, t); /* of itself a node is certain */
        return;
    }
    ask_for_node(e, t);
}

bool takeover_doubts_claim(struct engine *e, struct takeover *t, int64_t now)
{
    if (!t->from.id || t->from.id == e->self.id || t->late || now - t->asked_ms < OWN_CLAIM_MS)
        return false;
    t->late = true;
    ask_for_node(e, t);
    return true;
}

void takeover_look(struct engine *e, struct takeover *t, struct holder h)
{
    char *key = claim_key(t->key, &h);

    t->from = h;
    takeover_activate(e, t, LOOKING);
    if (key)
        e->io.get(e->io.ctx, key, t->token);
    else
        takeover_end(e, t);
    free(key);
}

/* This node was about to take over what its Kamailio has begun itself by now: that is claimed as an own one instead. */
static struct takeover *find_own(struct engine *e, const char *key)
{
    struct takeover *t = takeover_find(e, key);

    if (!t || t->own || t->state >= INJECTED)
        return t;
    takeover_end(e, t);
    return NULL;
}

void takeover_recheck(struct engine *e, struct txn *own)
{
    struct takeover *t = find_own(e, own->key);

    if (t && t->own)
        t->doubt = t->state != WAITING;
    else if (!t && (t = takeover_add(e, own->key)))
        t->own = true;
    own->unsure = t && t->own;
}

/* ---- pace ---- */

bool takeover_may_begin(const struct engine *e)
{
    return e->takeovers.active + e->takeovers.unanswered + e->takeovers.fewer < ACTIVE_MAX;
}

static void confirmed(struct engine *e, struct takeover *t, int64_t now)
{
    if (now - t->sent_ms > SLOW_MS)
        e->takeovers.fewer += e->takeovers.fewer < ACTIVE_MAX - ACTIVE_MIN;
    else
        e->takeovers.fewer -= e->takeovers.fewer > 0;
    e->takeovers.count -= t->state < TAKEN;
    e->takeovers.active -= t->state < TAKEN;
    e->takeovers.unanswered++;
    t->state = TAKEN;
    t->due_ms = now + ANSWER_MS;
}

void takeover_answered(struct engine *e, const char *key)
{
    takeover_find(e, key);
}

struct txn *takeover_confirm(struct engine *e, struct span tm_id, int64_t now)
{
    struct takeover *t;
    struct txn *txn;
    char from[HOLDER_MAX];

    DL_FOREACH(e->takeovers.list, t)
    {
        if (t->state == WAITING)
            return NULL;
        if ((t->state == INJECTED || t->state == FAILED) && span_eq(span_of(t->txn->id), tm_id))
            break;
    }
    if (!t)
        return NULL;
    txn = t->txn;
    txn->unsure = t->doubt;
    free(txn->taken_from);
    free(txn->taken_of);
    /* what was let go is no other node's */
    holder_write(from, t->from.id && !holder_is_self(e, &t->from) ? &t->from : &t->owner);
    txn->taken_from = span_dup(span_of(from));
    holder_write(from, &t->owner);
    txn->taken_of = span_dup(span_of(from));
    t->txn = NULL;
    e->count.takeovers_done += !txn->final;
    engine_trace(e, span_of(txn->call_id), "taken over: this node has the transaction now");
    confirmed(e, t, now);
    return txn;
}
