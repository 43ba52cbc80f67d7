/* A real replica beside a Redis: what it says, how old that is, and that its faults are its own. */
#include <signal.h>

#include "nodes.h"
#include "stores.h"

TestSuite(store_near, .fini = no_leaks, .timeout = 60);

#define KEY "kamsync:tx:{1}"
#define BEAT_MS 5

struct pair_of {
    struct redis_server primary, replica;
    uv_loop_t loop;
    struct client *c;
    int64_t beat;
    uint64_t beat_ms;
};

static void follow(struct pair_of *t)
{
    redis_do(&t->replica, "REPLICAOF 127.0.0.1 %d", t->primary.port);
}

static bool is_ready(void *arg)
{
    return ((struct pair_of *)arg)->c->store->facts.near.ready;
}

static bool is_away(void *arg)
{
    return !is_ready(arg);
}

static struct pair_of *pair_new(void)
{
    struct pair_of *t = calloc(1, sizeof(*t));

    t->primary = redis_server_start();
    t->replica = redis_server_start();
    redis_do(&t->primary, "CONFIG SET repl-diskless-sync-delay 0");
    redis_do(&t->replica, "CONFIG SET repl-diskless-load swapdb"); /* no file */
    follow(t);
    near_port = t->replica.port;
    uv_loop_init(&t->loop);
    t->c = client_new(&t->loop, &t->primary, 100, "");
    cr_assert(wait_until(&t->loop, is_ready, t));
    return t;
}

static void pair_free(struct pair_of *t)
{
    clients_free(&t->loop, &t->c, 1);
    redis_server_stop(&t->primary);
    redis_server_stop(&t->replica);
    near_port = 0;
    free(t);
}

/* -1: it is away. */
static int ask(struct pair_of *t)
{
    struct store *s = t->c->store;

    t->c->token = 1;
    t->c->answers[1] = 0;
    if (!s->ops->get_near(s, KEY, 1))
        return -1;
    client_wait(t->c);
    return t->c->results[t->c->token];
}

static bool has_it_not(void *arg)
{
    return ask(arg) == GET_ABSENT;
}

static bool has_it(void *arg)
{
    return ask(arg) == GET_FOUND;
}

static void beat(struct pair_of *t)
{
    struct node n = {.id = 1, .name = "a", .sip = "192.0.2.1:5060", .inc = "100.1", .up = true};
    char *record;

    if (uv_now(&t->loop) - t->beat_ms < BEAT_MS)
        return;
    t->beat_ms = uv_now(&t->loop);
    n.beat = ++t->beat;
    record = node_record(&n, "the-secret-of-the-test-cluster");

    t->c->store->ops->beat(t->c->store, 1, record, 60000, false);
    free(record);
}

/* Its beats go on meanwhile. */
static bool is_fresh(void *arg)
{
    struct pair_of *t = arg;

    beat(t);
    return t->c->store->facts.near.looked && t->c->store->facts.near.lag_ms == 0;
}

static bool is_old(void *arg)
{
    struct pair_of *t = arg;

    beat(t);
    return t->c->store->facts.near.lag_ms > 20;
}

static bool is_too_old(void *arg)
{
    struct pair_of *t = arg;

    beat(t);
    return t->c->store->facts.near.looked && t->c->store->facts.near.lag_ms < 0;
}

Test(store_near, what_is_written_can_be_read_there)
{
    struct pair_of *t = pair_new();

    cr_assert(wait_until(&t->loop, has_it_not, t), "%d, %s", ask(t), t->c->logs);
    cr_expect(client_put(t->c, KEY, "{\"epoch\":1,\"owner\":1,\"inc\":\"100.1\"}") == PUT_DONE);
    cr_assert(wait_until(&t->loop, has_it, t));
    cr_expect(strstr(t->c->text, "\"owner\":1"));
    pair_free(t);
}

static bool has_the_taker(void *arg)
{
    return has_it(arg) && strstr(((struct pair_of *)arg)->c->text, "\"owner\":2");
}

Test(store_near, what_was_taken_over_can_be_read_there)
{
    struct pair_of *t = pair_new();

    client_put(t->c, KEY, "{\"epoch\":1,\"owner\":1,\"inc\":\"100.1\"}");
    cr_expect(client_put(t->c, KEY, "{\"epoch\":2,\"owner\":2,\"inc\":\"2.1\",\"from\":\"1 1 100.1\"}") == PUT_DONE);
    cr_assert(wait_until(&t->loop, has_the_taker, t));
    cr_expect(!*t->c->store->facts.near.refused);
    pair_free(t);
}

Test(store_near, how_far_it_is_behind)
{
    struct pair_of *t = pair_new();

    cr_assert(wait_until(&t->loop, is_fresh, t));
    redis_do(&t->replica, "REPLICAOF NO ONE");
    cr_assert(wait_until(&t->loop, is_old, t), "%d ms", (int)t->c->store->facts.near.lag_ms);
    cr_assert(wait_until(&t->loop, is_too_old, t), "not minutes, but 64 beats");
    follow(t);
    cr_assert(wait_until(&t->loop, is_fresh, t));
    redis_do(&t->replica, "REPLICAOF NO ONE");
    redis_do(&t->replica, "FLUSHALL");
    cr_assert(wait_until(&t->loop, is_too_old, t), "it has no record of this node");
    pair_free(t);
}

/* Its record in place of this node's own; whether that is too old as well. */
static bool is_too_old_with(struct pair_of *t, int64_t beat)
{
    struct node n = {.id = 1, .name = "a", .sip = "192.0.2.1:5060", .inc = "100.1", .up = true, .beat = beat};
    char *record = node_record(&n, "the-secret-of-the-test-cluster");

    redis_do(&t->replica, "SET kamsync:node:1 %s", record);
    free(record);
    t->c->store->facts.near.looked = false;
    return wait_until(&t->loop, is_too_old, t);
}

Test(store_near, a_heartbeat_that_this_node_never_had)
{
    struct pair_of *t = pair_new();

    cr_assert(wait_until(&t->loop, is_fresh, t));
    redis_do(&t->replica, "REPLICAOF NO ONE");
    cr_expect(is_too_old_with(t, -7));
    cr_expect(is_too_old_with(t, INT64_MAX));
    pair_free(t);
}

Test(store_near, refusals_are_failures)
{
    struct pair_of *t = pair_new();

    cr_assert(wait_until(&t->loop, has_it_not, t), "it was loading");
    redis_do(&t->replica, "ACL SETUSER default -get");
    cr_expect(ask(t) == GET_FAILED && ask(t) == GET_FAILED);
    cr_expect(strstr(t->c->logs, "the near replica refuses: NOPERM"), "%s", t->c->logs);
    cr_expect(strstr(t->c->store->facts.near.refused, "NOPERM") && !*t->c->store->facts.refused);
    redis_do(&t->replica, "ACL SETUSER default +get");
    cr_expect(ask(t) == GET_ABSENT && !*t->c->store->facts.near.refused);
    pair_free(t);
}

Test(store_near, replica_that_hangs_and_is_back)
{
    struct pair_of *t = pair_new();

    cr_assert(wait_until(&t->loop, has_it_not, t), "%d, %s", ask(t), t->c->logs);
    kill(t->replica.pid, SIGSTOP);
    cr_expect(ask(t) == GET_FAILED, "when it is given up");
    cr_assert(wait_until(&t->loop, is_away, t));
    cr_expect(ask(t) == -1);
    cr_expect(client_put(t->c, KEY, "{\"epoch\":1,\"owner\":1,\"inc\":\"100.1\"}") == PUT_DONE,
              "the store knows nothing of that");
    cr_expect(t->c->up && t->c->store->facts.ready);
    kill(t->replica.pid, SIGCONT);
    cr_assert(wait_until(&t->loop, has_it, t));
    pair_free(t);
}

Test(store_near, replica_that_hangs_while_nothing_is_asked)
{
    struct pair_of *t = pair_new();

    kill(t->replica.pid, SIGSTOP);
    cr_assert(wait_until(&t->loop, is_away, t), "it is asked PING");
    cr_expect(t->c->up);
    pair_free(t);
}

Test(store_near, without_one_nothing_is_asked)
{
    struct pair_of t = {.primary = redis_server_start()};

    uv_loop_init(&t.loop);
    t.c = client_new(&t.loop, &t.primary, 100, "");
    cr_expect(ask(&t) == -1);
    beat(&t);
    clients_free(&t.loop, &t.c, 1);
    redis_server_stop(&t.primary);
}
