/* Transactions without a branch: the script reports one before it suspends it (KAMSYNC_PENDING), so that other nodes
 * know of it.
 *
 *     pending ▶ record, with one branch that goes nowhere ▶ its first branch ▶ as any transaction
 *                                                         ▶ answered by the script: state.c asks for that
 *     its owner dies ▶ a survivor's script gets the INVITE, and routes it as one from the network
 *
 * tm's Via branch is not known before there is one, so it has a name of its own until then. */
#include "own_impl.h"

#include "key.h"
#include "takeovers.h"

/* The record's name; NULL: the event begins no transaction, or out of memory. */
static char *key_of(const struct event *ev)
{
    struct sip_id id;

    if (!ev->req.n || sip_read_id(&id, ev->req) < 0)
        return NULL;
    return key_tx(id.call_id, id.cseq, id.branch, id.sent_by);
}

struct txn *pending_taken(struct engine *e, const struct event *ev, int64_t now)
{
    char *key = e->takeovers.list ? key_of(ev) : NULL;
    struct takeover *t = key ? takeover_by_key(e, key) : NULL;

    free(key);
    if (!t || (t->state != INJECTED && t->state != FAILED) || !txn_is_pending(t->txn))
        return NULL;
    return takeover_hand_out(e, t, now);
}

struct txn *pending_begun(struct engine *e, const struct event *ev, const struct sip_sent *sent)
{
    char *key = e->owner.pendings ? key_of(ev) : NULL;
    struct txn *t = key ? txns_by_key(&e->txns, key) : NULL;
    struct span id;
    int index;

    free(key);
    if (!t || !txn_is_pending(t) || txn_split_branch(sent->branch, &id, &index) < 0 || txn_begun(t, ev) < 0 ||
        txns_rename(&e->txns, t, id) < 0)
        return NULL;
    return t;
}
