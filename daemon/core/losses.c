/* Transactions that other nodes have claimed while this one was thought dead: its Kamailio is told to leave them alone,
 * and told again on each new connection until it has acknowledged that, since a frame may get lost with the old one. */
#include <inttypes.h>
#include <utlist.h>

#include "base64.h"
#include "engine_impl.h"

struct loss {
    struct loss *prev, *next;
    char *key, *call_id; /* owned */
    uint32_t cseq;
    int64_t n; /* number of the frame that tells it */
};

static void loss_free(struct loss *l)
{
    free(l->key);
    free(l->call_id);
    free(l);
}

static void loss_end(struct engine *e, struct loss *l)
{
    DL_DELETE(e->losses, l);
    loss_free(l);
}

static int64_t tell(struct engine *e, const char *call_id, uint32_t cseq, int64_t now)
{
    int64_t n = link_next_n(&e->link);
    char *text = base64_text(span_of(call_id));

    engine_push(e, n, text ? msg_lost(n, text, cseq) : NULL, now);
    free(text);
    return n;
}

void losses_add(struct engine *e, const struct txn *t, int64_t now)
{
    struct loss *l = calloc(1, sizeof(*l));
    int64_t n = tell(e, t->call_id, t->cseq, now);

    if (!l)
        return;
    *l = (struct loss){.key = span_dup(span_of(t->key)), .call_id = span_dup(span_of(t->call_id)), .cseq = t->cseq};
    l->n = n;
    if (l->key && l->call_id)
        DL_APPEND(e->losses, l);
    else
        loss_free(l);
}

void losses_acked(struct engine *e, int64_t n)
{
    struct loss *l;

    DL_SEARCH_SCALAR(e->losses, l, n, n);
    if (l)
        loss_end(e, l);
}

void losses_again(struct engine *e, int64_t now)
{
    struct loss *l, *next;

    DL_FOREACH_SAFE(e->losses, l, next)
    {
        if (txns_by_key(&e->txns, l->key))
            loss_end(e, l); /* taken over again meanwhile */
        else
            l->n = tell(e, l->call_id, l->cseq, now);
    }
}

void losses_clear(struct engine *e)
{
    while (e->losses)
        loss_end(e, e->losses);
}
