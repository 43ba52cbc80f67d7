/* Requests sent to all Kamailios, since their owner is unknown: the one that has the transaction in tm acts, the others
 * drop them. The transaction may have no record: that waits in the script, it goes over SCTP, it is too large,
 * it was dropped, or Redis has evicted it.
 *
 *     CANCEL ▶ all Kamailios ▶ the owner's acts ▶ event ▶ its kamsyncd ─{"t": "acted"}▶ the sender ▶ done
 *                                                                       nothing within lookup_ms ▶ 481
 *
 * Each costs every node a proof, so their rate is limited. */
#include "ask_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include <inttypes.h>
#include <stdio.h>

#define COPY_MS 1    /* time per copy: 1,000 a second, */
#define AHEAD_MS 500 /* and the burst */

size_t perhaps_nodes(const struct engine *e)
{
    size_t n = 0;

    for (size_t i = 0; i < e->nodes.count; i++)
        n += e->nodes.list[i].up && !e->nodes.list[i].lost;
    return n;
}

bool perhaps_may(struct engine *e, int64_t now)
{
    if (e->perhaps.ahead_ms < now)
        e->perhaps.ahead_ms = now;
    if (e->perhaps.ahead_ms - now >= AHEAD_MS)
        return false;
    e->perhaps.ahead_ms += (int64_t)perhaps_nodes(e) * COPY_MS;
    return true;
}

void perhaps_relay(struct engine *e, struct handover h, struct span msg)
{
    h.why = "perhaps";
    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[i];
        char *text;

        if (!n->up || n->lost || n->reached)
            continue;
        h.to = n->id;
        h.inc = n->inc;
        text = engine_handover(e, h, msg);
        e->count.relayed_out += text != NULL;
        message_handover(e, n->id, text);
        free(text);
    }
}

char *perhaps_at(struct engine *e)
{
    int64_t wall = e->io.wall(e->io.ctx);
    char at[80];

    snprintf(at, sizeof(at), "%" PRId64 ".%03d.%" PRIu64, wall / 1000, (int)(wall % 1000), ++e->out.handovers);
    return span_dup(span_of(at));
}

/* ---- the owner has acted ---- */

/* "<node>.<at>", as the script names a CANCEL that was handed over. */
static int sender_of(const char *name)
{
    char *end;
    long node = strtol(name, &end, 10);

    return *end == '.' && node > 0 && node <= INT32_MAX ? (int)node : 0;
}

static const char *at_of(const char *name)
{
    return strchr(name, '.') + 1;
}

void acted_tell(struct engine *e, const char *name, int64_t now)
{
    int node = sender_of(name);

    if (node && node != e->self.id)
        message_send(e, node, json_pack("{s:s,s:i,s:s}", "t", "acted", "node", e->self.id, "all", name));
    else if (node)
        engine_post(e, (struct notice){.type = NOTICE_ACTED, .key = at_of(name), .node = e->self.id}, now);
}

/* This report may arrive before the CANCEL, which waits for the script's timer. */
static void keep(struct acted *a, const char *at, int node)
{
    free(a->names[a->next]);
    a->names[a->next] = span_dup(span_of(at));
    a->nodes[a->next] = node;
    a->next = (a->next + 1) % ACTED_MAX;
}

void acted_message(struct engine *e, const json_t *message, int64_t now)
{
    const char *name = json_string_value(json_object_get(message, "all"));
    int node = (int)json_integer_value(json_object_get(message, "node"));

    if (!name || node <= 0 || sender_of(name) != e->self.id)
        return;
    keep(&e->perhaps.acted, at_of(name), node);
    engine_post(e, (struct notice){.type = NOTICE_ACTED, .key = at_of(name), .node = node}, now);
}

int acted_by(const struct engine *e, const char *at)
{
    for (size_t i = 0; i < ACTED_MAX; i++)
        if (e->perhaps.acted.names[i] && strcmp(e->perhaps.acted.names[i], at) == 0)
            return e->perhaps.acted.nodes[i];
    return 0;
}

void acted_clear(struct engine *e)
{
    for (size_t i = 0; i < ACTED_MAX; i++)
        free(e->perhaps.acted.names[i]);
    e->perhaps.acted = (struct acted){0};
}
