/* The near replicas of the nodes: each knows what stood in the store some time ago, or until it lost the store. */
#include "cluster_impl.h"

#include <utlist.h>

void cluster_near(struct cluster *c, size_t node, int64_t lag_ms, bool follows)
{
    struct site *s = &c->site[node];

    cluster_note(s, "* its near replica is %lld ms behind%s", (long long)lag_ms, follows ? "" : " and stops");
    s->near = lag_ms < 0 ? NEAR_AWAY : NEAR_THERE;
    s->near_lag_ms = lag_ms;
    s->near_stop_ms = follows ? 0 : c->now;
}

bool near_ask_replica(void *ctx, const char *key, uint64_t token)
{
    struct site *s = ctx;
    struct task *t;

    if (s->near != NEAR_THERE)
        return false;
    t = task_add(s, NEAR, NULL, key, NULL);
    t->epoch = s->store_epoch;
    t->token = token;
    return true;
}

/* What ends keeps to its time everywhere. */
static const struct entry *find(const struct cluster *c, const char *key, int64_t at_ms)
{
    const struct entry *x;

    LL_FOREACH(c->store.past, x)
    {
        if (strcmp(x->key, key) == 0 && x->since_ms <= at_ms && x->until_ms > at_ms && x->ends_ms > c->now)
            return x;
    }
    LL_FOREACH(c->store.entries, x)
    {
        if (strcmp(x->key, key) == 0 && x->since_ms <= at_ms && x->ends_ms > c->now)
            return x;
    }
    return NULL;
}

/* If it is away by now, the node hears of that, or of nothing. */
void near_answers(struct site *s, const struct task *t)
{
    int64_t now = s->c->now, at_ms = (s->near_stop_ms ? s->near_stop_ms : now) - s->near_lag_ms;
    const struct entry *x = s->near == NEAR_THERE ? find(s->c, t->key, at_ms) : NULL;
    enum get_status status = s->near != NEAR_THERE ? GET_FAILED : x ? GET_FOUND : GET_ABSENT;

    if (t->epoch != s->store_epoch || (status == GET_FAILED && one_in(s->c, 2)))
        return;
    cluster_note(s, "* near replica: get %s %.60s", t->key, x ? x->value : "-");
    engine_near_got(s->e, t->token, status, span_of(x ? x->value : NULL), now);
}
