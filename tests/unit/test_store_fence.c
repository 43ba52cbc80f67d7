/* The type of a record's key is its fence (redis_records.c): what its maker writes without a script, and what becomes
 * of it where another's record, or none, stands. */
#include "stores.h"

TestSuite(store_fence, .fini = no_leaks, .timeout = 60);

#define KEY "kamsync:tx:{c@x}:1:z9hG4bK1:h"
#define OTHER_KEY "kamsync:tx:{d@x}:1:z9hG4bK1:h"
#define MINE "{\"epoch\":1,\"owner\":1,\"inc\":\"1.1\""
#define FIRST MINE ",\"a\":1}"
#define NEXT MINE ",\"b\":2}"
#define LAST MINE ",\"c\":3}"
#define RAISED "{\"epoch\":2,\"owner\":1,\"inc\":\"1.1\"}"
#define HIS "{\"epoch\":1,\"owner\":2,\"inc\":\"2.1\"}"
#define TAKEN "{\"epoch\":2,\"owner\":2,\"inc\":\"2.1\",\"from\":\"1 1 1.1\"}"

extern const char put_lua[];

static int scripts(const struct two *t)
{
    const char *line = strstr(redis_do(&t->r, "INFO commandstats"), "cmdstat_evalsha:");

    return line ? atoi(strchr(line, '=') + 1) : 0;
}

static const char *type_of(const struct two *t)
{
    return redis_do(&t->r, "TYPE " KEY);
}

static const char *held(const struct two *t)
{
    return redis_do(&t->r, "HGET " KEY " record");
}

static int life(const struct two *t)
{
    return atoi(redis_do(&t->r, "PTTL " KEY));
}

static void put(struct client *c, const char *key, const char *record)
{
    c->store->ops->put(c->store, key, record, 60000, ++c->token);
}

/* Also such a question is answered once. */
static void expect_answer(const struct client *c, uint64_t token, int status)
{
    cr_expect(c->answers[token] == 1 && c->results[token] == status, "%d: %u answers, %d", (int)token,
              c->answers[token], c->results[token]);
}

Test(store_fence, its_maker_writes_it_without_a_script)
{
    struct two *t = two_new(0);
    struct client *c = t->c[0];

    cr_expect(client_claim(c, KEY, FIRST) == CLAIM_WON);
    c->store->ops->put(c->store, KEY, NEXT, 900000, ++c->token);
    client_wait(c);
    cr_expect(life(t) > 800000);
    cr_expect(client_put(c, KEY, LAST) == PUT_DONE);
    cr_expect_str_eq(redis_do(&t->r, "GET " KEY), LAST);
    cr_expect(life(t) > 50000 && life(t) <= 60000);
    cr_expect(scripts(t) == 0);
    two_free(t);
}

/* Its transaction has changed before the claim was answered. */
Test(store_fence, second_claim_of_its_maker_is_a_write)
{
    struct two *t = two_new(0);
    struct client *c = t->c[0];

    c->store->ops->claim(c->store, KEY, FIRST, 60000, ++c->token);
    c->store->ops->claim(c->store, KEY, NEXT, 60000, ++c->token);
    client_wait(c);
    expect_answer(c, 1, CLAIM_WON);
    expect_answer(c, 2, CLAIM_WON);
    cr_expect_str_eq(redis_do(&t->r, "GET " KEY), NEXT);
    cr_expect(client_put(c, KEY, LAST) == PUT_DONE);
    cr_expect_str_eq(type_of(t), "string");
    cr_expect(scripts(t) == 1);
    two_free(t);
}

Test(store_fence, what_another_has_taken_over_keeps_its_maker_out)
{
    struct two *t = two_new(0);
    struct client *maker = t->c[0], *taker = t->c[1];

    client_claim(maker, KEY, FIRST);
    cr_expect(client_put(taker, KEY, TAKEN) == PUT_DONE);
    cr_expect_str_eq(type_of(t), "hash");
    cr_expect_str_eq(held(t), TAKEN);
    cr_expect(life(t) > 50000 && life(t) <= 60000);
    cr_expect(client_put(maker, KEY, NEXT) == PUT_FENCED);
    cr_expect_str_eq(maker->text, TAKEN);
    cr_expect_str_eq(held(t), TAKEN);
    cr_expect(client_read(maker, KEY) == GET_FOUND);
    cr_expect_str_eq(maker->text, TAKEN);
    cr_expect(!strstr(maker->logs, "refuses"), "%s", maker->logs);
    two_free(t);
}

Test(store_fence, it_stays_a_hash)
{
    struct two *t = two_new(0);
    struct client *c = t->c[0];

    client_claim(c, KEY, FIRST);
    cr_expect(client_put(c, KEY, RAISED) == PUT_DONE); /* its maker has had reason to doubt */
    cr_expect(client_put(c, KEY, NEXT) == PUT_FENCED);
    cr_expect_str_eq(c->text, RAISED);
    cr_expect(client_put(c, KEY, RAISED) == PUT_DONE);
    redis_do(&t->r, "HSET " KEY " record " FIRST);
    cr_expect(client_put(c, KEY, NEXT) == PUT_DONE);
    cr_expect_str_eq(held(t), NEXT);
    two_free(t);
}

Test(store_fence, what_the_store_has_lost_is_written_again)
{
    struct two *t = two_new(0);
    struct client *c = t->c[0];

    cr_expect(client_put(c, KEY, FIRST) == PUT_DONE);
    cr_expect_str_eq(redis_do(&t->r, "GET " KEY), FIRST);
    cr_expect(life(t) > 50000);
    cr_expect(scripts(t) == 1);
    cr_expect(client_put(c, KEY, NEXT) == PUT_DONE);
    cr_expect(scripts(t) == 1, "an ordinary write again");
    two_free(t);
}

/* The store had lost this node's, and another node has begun it meanwhile; or an older kamsyncd has taken it over. */
Test(store_fence, anothers_record_that_was_written_over_is_put_back)
{
    static const char *const others[] = {HIS, TAKEN};

    for (int i = 0; i < 2; i++) {
        struct two *t = two_new(0);
        struct client *c = t->c[0];

        client_claim(c, OTHER_KEY, FIRST);
        redis_do(&t->r, "SET " KEY " %s PX 40000", others[i]);
        c->store->ops->put(c->store, KEY, NEXT, 5000, ++c->token);
        client_wait(c);
        expect_answer(c, c->token, PUT_FENCED);
        cr_expect_str_eq(c->text, others[i]);
        cr_expect(client_read(c, KEY) == GET_FOUND);
        cr_expect_str_eq(c->text, others[i]);
        cr_expect_str_eq(type_of(t), "string");
        cr_expect(life(t) > 50000, "as long as any");
        two_free(t);
    }
}

Test(store_fence, it_is_put_back_only_over_what_went_over_it)
{
    static const struct {
        const char *now, *after;
    } each[] = {{MINE "}", HIS}, {TAKEN, TAKEN}, {RAISED, RAISED}, {"x", "x"}, {"", ""}};
    struct two *t = two_new(0);

    for (int i = 0; i < 5; i++) {
        redis_do(&t->r, *each[i].now ? "SET " KEY " %s" : "DEL " KEY, each[i].now);
        redis_do(&t->r, "EVAL %s 1 " KEY " %s 60000 %s", put_lua, HIS, "1 1 1.1");
        cr_expect_str_eq(redis_do(&t->r, "GET " KEY), each[i].after);
    }
    redis_do(&t->r, "DEL " KEY);
    redis_do(&t->r, "HSET " KEY " record %s", TAKEN);
    redis_do(&t->r, "EVAL %s 1 " KEY " %s 60000 %s", put_lua, HIS, "1 1 1.1");
    cr_expect_str_eq(held(t), TAKEN);
    two_free(t);
}

Test(store_fence, what_is_no_record_is_written_over)
{
    struct two *t = two_new(0);

    redis_do(&t->r, "SET " KEY " x");
    cr_expect(client_put(t->c[0], KEY, FIRST) == PUT_DONE);
    cr_expect_str_eq(redis_do(&t->r, "GET " KEY), FIRST);
    two_free(t);
}

Test(store_fence, claim_meets_what_was_taken_over)
{
    struct two *t = two_new(0);

    cr_expect(client_put(t->c[1], KEY, TAKEN) == PUT_DONE);
    cr_expect(client_claim(t->c[0], KEY, FIRST) == CLAIM_LOST);
    cr_expect_str_eq(t->c[0]->text, TAKEN);
    cr_expect_str_eq(held(t), TAKEN);
    cr_expect(client_claim(t->c[0], OTHER_KEY, "1 1.1") == CLAIM_WON);
    cr_expect(client_claim(t->c[1], OTHER_KEY, "2 2.1") == CLAIM_LOST);
    cr_expect_str_eq(t->c[1]->text, "1 1.1");
    cr_expect(!strstr(t->c[0]->logs, "refuses"), "%s", t->c[0]->logs);
    two_free(t);
}

Test(store_fence, what_is_no_record_of_another_type)
{
    static const char *const others[] = {"HSET " KEY " a b", "LPUSH " KEY " x"};

    for (int i = 0; i < 2; i++) {
        struct two *t = two_new(0);
        struct client *c = t->c[0];

        redis_do(&t->r, others[i], "");
        cr_expect(client_read(c, KEY) == GET_ABSENT);
        cr_expect(client_claim(c, KEY, "1 1.1") == CLAIM_REFUSED);
        cr_expect(client_claim(c, KEY, FIRST) == CLAIM_REFUSED);
        cr_expect(client_put(c, KEY, NEXT) == PUT_REFUSED);
        cr_expect(client_put(c, KEY, RAISED) == PUT_REFUSED);
        cr_expect(strstr(c->logs, "redis refuses: WRONGTYPE"), "%s", c->logs);
        cr_expect_str_eq(type_of(t), i ? "list" : "hash");
        two_free(t);
    }
}

/* Two writes of one record find nothing. Between their answers, after the first one was sent once more, a third one is
 * sent, and goes over the first: it must stay. */
static void write_the_last(struct client *c, uint64_t token)
{
    if (token == 3)
        put(c, KEY, LAST);
}

Test(store_fence, newer_record_is_not_written_over_by_one_that_is_sent_again)
{
    struct two *t = two_new(0);
    struct client *c = t->c[0];

    client_claim(c, OTHER_KEY, FIRST);
    c->on_put = write_the_last;
    put(c, KEY, FIRST);
    put(c, OTHER_KEY, NEXT);
    put(c, KEY, NEXT);
    while (c->token < 5)
        uv_run(&t->loop, UV_RUN_ONCE);
    client_wait(c);
    for (uint64_t token = 2; token <= 5; token++)
        expect_answer(c, token, PUT_DONE);
    cr_expect_str_eq(redis_do(&t->r, "GET " KEY), LAST);
    two_free(t);
}

Test(store_fence, writes_whose_connection_ends_fail)
{
    struct two *t = two_new(0);
    struct client *c = t->c[0];

    client_claim(c, KEY, FIRST);
    redis_do(&t->r, "CLIENT PAUSE 60000 WRITE");
    put(c, KEY, NEXT);
    put(c, KEY, RAISED);
    c->store->ops->claim(c->store, OTHER_KEY, FIRST, 60000, ++c->token);
    c->store->ops->flush(c->store);
    redis_do(&t->r, "CLIENT KILL TYPE normal SKIPME yes");
    client_wait(c);
    for (uint64_t token = 2; token <= 3; token++)
        expect_answer(c, token, PUT_FAILED);
    expect_answer(c, 4, CLAIM_FAILED);
    two_free(t);
}
