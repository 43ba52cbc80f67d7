/* The roll-call: do the kamsyncds of all nodes that are up still see what their Kamailios do?
 *
 *     a record is absent ▶ {"t": "roll"} to all ▶ each writes what it has, then {"t": "here"} ▶ the record is read
 * again
 *
 * A node's INVITE may wait in its Kamailio while its kamsyncd is dead, hangs or is cut off from the store, and the
 * others learn of that only when its beats have stayed away for long. So "absent" means that nobody has a transaction
 * only when all have answered since. One roll-call serves all that wait at that time. */
#include "engine_impl.h"

#include <limits.h>

#define PACE_MS 50      /* the next one comes so much later */
#define CATCH_UP_MS 100 /* what waited in Kamailio comes so soon after a hello, and without a longer pause */
#define BEHIND_MS 500   /* an event that is as old has waited */

void roll_run(struct engine *e, int64_t now)
{
    if (now < roll_due(e))
        return;
    e->roll.wanted = false;
    e->roll.at_ms = now;
    e->roll.n++;
    e->count.roll_calls++;
    told_send(e, 0, json_pack("{s:s,s:i,s:I}", "t", "roll", "from", e->self.id, "n", (json_int_t)e->roll.n));
}

int64_t roll_due(const struct engine *e)
{
    return e->roll.wanted && e->store_up && e->self.id ? e->roll.at_ms + PACE_MS : INT64_MAX;
}

/* The table of nodes must have been read: it names all, also those whose kamsyncd is not there. */
static bool is_complete(const struct engine *e, int64_t n)
{
    if (!e->nodes_since_ms)
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
    a->complete = a->roll && is_complete(e, a->roll);
}

void roll_absent(struct engine *e, struct absence *a)
{
    a->said = true;
    a->sure = a->complete;
    if (a->sure)
        return;
    e->roll.wanted = true; /* again, should somebody not have answered */
    a->roll = a->roll ? a->roll : e->roll.n + 1;
}

void roll_event(struct engine *e, const struct event *ev, int64_t now)
{
    if (ev->at && e->io.wall(e->io.ctx) - ev->at > BEHIND_MS)
        e->behind_ms = now;
}

static bool sees_kamailio(const struct engine *e, int64_t now)
{
    return e->hello && !e->learning && now - e->hello_ms >= CATCH_UP_MS && now - e->behind_ms >= CATCH_UP_MS;
}

void roll_asked(struct engine *e, const json_t *message, int64_t now)
{
    json_int_t from = json_integer_value(json_object_get(message, "from"));
    json_int_t n = json_integer_value(json_object_get(message, "n"));

    if (from <= 0 || from > INT_MAX || from == e->self.id || !sees_kamailio(e, now))
        return;
    owner_flush(e, now);
    calls_flush(e);
    told_send(e, (int)from,
              json_pack("{s:s,s:i,s:s,s:I}", "t", "here", "node", e->self.id, "inc", e->self.inc, "n", n));
}

void roll_answered(struct engine *e, const json_t *message)
{
    const char *inc = json_string_value(json_object_get(message, "inc"));
    json_int_t node = json_integer_value(json_object_get(message, "node"));
    json_int_t n = json_integer_value(json_object_get(message, "n"));

    if (inc && node > 0 && node <= INT_MAX && n <= e->roll.n)
        nodes_here(&e->nodes, (int)node, inc, n);
}
