/* Evacuation: this node's Kamailio is to be stopped, so its living transactions are given to the other nodes.
 *
 *     its record: "given" ▶ a node is told ▶ takes it over, as an orphan ▶ "taken" ▶ this node writes its record again
 *     ▶ is fenced (fence.c) ▶ tm forgets the transaction without a word (second_heir())
 *
 * tm has the transaction until another tm has it, so there is always one that takes what comes. The given record is
 * still this node's, with its epoch: it is one write that takes it back, and whichever write comes first wins, as in
 * any takeover. So nothing depends on the messages: a lost one is repeated, and the record written again every
 * AGAIN_MS, until it is fenced. */
#include "own_impl.h"
#include "cluster_impl.h"

#include "key.h"

#define STEP_MS 10       /* interval of giving more */
#define AGAIN_MS 250     /* not taken by then: another node is told */
#define SETTLED_MS 50    /* no event since: nothing of it is under way from Kamailio to kamsyncd */
#define RETURNED_MS 3000 /* one that came back is not given again before */

/* Whether that node may take something over. One of an older version need not understand what this one writes; a newer
 * one does. */
static bool can_take(const struct engine *e, const struct node *n)
{
    return n->up && !n->lost && n->reached && !n->unseen && n->version >= e->self.version;
}

static bool is_near(const struct engine *e, const struct node *n)
{
    return strcmp(n->site, e->self.site) == 0;
}

/* Decides whether only nodes of this node's own site are targets, since there are some; how many targets there are. */
static size_t choose_targets(struct engine *e)
{
    size_t near = 0, far = 0;

    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[i];

        near += can_take(e, n) && is_near(e, n);
        far += can_take(e, n) && !is_near(e, n);
    }
    e->evacuation.near = near > 0;
    return near ? near : far;
}

static bool is_target(const struct engine *e, const struct node *n)
{
    return can_take(e, n) && (!e->evacuation.near || is_near(e, n));
}

/* They take turns. */
static int next_target(struct engine *e)
{
    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[e->evacuation.turn++ % e->nodes.count];

        if (is_target(e, n))
            return n->id;
    }
    return 0;
}

const char *engine_evacuate(struct engine *e, bool on, int64_t now)
{
    struct txn *t, *next;

    if (on && !e->conf.takeover)
        return "takeover = 0: calls cannot be moved, so they stay here. Wait until they have ended";
    if (on && (!e->store.up || !choose_targets(e)))
        return "no other node of this version or a newer one lives and can be reached, so the calls stay here: see "
               "'kamsyncctl nodes'";
    e->evacuation.since_ms = on ? now : 0;
    e->evacuation.next_ms = now;
    HASH_ITER(hh, e->txns.by_id, t, next)
    {
        if (!on && t->hold == HOLD_GIVEN)
            txns_mark(&e->txns, t); /* evacuate_keeps() */
    }
    return NULL;
}

/* Only this node can send from there, and its far end answers only there. */
static bool is_bound(const struct engine *e, const struct txn *t)
{
    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].code < 300 && advice_is_own(e, t->branches[i].sock))
            return true;
    return false;
}

/* Whatever happens to it here goes on here. The caller's CANCEL, or the last branch's failure, has tm and failure_route
 * at work. */
static enum stay stay_of(const struct engine *e, const struct txn *t, int64_t now)
{
    if (t->hold != HOLD_OWNED)
        return STAY_UNWRITTEN;
    if (t->stateless || !t->req.n)
        return STAY_STATELESS;
    if (t->cancelled)
        return STAY_CANCELLED;
    if (txn_is_pending(t))
        return STAY_PENDING;
    if (is_bound(e, t))
        return STAY_ADDRESS;
    if (msg_is_connection(t->src))
        return STAY_CONNECTION;
    if (txn_state(t) == TXN_FAILED)
        return STAY_FAILED;
    if (now - t->changed_ms < SETTLED_MS)
        return STAY_CHANGES;
    return t->given_ms && now - t->given_ms < RETURNED_MS ? STAY_RETURNED : STAY_NOT;
}

const char *evacuate_reason(enum stay stay)
{
    static const char *const texts[] = {
        [STAY_NOT] = "waits for its turn",
        [STAY_UNWRITTEN] = "the store does not have its record yet",
        [STAY_STATELESS] = "the script sent it by forward(): tm does not have it",
        [STAY_CANCELLED] = "was cancelled, and ends here",
        [STAY_PENDING] = "has no branch yet: the script has suspended it",
        [STAY_ADDRESS] = "was sent from this node's own address",
        [STAY_CONNECTION] = "its caller is on a connection to this node",
        [STAY_FAILED] = "every branch has failed, and failure_route decides",
        [STAY_CHANGES] = "has just changed",
        [STAY_RETURNED] = "came back from a node that could not take it over: tried again in a moment",
    };

    return texts[stay];
}

bool evacuate_keeps(const struct engine *e, const struct txn *t)
{
    return !e->evacuation.since_ms || txn_is_done(t) || t->cancelled || t->changed_ms >= t->given_ms;
}

/* Its record is this node's, and says that it may be taken. */
static void give(struct engine *e, struct txn *t, int64_t now)
{
    t->hold = HOLD_GIVEN;
    t->given_ms = now;
    t->epoch = t->proven_epoch;
    txns_mark(&e->txns, t);
}

void evacuate_given(struct engine *e, struct txn *t, int64_t now)
{
    int node = next_target(e);

    if (node)
        message_given(e, node, t->key);
    owner_retry(e, t, now + AGAIN_MS);
}

void evacuate_taken(struct engine *e, const char *key)
{
    struct txn *t = txns_by_key(&e->txns, key);

    if (t)
        txns_mark(&e->txns, t);
}

void evacuate_offered(struct engine *e, const json_t *message, int64_t now)
{
    const char *key = json_string_value(json_object_get(message, "key"));

    if (key && key_is_tx(key) && e->conf.takeover && !e->evacuation.since_ms && !txns_by_key(&e->txns, key))
        takeover_wait(e, key, ROUND_ALL, now);
}

/* The oldest first. */
void evacuate_run(struct engine *e, int64_t now)
{
    struct txn *t, *next;
    size_t room;

    if (!e->evacuation.since_ms || now < e->evacuation.next_ms || !e->store.up || !e->self.up)
        return;
    e->evacuation.next_ms = now + STEP_MS;
    if (e->peers.unheard)
        return;
    room = TAKEOVERS_MAX * choose_targets(e);
    HASH_ITER(hh, e->txns.by_id, t, next)
    {
        bool gives = t->hold != HOLD_GIVEN && !txn_is_done(t) && stay_of(e, t, now) == STAY_NOT;

        if (!room)
            return;
        if (gives)
            give(e, t, now);
        room -= t->hold == HOLD_GIVEN;
    }
}

int64_t evacuate_due(const struct engine *e)
{
    return e->evacuation.since_ms && e->txns.count && e->store.up && e->self.up ? e->evacuation.next_ms : INT64_MAX;
}

struct evacuation_sum evacuate_sum(const struct engine *e, int64_t now)
{
    struct evacuation_sum sum = {0};

    for (const struct txn *t = e->txns.by_id; t; t = t->hh.next) {
        if (t->hold == HOLD_GIVEN)
            sum.given++;
        else if (!txn_is_done(t))
            sum.left[stay_of(e, t, now)]++;
    }
    return sum;
}
