/* The layout of a Redis Cluster, in one Redis: calls in buckets, and their archives read as one. */
#include <signal.h>

#include "key.h"
#include "stores.h"

TestSuite(archives, .fini = no_leaks, .timeout = 60);

struct one {
    struct redis_server r;
    uv_loop_t loop;
    struct client *c;
};

static struct one *one_new(unsigned buckets, int64_t cdr_max)
{
    struct one *o = calloc(1, sizeof(*o));

    key_buckets(buckets);
    o->r = redis_server_start();
    uv_loop_init(&o->loop);
    o->c = client_new(&o->loop, &o->r, cdr_max, "");
    return o;
}

static void one_free(struct one *o)
{
    clients_free(&o->loop, &o->c, 1);
    redis_server_stop(&o->r);
    free(o);
}

static const char *call_key_of(const char *call_id)
{
    char *key = key_call(span_of(call_id), BYTES("t")), *kept = scratch("%s", key);

    free(key);
    return kept;
}

/* An entry with the fields of many calls: only its own number tells it from others. */
static void put_entry(const struct one *o, unsigned bucket, const char *id)
{
    redis_do(&o->r, "XADD kamsync:{b%02x}:cdr %s is %s-%u by caller", bucket, id, id, bucket);
}

static const char *id_of(const struct client *c, size_t i)
{
    return json_string_value(json_array_get(json_array_get(c->archive, i), 0));
}

/* The ids; each entry is the one that it says. */
static char *ids(const struct client *c)
{
    char *text = scratch("%s", "");

    for (size_t i = 0; i < json_array_size(c->archive); i++) {
        json_t *is = json_object_get(json_array_get(json_array_get(c->archive, i), 1), "is");

        cr_expect_str_eq(id_of(c, i), json_string_value(is));
        text = scratch("%s %s", text, id_of(c, i));
    }
    return text;
}

/* ---- one call ---- */

Test(archives, a_call_and_its_end_lie_in_one_bucket)
{
    struct one *o = one_new(KEY_BUCKETS, 1000);
    const char *key = call_key_of("123456789");

    cr_expect(client_write(o->c, key, CALL_BEGIN, 1, "{\"node\":\"1\"}") == CALL_WRITTEN);
    cr_expect(client_write(o->c, key, CALL_END, 1, "{\"ended\":\"1\"}") == CALL_WRITTEN);
    cr_expect(client_write(o->c, key, CALL_END, 1, "{\"ended\":\"1\"}") == CALL_OVER);
    cr_expect_str_eq(key, "kamsync:{bc3}:call:123456789:t");
    cr_expect_str_eq(redis_do(&o->r, "XLEN kamsync:{bc3}:cdr"), "1");
    cr_expect_str_eq(redis_do(&o->r, "EXISTS kamsync:cdr"), "0");
    o->c->store->ops->call_keys(o->c->store, BYTES("123456789"), 0, ++o->c->token);
    client_wait(o->c);
    cr_expect(json_array_size(o->c->keys) == 1 && o->c->next == 0);
    cr_expect_str_eq(json_string_value(json_array_get(o->c->keys, 0)), key);
    one_free(o);
}

/* 4 buckets share 400 entries; a stream keeps up to a hundred more, whole nodes of itself. */
Test(archives, cdr_max_is_divided)
{
    struct one *o = one_new(4, 400);
    int all = 0;

    for (int i = 0; i < 990; i++)
        client_ask_write(o->c, call_key_of(scratch("%d", i)), CALL_ADD, 1, "{\"a\":\"1\"}", 60000);
    client_wait(o->c);
    o->c->token = 0;
    memset(o->c->answers, 0, sizeof(o->c->answers));
    for (int i = 0; i < 990; i++)
        client_ask_write(o->c, call_key_of(scratch("%d", i)), CALL_END, 1, "{\"ended\":\"1\"}", 60000);
    client_wait(o->c);
    for (int i = 0; i < 4; i++) {
        int n = atoi(redis_do(&o->r, "XLEN kamsync:{b%02x}:cdr", i));

        cr_expect(n >= 100 && n < 200, "bucket %d has %d", i, n);
        all += n;
    }
    cr_expect(all < 990);
    one_free(o);
}

/* An ordinary end trims its archive now and then only: so there may be some more. */
static void end_ordinary(struct one *o, const char *key)
{
    static const char *const all[] = {
        "node",    "1",         "tx",    "t",     "trying",   "100",    "ringing",  "350", "code",        "200",
        "how",     "completed", "state", "ended", "by",       "caller", "inc",      "7.1", "caller",      "a",
        "callee",  "b",         "ruri",  "r",     "source",   "s",      "from_tag", "f",   "to_tag",      "b1",
        "call_id", "c",         "ended", "900",   "answered", "400",    "pdd_ms",   "250", "duration_ms", "500"};
    struct pair pairs[COUNT(all) / 2];
    struct call_write w = {.key = key,
                           .mode = CALL_END,
                           .node = 1,
                           .pairs = pairs,
                           .ttl_ms = 60000,
                           .tx = "t",
                           .known = KNOWN_OURS,
                           .entry = pairs,
                           .entry_count = COUNT(pairs)};

    for (size_t i = 0; i < COUNT(pairs); i++)
        pairs[i] = (struct pair){span_of(all[2 * i]), span_of(all[2 * i + 1])};
    redis_do(&o->r, "SET %s [\"node\",\"1\",\"tx\",\"t\"]", key);
    o->c->store->ops->call_write(o->c->store, &w, ++o->c->token);
    client_wait(o->c);
    cr_assert(o->c->results[o->c->token] == CALL_WRITTEN);
}

Test(archives, cdr_max_of_ordinary_calls)
{
    struct one *o = one_new(2, 200);
    int entries[2] = {0};

    for (int i = 0; i < TOKENS - 100; i++) {
        const char *key = call_key_of(scratch("%d", i));
        unsigned bucket = key_bucket(key);

        end_ordinary(o, key);
        entries[bucket] = atoi(redis_do(&o->r, "XLEN kamsync:{b%02x}:cdr", bucket));
        cr_assert(entries[bucket] <= 100 + 100 + 31, "bucket %u has %d", bucket, entries[bucket]);
    }
    cr_expect(entries[0] >= 100 && entries[1] >= 100, "%d, %d", entries[0], entries[1]);
    cr_expect(!strstr(redis_do(&o->r, "INFO commandstats"), "cmdstat_hset"), "all of them are ordinary");
    one_free(o);
}

/* ---- merging ---- */

Test(archives, equal_ids_in_several_buckets)
{
    struct one *o = one_new(4, 0);

    put_entry(o, 2, "4-9");
    put_entry(o, 2, "5-0");
    put_entry(o, 0, "5-0");
    put_entry(o, 3, "5-0");
    put_entry(o, 1, "5-1");
    cr_expect(client_archive(o->c, "0-0", 9));
    cr_expect_str_eq(ids(o->c), " 4-9-2 5-0-0 5-0-2 5-0-3 5-1-1");
    cr_expect(client_archive(o->c, "5-0-0", 1));
    cr_expect_str_eq(ids(o->c), " 5-0-2");
    cr_expect(client_archive(o->c, "5-0-2", 9));
    cr_expect_str_eq(ids(o->c), " 5-0-3 5-1-1");
    cr_expect(client_archive(o->c, "5-0", 1));
    cr_expect_str_eq(ids(o->c), " 5-0-0", "a position of another layout is before all of its own");
    cr_expect(client_archive(o->c, NULL, 2));
    cr_expect_str_eq(ids(o->c), " 5-0-3 5-1-1");
    cr_expect(client_archive(o->c, "5-1-1", 9) && json_array_size(o->c->archive) == 0);
    cr_expect(!client_archive(o->c, "5-1-1-1", 9) && !client_archive(o->c, "5-1", 0));
    one_free(o);
}

#define SOME 400

/* Many with one id, long runs in one bucket, and the rest anyhow. */
static const char *put_some(const struct one *o, unsigned buckets, unsigned seed)
{
    static const char put[] =
        "for b, id in ARGV[1]:gmatch('(%d)=(%S+)') do "
        "redis.call('XADD', 'kamsync:{b0' .. b .. '}:cdr', id, 'is', id .. '-' .. b) end return 1";
    int last[8] = {0}, ms = 1, n = 0;
    char *list = scratch("%s", "");

    srandom(seed);
    for (int i = 0; i < SOME; i++) {
        unsigned bucket = i % 100 < 40 ? 1 : (unsigned)random() % buckets;

        ms += random() % 3 == 0;
        n = last[bucket] / 1000 == ms ? last[bucket] % 1000 + 1 : 0;
        last[bucket] = ms * 1000 + n;
        list = scratch("%s %u=%d-%d", list, bucket, ms, n);
    }
    cr_assert_str_eq(redis_do(&o->r, "EVAL %s 0 %s", put, list), "1");
    cr_assert(client_archive(o->c, "0-0", 2 * SOME) && json_array_size(o->c->archive) == SOME);
    return ids(o->c);
}

/* All of them, some at a time. */
static const char *walk(struct client *c, int count)
{
    const char *at = "0-0", *text = "";

    do {
        cr_assert(client_archive(c, at, count) && json_array_size(c->archive) <= (size_t)count);
        text = scratch("%s%s", text, ids(c));
        at = json_array_size(c->archive) ? scratch("%s", id_of(c, json_array_size(c->archive) - 1)) : at;
    } while (json_array_size(c->archive) == (size_t)count);
    return text;
}

static void expect_sorted(const struct client *c)
{
    for (size_t i = 1; i < json_array_size(c->archive); i++) {
        int a[3], b[3];

        cr_assert(sscanf(id_of(c, i - 1), "%d-%d-%d", &a[0], &a[1], &a[2]) == 3);
        cr_assert(sscanf(id_of(c, i), "%d-%d-%d", &b[0], &b[1], &b[2]) == 3);
        cr_expect(a[0] < b[0] || (a[0] == b[0] && (a[1] < b[1] || (a[1] == b[1] && a[2] < b[2]))), "%s and %s",
                  id_of(c, i - 1), id_of(c, i));
    }
}

Test(archives, nothing_is_lost_and_nothing_comes_twice)
{
    for (unsigned seed = 1; seed <= 4; seed++) {
        unsigned buckets = 2 * seed;
        struct one *o = one_new(buckets, 0);
        const char *all = put_some(o, buckets, seed);

        expect_sorted(o->c);
        for (int count = 1; count <= SOME + 1; count = 3 * count + 1) {
            cr_expect_str_eq(walk(o->c, count), all, "seed %u, %d at a time", seed, count);
            cr_expect(client_archive(o->c, NULL, count));
            cr_expect(json_array_size(o->c->archive) == (size_t)(count < SOME ? count : SOME));
            cr_expect_str_eq(ids(o->c), all + strlen(all) - strlen(ids(o->c)), "the newest %d", count);
        }
        one_free(o);
    }
}

/* Of each archive something that was read is there, or nothing was removed. */
Test(archives, what_was_trimmed_unread_is_a_gap)
{
    struct one *o = one_new(4, 0);

    for (int i = 1; i <= 9; i++) {
        put_entry(o, 1, scratch("%d-0", i));
        put_entry(o, 2, scratch("%d-0", i));
    }
    redis_do(&o->r, "XTRIM kamsync:{b02}:cdr MINID 5-0");
    cr_expect(client_archive(o->c, "5-0-2", 99) && o->c->results[o->c->token] == ARCHIVE_READ);
    cr_expect(client_archive(o->c, "4-0-2", 99) && o->c->results[o->c->token] == ARCHIVE_GAP);
    cr_expect(client_archive(o->c, "5-0-1", 99) && o->c->results[o->c->token] == ARCHIVE_GAP, "it may be");
    cr_expect(client_archive(o->c, "0-0", 99) && o->c->results[o->c->token] == ARCHIVE_READ, "nobody has read");
    cr_expect(client_archive(o->c, NULL, 99) && o->c->results[o->c->token] == ARCHIVE_READ);
    put_entry(o, 3, "20-0");
    cr_expect(client_archive(o->c, "9-0-2", 99) && o->c->results[o->c->token] == ARCHIVE_READ, "a new one");
    one_free(o);
}

static bool has_come(void *arg)
{
    return client_archive(arg, "5-0-1", 9) && json_array_size(((struct client *)arg)->archive) == 1;
}

/* Until no other archive can get an entry with a lower id. */
Test(archives, what_is_new_waits)
{
    struct one *o = one_new(4, 0);
    const char *id;

    put_entry(o, 1, "5-0");
    id = redis_do(&o->r, "XADD kamsync:{b02}:cdr * is -");
    cr_expect(client_archive(o->c, "0-0", 9));
    cr_expect_str_eq(ids(o->c), " 5-0-1");
    cr_expect(client_archive(o->c, NULL, 9));
    cr_expect_str_eq(ids(o->c), " 5-0-1");
    cr_assert(wait_until(&o->loop, has_come, o->c));
    cr_expect_str_eq(id_of(o->c, 0), scratch("%s-2", id));
    one_free(o);
}

/* A clock was wrong for a while: whoever wants the newest goes over all that with the second question. */
Test(archives, what_comes_from_the_future_is_skipped_at_once)
{
    struct one *o = one_new(4, 0);

    redis_do(&o->r, "EVAL for\ti=1,2000\tdo\tredis.call('XADD',KEYS[1],'9999999999999-'..i,'is','-')\tend 1 "
                    "kamsync:{b02}:cdr");
    put_entry(o, 1, "5-0");
    redis_do(&o->r, "CONFIG RESETSTAT");
    cr_expect(client_archive(o->c, NULL, 9));
    cr_expect_str_eq(ids(o->c), " 5-0-1");
    cr_expect(strstr(redis_do(&o->r, "INFO commandstats"), "cmdstat_eval:calls=8,"), "each of four is asked twice");
    cr_expect(client_archive(o->c, "0-0", 9));
    cr_expect_str_eq(ids(o->c), " 5-0-1");
    one_free(o);
}

Test(archives, one_that_cannot_be_read_fails_all)
{
    struct one *o = one_new(4, 0);

    put_entry(o, 1, "5-0");
    redis_do(&o->r, "SET kamsync:{b03}:cdr x");
    cr_expect(!client_archive(o->c, "0-0", 9) && json_array_size(o->c->archive) == 0);
    cr_expect(!client_archive(o->c, NULL, 9) && json_array_size(o->c->archive) == 0);
    redis_do(&o->r, "DEL kamsync:{b03}:cdr");
    cr_expect(client_archive(o->c, NULL, 9) && json_array_size(o->c->archive) == 1);
    one_free(o);
}

/* docs/security.md. */
Test(archives, needs_the_right_to_ask_for_the_time)
{
    struct one *o = one_new(4, 0);
    struct client *c;
    uv_loop_t loop;

    for (int has = 0; has < 2; has++) {
        redis_do(&o->r,
                 "ACL SETUSER u reset on >p ~kamsync:* &kamsync:* +ping +info +set +subscribe +script|load +eval "
                 "+xrange +xrevrange %s",
                 has ? "+time" : "-time");
        uv_loop_init(&loop);
        c = client_new(&loop, &o->r, 0, "u");
        cr_expect(client_archive(c, NULL, 5) == has && client_archive(c, "0-0", 5) == has);
        clients_free(&loop, &c, 1);
    }
    one_free(o);
}

static bool complains(void *arg)
{
    return strstr(((struct client *)arg)->logs, "the names in Redis are of layout ") != NULL;
}

Test(archives, another_layout_is_said)
{
    struct one *o = one_new(0, 0);
    struct client *c;
    uv_loop_t loop;

    cr_expect_str_eq(redis_do(&o->r, "GET kamsync:layout"), "1");
    key_buckets(KEY_BUCKETS);
    uv_loop_init(&loop);
    c = client_new(&loop, &o->r, 0, "");
    cr_expect(wait_until(&loop, complains, c));
    cr_expect(strstr(c->logs, "0 the names in Redis are of layout 1, and this node's of layout 2"), "%s", c->logs);
    cr_expect(strstr(c->logs, "then DEL kamsync:layout"), "%s", c->logs);
    cr_expect_str_eq(redis_do(&o->r, "GET kamsync:layout"), "1");
    cr_expect(!complains(o->c));
    clients_free(&loop, &c, 1);
    one_free(o);
}

static bool is_down(void *arg)
{
    return !((struct client *)arg)->up;
}

Test(archives, away_while_it_is_read)
{
    struct one *o = one_new(KEY_BUCKETS, 0);

    kill(o->r.pid, SIGSTOP);
    o->c->archive = json_array();
    o->c->store->ops->archive(o->c->store, NULL, 5, ++o->c->token);
    cr_assert(wait_until(&o->loop, is_down, o->c));
    client_wait(o->c);
    cr_expect(o->c->results[o->c->token] == false && json_array_size(o->c->archive) == 0);
    cr_expect(!client_archive(o->c, NULL, 5), "at once");
    one_free(o);
}

Test(archives, closed_while_it_is_read)
{
    struct one *o = one_new(KEY_BUCKETS, 0);

    kill(o->r.pid, SIGSTOP);
    o->c->archive = json_array();
    o->c->store->ops->archive(o->c->store, NULL, 5, ++o->c->token);
    one_free(o);
}
