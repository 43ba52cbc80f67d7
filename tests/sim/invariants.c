/* What must be true. */
#include "life.h"

#include "call_impl.h"

/* What waits in an engine, and how much of it may. */
static bool limits(struct life *l)
{
    for (size_t i = 0; i < l->c->count; i++) {
        const struct engine *e = l->c->site[i].e;
        const struct {
            const char *what;
            size_t is, most;
        } queues[] = {
            {"strays", e->strays.count, 2049},
            {"frames", e->link.waiting_count, 4200},
            {"records under way", e->owner.puts, 2048},
            {"calls being written", e->calls.at[2], 1024},
            {"takeovers", e->takeovers.count, (size_t)CALLS * 2},
            {"takeovers under way", e->takeovers.active, 64},
            {"BYEs", ending_count(e), CALLS},
            {"bytes of events that wait", e->early.bytes[0], 2 << 20},
            {"bytes of urgent events that wait", e->early.bytes[1], 2 << 20},
            {"calls of others being read", e->failovers.reading, 64},
            {"questions", e->questions.count, 2049},
            {"calls", e->calls.count, CALLS},
            {"transactions", e->txns.count, CALLS},
        };

        for (size_t k = 0; k < COUNT(queues); k++)
            check(queues[k].is <= queues[k].most, "node %zu: %zu %s", i + 1, queues[k].is, queues[k].what);
    }
    return true;
}

/* Two may own it: the store has forgotten a claim, or its INVITE came to another node a moment ago. */
static bool is_claimed_twice(const struct life *l, int call)
{
    return l->contested[call] || (l->c->doubled[call] && l->c->now - l->c->doubled_ms[call] < WELL_MS);
}

/* So, or now, as one gives it to the other, whose tm has it before the first one's lets go. */
bool is_contested(const struct life *l, int call)
{
    return cluster_is_handed(l->c, call) || is_claimed_twice(l, call);
}

/* Whoever repeats his INVITE calls once, if INVITEs are claimed. */
static bool no_second_call(struct life *l)
{
    for (int i = 0; i < CALLS; i++)
        check(!l->c->wrongly[i], "call %d: two nodes have routed its INVITE", i);
    return true;
}

static bool is_out_of_touch(const struct site *s)
{
    return s->hung || s->still || (!s->linked && !s->dead) || !s->connected || s->deaf || s->refused || !s->hears;
}

static bool is_well_there(const struct life *l, size_t node, size_t master)
{
    return l->c->now - l->well_ms[node] >= WELL_MS && l->c->now - l->way_ms[node][master] >= WELL_MS;
}

static bool is_well(const struct life *l, size_t node)
{
    for (size_t i = 0; i < l->c->masters; i++)
        if (!is_well_there(l, node, i))
            return false;
    return true;
}

#define HEIR_MS 500 /* a stray at another site waits so long; a search does longer */

/* By a node of another site, though one of its own has long been well, as has the one that took it. */
static bool is_hasty(const struct life *l, const struct taking *t)
{
    size_t by = (size_t)t->by - 1;

    if (t->gone_ms < l->sited_ms || t->at_ms - t->gone_ms >= HEIR_MS || !cluster_are_apart(l->c, by, t->from) ||
        !is_well(l, by))
        return false;
    for (size_t i = 0; i < l->c->count; i++)
        if (i != t->from && !cluster_are_apart(l->c, i, t->from) && is_well(l, i))
            return true;
    return false;
}

static bool takeovers_are_due(struct life *l)
{
    for (int i = 0; i < CALLS; i++) {
        struct taking *t = &l->c->taking[i];
        bool unwritten = t->by && t->unwritten, hasty = t->by && is_hasty(l, t);
        int by = t->by;

        t->by = 0;
        check(!unwritten, "call %d: node %d carries a takeover out without a record", i, by);
        check(!hasty, "call %d: node %d of another site has taken it over %lld ms after node %zu had died", i, by,
              (long long)(t->at_ms - t->gone_ms), t->from + 1);
    }
    return true;
}

static void see_ways(struct life *l, size_t node)
{
    const struct site *s = &l->c->site[node];

    for (size_t i = 0; i < l->c->masters; i++)
        if (s->way[i].away || s->way[i].behind)
            l->way_ms[node][i] = l->touch_ms[node] = l->c->now;
}

#define TAKING_MS 14500 /* a takeover that fails is released by then, or its owner writes over it (fence.c) */

/* Two have routed its INVITE, and a third takes it over, or has just ended that: the second waits for the outcome
 * (fence.c). */
static bool is_undecided(const struct life *l, int call)
{
    json_t *r = l->c->doubled[call] ? cluster_record(l->c, call) : NULL;
    int64_t most = json_is_true(json_object_get(r, "taking")) ? TAKING_MS : HANDED_MS;
    bool yes = r && cluster_record_age(l->c, call) < most;

    json_decref(r);
    return yes;
}

/* No two nodes that have had no trouble for long own one call, whatever befalls the third. */
static bool one_owner_among_the_well(struct life *l)
{
    struct cluster *c = l->c;
    size_t owners[CALLS] = {0};

    for (size_t i = 0; i < c->count; i++) {
        struct site *s = &c->site[i];

        if (is_out_of_touch(s))
            l->touch_ms[i] = c->now;
        if (s->dead || s->isolated || is_out_of_touch(s))
            l->well_ms[i] = c->now;
        see_ways(l, i);
        for (int call = 0; is_well(l, i) && call < CALLS; call++)
            check((owners[call] += s->holds[call]) < 2 || is_contested(l, call) || is_undecided(l, call),
                  "call %d has two owners who have long been well", call);
    }
    return true;
}

static bool one_owner(struct life *l)
{
    struct cluster *c = l->c;

    for (int i = 0; i < CALLS; i++)
        check(cluster_holders(c, i, NULL) <= 1 || is_contested(l, i), "call %d has %zu owners", i,
              cluster_holders(c, i, NULL));
    return true;
}

/* Then there may be a stray at any moment. */
static bool somebody_sends(const struct life *l)
{
    for (int i = 0; i < CALLS; i++)
        if (l->phones.phone[i].invite.at_ms || l->phones.phone[i].re.at_ms || l->phones.phone[i].re_final.at_ms ||
            l->phones.phone[i].final.at_ms || l->phones.phone[i].cancel.at_ms)
            return true;
    return false;
}

#define ACKED_MS 200 /* the probes of a moment may fill Kamailio's window for so long */

static struct engine_status settled(struct cluster *c, size_t node)
{
    struct engine_status s;

    engine_status(c->site[node].e, &s);
    for (int ms = 0; s.queued && ms < ACKED_MS; ms++) {
        cluster_run(c, 1);
        engine_status(c->site[node].e, &s);
    }
    return s;
}

static bool all_quiet(struct life *l)
{
    struct cluster *c = l->c;

    for (size_t i = 0; i < c->count; i++) {
        struct engine_status s = settled(c, i);

        check(!s.takeovers && (!s.strays || somebody_sends(l)) && !s.queued && !s.puts && s.up,
              "node %zu: takeovers %zu, strays %zu, frames %zu, writes %zu", i + 1, s.takeovers, s.strays, s.queued,
              s.puts);
    }
    return true;
}

bool is_known(struct cluster *c, int call)
{
    json_t *record = cluster_record(c, call);
    bool yes = record && json_is_false(json_object_get(record, "done"));

    json_decref(record);
    return yes;
}

/* ---- CANCELs ---- */

/* Each that was sent, or sent again, is answered once at the most: unless it was put to all, and a node that could not
 * know that it has lost the call answers as well, or one that was giving it away in that moment. */
static bool one_answer_each(struct life *l)
{
    struct cluster *c = l->c;

    for (size_t i = 0; i < c->cancel_count; i++) {
        unsigned answers = c->delivered[i] + c->refused[i], well = 0, nodes = 0;
        bool by_two = c->amid[i] || is_claimed_twice(l, c->cancel_call[i]);

        if (answers == l->answers[i])
            continue;
        for (size_t k = 0; k < c->count; k++) {
            bool did = c->answered_by[i] & cluster_bit(c->site[k].id);

            nodes += did;
            well += did && is_well(l, k);
        }
        check((answers <= nodes && well <= 1) || by_two,
              "CANCEL %zu of call %d: answered %u times with 200, %u times with 481", i, c->cancel_call[i],
              c->delivered[i], c->refused[i]);
        check(!only_kamsyncds(l) || !c->refused[i] || by_two || !cluster_holders(c, c->cancel_call[i], NULL),
              "CANCEL %zu of call %d, which lives, is refused", i, c->cancel_call[i]);
        l->answers[i] = answers;
    }
    return true;
}

/* Whoever still sends his is answered in the end. */
bool all_answered(struct life *l)
{
    for (int i = 0; i < CALLS; i++) {
        const struct repeat *r = &l->phones.phone[i].cancel;

        check(!r->at_ms, "call %d: no answer to its CANCEL since %lld ms", i, (long long)(l->c->now - r->since_ms));
    }
    return true;
}

/* ---- records ---- */

#define BEHIND_MS 3000 /* a record is not longer behind what its writer knows */

/* Another node is taking it over, and may fail yet; or has had trouble since: the store may not have its word that this
 * failed. */
static bool is_release_late(struct life *l, int call, const json_t *r, int owner)
{
    return json_is_true(json_object_get(r, "taking")) && owner >= 1 && (size_t)owner <= l->c->count &&
           (!is_well(l, (size_t)owner - 1) || cluster_record_age(l->c, call) < TAKING_MS + BEHIND_MS);
}

static bool record_is_fresh(struct life *l, int call, const struct site *s)
{
    json_t *r = cluster_record(l->c, call);
    const char *inc = json_string_value(json_object_get(r, "inc"));
    int owner = (int)json_integer_value(json_object_get(r, "owner"));
    bool done = json_is_true(json_object_get(r, "done"));
    bool fresh =
        r && !done && ((owner == s->id && inc && strcmp(inc, s->inc) == 0) || is_release_late(l, call, r, owner));

    /* it is answered or ended, and the reply on its way; the record may have ended its short life since. Where the
     * claim was forgotten another node's Kamailio may have had the last word when it woke. */
    if (((done && (owner == s->id || is_contested(l, call))) || !r) && l->c->final[call]) {
        json_decref(r);
        return true;
    }
    if (!fresh)
        complain(l, "call %d lives at node %d since %lld ms, but its record says node %d (%s)%s", call, s->id,
                 (long long)(l->c->now - l->c->changed_ms[call]), owner, inc ? inc : "-", done ? ", over" : "");
    json_decref(r);
    return fresh;
}

static bool records_are_fresh(struct life *l)
{
    for (int i = 0; i < CALLS; i++) {
        size_t who;

        if (is_contested(l, i) || cluster_holders(l->c, i, &who) != 1 || l->c->now - l->c->changed_ms[i] < BEHIND_MS ||
            !is_well_there(l, who, cluster_master_of(l->c, i)) || !is_well_there(l, who, 0))
            continue;
        if (!record_is_fresh(l, i, &l->c->site[who]))
            return false;
    }
    return true;
}

/* ---- ends of calls ---- */

static const char *text_of(json_t *entry, const char *name)
{
    const char *text = json_string_value(json_object_get(entry, name));

    return text ? text : "";
}

/* The caller's connection has ended, or its node may have been thought dead. */
static bool may_be_lost(const struct life *l, int call)
{
    size_t node;
    bool lives = cluster_connection(l->c, call, &node);

    return cluster_is_connected(l->c, call) && (!lives || l->c->cut[call] || !is_well(l, node));
}

/* He has cancelled, and his connection is gone: a 200 that crosses that, if it comes to any node at all, is ended in
 * his stead. Whether he has heard it before only the record says: that cannot have the 200 of a Kamailio whose
 * kamsyncd was cut off from it, and told that it is gone. */
static bool is_unheard(const struct life *l, int call)
{
    bool heard = l->phones.phone[call].code == 200 && l->c->answered[call] && !l->unanswered[call];

    return may_be_lost(l, call) && !heard;
}

/* Whether it can have ended so, seen from the people. */
static bool is_plausible(const struct life *l, int call, const char *how, const char *by)
{
    const struct phone *p = &l->phones.phone[call];

    if (strcmp(how, "completed") == 0)
        return l->c->final[call] == 200 && p->bye[strcmp(by, "callee") == 0].since_ms;
    if (strcmp(how, "cancelled") == 0)
        return p->cancel.since_ms && strcmp(by, "caller") == 0 &&
               (l->c->final[call] != 200 || l->c->timed_out[call] || is_unheard(l, call));
    if (strcmp(how, "rejected") == 0)
        return l->c->final[call] == 486 && strcmp(by, "callee") == 0;
    if (strcmp(how, "caller lost") == 0)
        return may_be_lost(l, call) && strcmp(by, "kamsync") == 0;
    /* that it was cancelled may have died with a node */
    return strcmp(how, "timed out") == 0 && (l->c->final[call] == 487 || l->c->timed_out[call]) &&
           strcmp(by, "kamsync") == 0;
}

/* The caller had the answer before this node, which came late, saw it repeated. */
static bool is_late(const struct life *l, int call, const char *answered)
{
    return strtoll(answered, NULL, 10) - EPOCH > l->phones.phone[call].code_ms;
}

/* The far end has still time to say its final reply, or to say it again: later it has given up itself. */
static bool answers_yet(const struct life *l, int call)
{
    const struct repeat *r = &l->phones.phone[call].final;

    return !r->since_ms || l->c->now - r->since_ms < WELL_MS;
}

/* Nobody is left to hear the answer, says this end. */
static bool is_gone(const struct life *l, int call, const char *how)
{
    return strcmp(how, "caller lost") == 0 || (strcmp(how, "cancelled") == 0 && is_unheard(l, call));
}

static bool is_fine(struct life *l, json_t *entry)
{
    const char *answered = text_of(entry, "answered"), *ended = text_of(entry, "ended");
    int call = -1;

    check(sscanf(text_of(entry, "call_id"), "call-%d@", &call) == 1 && call >= 0 && call < CALLS,
          "an entry of no call");
    check(++l->entries[call] == 1, "call %d: %u entries in the archive", call, l->entries[call]);
    check(!l->ended[call], "call %d: ended once more, as the store has forgotten its end", call);
    l->lost_ms[call] = is_gone(l, call, text_of(entry, "how")) && answers_yet(l, call) ? l->c->now : 0;
    check(is_plausible(l, call, text_of(entry, "how"), text_of(entry, "by")), "call %d: %s by %s, final reply %d", call,
          text_of(entry, "how"), text_of(entry, "by"), l->c->final[call]);
    check(!*answered || is_late(l, call, answered) || strtoll(answered, NULL, 10) <= strtoll(ended, NULL, 10),
          "call %d: answered %s, ended %s", call, answered, ended);
    return true;
}

static bool one_end_each(struct life *l)
{
    for (; l->archived < json_array_size(l->c->store.archive); l->archived++)
        if (!is_fine(l, json_array_get(json_array_get(l->c->store.archive, l->archived), 1)))
            return false;
    return true;
}

/* Nor does anybody write it again as one that goes on. */
static bool none_begins_anew(struct life *l)
{
    for (int i = 0; i < CALLS; i++) {
        json_t *r =
            l->ended[i] ? cluster_call_record(l->c, scratch("kamsync:call:{call-%d@caller.example}:a1", i)) : NULL;
        bool anew = *text_of(r, "from_tag");

        json_decref(r);
        check(!anew, "call %d: it begins anew, as the store has forgotten its end", i);
    }
    return true;
}

/* A call that was alive and well when all hung up has ended. */
static bool all_ended(struct life *l)
{
    for (int i = 0; i < CALLS; i++)
        check(!l->alive[i] || l->entries[i] == 1, "call %d: it has no end, final reply %d", i, l->c->final[i]);
    return true;
}

/* The store knows it, its node too, and nobody has hung up. */
bool is_alive(struct life *l, int call)
{
    const struct phone *p = &l->phones.phone[call];
    json_t *r = cluster_call_record(l->c, scratch("kamsync:call:{call-%d@caller.example}:a1", call));
    bool talks = *text_of(r, "answered") && !*text_of(r, "ended") && p->code == 200, rings;

    rings = *text_of(r, "from_tag") && !*text_of(r, "ended") && cluster_holders(l->c, call, NULL) == 1 &&
            is_known(l->c, call) && !l->c->final[call];
    json_decref(r);
    return (talks || (rings && p->rang)) && !p->cancel.since_ms && !p->bye[0].since_ms && !p->bye[1].since_ms;
}

bool holds_always(struct life *l)
{
    return limits(l) && takeovers_are_due(l) && no_second_call(l) && one_owner_among_the_well(l) &&
           one_answer_each(l) && one_end_each(l) && none_begins_anew(l) && records_are_fresh(l);
}

/* Whoever gives a call up knows who has it. */
static bool none_vanishes(struct life *l)
{
    for (int i = 0; i < CALLS; i++)
        check(!l->c->vanished[i] || l->c->final[i], "call %d: its last Kamailio gave it up for one that has it not", i);
    return true;
}

/* The caller's connection is gone, and he has not come back. */
static bool none_rings_for_nobody(struct life *l)
{
    struct cluster *c = l->c;

    for (int i = 0; i < CALLS; i++) {
        size_t node;
        json_t *r = cluster_is_connected(c, i) && !cluster_connection(c, i, &node) ? cluster_record(c, i) : NULL;
        bool open = json_is_false(json_object_get(r, "done")), gone = json_is_true(json_object_get(r, "gone"));

        json_decref(r);
        check(!open || cluster_holders(c, i, NULL) || is_contested(l, i), "call %d waits for its caller for ever", i);
        check(!gone || c->final[i], "call %d: its caller is gone, and it rings on", i);
    }
    return true;
}

bool holds_when_well(struct life *l)
{
    return none_rings_for_nobody(l) && one_owner(l) && none_vanishes(l) && all_quiet(l);
}

/* A far end that has answered a caller who is gone still says its 2xx: it is ended in his stead. Unless no copy has
 * come to anybody since: all got lost, or came to Kamailios that were dead, or died before they read them; or to a node
 * that had no store, as all do whose Via has its id. */
static bool none_talks_to_nobody(struct life *l)
{
    for (int i = 0; i < CALLS; i++)
        check(!l->lost_ms[i] || l->c->said_ms[i] <= l->lost_ms[i] || l->c->final[i] != 200 ||
                  l->phones.phone[i].final.answered,
              "call %d: it was answered, its caller is gone, and nobody ends it", i);
    return true;
}

bool holds_at_the_end(struct life *l)
{
    return none_talks_to_nobody(l) && holds_always(l) && one_owner(l) && all_ended(l);
}
