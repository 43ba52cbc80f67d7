/* kamsyncctl doctor: each node tells what is wrong as it sees it (checks.c; engine_io has the rest), and who it is; the
 * node that was asked compares them. */
#include "ask_impl.h"
#include "cluster_impl.h"

#include <inttypes.h>
#include <stdio.h>

#define CLOCK_MS 2000 /* clocks further apart than that are not set by NTP */

void doctor_own(const struct engine *e, const json_t *q, int64_t now, json_t *out)
{
    json_t *found = json_array(), *facts;

    (void)q;
    facts = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:I}", "node", e->self.id, "name", e->conf.name, "sip", e->self.sip,
                      "inc", e->self.inc, "kamailio", kamailio_state(e), "store", e->store.up ? "up" : "away", "wall",
                      (json_int_t)e->io.wall(e->io.ctx));
    checks_run(e, now, found);
    if (e->io.examine)
        e->io.examine(e->io.ctx, e->self.id, e->contact.hello ? e->self.sip : "", facts, found);
    json_object_set_new(out, "facts", facts);
    json_object_set_new(out, "findings", found);
}

static int id_of(const json_t *facts)
{
    return (int)json_integer_value(json_object_get(facts, "node"));
}

static bool same(const json_t *a, const json_t *b, const char *field)
{
    const json_t *x = json_object_get(a, field), *y = json_object_get(b, field);

    return x == y || json_equal(x, y);
}

static const char *text_of(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));

    return text ? text : "?";
}

static void find(json_t *answer, int node, const char *check, enum severity severity, const struct finding *f)
{
    json_array_append_new(json_object_get(answer, "findings"), finding_json(node, check, severity, f));
}

static void compare_builds(struct engine *e, json_t *answer, const json_t *facts)
{
    const json_t *own = json_array_get(json_object_get(answer, "nodes"), 0);
    struct finding f = {0};

    if (same(own, facts, "version"))
        return;
    FINDING(&f, "node %d (%s) has kamsyncd %s, and node %d has %s", id_of(facts), text_of(facts, "name"),
            text_of(facts, "version"), e->self.id, text_of(own, "version"));
    WRITE(&f, "give all nodes the same packages");
    find(answer, e->self.id, "build", SEVERITY_WARNING, &f);
}

static void compare_clocks(struct engine *e, json_t *answer, json_t *facts)
{
    int64_t ahead = json_integer_value(json_object_get(facts, "wall")) - e->io.wall(e->io.ctx);
    struct finding f = {0};

    json_object_del(facts, "wall");
    json_object_set_new(facts, "ahead_ms", json_integer(ahead));
    if (ahead <= CLOCK_MS && ahead >= -CLOCK_MS)
        return;
    FINDING(&f, "the clock of node %d (%s) is %" PRId64 " s %s that of node %d", id_of(facts), text_of(facts, "name"),
            (ahead < 0 ? -ahead : ahead) / 1000, ahead < 0 ? "behind" : "ahead of", e->self.id);
    WRITE(&f, "let NTP set it: timedatectl set-ntp true");
    find(answer, e->self.id, "clock", SEVERITY_WARNING, &f);
}

void doctor_begin(const struct engine *e, json_t *answer)
{
    json_t *facts = json_incref(json_object_get(answer, "facts"));
    json_t *names = json_pack("[s,s,s]", "silent", "build", "clock");

    json_object_del(answer, "facts");
    json_object_del(facts, "wall");
    checks_names(names);
    if (e->io.examined)
        e->io.examined(e->io.ctx, names);
    json_object_set_new(answer, "nodes", json_pack("[o]", facts));
    json_object_set_new(answer, "looked_at", names);
}

static int id_in(const json_t *entry)
{
    return json_is_object(entry) ? id_of(entry) : (int)json_integer_value(entry);
}

/* Before those with a higher id, but behind the first so many. */
static void insert(json_t *list, json_t *entry, size_t first)
{
    while (first < json_array_size(list) && id_in(json_array_get(list, first)) < id_in(entry))
        first++;
    json_array_insert(list, first, entry);
}

void doctor_add(struct engine *e, json_t *answer, const json_t *part)
{
    json_t *facts = json_object_get(part, "facts");

    if (!json_is_object(facts))
        return;
    compare_builds(e, answer, facts);
    compare_clocks(e, answer, facts);
    insert(json_object_get(answer, "nodes"), facts, 1);
}

/* Those that are unseen have been told of already. */
static void look_at_silent(struct engine *e, json_t *answer)
{
    const json_t *silent = json_object_get(answer, "silent");
    struct finding f = {0};

    for (size_t i = 0; i < json_array_size(silent); i++) {
        const struct node *n = nodes_find(&e->nodes, (int)json_integer_value(json_array_get(silent, i)));

        if (!n || n->unseen || n->lost)
            continue;
        FINDING(&f, "node %d (%s) has not answered", n->id, n->name);
        WRITE(&f, "ask again; is its kamsyncd running, and of the same build as this one?");
        find(answer, e->self.id, "silent", SEVERITY_WARNING, &f);
    }
}

/* The same words, of other nodes. */
static json_t *like(json_t *merged, const json_t *finding)
{
    for (size_t i = 0; i < json_array_size(merged); i++) {
        json_t *m = json_array_get(merged, i);

        if (same(m, finding, "check") && same(m, finding, "what") && same(m, finding, "write"))
            return m;
    }
    return NULL;
}

static int rank(const json_t *finding)
{
    const char *severity = text_of(finding, "severity");

    return strcmp(severity, "error") == 0 ? 0 : strcmp(severity, "warning") == 0 ? 1 : 2;
}

/* The worst come first; what several nodes say stands there once. */
void doctor_finish(struct engine *e, json_t *answer)
{
    json_t *merged = json_array(), *found = json_object_get(answer, "findings"), *m;

    look_at_silent(e, answer);
    for (int severity = 0; severity <= 2; severity++) {
        for (size_t i = 0; i < json_array_size(found); i++) {
            json_t *f = json_array_get(found, i);

            if (rank(f) != severity)
                continue;
            m = like(merged, f);
            if (m)
                insert(json_object_get(m, "nodes"), json_array_get(json_object_get(f, "nodes"), 0), 0);
            else
                json_array_append(merged, f);
        }
    }
    json_object_set_new(answer, "findings", merged);
}
