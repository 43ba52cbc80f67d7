/* A takeover that failed: this node's Kamailio would not have the INVITE, or did not say so. Its claim is let go, so
 * that another survivor may try, or this one at a later stray:
 *
 *     given up ▶ (no INVITE of it can be carried out any more) ▶ let go
 *              ▶ Kamailio has it after all: taken
 *
 * An INVITE may lie in Kamailio's socket for long. While it may come to life there nobody else may have the
 * transaction.
 *
 * A claim whose answer got lost may have won, and who is claimed from may be back by now: so it is let go, too, and all
 * begins anew. */
#include "own_impl.h"
#include "link_impl.h"
#include "takeovers.h"

/* The script takes no handover that is older than 10 s; and some time for it to say what it has taken. */
#define CARRIED_OUT_MS 12000

/* It holds nobody up any more. */
static void step_aside(struct engine *e, struct takeover *t, enum takeover_state state)
{
    e->takeovers.count -= t->state < TAKEN;
    e->takeovers.active -= t->state < TAKEN;
    t->state = state;
}

/* Nothing of it comes to life from then on: at once, if the only one that was sent was refused. */
static int64_t settled_ms(const struct takeover *t, int64_t now)
{
    int64_t end = t->sent_ms + CARRIED_OUT_MS;

    if (t->tries == 1 && now < t->due_ms)
        return now;
    return end > now ? end : now + 1;
}

void giveup(struct engine *e, struct takeover *t, int64_t now)
{
    char call_id[128];

    e->count.takeovers_failed++;
    engine_trace(e, span_of(t->txn->call_id), "takeover failed");
    engine_log(e, LOG_LEVEL_WARN, "takeover failed call-id=%s",
               printable(call_id, sizeof(call_id), span_of(t->txn->call_id)));
    engine_post(e, (struct notice){.type = NOTICE_GIVEN_UP, .key = t->key}, now);
    t->due_ms = settled_ms(t, now);
    step_aside(e, t, FAILED);
}

void giveup_leave(struct engine *e, struct takeover *t, int64_t now)
{
    struct holder nobody = {.n = t->as.n + 1};

    memcpy(nobody.inc, t->as.inc, sizeof(nobody.inc));
    step_aside(e, t, LEAVING);
    t->due_ms = 0;
    if (!claim_write(e, t->key, &t->as, &nobody, e->conf.tx_ttl_ms, t->token))
        t->due_ms = now + RECHECK_MS;
}

void giveup_left(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h, int64_t now)
{
    /* a claim that this node has on itself, for a second, hides whether it was followed */
    bool hidden = status == CLAIM_LOST && h->id && holder_same_name(h, &t->as);
    char *key = t->blind && status == CLAIM_WON ? span_dup(span_of(t->key)) : NULL;

    if (status == CLAIM_FAILED || hidden) {
        t->due_ms = now + RECHECK_MS;
        return;
    }
    if (status == CLAIM_WON && t->txn)
        engine_trace(e, span_of(t->txn->call_id), "let go: another node may take it over");
    takeover_end(e, t);
    if (key)
        takeover_wait(e, key, false);
    free(key);
}

void giveup_blind(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h, int64_t now)
{
    bool mine = status == CLAIM_LOST && holder_is_self(e, h);

    t->blind = true;
    if (mine)
        t->as = *h;
    if (status == CLAIM_FAILED || (mine && holder_same_name(h, &t->from)))
        t->due_ms = now + RECHECK_MS;
    else if (status == CLAIM_WON || mine)
        giveup_leave(e, t, now);
    else
        takeover_end(e, t);
}
