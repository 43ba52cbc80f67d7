/* Transactions that other nodes have taken over while this one was thought dead: its Kamailio is told to drop them, and
 * again on each new connection until it has acknowledged that, since a frame may get lost with the old
 * connection. */
#include "own_impl.h"
#include "link_impl.h"

#include <stdio.h>
#include <utlist.h>

#include "base64.h"
#include "count.h"

struct revoked {
    struct revoked *prev, *next;
    char *key; /* owned; the other texts stand behind it in the same block */
    const char *call_id, *branch, *sent_by;
    uint32_t cseq;
    int64_t n; /* number of the frame that reports it */
};

static void revoked_end(struct engine *e, struct revoked *l)
{
    DL_DELETE(e->revoked, l);
    free(l->key);
    free(l);
}

/* The script has sent-by with its port, which the caller may have left out. */
static char *with_port(const char *sent_by)
{
    unsigned port;
    struct span host = sip_sent_by(span_of(sent_by), &port);
    char *text = NULL, *base64;

    if (asprintf(&text, "%.*s:%u", (int)host.n, host.p, port) < 0)
        return NULL;
    base64 = base64_text(span_of(text));
    free(text);
    return base64;
}

static int64_t tell(struct engine *e, const char *call_id, uint32_t cseq, const char *branch, const char *sent_by,
                    int64_t now)
{
    int64_t n = link_next_n(&e->link);
    char *a = base64_text(span_of(call_id)), *b = base64_text(span_of(branch)), *c = with_port(sent_by);

    engine_push(e, n, a && b && c ? msg_lost(n, a, cseq, b, c) : NULL, now);
    free(a);
    free(b);
    free(c);
    return n;
}

void revoked_add(struct engine *e, const struct txn *t, int64_t now)
{
    struct span texts[] = {span_of(t->key), span_of(t->call_id), span_of(t->branch), span_of(t->sent_by)};
    struct revoked *l = calloc(1, sizeof(*l));
    int64_t n = tell(e, t->call_id, t->cseq, t->branch, t->sent_by, now);
    char *key = l ? span_dup_all(texts, COUNT(texts)) : NULL;

    if (!key) {
        free(l);
        return;
    }
    *l = (struct revoked){.key = key, .call_id = texts[1].p, .branch = texts[2].p, .sent_by = texts[3].p};
    l->cseq = t->cseq;
    l->n = n;
    DL_APPEND(e->revoked, l);
}

void revoked_acked(struct engine *e, int64_t n)
{
    struct revoked *l;

    DL_SEARCH_SCALAR(e->revoked, l, n, n);
    if (l)
        revoked_end(e, l);
}

void revoked_again(struct engine *e, int64_t now)
{
    struct revoked *l, *next;

    DL_FOREACH_SAFE(e->revoked, l, next)
    {
        if (txns_by_key(&e->txns, l->key))
            revoked_end(e, l); /* taken back meanwhile */
        else
            l->n = tell(e, l->call_id, l->cseq, l->branch, l->sent_by, now);
    }
}

void revoked_clear(struct engine *e)
{
    while (e->revoked)
        revoked_end(e, e->revoked);
}
