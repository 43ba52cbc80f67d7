/* The barrier, a barrier: do the kamsyncds of all nodes that are up still see what their Kamailios do, and does one
 * of them know a record that the store lacks?
 *
 *     records are absent ▶ {"t": "barrier", "keys"} to all ▶ each asks its Kamailio: {"t": "mark"} ▶ the mark comes
 * back behind all events queued there ▶ what is known is written, with those records again ▶ {"t": "here", "has"} ▶ the
 * records are read again
 *
 * A node's INVITE may wait in its Kamailio while its kamsyncd is dead, hangs or is cut off from the store, which the
 * others learn only when its heartbeats have been missing for long; or while its Kamailio is stalled. So "absent"
 * means that no kamsyncd has a transaction only after all have answered. One barrier serves all lookups that wait at
 * that time, and one mark all nodes that have called. */
#include "cluster_impl.h"
#include "link_impl.h"

#include <limits.h>

#define PACE_MS 50  /* pause before the next barrier */
#define MARK_MS 500 /* a mark under way for longer is lost: the script's queue was full */

/* ---- the calling node ---- */

/* The next barrier asks about that key, if there is room; if not, it still serves as a barrier. */
static void carry(struct barrier *barrier, const char *key)
{
    json_t *each;
    size_t i;

    if (!barrier->keys)
        barrier->keys = json_array();
    json_array_foreach(barrier->keys, i, each)
    {
        if (strcmp(json_string_value(each), key) == 0)
            return;
    }
    if (json_array_size(barrier->keys) < BARRIER_KEYS_MAX)
        json_array_append_new(barrier->keys, json_string(key));
}

void barrier_run(struct engine *e, int64_t now)
{
    struct barrier *r = &e->barrier;
    json_t *call;

    if (now < barrier_due(e))
        return;
    r->wanted = false;
    r->at_ms = now;
    r->n++;
    e->count.barriers++;
    call = json_pack("{s:s,s:i,s:I}", "t", "barrier", "from", e->self.id, "n", (json_int_t)r->n);
    if (call && r->keys)
        json_object_set(call, "keys", r->keys);
    message_send(e, 0, call);
    json_decref(r->keys);
    r->keys = NULL;
}

int64_t barrier_due(const struct engine *e)
{
    return e->barrier.wanted && e->store.up && e->self.id ? e->barrier.at_ms + PACE_MS : INT64_MAX;
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

void barrier_before(const struct engine *e, struct absence *a)
{
    a->complete = a->barrier && a->barrier <= e->barrier.n && is_complete(e, a->barrier);
}

/* If a node has not answered, all are called again. */
void barrier_absent(struct engine *e, struct absence *a, const char *key)
{
    a->said = true;
    a->sure = a->complete;
    if (a->sure)
        return;
    e->barrier.wanted = true;
    carry(&e->barrier, key);
    a->barrier = a->barrier ? a->barrier : e->barrier.n + 1;
}

void barrier_answered(struct engine *e, const json_t *message, int64_t now)
{
    const char *inc = json_string_value(json_object_get(message, "inc"));
    json_int_t node = json_integer_value(json_object_get(message, "node"));
    json_int_t n = json_integer_value(json_object_get(message, "n"));
    json_t *each;
    size_t i;

    if (!inc || node <= 0 || node > INT_MAX || n > e->barrier.n)
        return;
    nodes_here(&e->nodes, (int)node, inc, n);
    json_array_foreach(json_object_get(message, "has"), i, each)
    {
        if (i < BARRIER_KEYS_MAX && json_is_string(each))
            engine_post(e, (struct notice){.type = NOTICE_HAS, .key = json_string_value(each)}, now);
    }
    if (is_complete(e, e->barrier.n))
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
            i < BARRIER_KEYS_MAX && json_is_string(each) ? txns_by_key(&e->txns, json_string_value(each)) : NULL;

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
    message_send(e, a->from, here);
}

static void send_mark(struct engine *e, int64_t now)
{
    struct barrier *r = &e->barrier;
    int64_t n = link_next_n(&e->link);

    for (size_t i = 0; i < r->asker_count; i++)
        r->askers[i].marked = true;
    r->mark_ms = now;
    r->mark = r->mark ? r->mark + 1 : now;                  /* not 1: a mark of the kamsyncd before may come back */
    link_push_once(&e->link, n, msg_mark(n, r->mark), now); /* if that fails, the mark counts as lost */
}

/* A node's later call replaces its earlier one. */
static struct asker *asker_of(struct barrier *r, int from)
{
    for (size_t i = 0; i < r->asker_count; i++)
        if (r->askers[i].from == from)
            return &r->askers[i];
    if (r->asker_count == BARRIER_ASKERS_MAX)
        return NULL;
    r->askers[r->asker_count] = (struct asker){.from = from};
    return &r->askers[r->asker_count++];
}

void barrier_asked(struct engine *e, const json_t *message, int64_t now)
{
    json_int_t from = json_integer_value(json_object_get(message, "from"));
    json_int_t n = json_integer_value(json_object_get(message, "n"));
    json_t *keys = json_object_get(message, "keys");
    struct asker *a;

    if (from <= 0 || from > INT_MAX || from == e->self.id || !sees_kamailio(e))
        return;
    json_decref(write_again(e, keys));
    a = asker_of(&e->barrier, (int)from);
    if (!a)
        return; /* the node will call again */
    json_decref(a->keys);
    *a = (struct asker){.from = (int)from, .n = n, .keys = json_incref(keys)};
    if (!e->barrier.mark_ms || now - e->barrier.mark_ms > MARK_MS)
        send_mark(e, now);
}

void barrier_marked(struct engine *e, int64_t mark, int64_t now)
{
    struct barrier *r = &e->barrier;
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

void barrier_reset(struct engine *e)
{
    while (e->barrier.asker_count)
        json_decref(e->barrier.askers[--e->barrier.asker_count].keys);
    e->barrier.mark_ms = 0;
}

void barrier_clear(struct engine *e)
{
    barrier_reset(e);
    json_decref(e->barrier.keys);
    e->barrier.keys = NULL;
}
