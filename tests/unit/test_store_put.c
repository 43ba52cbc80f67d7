/* Writing a transaction's record: the same records go over the same others in memory, in Redis (put.lua), and by
 * record_fences(); and what only a Redis can do to a write. */
#include "count.h"
#include "record.h"
#include "stores.h"

TestSuite(store_put, .fini = no_leaks, .timeout = 60);

#define KEY "kamsync:tx:{c@x}:1:z9hG4bK1:h"
#define RECORD "{\"epoch\":2,\"owner\":1,\"inc\":\"1.1\",\"x\":\"%\"}"
#define BEFORE "{\"epoch\":1,\"owner\":1,\"inc\":\"1.1\"}"
#define OTHERS "{\"epoch\":2,\"owner\":2,\"inc\":\"2.1\"}"

/* ---- whose record goes over whose ---- */

#define FRONT(epoch, owner, inc) "\"epoch\":" epoch ",\"owner\":" owner ",\"inc\":\"" inc "\""
#define HEAD(epoch, owner, inc) "{" FRONT(epoch, owner, inc)
#define MINE(epoch) HEAD(epoch, "1", "1.1")
#define HIS(epoch) HEAD(epoch, "2", "2.1")
#define FROM(head) ",\"from\":\"" head "\""
#define OLD "{\"owner\":2,\"inc\":\"2.1\"" /* of before there were epochs */
#define TEN "0123456789"
/* A head with it has 200 bytes. */
#define FULL TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "0"

static const struct pair_of_records {
    const char *what, *was, *text;
    bool fenced;
} pairs[] = {
    {"nothing stands there", NULL, MINE("1"), false},
    {"nothing stands there, not even what it is from", NULL, MINE("2") FROM("1 2 2.1"), false},

    {"its own of before", MINE("1") ",\"a\":1", MINE("1") ",\"b\":2", false},
    {"its own, which was taking", MINE("2") ",\"taking\":true", MINE("2"), false},
    {"its own, which was from another's", MINE("2") FROM("1 2 2.1"), MINE("2"), false},
    {"its own of an older epoch", MINE("1"), MINE("2"), false},
    {"its own of an older epoch, and it says that it is from another", MINE("1"), MINE("2") FROM("1 2 2.1"), false},
    {"its own of an older epoch, by number and not by text", MINE("9"), MINE("10"), false},
    {"its own of a newer epoch", MINE("2"), MINE("1"), true},
    {"its own of a newer epoch, by number and not by text", MINE("10"), MINE("9"), true},
    {"its own of a newer epoch, though it is from that", MINE("2"), MINE("1") FROM("2 1 1.1"), true},
    {"its own of the largest epochs", MINE("999999999999999"), MINE("999999999999998"), true},

    {"another's of the same epoch", HIS("1"), MINE("1"), true},
    {"another's of an older epoch", HIS("1"), MINE("2"), true},
    {"another's of a newer epoch", HIS("3"), MINE("2"), true},
    {"another incarnation's", HEAD("1", "1", "1.0"), MINE("2"), true},
    {"another node's with the same incarnation", HEAD("1", "2", "1.1"), MINE("2"), true},
    {"an incarnation's whose name only begins like it", HEAD("1", "1", "1.11"), MINE("2"), true},
    {"an incarnation's with whose name its own begins", HEAD("1", "1", "1."), MINE("2"), true},
    {"a node's whose number only begins like it", HEAD("1", "11", "1.1"), MINE("2"), true},
    {"a node's that takes it over", HIS("2") FROM("1 1 1.1") ",\"taking\":true", MINE("1"), true},
    {"a released one", HEAD("2", "0", "none"), MINE("3"), true},

    {"what it is from", HIS("1"), MINE("2") FROM("1 2 2.1"), false},
    {"what it is from, which is from its own", HIS("2") FROM("1 1 1.1"), MINE("3") FROM("2 2 2.1"), false},
    {"what it is from, which is taking", HIS("1") ",\"taking\":true", MINE("2") FROM("1 2 2.1"), false},
    {"what it is from, with a lower epoch of its own", HIS("5"), MINE("2") FROM("5 2 2.1"), false},
    {"a released one which it is from", HEAD("2", "0", "none"), MINE("3") FROM("2 0 none"), false},
    {"its own, which it gives back", MINE("2"), HIS("3") FROM("2 1 1.1"), false},
    {"its own, which it has released", MINE("2"), HEAD("3", "0", "none") FROM("2 1 1.1"), false},
    {"an incarnation without a name", HEAD("1", "2", ""), MINE("2") FROM("1 2 "), false},
    {"an incarnation with spaces", HEAD("1", "2", "2 1"), MINE("2") FROM("1 2 2 1"), false},

    {"from a lower epoch of the same holder", HIS("3"), MINE("4") FROM("2 2 2.1"), true},
    {"from a higher epoch of the same holder", HIS("2"), MINE("4") FROM("3 2 2.1"), true},
    {"from another node", HIS("1"), MINE("2") FROM("1 3 2.1"), true},
    {"from another incarnation", HIS("1"), MINE("2") FROM("1 2 2.0"), true},
    {"from what only begins like it", HIS("1"), MINE("2") FROM("1 2 2.11"), true},
    {"from what it begins with", HIS("1"), MINE("2") FROM("1 2 2."), true},
    {"from the same number, written otherwise", HIS("1"), MINE("2") FROM("01 2 2.1"), true},
    {"from what matches as a pattern", HEAD("1", "2", "2x1"), MINE("2") FROM("1 2 2.1"), true},
    {"from none", HIS("1"), MINE("2") FROM(""), true},
    {"`from` behind `taking`", HIS("1"), MINE("2") ",\"taking\":true" FROM("1 2 2.1"), true},
    {"`from` in front", HIS("1"), "{\"from\":\"1 2 2.1\"" FRONT("2", "1", "1.1"), false}, /* no record */
    {"`from` without its end", HIS("1"), MINE("2") ",\"from\":\"1 2 2.1", true},
    {"`from` that is no text", HIS("1"), MINE("2") ",\"from\":1", true},
    {"`from` behind the first 200 bytes", HIS("1"), HEAD("2", "1", FULL) FROM("1 2 2.1"), false},

    {"one of before there were epochs", OLD, MINE("2"), true},
    {"one of before, of the same holder", "{\"owner\":1,\"inc\":\"1.1\"", MINE("1"), false},
    {"one of before, by one of before", OLD, "{\"owner\":1,\"inc\":\"1.1\"", true},
    {"one of before, over a newer one of the same holder", HIS("2"), OLD, true},
    {"one of before, which is taken over", OLD, MINE("2") FROM("1 2 2.1"), false},

    {"what is no record", "x", MINE("1"), false},
    {"what is empty", "", MINE("1"), false},
    {"over any, what is no record", HIS("9"), "x", false},
    {"an epoch that is no number", "{\"epoch\":\"9\",\"owner\":2,\"inc\":\"2.1\"", MINE("1"), false},
    {"an epoch below all", HIS("-7"), MINE("1"), false},
    {"an epoch that is not there", HIS(""), MINE("1"), false},
    {"an epoch of 0", HIS("0"), MINE("1"), true},
    {"an epoch of 15 digits", HIS("999999999999999"), MINE("1"), true},
    {"an epoch of 16 digits", HIS("1000000000000000"), MINE("1"), false},
    {"over any, an epoch of 16 digits", HIS("9"), MINE("1000000000000000"), false},
    {"an owner below all", HEAD("1", "-2", "2.1"), MINE("1"), false},
    {"a head that ends in its epoch", "{\"epoch\":9", MINE("1"), false},
    {"a head that ends in its owner", "{\"epoch\":9,\"owner\":2", MINE("1"), false},
    {"a head that ends in its incarnation", "{\"epoch\":9,\"owner\":2,\"inc\":\"2.1", MINE("1"), false},
    {"over any, a head that ends in its incarnation", HIS("9"), "{\"epoch\":1,\"owner\":1,\"inc\":\"1.1", false},
    {"a head in another order", "{\"owner\":2,\"epoch\":9,\"inc\":\"2.1\"", MINE("1"), false},
    {"a head of 200 bytes", HEAD("9", "2", FULL), MINE("1"), true},
    {"a head of 200 bytes, which it is from", HEAD("9", "2", FULL), MINE("10") FROM("9 2 " FULL), false},
    {"a head of 201 bytes", HEAD("9", "2", FULL "x"), MINE("1"), false},
    {"over any, a head of 200 bytes", HIS("9"), HEAD("1", "1", FULL), true},
    {"over any, a head of 201 bytes", HIS("9"), HEAD("1", "1", FULL "x"), false},
};

static void expect_written_or_fenced(struct client *c, const struct pair_of_records *p, const char *key)
{
    cr_assert(!p->was || client_put(c, key, p->was) == PUT_DONE, "%s", p->what);
    cr_expect(client_put(c, key, p->text) == (p->fenced ? PUT_FENCED : PUT_DONE), "%s", p->what);
    cr_expect_str_eq(c->text, p->fenced ? p->was : "", "%s", p->what);
    cr_assert(client_read(c, key) == GET_FOUND, "%s", p->what);
    cr_expect_str_eq(c->text, p->fenced ? p->was : p->text, "%s", p->what);
}

static void put_all(const struct redis_server *r)
{
    struct client *c;
    uv_loop_t loop;

    uv_loop_init(&loop);
    c = client_new(&loop, r, 0, "");
    for (size_t i = 0; i < COUNT(pairs); i++)
        expect_written_or_fenced(c, &pairs[i], scratch(KEY "%zu", i));
    cr_expect_str_eq(strstr(c->logs, "refuses") ? c->logs : "", "");
    clients_free(&loop, &c, 1);
}

Test(store_put, pairs_in_redis)
{
    struct redis_server r = redis_server_start();

    put_all(&r);
    redis_server_stop(&r);
}

Test(store_put, pairs_in_memory)
{
    put_all(NULL);
}

Test(store_put, pairs_by_record_fences)
{
    for (size_t i = 0; i < COUNT(pairs); i++)
        cr_expect(record_fences(scratch_exact(span_of(pairs[i].was)), scratch_exact(span_of(pairs[i].text))) ==
                      pairs[i].fenced,
                  "%s", pairs[i].what);
}

Test(store_put, record_whose_life_is_over_fences_nothing_in_memory)
{
    struct client *c;
    uv_loop_t loop;

    uv_loop_init(&loop);
    c = client_new(&loop, NULL, 0, "");
    c->store->ops->put(c->store, KEY, "{\"epoch\":9,\"owner\":2,\"inc\":\"2.1\"}", 0, ++c->token);
    client_wait(c);
    cr_expect(client_put(c, KEY, RECORD) == PUT_DONE);
    clients_free(&loop, &c, 1);
}

/* ---- what only a Redis can do ---- */

struct one {
    struct redis_server r;
    uv_loop_t loop;
    struct client *c;
};

static struct one *one_new(const char *user, const char *rights)
{
    struct one *o = calloc(1, sizeof(*o));

    o->r = redis_server_start();
    if (*user)
        redis_do(&o->r, "ACL SETUSER %s on >p ~kamsync:* &kamsync:* +ping +info +publish +subscribe", user);
    for (const char *at = rights; *at; at += strcspn(at, " ") + (at[strcspn(at, " ")] == ' '))
        redis_do(&o->r, "ACL SETUSER %s %s", user, scratch("%.*s", (int)strcspn(at, " "), at));
    uv_loop_init(&o->loop);
    o->c = client_new(&o->loop, &o->r, 0, user);
    return o;
}

static void one_free(struct one *o)
{
    clients_free(&o->loop, &o->c, 1);
    redis_server_stop(&o->r);
    free(o);
}

/* RECORD is not its maker's first: it is a hash. */
static const char *record_of(const struct one *o)
{
    return redis_do(&o->r, "HGET " KEY " record");
}

static void expect_fence_works(struct one *o)
{
    cr_expect(client_put(o->c, KEY, RECORD) == PUT_DONE);
    cr_expect(client_put(o->c, KEY, OTHERS) == PUT_FENCED);
    cr_expect_str_eq(o->c->text, RECORD);
    cr_expect_str_eq(record_of(o), RECORD);
}

static int calls_of(const struct one *o, const char *command)
{
    const char *stats = redis_do(&o->r, "INFO commandstats"), *line = strstr(stats, scratch("cmdstat_%s:", command));

    return line ? atoi(strchr(line, '=') + 1) : 0;
}

/* A write that fails is made again by the engine. */
Test(store_put, script_flush_fails_one_write_and_not_the_next)
{
    struct one *o = one_new("", "");

    expect_fence_works(o); /* the script is loaded when the first one is answered */
    redis_do(&o->r, "CONFIG RESETSTAT");
    expect_fence_works(o);
    cr_expect(calls_of(o, "evalsha") == 2 && calls_of(o, "eval") == 0);
    redis_do(&o->r, "SCRIPT FLUSH");
    cr_expect(client_put(o->c, KEY, RECORD) == PUT_FAILED);
    expect_fence_works(o);
    redis_do(&o->r, "CONFIG RESETSTAT");
    expect_fence_works(o); /* the script was loaded again */
    cr_expect(calls_of(o, "evalsha") == 2 && calls_of(o, "eval") == 0);
    cr_expect(!strstr(o->c->logs, "refuses"), "%s", o->c->logs);
    one_free(o);
}

Test(store_put, without_the_right_to_load_scripts)
{
    struct one *o = one_new("u", "+eval +hmget +getrange +hset +pexpire");

    expect_fence_works(o);
    redis_do(&o->r, "SCRIPT FLUSH");
    expect_fence_works(o);
    cr_expect(calls_of(o, "evalsha") == 0 && strstr(o->c->logs, "redis refuses: NOPERM"), "%s", o->c->logs);
    one_free(o);
}

/* By whichever of its commands it fails, nothing is written, and it is said; of a command in the script, each Redis in
 * words of its own, and with the script's line. With EVAL alone, as whoever may load scripts sends EVALSHA from some
 * moment on. */
Test(store_put, each_right_is_needed)
{
    static const struct {
        const char *rights, *said;
    } each[] = {{"+eval +getrange +hset +pexpire", " on @user_script:"},
                {"+eval +hmget +hset +pexpire", " on @user_script:"},
                {"+eval +hmget +getrange +pexpire", " on @user_script:"},
                {"+eval +hmget +getrange +hset", " on @user_script:"},
                {"+script|load +hmget +getrange +hset +pexpire", "NOPERM"},
                {"+hmget +getrange +hset +pexpire", "NOPERM"}};

    for (size_t i = 0; i < COUNT(each); i++) {
        struct one *o = one_new("u", each[i].rights);
        const char *said;

        redis_do(&o->r, "SET " KEY " " BEFORE);
        cr_expect(client_put(o->c, KEY, RECORD) == PUT_REFUSED, "only with %s", each[i].rights);
        said = strstr(o->c->logs, "redis refuses: ");
        cr_expect(said && strstr(said, each[i].said), "only with %s: %s", each[i].rights, o->c->logs);
        cr_expect_str_eq(redis_do(&o->r, "GET " KEY), BEFORE);
        one_free(o);
    }
}

/* A string that stays is read with a command of its own. */
Test(store_put, right_to_read_is_needed_where_a_record_is_fenced)
{
    struct one *o = one_new("u", "+eval +hmget +getrange +hset +pexpire");

    redis_do(&o->r, "SET " KEY " " BEFORE);
    cr_expect(client_put(o->c, KEY, OTHERS) == PUT_REFUSED);
    cr_expect_str_eq(redis_do(&o->r, "GET " KEY), BEFORE);
    one_free(o);
}

Test(store_put, what_is_no_record_refuses_only_this_one)
{
    struct one *o = one_new("", "");

    redis_do(&o->r, "HSET " KEY " a b");
    cr_expect(client_put(o->c, KEY, RECORD) == PUT_REFUSED);
    cr_expect(strstr(o->c->logs, "redis refuses: WRONGTYPE"), "%s", o->c->logs);
    cr_expect(client_put(o->c, KEY "2", RECORD) == PUT_DONE);
    cr_expect_str_eq(redis_do(&o->r, "HGET " KEY " a"), "b");
    one_free(o);
}

/* These end for all records at once. */
Test(store_put, whole_store_that_takes_no_writes_fails)
{
    static const struct {
        const char *begin, *end, *said;
    } each[] = {{"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"},
                {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"}};

    for (size_t i = 0; i < COUNT(each); i++) {
        struct one *o = one_new("", "");

        redis_do(&o->r, each[i].begin, "");
        cr_expect(client_put(o->c, KEY, RECORD) == PUT_FAILED, "%s", each[i].said);
        cr_expect(strstr(o->c->logs, scratch("redis refuses: %s", each[i].said)), "%s", o->c->logs);
        redis_do(&o->r, each[i].end, "");
        expect_fence_works(o);
        one_free(o);
    }
}

Test(store_put, life_of_a_record)
{
    struct one *o = one_new("", "");
    int left;

    expect_fence_works(o);
    left = atoi(redis_do(&o->r, "PTTL " KEY));
    cr_expect(left > 50000 && left <= 60000, "%d", left);
    o->c->store->ops->put(o->c->store, KEY, OTHERS, 900000, ++o->c->token);
    client_wait(o->c);
    cr_expect(atoi(redis_do(&o->r, "PTTL " KEY)) <= 60000, "what is fenced lengthens no life");
    o->c->store->ops->put(o->c->store, KEY, RECORD, 900000, ++o->c->token);
    client_wait(o->c);
    cr_expect(atoi(redis_do(&o->r, "PTTL " KEY)) > 800000);
    one_free(o);
}
