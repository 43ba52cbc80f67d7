/* Calls in a cluster: each is ended once, wherever its BYE arrives and whatever happens meanwhile. */
#include "cluster_impl.h"

#include <utlist.h>

#include "frame.h"

TestSuite(cluster_calls, .fini = no_leaks, .timeout = 120);

static void event(struct cluster *c, size_t node, const char *text)
{
    struct site *s = &c->site[node];
    size_t len;
    char *frame;

    if (s->dead || !s->linked || !s->hello)
        return;
    frame = frame_make(span_of(scratch("{\"t\":\"events\",\"n\":%lld}%s", (long long)++s->events, text)), &len);
    cr_assert(engine_link_data(s->e, frame, len, c->now) == 0);
    free(frame);
    engine_flush(s->e, c->now);
}

/* The BYE of the caller's and its 200, at this node. */
static void bye(struct cluster *c, size_t node, int call)
{
    struct leg k = call_make((unsigned)call);

    for (int code = 0; code <= 200; code += 200)
        event(c, node,
              scratch("{\"t\":\"bye\",\"call_id\":\"%s\",\"from_tag\":\"%s\",\"to_tag\":\"%s\",\"code\":%d}",
                      base64_of(k.call_id), base64_of("a1"), base64_of("b1"), code));
}

static void set(struct cluster *c, size_t node, int call)
{
    event(c, node,
          scratch("{\"t\":\"set\",\"call_id\":\"%s\",\"from_tag\":\"YTE=\",\"name\":\"x\",\"value\":\"%s\"}",
                  base64_of(call_make((unsigned)call).call_id), base64_of("y")));
}

static size_t calls(const struct cluster *c, size_t node)
{
    struct engine_status s;

    engine_status(c->site[node].e, &s);
    return s.calls;
}

static json_t *record(const struct cluster *c, int call)
{
    return cluster_call_record(c, scratch("kamsync:call:{call-%d@caller.example}:a1", call));
}

/* The record says that it is that node's. */
static void give(const struct cluster *c, int call, int node)
{
    json_t *r = entry_find(c, &c->store, scratch("kamsync:call:{call-%d@caller.example}:a1", call))->fields;

    json_object_set_new(r, "node", json_string(scratch("%d", node)));
}

static void expect_field(const struct cluster *c, int call, const char *name, const char *text)
{
    json_t *r = record(c, call);
    const char *got = json_string_value(json_object_get(r, name));

    cr_expect(got && strcmp(got, text) == 0, "call %d: %s is '%s', not '%s'", call, name, got ? got : "(none)", text);
    json_decref(r);
}

/* One entry of each call, answered and completed. */
static void expect_ended_once(struct cluster *c, int n)
{
    json_t *each;
    size_t i;
    int seen[CALLS_MAX] = {0}, call;

    json_array_foreach(c->store.archive, i, each)
    {
        json_t *entry = json_array_get(each, 1);
        const char *id = json_string_value(json_object_get(entry, "call_id"));

        cr_assert(id && sscanf(id, "call-%d@", &call) == 1 && call < n);
        seen[call]++;
        cr_expect(json_object_get(entry, "answered") && json_object_get(entry, "duration_ms"), "call %d", call);
        cr_expect_str_eq(json_string_value(json_object_get(entry, "how")), "completed");
    }
    for (call = 0; call < n; call++)
        cr_expect(seen[call] == 1, "call %d: %d entries", call, seen[call]);
}

/* Nobody has anything of it any more. */
static void expect_gone(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (!c->site[i].dead && c->site[i].connected)
            cr_expect(calls(c, i) == 0, "node %zu has %zu calls", i + 1, calls(c, i));
    cluster_free(c);
}

/* Calls at the first node, answered. */
static struct cluster *talking(size_t nodes, int n)
{
    struct cluster *c = cluster_new(nodes);

    for (int i = 0; i < n; i++) {
        cluster_call(c, 0, i);
        cluster_answer(c, i);
    }
    cluster_run(c, 1000);
    for (int i = 0; i < n; i++)
        expect_field(c, i, "state", "answered");
    return c;
}

Test(cluster_calls, bye_at_any_node_ends_the_call)
{
    struct cluster *c = talking(3, 3);

    for (int i = 0; i < 3; i++)
        bye(c, (size_t)i, i);
    cluster_run(c, 1000);
    for (int i = 0; i < 3; i++) {
        expect_field(c, i, "state", "ended");
        expect_field(c, i, "node", "1");
    }
    expect_ended_once(c, 3);
    expect_gone(c);
}

Test(cluster_calls, byes_at_two_nodes_in_the_same_moment)
{
    for (int64_t apart = 0; apart < 6; apart++) {
        struct cluster *c = talking(3, 1);

        bye(c, 1, 0);
        cluster_run(c, apart);
        bye(c, 2, 0);
        cluster_run(c, apart);
        bye(c, 0, 0);
        cluster_run(c, 15000);
        expect_ended_once(c, 1);
        expect_gone(c);
    }
}

Test(cluster_calls, answer_and_bye_in_the_same_moment)
{
    for (int64_t apart = 0; apart < 6; apart++) {
        struct cluster *c = cluster_new(2);

        cluster_call(c, 0, 0);
        cluster_run(c, 100);
        bye(c, 1, 0);
        cluster_run(c, apart * 400);
        cluster_answer(c, 0);
        cluster_run(c, 15000);
        expect_ended_once(c, 1);
        expect_gone(c);
    }
}

/* ---- deaths ---- */

static void lose(struct cluster *c, size_t node)
{
    cluster_cut(c, node);
    c->site[node].isolated = true;
}

Test(cluster_calls, owner_that_is_lost_before_the_bye)
{
    static const int64_t later[] = {0, 1, 500, 3000, 4200, 10000};

    for (size_t i = 0; i < COUNT(later); i++) {
        struct cluster *c = talking(3, 10);

        lose(c, 0);
        cluster_run(c, later[i]);
        for (int k = 0; k < 10; k++)
            bye(c, 1 + (size_t)k % 2, k);
        cluster_run(c, 20000);
        expect_ended_once(c, 10);
        expect_gone(c);
    }
}

Test(cluster_calls, survivors_share_the_calls_of_a_lost_node)
{
    struct cluster *c = talking(3, 40);

    lose(c, 0);
    cluster_run(c, 15000);
    cr_expect(calls(c, 1) + calls(c, 2) == 40, "%zu and %zu", calls(c, 1), calls(c, 2));
    cr_expect(calls(c, 1) > 5 && calls(c, 2) > 5);
    for (int i = 0; i < 40; i++) {
        json_t *r = record(c, i);

        cr_expect(strcmp(json_string_value(json_object_get(r, "node")), "1") != 0, "call %d", i);
        json_decref(r);
    }
    for (int i = 0; i < 40; i++)
        bye(c, 1, i);
    cluster_run(c, 2000);
    expect_ended_once(c, 40);
    expect_gone(c);
}

Test(cluster_calls, kamailio_that_dies_leaves_its_calls_where_they_are)
{
    struct cluster *c = talking(3, 5);

    cluster_kill(c, 0);
    cluster_run(c, 20000);
    cr_expect(calls(c, 0) == 5 && calls(c, 1) + calls(c, 2) == 0);
    for (int i = 0; i < 5; i++)
        bye(c, 1, i);
    cluster_run(c, 2000);
    cr_expect(calls(c, 0) == 0);
    expect_ended_once(c, 5);
    expect_gone(c);
}

Test(cluster_calls, lost_owner_that_comes_back_after_the_end)
{
    struct cluster *c = talking(3, 10);

    lose(c, 0);
    cluster_run(c, 10000);
    for (int i = 0; i < 10; i++)
        bye(c, 1, i);
    cluster_run(c, 2000);
    c->site[0].isolated = false;
    cluster_join(c, 0);
    cluster_run(c, 5000);
    expect_ended_once(c, 10);
    expect_gone(c);
}

Test(cluster_calls, lost_owner_that_comes_back_before_the_end)
{
    struct cluster *c = talking(3, 10);

    lose(c, 0);
    cluster_run(c, 10000);
    c->site[0].isolated = false;
    cluster_join(c, 0);
    cluster_run(c, 5000);
    cr_expect(calls(c, 0) + calls(c, 1) + calls(c, 2) == 10, "each has one node");
    for (int i = 0; i < 10; i++)
        bye(c, (size_t)i % 3, i);
    cluster_run(c, 5000);
    expect_ended_once(c, 10);
    expect_gone(c);
}

/* It rings while its node is lost, and is answered at the survivor that has taken it over. */
Test(cluster_calls, call_that_is_taken_over_is_answered_and_ended)
{
    struct cluster *c = cluster_new(3);
    size_t who;

    for (int i = 0; i < 10; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 1000);
    lose(c, 0);
    cluster_run(c, 12000);
    c->site[0].dead = true;
    for (int i = 0; i < 10; i++) {
        cr_assert(cluster_holders(c, i, &who) == 1);
        cluster_answer(c, i);
        cluster_run(c, 3000);
        expect_field(c, i, "state", "answered");
        expect_field(c, i, "node", scratch("%zu", who + 1));
        bye(c, 1 + (size_t)i % 2, i);
    }
    cluster_run(c, 5000);
    expect_ended_once(c, 10);
    cluster_free(c);
}

/* ---- the store ---- */

/* It was restarted, empty but for its archive; nodes find their way back in this order. */
static void forget(struct cluster *c, const size_t *order, int64_t apart)
{
    struct entry *x, *next;

    for (size_t i = 0; i < c->count; i++)
        cluster_cut(c, i);
    LL_FOREACH_SAFE(c->store.entries, x, next)
    {
        entry_free(x);
    }
    c->store.entries = NULL;
    for (size_t i = 0; i < c->count; i++) {
        cluster_run(c, apart);
        cluster_join(c, order[i]);
    }
}

Test(cluster_calls, store_that_forgets_everything_before_the_bye)
{
    static const size_t order[] = {1, 2, 0};

    for (int64_t apart = 0; apart < 2000; apart += 450) {
        struct cluster *c = talking(3, 5);

        forget(c, order, apart);
        for (int i = 0; i < 5; i++)
            bye(c, 1, i);
        cluster_run(c, 15000);
        expect_ended_once(c, 5);
        expect_gone(c);
    }
}

/* The variables of another node are back first. */
Test(cluster_calls, store_that_forgets_everything_amid_the_bye)
{
    static const size_t order[] = {2, 1, 0};

    for (int64_t later = 0; later < 3; later++) {
        struct cluster *c = talking(3, 5);

        for (int i = 0; i < 5; i++)
            set(c, 2, i);
        cluster_run(c, 100);
        for (int i = 0; i < 5; i++)
            bye(c, 1, i);
        cluster_run(c, later);
        forget(c, order, 2000);
        cluster_run(c, 20000);
        expect_ended_once(c, 5);
        cluster_free(c);
    }
}

/* Only the Kamailio of its first node was restarted, whose kamsyncd still knows the call. */
static void forget_taken(int64_t dead_ms)
{
    static const size_t order[] = {0, 1, 2};
    struct cluster *c = cluster_new(3);
    size_t who;

    for (int i = 0; i < 10; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 1000);
    cluster_kill(c, 0);
    cluster_run(c, dead_ms);
    cluster_restart(c, 0);
    cluster_run(c, 12000);
    for (int i = 0; i < 10; i++) {
        cr_assert(cluster_holders(c, i, &who) == 1);
        cluster_answer(c, i);
        cluster_run(c, 1000);
        bye(c, 1, i);
    }
    cluster_run(c, 5000);
    expect_ended_once(c, 10);
    forget(c, order, 500);
    cluster_run(c, 10000);
    for (int i = 0; i < 10; i++)
        cr_expect_null(record(c, i), "call %d lives again", i);
    expect_gone(c);
}

Test(cluster_calls, store_that_forgets_a_call_that_was_taken_over_and_has_ended)
{
    forget_taken(0);
    forget_taken(2500);
    forget_taken(8000);
}

/* Node 3 had a variable of the call, and nobody tells it of the end. */
Test(cluster_calls, ended_call_does_not_come_to_life_again)
{
    struct cluster *c = talking(3, 1);
    json_t *r;

    set(c, 2, 0);
    cluster_run(c, 100);
    expect_field(c, 0, "var.x", "y");
    bye(c, 1, 0);
    cluster_run(c, 1300000);
    r = record(c, 0);
    cr_expect_null(r);
    json_decref(r);
    expect_ended_once(c, 1);
    expect_gone(c);
}

/* One survivor inherits the call while another takes its transaction over: that one's call it is, and ends it. */
Test(cluster_calls, call_that_one_inherits_and_another_takes_over)
{
    struct cluster *c = cluster_new(3);

    for (int i = 0; i < 20; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 1000);
    for (int i = 0; i < 20; i++)
        give(c, i, 3); /* as if the third had read it before, and written it after the second had */
    for (int i = 0; i < 20; i++)
        cluster_cancel(c, 0, i);
    cluster_run(c, 5000);
    for (int i = 0; i < 20; i++) {
        expect_field(c, i, "state", "ended");
        expect_field(c, i, "how", "cancelled");
    }
    cr_expect(json_array_size(c->store.archive) == 20);
    expect_gone(c);
}

/* ---- legs at several nodes ---- */

/* Leg i of call 0. */
static struct leg leg_make(unsigned i)
{
    struct leg k = call_make(i);

    k.call_id = call_make(0).call_id;
    return k;
}

/* The event of its INVITE, which the node routes now. */
static char *leg_event(const struct cluster *c, size_t node, unsigned i)
{
    struct leg k = leg_make(i);

    return kamailio_branch(&c->site[node], &k, sip_request(&k, "INVITE"), true);
}

static void leg_replied(struct cluster *c, size_t node, unsigned i, int code)
{
    struct leg k = leg_make(i);

    event(c, node, kamailio_replied(&c->site[node], &k, code));
}

/* A node routes the INVITE to another one, whose leg fails, and then to a mailbox. It may report its own later. */
static void expect_spiral(int64_t outer_ms, int64_t inner_ms)
{
    struct cluster *c = cluster_new(3);
    char *outer = leg_event(c, 0, 1), *inner;

    cluster_run(c, 1);
    inner = leg_event(c, 1, 2);
    for (int64_t ms = 0; ms <= 100; ms += 10) {
        if (ms == outer_ms)
            event(c, 0, outer);
        if (ms == inner_ms)
            event(c, 1, inner);
        cluster_run(c, 10);
    }
    leg_replied(c, 1, 2, 180);
    cluster_run(c, 1000);
    leg_replied(c, 1, 2, 486);
    cluster_run(c, 8000);
    cr_expect(json_array_size(c->store.archive) == 0, "%lld and %lld ms", (long long)outer_ms, (long long)inner_ms);
    leg_replied(c, 0, 1, 200);
    cluster_run(c, 1000);
    expect_field(c, 0, "node", "1");
    expect_field(c, 0, "state", "answered");
    bye(c, 2, 0);
    cluster_run(c, 1000);
    expect_ended_once(c, 1);
    expect_gone(c);
}

Test(cluster_calls, spiral_whose_inner_leg_fails)
{
    expect_spiral(0, 0);
    expect_spiral(0, 40);
    expect_spiral(40, 0);
    expect_spiral(100, 0);
}

/* Two legs ring at two nodes, one of them since long. */
static struct cluster *two_legs(int64_t ms)
{
    struct cluster *c = cluster_new(3);

    for (unsigned i = 1; i <= 2; i++) {
        event(c, i - 1, leg_event(c, i - 1, i));
        leg_replied(c, i - 1, i, 180);
        cluster_run(c, 10);
    }
    cluster_run(c, ms);
    return c;
}

static void leg_cancelled(struct cluster *c, size_t node, unsigned i)
{
    struct leg k = leg_make(i);

    event(c, node, scratch("%s,%s}", cancel_event(&k), kamailio_now(&c->site[node])));
    leg_replied(c, node, i, 487);
}

static void expect_talk_and_end(struct cluster *c)
{
    cr_expect(json_array_size(c->store.archive) == 0);
    expect_field(c, 0, "state", "answered");
    bye(c, 2, 0);
    cluster_run(c, 3000);
    expect_ended_once(c, 1);
    expect_gone(c);
}

/* One leg is answered while its kamsyncd or its way to the store is away, and the proxy cancels the other. */
Test(cluster_calls, answer_that_the_store_hears_of_late)
{
    for (int64_t ms = 10; ms < 20000; ms *= 5) {
        for (unsigned kind = 0; kind < 4; kind++) {
            struct cluster *c = two_legs(kind & 1 ? 100 : 6000);
            struct leg k = leg_make(2);

            (kind & 2 ? cluster_break : cluster_cut)(c, 1);
            kamailio_event(&c->site[1], kamailio_replied(&c->site[1], &k, 200));
            leg_cancelled(c, 0, 1);
            cluster_run(c, ms);
            cr_expect(calls(c, 0) <= 1);
            (kind & 2 ? cluster_mend : cluster_join)(c, 1);
            cluster_run(c, 5000);
            expect_talk_and_end(c);
        }
    }
}

/* One of them fails long before anything becomes of the other. */
static struct cluster *one_fails(unsigned fails, int64_t ms)
{
    struct cluster *c = two_legs(ms);

    leg_replied(c, fails, fails + 1, 486);
    cluster_run(c, 10000);
    return c;
}

Test(cluster_calls, leg_that_fails_before_another_is_answered)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned fails = i & 1;
        struct cluster *c = one_fails(fails, i & 2 ? 100 : 6000);

        leg_replied(c, !fails, 2 - fails, 200);
        cluster_run(c, 2000);
        expect_talk_and_end(c);
    }
}

static void expect_one_end(struct cluster *c, const char *how)
{
    cr_expect(json_array_size(c->store.archive) == 1, "%zu", json_array_size(c->store.archive));
    expect_field(c, 0, "state", "ended");
    expect_field(c, 0, "how", how);
    expect_gone(c);
}

/* Both fail: the call ends once, with the last. */
Test(cluster_calls, legs_that_fail_one_after_the_other)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned fails = i & 1;
        struct cluster *c = one_fails(fails, i & 2 ? 100 : 6000);

        cr_expect(json_array_size(c->store.archive) == 0, "%u", i);
        leg_cancelled(c, !fails, 2 - fails);
        cluster_run(c, 8000);
        expect_one_end(c, "cancelled");
    }
}
