/* What a dead Kamailio has left, if the store lacks it: the store was away then, and came back empty. This kamsyncd,
 * which is alive, still knows it.
 *
 *     Kamailio is gone, or was restarted ▶ the store is back ▶ each record is written as it was, unless there is a
 * newer one ▶
 *     {"t": "left"} to all: they search for orphans
 *
 * A node that has taken one over has written it with a higher epoch, so its record stays. What the store had for long
 * after the death is left to the others: they have taken it over, and some of it may have ended since and expired from
 * the store. */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"

#include <utlist.h>

#include "record.h"

#define WRITING_MAX 256 /* writes under way to the store */
#define GIVEN_MS 2000   /* by then the living nodes have seen what the store had */
#define AGAIN_MS 250

struct left {
    struct left *prev, *next;
    char *key;    /* owned */
    char *record; /* owned; NULL: of a transaction still known here */
    uint64_t token;
};

static void finish(struct engine *e, struct left *l)
{
    DL_DELETE(e->left.list, l);
    free(l->key);
    free(l->record);
    free(l);
}

static void add(struct engine *e, const struct txn *t)
{
    struct left *l = calloc(1, sizeof(*l));

    if (!l)
        return;
    l->key = span_dup(span_of(t->key));
    DL_APPEND(e->left.list, l);
    if (!l->key)
        finish(e, l);
}

/* With the head that the store last had: an epoch raised since then would overwrite the record of a node that has
 * meanwhile received the INVITE as a new one. */
static char *record_of(const struct engine *e, const char *key)
{
    const struct txn *t = txns_by_key(&e->txns, key);
    struct head h = {t && t->proven_epoch ? t->proven_epoch : 1, e->self.id, e->self.inc, HEAD_HELD,
                     t ? &t->from : NULL};

    return t && !txn_is_done(t) && !t->away ? record_write(t, &h, calls_vars(e, t), true) : NULL;
}

void left_gather(struct engine *e, int64_t lost_ms)
{
    struct txn *t, *next;

    if (e->self.up || !e->self.id || !e->conf.takeover || e->left.list || lost_ms - e->left.dead_ms > GIVEN_MS)
        return;
    HASH_ITER(hh, e->txns.by_id, t, next)
    {
        if (!txn_is_done(t))
            add(e, t);
    }
}

/* Makes the records while the transactions are still known as that Kamailio's. */
void left_restarted(struct engine *e)
{
    struct left *l, *next;

    if (!e->store.up)
        left_gather(e, e->store.lost_ms);
    DL_FOREACH_SAFE(e->left.list, l, next)
    {
        if (!l->record)
            l->record = record_of(e, l->key);
        if (!l->record)
            finish(e, l);
    }
}

void left_alive(struct engine *e)
{
    struct left *l, *next;

    DL_FOREACH_SAFE(e->left.list, l, next)
    {
        if (!l->record)
            finish(e, l);
    }
}

static void write_one(struct engine *e, struct left *l)
{
    char *record = l->record ? NULL : record_of(e, l->key);
    const char *text = l->record ? l->record : record;

    if (!text) {
        finish(e, l);
        return;
    }
    l->token = engine_token(e);
    e->left.writing++;
    e->count.puts++;
    e->io.put(e->io.ctx, l->key, text, e->conf.tx_ttl_ms, l->token);
    free(record);
}

/* Only after this node's own heartbeat is in the store: before, no node knows whose these records are. */
static bool may_run(const struct engine *e)
{
    return e->left.list && e->store.up && !e->peers.unheard;
}

void left_run(struct engine *e, int64_t now)
{
    struct left *l, *next;

    if (!may_run(e) || now < e->left.again_ms)
        return;
    e->left.again_ms = 0;
    DL_FOREACH_SAFE(e->left.list, l, next)
    {
        if (e->left.writing >= WRITING_MAX)
            break;
        if (!l->token)
            write_one(e, l);
    }
}

int64_t left_due(const struct engine *e)
{
    return may_run(e) && e->left.again_ms ? e->left.again_ms : INT64_MAX;
}

bool left_put_done(struct engine *e, uint64_t token, enum put_status status, int64_t now)
{
    struct left *l;

    DL_SEARCH_SCALAR(e->left.list, l, token, token);
    if (!l)
        return false;
    e->left.writing--;
    if (status == PUT_FAILED) {
        l->token = 0;
        e->left.again_ms = now + AGAIN_MS;
        return true;
    }
    e->count.records_left += status == PUT_DONE;
    finish(e, l);
    if (!e->left.list) {
        e->left.dead_ms = now; /* from now on they are the others' */
        message_left(e);
        search_begin(e, false);
    }
    return true;
}

void left_clear(struct engine *e)
{
    while (e->left.list)
        finish(e, e->left.list);
    e->left.writing = 0;
}
