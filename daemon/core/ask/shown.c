/* What this node tells kamsyncctl out of its own memory, asked here or at another node (admin.c). */
#include "ask_impl.h"
#include "cluster_impl.h"
#include "own_impl.h"

#include <stdio.h>

#include "call.h"
#include "call_impl.h"
#include "count.h"
#include "record.h"
#include "siptext.h"

#define CALLS_DEFAULT 100

/* ---- the node ---- */

/* NULL: none. */
static const char *site_of(const struct node *n)
{
    return *n->site ? n->site : NULL;
}

json_t *shown_status(const struct engine *e)
{
    struct engine_status s;

    engine_status(e, &s);
    return json_pack("{s:s,s:s*,s:i,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "name", e->conf.name, "site",
                     site_of(&e->self), "node", s.node, "inc", s.inc, "kamailio", kamailio_state(e), "store",
                     s.store ? "up" : "away", "calls", (json_int_t)s.calls, "txns", (json_int_t)s.txns, "strays",
                     (json_int_t)s.strays, "takeovers", (json_int_t)s.takeovers, "queued", (json_int_t)s.queued,
                     "nodes", (json_int_t)s.nodes);
}

static json_t *node_json(const struct node *n, const char *state, int64_t now)
{
    return json_pack("{s:i,s:s,s:s*,s:s,s:s,s:s,s:I}", "id", n->id, "name", n->name, "site", site_of(n), "sip", n->sip,
                     "inc", n->inc, "state", state, "seen_ms", (json_int_t)(now - n->seen_ms));
}

json_t *shown_nodes(const struct engine *e, int64_t now)
{
    json_t *list = json_array();
    struct node self = e->self;

    self.seen_ms = now;
    if (self.id)
        json_array_append_new(list, node_json(&self, "self", now));
    for (size_t i = 0; i < e->nodes.count; i++)
        json_array_append_new(list, node_json(&e->nodes.list[i], node_state(&e->nodes.list[i]), now));
    return list;
}

/* ---- its calls, transactions and decisions ---- */

/* Which calls are asked for; NULL: no matter. */
struct filter {
    const json_t *node, *caller, *callee, *party;
    const char *state;
};

static struct filter read_filter(const json_t *q)
{
    return (struct filter){.node = json_object_get(q, "node"),
                           .caller = json_object_get(q, "caller"),
                           .callee = json_object_get(q, "callee"),
                           .party = json_object_get(q, "party"),
                           .state = json_string_value(json_object_get(q, "state"))};
}

static bool has(const char *text, const json_t *part)
{
    return !part || (text && json_is_string(part) && strstr(text, json_string_value(part)));
}

/* Another node lists it, or none should: the caller has cancelled it, and no phone rings any more. */
static bool is_gone(const struct engine *e, const struct call *c)
{
    const struct txn *t = c->tx ? txns_by_key(&e->txns, c->tx) : NULL;

    return c->role == CALL_AWAY || calls_elsewhere(c) || (t && t->cancelled && txn_state(t) == TXN_FAILED);
}

static bool matches(const struct call *c, const struct filter *f)
{
    return c->role != CALL_GUEST && !c->how && (!f->node || json_integer_value(f->node) == c->node) &&
           (!f->state || strcmp(f->state, call_state(c)) == 0) && has(c->caller, f->caller) &&
           has(c->callee, f->callee) && (has(c->caller, f->party) || has(c->callee, f->party));
}

static json_t *call_json(const struct call *c, const struct node *self)
{
    struct call_pairs p;

    call_pairs(&p, c, self, false);
    return pairs_json(p.list, p.count);
}

bool shown_newest(const json_t *q)
{
    const char *order = json_string_value(json_object_get(q, "order"));

    return order && strcmp(order, "newest") == 0;
}

/* In the order in which this node got to know them, or the other way round. */
static const struct call *first_call(const struct engine *e, bool newest)
{
    const UT_hash_table *table = e->calls.by_name ? e->calls.by_name->hh.tbl : NULL;

    return newest && table ? ELMT_FROM_HH(table, table->tail) : e->calls.by_name;
}

size_t shown_limit(const json_t *q)
{
    const json_t *limit = json_object_get(q, "limit");
    json_int_t most = json_is_integer(limit) ? json_integer_value(limit) : CALLS_DEFAULT;

    return (size_t)(most < 0 ? 0 : most < CALLS_LIMIT ? most : CALLS_LIMIT);
}

static void own_calls(const struct engine *e, const json_t *q, int64_t now, json_t *out)
{
    const struct filter f = read_filter(q);
    json_int_t most = (json_int_t)shown_limit(q), total = 0;
    bool newest = shown_newest(q);
    json_t *list = json_array();

    (void)now;
    for (const struct call *c = first_call(e, newest); c; c = newest ? c->hh.prev : c->hh.next) {
        if (!matches(c, &f) || is_gone(e, c))
            continue;
        if (total++ < most)
            json_array_append_new(list, call_json(c, &e->self));
    }
    json_object_set_new(out, "calls", list);
    json_object_set_new(out, "total", json_integer(total));
}

struct span shown_call_id(const json_t *q, char **owned)
{
    size_t len = 0;

    *owned = sip_bytes(json_object_get(q, "call_id"), &len);
    return (struct span){*owned, len};
}

static void own_txns(const struct engine *e, const json_t *q, int64_t now, json_t *out)
{
    json_t *list = json_array();
    char *owned, *text;
    struct span call_id = shown_call_id(q, &owned);

    (void)now;
    for (const struct txn *t = e->txns.by_id; t; t = t->hh.next) {
        if (!span_eq(span_of(t->call_id), call_id))
            continue;
        text = record_write(t, &(struct head){t->epoch, e->self.id, e->self.inc, HEAD_HELD, &t->from}, NULL, true);
        json_array_append_new(list, text ? json_loads(text, 0, NULL) : NULL);
        free(text);
    }
    json_object_set_new(out, "txns", list);
    free(owned);
}

static void own_trace(const struct engine *e, const json_t *q, int64_t now, json_t *out)
{
    json_t *list = json_array();
    char *owned;
    struct span call_id = shown_call_id(q, &owned);

    (void)now;
    trace_list(&e->trace, call_id, e->self.id, list);
    json_object_set_new(out, "trace", list);
    free(owned);
}

/* What this node thinks of itself and of the others. */
static void own_view(const struct engine *e, const json_t *q, int64_t now, json_t *out)
{
    json_t *view = shown_status(e);

    (void)q;
    json_object_set_new(view, "sees", shown_nodes(e, now));
    json_object_set_new(out, "views", json_pack("[o]", view));
}

/* What a node answers from its own memory. */
static const struct {
    const char *cmd, *list;
    void (*own)(const struct engine *e, const json_t *q, int64_t now, json_t *out);
} shared[] = {{"calls", "calls", own_calls},
              {"tx", "txns", own_txns},
              {"trace", "trace", own_trace},
              {"views", "views", own_view},
              {"doctor", "findings", doctor_own}};

json_t *shown_part(const struct engine *e, const json_t *q, int64_t now, const char **list)
{
    const char *cmd = json_string_value(json_object_get(q, "cmd"));
    json_t *part = json_object();

    for (size_t i = 0; cmd && part && i < COUNT(shared); i++) {
        if (strcmp(shared[i].cmd, cmd) != 0)
            continue;
        *list = shared[i].list;
        shared[i].own(e, q, now, part);
        return part;
    }
    json_decref(part);
    return NULL;
}

json_t *shown_evacuation(const struct engine *e, int64_t now)
{
    struct evacuation_sum sum = evacuate_sum(e, now);
    json_t *why = json_object();
    size_t left = sum.given;

    for (int i = 0; i < STAY_REASONS; i++) {
        if (sum.left[i])
            json_object_set_new(why, evacuate_reason((enum stay)i), json_integer((json_int_t)sum.left[i]));
        left += sum.left[i];
    }
    return json_pack("{s:b,s:I,s:I,s:I,s:o}", "evacuating", (int)(e->evacuation.since_ms > 0), "taken",
                     (json_int_t)e->count.txns_given, "given", (json_int_t)sum.given, "left", (json_int_t)left, "why",
                     why);
}
