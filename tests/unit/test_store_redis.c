/* What only a Redis can do to a store: forget its script, refuse, hang, go; and carry what nodes tell each other. */
#include <signal.h>

#include "stores.h"

TestSuite(store_redis, .fini = no_leaks, .timeout = 60);

#define MANY 50

static char *key_of(int i)
{
    return scratch("kamsync:call:{%d}", i);
}

static unsigned count_of(const struct client *c, enum call_result result)
{
    unsigned n = 0;

    for (uint64_t token = 1; token <= c->token; token++) {
        cr_expect(c->answers[token] == 1, "question %d was answered %u times", (int)token, c->answers[token]);
        n += c->answers[token] && c->results[token] == (int)result;
    }
    return n;
}

/* ---- the script ---- */

Test(store_redis, two_that_end_a_call_at_once_make_one_entry)
{
    struct two *t = two_new(100000);
    unsigned written = 0, over = 0;

    for (int i = 0; i < MANY; i++)
        client_write(t->c[0], key_of(i), CALL_BEGIN, 1, scratch("{\"call_id\":\"%d\"}", i));
    for (int i = 0; i < MANY; i++) {
        client_ask_write(t->c[i % 2], key_of(i), CALL_END, 1, "{\"ended\":\"1\"}", 60000);
        client_ask_write(t->c[1 - i % 2], key_of(i), CALL_END, 2, "{\"ended\":\"2\"}", 60000);
    }
    for (int i = 0; i < 2; i++) {
        client_wait(t->c[i]);
        written += count_of(t->c[i], CALL_WRITTEN);
        over += count_of(t->c[i], CALL_OVER);
    }
    cr_expect(written == 2 * MANY && over == MANY, "%u written, %u over", written, over);
    cr_expect_str_eq(redis_do(&t->r, "XLEN kamsync:cdr"), scratch("%d", MANY));
    two_free(t);
}

static int calls_of(const struct two *t, const char *command)
{
    const char *stats = redis_do(&t->r, "INFO commandstats"), *line = strstr(stats, scratch("cmdstat_%s:", command));

    return line ? atoi(strchr(line, '=') + 1) : 0;
}

Test(store_redis, script_flush_costs_no_write)
{
    struct two *t = two_new(100000);
    struct client *c = t->c[0];

    cr_expect(client_write(c, key_of(1), CALL_BEGIN, 1, "{\"node\":\"1\"}") == CALL_WRITTEN);
    cr_expect(calls_of(t, "evalsha") == 1 && calls_of(t, "eval") == 0);
    redis_do(&t->r, "SCRIPT FLUSH");
    for (int i = 0; i < MANY; i++)
        client_ask_write(c, key_of(1), CALL_ADD, 1, scratch("{\"f%d\":\"%d\"}", i, i), 60000);
    client_ask_write(c, key_of(1), CALL_END, 1, "{\"ended\":\"1\"}", 60000);
    client_wait(c);
    cr_expect(count_of(c, CALL_WRITTEN) == MANY + 2);
    cr_expect(client_get(c, key_of(1)) == GET_FOUND && json_object_size(c->record) == MANY + 2);
    cr_expect_str_eq(redis_do(&t->r, "XLEN kamsync:cdr"), "1");
    cr_expect(calls_of(t, "eval") > 0);
    redis_do(&t->r, "CONFIG RESETSTAT");
    cr_expect(client_write(t->c[1], key_of(2), CALL_ADD, 1, "{\"a\":\"1\"}") == CALL_WRITTEN);
    cr_expect(calls_of(t, "evalsha") == 1 && calls_of(t, "eval") == 0, "it is there again");
    cr_expect(!strstr(c->logs, "refuses"), "%s", c->logs);
    two_free(t);
}

Test(store_redis, an_archive_that_refuses_leaves_the_call_as_it_was)
{
    struct two *t = two_new(100000);
    struct client *c = t->c[0];

    redis_do(&t->r, "SET kamsync:cdr x");
    client_write(c, key_of(1), CALL_BEGIN, 1, "{\"node\":\"1\"}");
    cr_expect(client_write(c, key_of(1), CALL_END, 1, "{\"ended\":\"1\"}") == CALL_REFUSED);
    cr_expect(client_get(c, key_of(1)) == GET_FOUND && json_object_size(c->record) == 1);
    cr_expect(strstr(c->logs, "redis refuses: WRONGTYPE") || strstr(c->logs, "redis refuses: ERR"), "%s", c->logs);
    cr_expect(!client_archive(c, NULL, 5) && !client_archive(c, "1-1", 5));
    redis_do(&t->r, "DEL kamsync:cdr");
    cr_expect(client_write(c, key_of(1), CALL_END, 1, "{\"ended\":\"1\"}") == CALL_WRITTEN);
    cr_expect_str_eq(redis_do(&t->r, "XLEN kamsync:cdr"), "1");
    two_free(t);
}

Test(store_redis, what_is_no_call_is_refused)
{
    struct two *t = two_new(100000);
    struct client *c = t->c[0];

    redis_do(&t->r, "SET %s x", key_of(1));
    cr_expect(client_write(c, key_of(1), CALL_ADD, 1, "{\"a\":\"1\"}") == CALL_REFUSED);
    cr_expect(client_get(c, key_of(1)) == GET_ABSENT);
    two_free(t);
}

Test(store_redis, life_of_a_record)
{
    struct two *t = two_new(100000);
    int left;

    client_ask_write(t->c[0], key_of(1), CALL_BEGIN, 1, "{\"node\":\"1\"}", 100000);
    client_wait(t->c[0]);
    left = atoi(redis_do(&t->r, "PTTL %s", key_of(1)));
    cr_expect(left > 90000 && left <= 100000, "%d", left);
    client_ask_write(t->c[0], key_of(1), CALL_END, 1, "{\"ended\":\"1\"}", 32000);
    client_wait(t->c[0]);
    left = atoi(redis_do(&t->r, "PTTL %s", key_of(1)));
    cr_expect(left > 22000 && left <= 32000, "%d", left);
    cr_expect(client_write(t->c[0], key_of(1), CALL_END, 1, "{\"ended\":\"1\"}") == CALL_OVER);
    cr_expect(atoi(redis_do(&t->r, "PTTL %s", key_of(1))) <= 32000, "nothing is written to what is over");
    two_free(t);
}

/* ---- away ---- */

static void ask_all(struct client *c)
{
    client_ask_write(c, key_of(1), CALL_ADD, 1, "{\"a\":\"1\"}", 60000);
    c->store->ops->call_get(c->store, key_of(1), NULL, ++c->token);
    c->archive = c->archive ? c->archive : json_array();
    c->store->ops->archive(c->store, NULL, 5, ++c->token);
}

static void expect_failures(struct client *c)
{
    client_wait(c);
    for (int i = 0; i < 3; i++) {
        uint64_t token = c->token - 2 + (uint64_t)i;

        cr_expect(c->answers[token] == 1, "question %d was answered %u times", (int)token, c->answers[token]);
    }
    cr_expect(c->results[c->token - 2] == CALL_FAILED && c->results[c->token - 1] == GET_FAILED);
    cr_expect(c->results[c->token] == false && json_array_size(c->archive) == 0);
}

static bool is_down(void *arg)
{
    return !((struct client *)arg)->up;
}

static bool is_up(void *arg)
{
    return ((struct client *)arg)->up;
}

/* A turn's commands are more than the socket takes, and others follow while it is full: all arrive whole and in order.
 */
Test(store_redis, more_at_once_than_the_socket_takes)
{
    enum { LARGE = 300000, ROUNDS = 3 };
    struct two *t = two_new(100000);
    struct client *c = t->c[0];
    char *record = malloc(LARGE), key[40];

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MANY; i++) {
            int n = snprintf(record, LARGE, "{\"epoch\":1,\"owner\":1,\"inc\":\"1.1\",\"at\":%d", round);

            memset(record + n, ' ', (size_t)(LARGE - n));
            memcpy(record + LARGE - 2, "}", 2);
            snprintf(key, sizeof(key), "kamsync:tx:{%d}", i);
            c->store->ops->put(c->store, key, record, 60000, ++c->token);
        }
        uv_run(&t->loop, UV_RUN_NOWAIT);
    }
    client_wait(c);
    for (uint64_t token = 1; token <= c->token; token++)
        cr_expect(c->answers[token] == 1 && c->results[token] == PUT_DONE);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof(key), "kamsync:tx:{%d}", i);
        cr_expect(client_read(c, key) == GET_FOUND);
        cr_expect(strlen(c->text) == LARGE - 1 && strstr(c->text, "\"at\":2"), "%.60s", c->text);
    }
    free(record);
    two_free(t);
}

Test(store_redis, hangs_then_is_away_then_back)
{
    struct two *t = two_new(100000);
    struct client *c = t->c[0];

    kill(t->r.pid, SIGSTOP);
    ask_all(c);
    cr_expect(c->answers[c->token] == 0);
    cr_assert(wait_until(&t->loop, is_down, c));
    expect_failures(c);
    ask_all(c);
    expect_failures(c); /* at once */
    c->store->ops->tell(c->store, 0, "nobody hears it");
    kill(t->r.pid, SIGCONT);
    cr_assert(wait_until(&t->loop, is_up, c));
    cr_expect(client_write(c, key_of(2), CALL_ADD, 1, "{\"a\":\"1\"}") == CALL_WRITTEN);
    two_free(t);
}

Test(store_redis, hangs_while_nothing_is_asked)
{
    struct two *t = two_new(100000);

    kill(t->r.pid, SIGSTOP);
    cr_assert(wait_until(&t->loop, is_down, t->c[0]), "it is asked PING");
    kill(t->r.pid, SIGCONT);
    cr_assert(wait_until(&t->loop, is_up, t->c[0]));
    two_free(t);
}

Test(store_redis, closed_while_questions_wait)
{
    struct two *t = two_new(100000);
    struct client *c = t->c[0];

    kill(t->r.pid, SIGSTOP);
    ask_all(c);
    clients_free(&t->loop, t->c, 2);
    redis_server_stop(&t->r);
    free(t);
}

/* ---- what nodes tell each other ---- */

static char *heard(struct client *c)
{
    char *text = scratch("%s", "");
    json_t *each;
    size_t i;

    json_array_foreach(c->told, i, each) text = scratch("%s %s", text, json_string_value(each));
    json_array_clear(c->told);
    return text;
}

/* All that was told before has arrived as well: it goes one way. */
static bool has_heard_end(void *arg)
{
    struct client *c = arg;
    size_t n = json_array_size(c->told);

    return n > 0 && strcmp(json_string_value(json_array_get(c->told, n - 1)), "end") == 0;
}

static bool listens(void *arg)
{
    struct two *t = arg;
    const char *channels[] = {"1", "2", "all"};

    for (int i = 0; i < 3; i++)
        if (strcmp(redis_do(&t->r, "PUBSUB NUMSUB kamsync:to:%s", channels[i]),
                   scratch("kamsync:to:%s,%d", channels[i], i == 2 ? 2 : 1)) != 0)
            return false;
    return true;
}

static void tell_each_other(struct two *t)
{
    struct store *a = t->c[0]->store, *b = t->c[1]->store;

    cr_assert(wait_until(&t->loop, listens, t));
    a->ops->tell(a, 2, "to-b {\"%s\":1}");
    a->ops->tell(a, 1, "to-a");
    b->ops->tell(b, 3, "to-nobody");
    a->ops->tell(a, 0, "end");
    for (int i = 0; i < 2; i++)
        cr_assert(wait_until(&t->loop, has_heard_end, t->c[i]), "node %d heard '%s'", i + 1, heard(t->c[i]));
    cr_expect_str_eq(heard(t->c[0]), " to-a end");
    cr_expect_str_eq(heard(t->c[1]), " to-b {\"%s\":1} end");
}

static void beat(struct client *c, int id)
{
    c->store->ops->beat(c->store, id, "{}", 3000, false);
}

Test(store_redis, tell)
{
    struct two *t = two_new(100000);

    beat(t->c[0], 1);
    beat(t->c[1], 2);
    tell_each_other(t);
    beat(t->c[0], 1);
    tell_each_other(t);
    redis_do(&t->r, "CLIENT KILL TYPE pubsub");
    tell_each_other(t);
    two_free(t);
}

static bool listens_anew(void *arg)
{
    return strcmp(redis_do(&((struct two *)arg)->r, "PUBSUB NUMSUB kamsync:to:7"), "kamsync:to:7,1") == 0;
}

Test(store_redis, node_gets_another_id)
{
    struct two *t = two_new(100000);
    struct store *b = t->c[1]->store;

    beat(t->c[0], 1);
    beat(t->c[0], 7);
    cr_assert(wait_until(&t->loop, listens_anew, t));
    b->ops->tell(b, 1, "to-1");
    b->ops->tell(b, 7, "to-7");
    b->ops->tell(b, 0, "end");
    cr_assert(wait_until(&t->loop, has_heard_end, t->c[0]));
    cr_expect_str_eq(heard(t->c[0]), " to-7 end");
    two_free(t);
}

static bool has_read_nodes(void *arg)
{
    return ((struct client *)arg)->nodes_read == 1;
}

/* What Redis has read from its sockets so far. */
static int reads_of(const struct two *t)
{
    const char *stats = redis_do(&t->r, "INFO stats");

    return atoi(strstr(stats, "total_reads_processed:") + strlen("total_reads_processed:"));
}

/* How often Redis reads for that, and how many records there were. */
static int read_nodes(struct two *t, unsigned *nodes)
{
    struct client *c = t->c[0];
    int own = -reads_of(t), before;

    before = reads_of(t);
    own += before; /* of the question itself */
    c->nodes = c->nodes_read = 0;
    c->store->ops->read_nodes(c->store);
    cr_assert(wait_until(&t->loop, has_read_nodes, c));
    *nodes = c->nodes;
    return reads_of(t) - before - own;
}

static bool has_forgotten(void *arg)
{
    return strcmp(redis_do(&((struct two *)arg)->r, "SMEMBERS kamsync:nodes"), "1,3") == 0;
}

Test(store_redis, known_nodes_are_read_in_one_round_trip)
{
    struct two *t = two_new(100000);
    unsigned nodes;

    redis_do(&t->r, "SADD kamsync:nodes 1 2");
    redis_do(&t->r, "SET kamsync:node:1 {}");
    redis_do(&t->r, "SET kamsync:node:2 {}");
    cr_expect(read_nodes(t, &nodes) == 2 && nodes == 2, "%u nodes, of which none was known", nodes);
    cr_expect(read_nodes(t, &nodes) == 1 && nodes == 2, "%u nodes, all known", nodes);
    redis_do(&t->r, "SADD kamsync:nodes 3");
    redis_do(&t->r, "SET kamsync:node:3 {}");
    cr_expect(read_nodes(t, &nodes) == 2 && nodes == 3, "%u nodes, one of them new", nodes);
    redis_do(&t->r, "DEL kamsync:node:2");
    read_nodes(t, &nodes);
    cr_expect(nodes == 2, "%u nodes, one of them gone", nodes);
    cr_assert(wait_until(&t->loop, has_forgotten, t));
    cr_expect(read_nodes(t, &nodes) == 1 && nodes == 2, "%u nodes left", nodes);
    two_free(t);
}

/* ---- rights ---- */

/* The rights that calls need; docs/security.md names all rights. */
static const char *const rights[] = {"+evalsha", "+eval",    "+script|load", "+hgetall", "+hmget",    "+hset",
                                     "+hsetnx",  "+pexpire", "+xadd",        "+xrange",  "+xrevrange"};

/* One that goes over nothing that is there. */
static void write_weak_pair(struct client *c, const char *key)
{
    const struct pair pair = {BYTES("b"), BYTES("1")};
    struct call_write w = {
        .key = key, .mode = CALL_ADD, .node = 1, .pairs = &pair, .count = 1, .ttl_ms = 60000, .weak = 1};

    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
}

/* Does all that a store does with calls; what Redis refused stands in the log. */
static const char *refused(const struct redis_server *r, size_t without)
{
    struct client *c;
    uv_loop_t loop;
    const char *logs;

    redis_do(r, "ACL SETUSER u reset on >p ~kamsync:* &kamsync:* +ping +info +set +get +publish +subscribe");
    for (size_t i = 0; i < COUNT(rights); i++)
        if (i != without)
            redis_do(r, "ACL SETUSER u %s", rights[i]);
    uv_loop_init(&loop);
    c = client_new(&loop, r, 100, "u");
    client_write(c, key_of((int)without), CALL_BEGIN, 1, "{\"node\":\"1\"}");
    redis_do(r, "SCRIPT FLUSH");
    client_write(c, key_of((int)without), CALL_ADD, 1, "{\"a\":\"1\"}");
    write_weak_pair(c, key_of((int)without));
    client_write(c, key_of((int)without), CALL_END, 1, "{\"ended\":\"1\"}");
    client_get(c, key_of((int)without));
    client_archive(c, NULL, 1);
    client_archive(c, "1-1", 1);
    logs = c->logs;
    clients_free(&loop, &c, 1);
    return logs;
}

Test(store_redis, each_right_is_needed)
{
    struct redis_server r = redis_server_start();
    const char *logs = refused(&r, COUNT(rights));

    cr_expect(!strstr(logs, "refuses"), "%s", logs);
    cr_expect_str_eq(redis_do(&r, "ACL LOG"), "");
    for (size_t i = 0; i < COUNT(rights); i++) {
        redis_do(&r, "ACL LOG RESET");
        logs = refused(&r, i);
        cr_expect(strstr(logs, "refuses"), "without %s", rights[i]);
        cr_expect(strstr(redis_do(&r, "ACL LOG"), scratch("object,%s,", rights[i] + 1)), "without %s: %s", rights[i],
                  redis_do(&r, "ACL LOG"));
    }
    redis_server_stop(&r);
}
