/* Ends a call that was not answered, and whose transaction no node has: its Kamailio died before that was in the
 * store, so no node can take it over; or its caller was challenged, has not come again, and the kamsyncd that waited
 * for him has stopped. Nothing else would end the call.
 *
 *     older than a transaction's record may be ▶ is there one? ▶ absent, also at the next check ▶ it has timed out, or
 *     (challenged) was rejected
 *
 * A node with a transaction keeps its record in the store, and writes a lost one again within seconds; so the check is
 * made twice. */
#include "call_impl.h"

#include <utlist.h>

#include "calls_list.h"

#define EXPIRIES_MAX 1024 /* lookups under way; further ones wait for the next check */

struct expiry {
    struct expiry *prev, *next;
    struct span name; /* owned */
    uint64_t token;
};

static void finish(struct engine *e, struct expiry *l)
{
    DL_DELETE(e->expiries.list, l);
    e->expiries.count--;
    free((char *)l->name.p);
    free(l);
}

/* If it has a dialog, that died with its Kamailio. While Kamailio is alive, it may have a transaction that this
 * kamsyncd does not know, and without takeovers a call may be answered unnoticed. One that was refused has another
 * branch then, and so a record. */
static bool is_adrift(const struct engine *e, const struct call *c)
{
    bool dead = c->inc && strcmp(c->inc, e->self.inc) != 0;

    return e->conf.takeover && c->role != CALL_GUEST && c->write_as != WRITE_TAKE && c->tx && !c->how && !c->answered &&
           (call_is_refused(c) || dead) && !txns_by_key(&e->txns, c->tx);
}

void expiry_look(struct engine *e, const struct call *c, int64_t now)
{
    struct expiry *l;

    if (!is_adrift(e, c) || now - c->begun_ms <= e->conf.tx_ttl_ms || !e->store.up || e->peers.unheard ||
        now < e->store.doubt_ms || e->expiries.count >= EXPIRIES_MAX || (l = calloc(1, sizeof(*l))) == NULL)
        return;
    l->name = (struct span){span_dup(c->name), c->name.n};
    l->token = engine_token(e);
    DL_APPEND(e->expiries.list, l);
    e->expiries.count++;
    if (l->name.p)
        e->io.get(e->io.ctx, c->tx, l->token);
    else
        finish(e, l);
}

/* Ends the call the second time that no node has its transaction. */
static void looked(struct engine *e, struct span name, bool found)
{
    struct call *c = calls_known(e, name);
    bool again = c && c->tx_absent;

    if (!c)
        return;
    c->tx_absent = !found;
    if (found || !again)
        return;
    if (call_is_refused(c)) /* soon after that; when, the record does not say */
        calls_conclude(e, c, "rejected", "callee", c->ringing ? c->ringing : c->trying);
    else
        calls_conclude(e, c, "timed out", "kamsync", calls_time(e, NULL));
}

void expiry_got(struct engine *e, uint64_t token, enum get_status status, int64_t now)
{
    struct expiry *l;
    const struct call *c;

    DL_SEARCH_SCALAR(e->expiries.list, l, token, token);
    if (!l)
        return;
    c = calls_find(e, l->name);
    if (c && is_adrift(e, c) && status != GET_FAILED && now >= e->store.doubt_ms)
        looked(e, l->name, status == GET_FOUND);
    finish(e, l);
}

void expiry_clear(struct engine *e)
{
    while (e->expiries.list)
        finish(e, e->expiries.list);
}
