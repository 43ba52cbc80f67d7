/* Survivors inherit the calls of a node that is gone for good, each its share; and a kamsyncd that has just started
 * reads its own calls back. Their keys come from the same search as those of the transactions (search.c). */
#include "call_impl.h"
#include "cluster_impl.h"

#include <utlist.h>

#include "call.h"

#define READING_MAX 64

struct failover {
    struct failover *prev, *next;
    char *key;
    uint64_t token;   /* 0: waits */
    enum round round; /* of the search that found it */
};

static void finish(struct engine *e, struct failover *h)
{
    DL_DELETE(e->failovers.list, h);
    e->failovers.count--;
    e->failovers.reading -= h->token != 0;
    free(h->key);
    free(h);
}

void failover_wait(struct engine *e, const char *key, enum round round)
{
    struct failover *h = calloc(1, sizeof(*h));

    if (h)
        h->key = span_dup(span_of(key));
    if (!h || !h->key) {
        free(h);
        return;
    }
    h->round = round;
    DL_APPEND(e->failovers.list, h);
    e->failovers.count++;
}

/* Whether the kamsyncd that wrote the call is gone; if only Kamailio was restarted, the calls stay with their node.
 */
static bool is_gone(const struct engine *e, int node)
{
    const struct node *n = nodes_find(&e->nodes, node);

    return node != e->self.id && (n ? n->lost : e->peers.ripe);
}

/* Its caller was challenged or redirected, has not come again yet, and whoever was to write the end was the kamsyncd
 * before this one, or is dead: expiry.c does. */
static bool is_forsaken(const struct engine *e, const struct pair *pairs, size_t count)
{
    int64_t node;

    if (pairs_number(pairs, count, "node") != CALL_NOBODY ||
        !call_asks_for_more((int)pairs_number(pairs, count, "code")))
        return false;
    for (size_t i = 0; pairs_joined_next(pairs, count, &i, &node);)
        if (node != e->self.id && !is_gone(e, (int)node))
            return false;
    return true;
}

static void consider(struct engine *e, const struct failover *h, const struct pair *pairs, size_t count, int64_t now)
{
    int node = (int)pairs_number(pairs, count, "node");
    struct span call_id = pairs_text(pairs, count, "call_id"), name;
    bool gone = node > 0 && is_gone(e, node) && sites_may_take(e, node, h->key, h->round);

    if (pairs_number(pairs, count, "ended") || !call_id.n ||
        (node != e->self.id && !gone && !is_forsaken(e, pairs, count)))
        return;
    name = call_name(call_id, pairs_text(pairs, count, "from_tag"));
    if (name.p && calls_read(e, name, pairs, count, gone, now) && gone)
        e->count.calls_failed_over++;
    free((char *)name.p);
}

bool failover_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                  int64_t now)
{
    struct failover *h;

    DL_FOREACH(e->failovers.list, h)
    {
        if (!h->token)
            return false;
        if (h->token == token)
            break;
    }
    if (!h)
        return false;
    if (status == GET_FOUND)
        consider(e, h, pairs, count, now);
    finish(e, h);
    return true;
}

/* Those being read are in front. */
void failover_run(struct engine *e)
{
    struct failover *h, *next;

    DL_FOREACH_SAFE(e->failovers.list, h, next)
    {
        if (e->failovers.reading >= READING_MAX)
            return;
        if (h->token)
            continue;
        DL_DELETE(e->failovers.list, h);
        DL_PREPEND(e->failovers.list, h);
        h->token = engine_token(e);
        e->failovers.reading++;
        e->io.call_get(e->io.ctx, h->key, NULL, h->token);
    }
}

void failover_clear(struct engine *e)
{
    while (e->failovers.list)
        finish(e, e->failovers.list);
}
