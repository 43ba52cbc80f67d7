/* The roll-call, a barrier: do the kamsyncds of all nodes that are up still see what their Kamailios do, and does one
 * of them know a record that the store lacks?
 *
 *     records are absent ▶ {"t": "roll", "keys"} to all ▶ each asks its Kamailio: {"t": "mark"} ▶ the mark comes back
 *     behind all events queued there ▶ what is known is written, with those records again ▶ {"t": "here", "has"} ▶
 *     the records are read again
 *
 * A node's INVITE may wait in its Kamailio while its kamsyncd is dead, hangs or is cut off from the store, which the
 * others learn only when its heartbeats have been missing for long; or while its Kamailio is stalled. So "absent"
 * means that no kamsyncd has a transaction only after all have answered. One roll-call serves all lookups that wait at
 * that time, and one mark all nodes that have called. */
#include "cluster_impl.h"
#include "link_impl.h"

#include <limits.h>

#define PACE_MS 50  /* pause before the next roll-call */
#define MARK_MS 500 /* a mark under way for longer is lost: the script's queue was full */

/* ---- the calling node ---- */

/* The next roll-call asks about that key, if there is room; if not, it still serves as a barrier. */
static void carry(struct roll *roll, const char *key)
{
    json_t *each;
    size_t i;

    if (!roll->keys)
        roll->keys = json_array();
    json_array_foreach(roll->keys, i, each)
    {
        if (strcmp(json_string_value(each), key) == 0)
            return;
    }
    if (json_array_size(roll->keys) < ROLL_KEYS_MAX)
        json_array_append_new(roll->keys, json_string(key));
}

void roll_run(struct engine *e, int64_t now)
{
    struct roll *r = &e->roll;
    json_t *call;

    if (now < roll_due(e))
        return;
    r->wanted = false;
    r->at_ms = now;
    r->n++;
    e->count.roll_calls++;
    call = json_pack("{s:s,s:i,s:I}", "t", "roll", "from", e->self.id, "n", (json_int_t)r->n);
    if (call && r->keys)
        json_object_set(call, "keys", r->keys);
    told_send(e, 0, call);
    json_decref(r->keys);
    r->keys = NULL;
}

int64_t roll_due(const struct engine *e)
{
    return e->roll.wanted && e->store.up && e->self.id ? e->roll.at_ms + PACE_MS : INT64_MAX;
}

/* The node table must have been read: it names all nodes, also those whose kamsyncd is away. */
static bool is_complete(const struct engine *e, int64_t n)
{
    if (!e->peers.since_ms)
        return false;
    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *node = &e->nodes.list[i];

        if (node->up && !node->lost && node->here < n)
            return false;
    }
    return true;
}

void roll_before(const struct engine *e, struct absence *a)
{
    a->complete = a->roll && a->roll <= e->roll.n && is_complete(e, a->roll);
}

/* If a node has not answered, all are called again. */
void roll_absent(struct engine *e, struct absence *a, const char *key)
{
    a->said = true;
    a->sure = a->complete;
    if (a->sure)
        return;
    e->roll.wanted = true;
    carry(&e->roll, key);
    a->roll = a->roll ? a->roll : e->roll.n + 1;
}

void roll_answered(struct engine *e, const json_t *message, int64_t now)
{
    const char *inc = json_string_value(json_object_get(message, "inc"));
    json_int_t node = json_integer_value(json_object_get(message, "node"));
    json_int_t n = json_integer_value(json_object_get(message, "n"));
    json_t *each;
    size_t i;

    if (!inc || node <= 0 || node > INT_MAX || n > e->roll.n)
        return;
    nodes_here(&e->nodes, (int)node, inc, n);
    json_array_foreach(json_object_get(message, "has"), i, each)
    {
        if (i < ROLL_KEYS_MAX && json_is_string(each))
            engine_post(e, (struct notice){.type = NOTICE_HAS, .key = json_string_value(each)}, now);
    }
    if (is_complete(e, e->roll.n))
        engine_post(e, (struct notice){.type = NOTICE_ALL_HERE}, now);
}

/* ---- the answering node ---- */

static bool sees_kamailio(const struct engine *e)
{
    return e->contact.hello && !e->learning;
}

/* Writes those of the records that this node has again, if it may. Returns their keys; NULL: none, or out of
 * memory. */
static json_t *write_again(struct engine *e, const json_t *keys)
{
    json_t *has = NULL, *each;
    size_t i;

    json_array_foreach(keys, i, each)
    {
        struct txn *t =
            i < ROLL_KEYS_MAX && json_is_string(each) ? txns_by_key(&e->txns, json_string_value(each)) : NULL;

        if (!t || t->hold == HOLD_PROVING)
            continue;
        txns_mark(&e->txns, t);
        if (!has)
            has = json_array();
        json_array_append(has, each);
    }
    return has;
}

static void answer(struct engine *e, const struct asker *a, int64_t now)
{
    json_t *has = write_again(e, a->keys), *here;

    engine_post(e, (struct notice){.type = NOTICE_ASKED}, now);
    here = json_pack("{s:s,s:i,s:s,s:I}", "t", "here", "node", e->self.id, "inc", e->self.inc, "n", (json_int_t)a->n);
    if (here && has)
        json_object_set(here, "has", has);
    json_decref(has);
    told_send(e, a->from, here);
}

static void send_mark(struct engine *e, int64_t now)
{
    struct roll *r = &e->roll;
    int64_t n = link_next_n(&e->link);

    for (size_t i = 0; i < r->asker_count; i++)
        r->askers[i].marked = true;
    r->mark_ms = now;
    link_push_once(&e->link, n, msg_mark(n, ++r->mark), now); /* if that fails, the mark counts as lost */
}

/* A node's later call replaces its earlier one. */
static struct asker *asker_of(struct roll *r, int from)
{
    for (size_t i = 0; i < r->asker_count; i++)
        if (r->askers[i].from == from)
            return &r->askers[i];
    if (r->asker_count == ROLL_ASKERS_MAX)
        return NULL;
    r->askers[r->asker_count] = (struct asker){.from = from};
    return &r->askers[r->asker_count++];
}

void roll_asked(struct engine *e, const json_t *message, int64_t now)
{
    json_int_t from = json_integer_value(json_object_get(message, "from"));
    json_int_t n = json_integer_value(json_object_get(message, "n"));
    json_t *keys = json_object_get(message, "keys");
    struct asker *a;

    if (from <= 0 || from > INT_MAX || from == e->self.id || !sees_kamailio(e))
        return;
    json_decref(write_again(e, keys));
    a = asker_of(&e->roll, (int)from);
    if (!a)
        return; /* the node will call again */
    json_decref(a->keys);
    *a = (struct asker){.from = (int)from, .n = n, .keys = json_incref(keys)};
    if (!e->roll.mark_ms || now - e->roll.mark_ms > MARK_MS)
        send_mark(e, now);
}

void roll_marked(struct engine *e, int64_t mark, int64_t now)
{
    struct roll *r = &e->roll;
    size_t left = 0;

    if (mark != r->mark || !r->mark_ms)
        return;
    r->mark_ms = 0;
    for (size_t i = 0; i < r->asker_count; i++) {
        struct asker a = r->askers[i];

        if (!a.marked) {
            r->askers[left++] = a;
            continue;
        }
        if (sees_kamailio(e))
            answer(e, &a, now);
        json_decref(a.keys);
    }
    r->asker_count = left;
    if (left)
        send_mark(e, now);
}

void roll_reset(struct engine *e)
{
    while (e->roll.asker_count)
        json_decref(e->roll.askers[--e->roll.asker_count].keys);
    e->roll.mark_ms = 0;
}

void roll_clear(struct engine *e)
{
    roll_reset(e);
    json_decref(e->roll.keys);
    e->roll.keys = NULL;
}
