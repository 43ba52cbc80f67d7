/* A call's record in Redis while only its own node writes it, by plain commands: and what becomes of it when anybody
 * else does, or Redis has lost it. */
#include <hiredis/hiredis.h>
#include <signal.h>

#include "stores.h"

TestSuite(store_alone, .fini = no_leaks, .timeout = 60);

#define KEY "kamsync:call:{c}:a"
#define BEGUN "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\"}"
#define RINGS "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ringing\":\"350\"}"
#define TALKS                                                                                                          \
    "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ringing\":\"350\",\"answered\":\"400\",\"to_tag\":\"b1\"}"

struct one {
    struct redis_server r;
    uv_loop_t loop;
    struct client *c;
};

static struct one *one_new(void)
{
    struct one *o = calloc(1, sizeof(*o));

    o->r = redis_server_start();
    uv_loop_init(&o->loop);
    o->c = client_new(&o->loop, &o->r, 0, "");
    return o;
}

static void one_free(struct one *o)
{
    cr_expect(!strstr(o->c->logs, "refuses"), "%s", o->c->logs);
    clients_free(&o->loop, &o->c, 1);
    redis_server_stop(&o->r);
    free(o);
}

static enum call_result begin(struct one *o, enum call_known known, int node, const char *pairs)
{
    o->c->known = known;
    return client_write(o->c, KEY, CALL_BEGIN, node, pairs);
}

static const char *type_of(struct one *o)
{
    return redis_do(&o->r, "TYPE " KEY);
}

/* The whole record, and its type: "" for none. */
static void expect_record(struct one *o, const char *type, const char *wanted)
{
    json_t *json = json_loads(wanted, 0, NULL);
    char *text;

    if (*type)
        cr_expect_str_eq(type_of(o), type);
    cr_assert(client_get(o->c, KEY) == GET_FOUND);
    text = json_dumps(o->c->record, 0);
    cr_expect(json && json_equal(json, o->c->record), "%s", text);
    free(text);
    json_decref(json);
}

static long long life_of(struct one *o)
{
    return strtoll(redis_do(&o->r, "PTTL " KEY), NULL, 10);
}

static void expect_life(struct one *o, long long ms)
{
    cr_expect(life_of(o) > ms - 10000 && life_of(o) <= ms, "%lld", life_of(o));
}

static unsigned run(struct one *o, const char *command)
{
    const char *name = scratch("cmdstat_%s:calls=", command), *at = strstr(redis_do(&o->r, "INFO commandstats"), name);

    return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : 0;
}

static unsigned scripts_run(struct one *o)
{
    cr_assert(run(o, "eval") == 0);
    return run(o, "evalsha");
}

/* ---- alone ---- */

Test(store_alone, is_written_by_plain_commands)
{
    struct one *o = one_new();

    cr_expect(begin(o, KNOWN_NEW, 1, BEGUN) == CALL_WRITTEN);
    cr_expect(begin(o, KNOWN_OURS, 1, RINGS) == CALL_WRITTEN && begin(o, KNOWN_OURS, 1, TALKS) == CALL_WRITTEN);
    cr_expect(scripts_run(o) == 0);
    cr_expect_str_eq(redis_do(&o->r, "GET " KEY),
                     "[\"trying\",\"100\",\"ringing\",\"350\",\"answered\",\"400\",\"to_tag\",\"b1\",\"node\",\"1\","
                     "\"tx\",\"t\"]");
    expect_life(o, 60000);
    expect_record(o, "string", TALKS);
    o->c->store->ops->call_get(o->c->store, "kamsync:call:{c}:b1", KEY, ++o->c->token);
    client_wait(o->c);
    cr_expect(o->c->results[o->c->token] == GET_FOUND && json_object_size(o->c->record) == 6, "at either key");
    one_free(o);
}

/* ---- something else stands there ---- */

Test(store_alone, first_write_finds_another_node_s)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 2, "{\"node\":\"2\",\"tx\":\"t\",\"var.x\":\"1\"}");
    redis_do(&o->r, "PEXPIRE " KEY " 40000");
    cr_expect(begin(o, KNOWN_NEW, 1, BEGUN) == CALL_WRITTEN, "it has the transaction");
    expect_record(o, "hash", "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"var.x\":\"1\"}");
    redis_do(&o->r, "DEL " KEY);
    begin(o, KNOWN_NEW, 2, "{\"node\":\"2\",\"tx\":\"u\",\"var.x\":\"1\"}");
    redis_do(&o->r, "PEXPIRE " KEY " 40000");
    cr_expect(begin(o, KNOWN_NEW, 1, BEGUN) == CALL_OTHER);
    expect_record(o, "hash", "{\"node\":\"2\",\"tx\":\"u\",\"var.x\":\"1\"}");
    expect_life(o, 40000);
    cr_expect(begin(o, KNOWN_NEW, 1, BEGUN) == CALL_OTHER);
    expect_record(o, "hash", "{\"node\":\"2\",\"tx\":\"u\",\"var.x\":\"1\"}");
    one_free(o);
}

/* Of its own, by another INVITE. */
Test(store_alone, first_write_finds_a_leg)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, RINGS);
    cr_expect(begin(o, KNOWN_NEW, 1, "{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"600\"}") == CALL_WRITTEN);
    expect_record(o, "hash", "{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"600\"}");
    one_free(o);
}

/* It has set the variable since, so the text that is not written does not replace that one. */
Test(store_alone, further_write_finds_a_newer_variable)
{
    struct one *o = one_new();
    const struct pair pairs[] = {{BYTES("trying"), BYTES("100")},
                                 {BYTES("node"), BYTES("1")},
                                 {BYTES("tx"), BYTES("t")},
                                 {BYTES("var.x"), BYTES("1")}};
    struct call_write w = {.key = KEY,
                           .mode = CALL_BEGIN,
                           .node = 1,
                           .tx = "t",
                           .pairs = pairs,
                           .count = COUNT(pairs),
                           .ttl_ms = 60000,
                           .weak = 1,
                           .known = KNOWN_OURS};

    begin(o, KNOWN_NEW, 1, "{\"node\":\"1\",\"tx\":\"t\",\"var.x\":\"1\"}");
    client_write(o->c, KEY, CALL_ADD, 2, "{\"var.x\":\"2\"}");
    o->c->store->ops->call_write(o->c->store, &w, ++o->c->token);
    client_wait(o->c);
    expect_record(o, "hash", "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"var.x\":\"2\"}");
    one_free(o);
}

Test(store_alone, further_write_finds_nothing)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, BEGUN);
    redis_do(&o->r, "FLUSHALL");
    cr_expect(begin(o, KNOWN_OURS, 1, RINGS) == CALL_WRITTEN);
    expect_record(o, "hash", RINGS);
    expect_life(o, 60000);
    one_free(o);
}

Test(store_alone, further_write_finds_what_another_node_has_added)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, BEGUN);
    cr_expect(client_write(o->c, KEY, CALL_ADD, 2, "{\"var.x\":\"1\"}") == CALL_OTHER);
    expect_record(o, "hash", "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"var.x\":\"1\"}");
    cr_expect(begin(o, KNOWN_OURS, 1, RINGS) == CALL_WRITTEN);
    expect_record(o, "hash", "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ringing\":\"350\",\"var.x\":\"1\"}");
    one_free(o);
}

/* Redis had lost this node's, and another has begun one anew. */
Test(store_alone, further_write_goes_over_another_node_s_and_puts_it_back)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"99\",\"var.x\":\"1\"}");
    cr_expect(begin(o, KNOWN_OURS, 1, RINGS) == CALL_OTHER);
    expect_record(o, "hash", "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"99\",\"var.x\":\"1\"}");
    one_free(o);
}

/* A text that is no call's stays as it is. */
Test(store_alone, what_is_no_record_is_refused)
{
    static const char *const values[] = {"x", "[\"node\",\"1", "[\"node\",\"1\"][\"ended", "{}"};
    struct one *o = one_new();

    for (size_t i = 0; i < COUNT(values); i++)
        for (int known = KNOWN_NOTHING; known <= KNOWN_OURS; known++) {
            redis_do(&o->r, "SET " KEY " %s", values[i]);
            cr_expect(begin(o, (enum call_known)known, 1, BEGUN) == CALL_REFUSED, "%s, %d", values[i], known);
            cr_expect_str_eq(redis_do(&o->r, "GET " KEY), values[i]);
        }
    cr_expect(strstr(o->c->logs, "refuses: WRONGTYPE"), "%s", o->c->logs);
    redis_do(&o->r, "SET " KEY " x");
    cr_expect(client_get(o->c, KEY) == GET_ABSENT);
    o->c->logs = "";
    one_free(o);
}

Test(store_alone, takeover)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, RINGS);
    cr_expect(client_write(o->c, KEY, CALL_TAKE, 2, "{\"node\":\"2\",\"tx\":\"t\"}") == CALL_WRITTEN);
    cr_expect(begin(o, KNOWN_OURS, 1, TALKS) == CALL_WRITTEN, "the owner of the transaction takes it back");
    cr_expect(client_write(o->c, KEY, CALL_TAKE, 2, "{\"node\":\"2\",\"tx\":\"t\"}") == CALL_WRITTEN);
    cr_expect(begin(o, KNOWN_OURS, 1, TALKS) == CALL_OTHER, "of an answered call it does not");
    one_free(o);
}

/* ---- the end ---- */

static void ask_end(struct one *o, enum call_known known, bool all)
{
    const struct pair pairs[] = {{span_of("node"), span_of("1")},          {span_of("tx"), span_of("t")},
                                 {span_of("trying"), span_of("100")},      {span_of("ringing"), span_of("350")},
                                 {span_of("answered"), span_of("400")},    {span_of("to_tag"), span_of("b1")},
                                 {span_of("ended"), span_of("900")},       {span_of("how"), span_of("completed")},
                                 {span_of("duration_ms"), span_of("500")}, {span_of("pdd_ms"), span_of("250")}};
    struct call_write w = {.key = KEY,
                           .mode = all ? CALL_END : CALL_END_ANSWERED,
                           .node = 1,
                           .pairs = all ? pairs : pairs + 6,
                           .count = all ? 8 : 2,
                           .ttl_ms = 30000,
                           .tx = "t",
                           .known = known,
                           .entry = pairs,
                           .entry_count = COUNT(pairs)};

    o->c->store->ops->call_write(o->c->store, &w, ++o->c->token);
}

static enum call_result end(struct one *o, enum call_known known, bool all)
{
    ask_end(o, known, all);
    client_wait(o->c);
    return (enum call_result)o->c->results[o->c->token];
}

#define ENDED                                                                                                          \
    "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ringing\":\"350\",\"answered\":\"400\",\"to_tag\":\"b1\","      \
    "\"ended\":\"900\",\"how\":\"completed\",\"duration_ms\":\"500\",\"pdd_ms\":\"250\"%s}"

static void expect_one_entry(struct one *o, const char *more)
{
    json_t *json = json_loads(scratch(ENDED, more), 0, NULL), *got;
    char *text;

    cr_assert(client_archive(o->c, NULL, 10) && json_array_size(o->c->archive) == 1, "%zu entries",
              json_array_size(o->c->archive));
    got = json_array_get(json_array_get(o->c->archive, 0), 1);
    text = json_dumps(got, 0);
    cr_expect(json && json_equal(json, got), "%s", text);
    free(text);
    json_decref(json);
}

/* Whatever comes now is too late. */
static void expect_ended(struct one *o, const char *type, const char *more)
{
    expect_record(o, type, scratch(ENDED, more));
    expect_life(o, 30000);
    cr_expect(end(o, KNOWN_OURS, false) == CALL_OVER && end(o, KNOWN_NOTHING, true) == CALL_OVER);
    cr_expect(begin(o, KNOWN_NEW, 1, TALKS) == CALL_OVER);
    cr_expect(client_write(o->c, KEY, CALL_ADD, 2, "{\"var.y\":\"2\"}") == CALL_OVER);
    cr_expect(begin(o, KNOWN_OURS, 1, TALKS) == CALL_OVER);
    expect_record(o, "hash", scratch(ENDED, more));
    expect_life(o, 30000);
    expect_one_entry(o, more);
}

Test(store_alone, ends)
{
    for (int all = 0; all <= 1; all++) {
        struct one *o = one_new();

        begin(o, KNOWN_NEW, 1, TALKS);
        cr_expect(end(o, KNOWN_OURS, all) == CALL_WRITTEN);
        expect_ended(o, "string", "");
        one_free(o);
    }
}

Test(store_alone, ends_after_another_node_has_added_to_it)
{
    for (int all = 0; all <= 1; all++) {
        struct one *o = one_new();

        begin(o, KNOWN_NEW, 1, TALKS);
        client_write(o->c, KEY, CALL_ADD, 2, "{\"var.x\":\"1\"}");
        cr_expect(end(o, KNOWN_OURS, all) == CALL_WRITTEN);
        expect_ended(o, "hash", ",\"var.x\":\"1\"");
        one_free(o);
    }
}

Test(store_alone, ends_after_the_scripts_were_flushed)
{
    for (int others = 0; others <= 1; others++) {
        struct one *o = one_new();

        begin(o, KNOWN_NEW, 1, TALKS);
        if (others)
            client_write(o->c, KEY, CALL_ADD, 2, "{\"var.x\":\"1\"}");
        redis_do(&o->r, "SCRIPT FLUSH");
        cr_expect(end(o, KNOWN_OURS, false) == CALL_WRITTEN);
        expect_ended(o, others ? "hash" : "string", others ? ",\"var.x\":\"1\"" : "");
        one_free(o);
    }
}

/* Of which a node knows nothing but its BYE. */
Test(store_alone, ends_at_another_node)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, TALKS);
    cr_expect(client_write(o->c, KEY, CALL_END_ANSWERED, 2, "{\"ended\":\"900\",\"how\":\"completed\"}") == CALL_OTHER);
    redis_do(&o->r, "PEXPIRE " KEY " 30000");
    expect_ended(o, "hash", "");
    one_free(o);
}

/* No write of its own can follow the end, but if one did, it would go over that, and put it back. */
Test(store_alone, its_end_is_put_back)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, TALKS);
    end(o, KNOWN_OURS, false);
    cr_expect(begin(o, KNOWN_OURS, 1, TALKS) == CALL_OVER);
    expect_ended(o, "hash", "");
    one_free(o);
}

/* What is asked while it ends waits, and goes over nothing. */
Test(store_alone, what_waits_for_its_end_is_too_late)
{
    struct one *o = one_new();
    uint64_t token;
    unsigned sets;

    begin(o, KNOWN_NEW, 1, TALKS);
    sets = run(o, "set");
    o->c->known = KNOWN_OURS;
    ask_end(o, KNOWN_OURS, false);
    ask_end(o, KNOWN_OURS, false);
    client_ask_write(o->c, KEY, CALL_BEGIN, 1, TALKS, 60000);
    client_wait(o->c);
    token = o->c->token;
    cr_expect(o->c->results[token - 2] == (int)CALL_WRITTEN && o->c->results[token - 1] == (int)CALL_OVER &&
              o->c->results[token] == (int)CALL_OVER);
    cr_expect(run(o, "set") == sets, "written by plain commands");
    expect_life(o, 30000);
    expect_one_entry(o, "");
    one_free(o);
}

/* Then it is as it was: a call has an entry, or goes on. */
Test(store_alone, archive_refuses_its_end)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, TALKS);
    redis_do(&o->r, "SET kamsync:cdr x");
    cr_expect(end(o, KNOWN_OURS, false) == CALL_REFUSED);
    expect_record(o, "hash", TALKS);
    expect_life(o, 60000);
    redis_do(&o->r, "DEL kamsync:cdr");
    cr_expect(end(o, KNOWN_OURS, false) == CALL_WRITTEN);
    o->c->logs = "";
    expect_ended(o, "hash", "");
    one_free(o);
}

Test(store_alone, full_redis_refuses_its_end)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, TALKS);
    redis_do(&o->r, "CONFIG SET maxmemory 1");
    cr_expect(end(o, KNOWN_OURS, false) == CALL_FAILED);
    redis_do(&o->r, "CONFIG SET maxmemory 0");
    expect_record(o, "string", TALKS);
    cr_expect(end(o, KNOWN_OURS, false) == CALL_WRITTEN);
    o->c->logs = "";
    expect_ended(o, "string", "");
    one_free(o);
}

Test(store_alone, early_end_at_another_node_leaves_its_life_alone)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, RINGS);
    client_ask_write(o->c, KEY, CALL_END_ANSWERED, 2, "{\"ended\":\"900\"}", 1000);
    client_wait(o->c);
    cr_expect(o->c->results[o->c->token] == CALL_EARLY);
    expect_record(o, "hash", RINGS);
    expect_life(o, 60000);
    one_free(o);
}

/* Of another INVITE with that name. */
Test(store_alone, begins_anew_after_its_end)
{
    static const struct {
        const char *pairs;
        enum call_result result;
    } next[] = {{"{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"899\"}", CALL_FOREIGN},
                {"{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"900\"}", CALL_WRITTEN}};
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, TALKS);
    end(o, KNOWN_OURS, false);
    for (size_t i = 0; i < COUNT(next); i++)
        cr_expect(begin(o, KNOWN_NEW, 1, next[i].pairs) == next[i].result, "%s", next[i].pairs);
    expect_record(o, "hash", next[1].pairs);
    one_free(o);
}

/* ---- any bytes ---- */

static void write_bytes(struct one *o, enum call_mode mode, const struct pair *pairs, size_t count)
{
    struct call_write w = {
        .key = KEY, .mode = mode, .node = 1, .pairs = pairs, .count = count, .ttl_ms = 60000, .tx = pairs[1].value.p};

    w.known = mode == CALL_BEGIN ? KNOWN_NEW : KNOWN_NOTHING;
    o->c->store->ops->call_write(o->c->store, &w, ++o->c->token);
    client_wait(o->c);
    cr_expect(o->c->results[o->c->token] == CALL_WRITTEN, "%d", o->c->results[o->c->token]);
}

static void expect_bytes(struct one *o, const struct pair *pairs, size_t count)
{
    cr_assert(client_get(o->c, KEY) == GET_FOUND);
    for (size_t i = 0; i < count; i++) {
        json_t *got = json_object_getn(o->c->record, pairs[i].name.p, pairs[i].name.n);
        struct span value = {json_string_value(got), json_string_length(got)};

        cr_expect(got && span_eq(value, pairs[i].value), "pair %zu", i);
    }
}

Test(store_alone, any_byte)
{
    struct one *o = one_new();
    char bytes[512];
    const struct pair pairs[] = {{BYTES("node"), BYTES("1")},
                                 {BYTES("tx"), BYTES("a\"\\\xff\xc3\n\xe2\x82z")},
                                 {BYTES("caller"), {bytes, sizeof(bytes)}},
                                 {BYTES("dialog.\xfe\"\\u0000\\"), BYTES("\\u12")},
                                 {BYTES("to_tag"), BYTES("")},
                                 {BYTES("callee"), BYTES("\xed\xa0\x80\xc0\x80\xf8")}};

    for (size_t i = 0; i < sizeof(bytes); i++) /* each one behind the one before, and behind a plain one */
        bytes[i] = i % 2 ? 'x' : (char)(i / 2);
    write_bytes(o, CALL_BEGIN, pairs, COUNT(pairs));
    cr_expect_str_eq(type_of(o), "string");
    expect_bytes(o, pairs, COUNT(pairs));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    redis_do(&o->r, "DEL " KEY);
    write_bytes(o, CALL_BEGIN, pairs, COUNT(pairs));
    expect_bytes(o, pairs, COUNT(pairs));
    client_write(o->c, KEY, CALL_ADD, 1, "{\"var.x\":\"1\"}");
    cr_expect_str_eq(type_of(o), "hash");
    expect_bytes(o, pairs, COUNT(pairs));
    one_free(o);
}

/* ---- order ---- */

/* Of what is sent at once, all is executed in that order, also if a plain command finds that it needs the script. */
Test(store_alone, writes_are_executed_in_their_order)
{
    struct one *o = one_new();
    uint64_t first;

    begin(o, KNOWN_NEW, 1, TALKS);
    client_write(o->c, KEY, CALL_ADD, 2, "{\"var.x\":\"1\"}");
    first = o->c->token;
    o->c->known = KNOWN_OURS;
    client_ask_write(o->c, KEY, CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"var.x\":\"2\"}", 60000);
    client_ask_write(o->c, KEY, CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"var.x\":\"3\"}", 60000);
    o->c->store->ops->call_get(o->c->store, KEY, NULL, ++o->c->token);
    client_ask_write(o->c, KEY, CALL_END, 1, "{\"ended\":\"900\",\"how\":\"completed\"}", 60000);
    client_wait(o->c);
    cr_expect(o->c->results[o->c->token] == CALL_WRITTEN);
    for (uint64_t i = first + 1; i < o->c->token; i++)
        cr_expect(o->c->answers[i] == 1 && o->c->results[i] == 0, "%d", (int)i);
    cr_expect_str_eq(json_string_value(json_object_get(o->c->record, "var.x")), "3", "what was read between");
    expect_one_entry(o, ",\"var.x\":\"3\"");
    one_free(o);
}

/* Redis ends, and no answer comes: each of them fails, once. */
Test(store_alone, lost_with_the_connection)
{
    struct one *o = one_new();
    uint64_t first;

    begin(o, KNOWN_NEW, 1, TALKS);
    first = o->c->token;
    kill(o->r.pid, SIGSTOP);
    o->c->known = KNOWN_OURS;
    client_ask_write(o->c, KEY, CALL_BEGIN, 1, RINGS, 60000);
    client_ask_write(o->c, KEY, CALL_BEGIN, 1, TALKS, 60000);
    client_ask_write(o->c, KEY, CALL_ADD, 1, "{\"var.x\":\"2\"}", 60000);
    o->c->store->ops->call_get(o->c->store, KEY, NULL, ++o->c->token);
    redis_server_stop(&o->r);
    client_wait(o->c);
    for (uint64_t i = first + 1; i <= o->c->token; i++)
        cr_expect(o->c->answers[i] == 1 && o->c->results[i] == (i < o->c->token ? (int)CALL_FAILED : (int)GET_FAILED));
    one_free(o);
}

/* A store that takes no writes. */
Test(store_alone, refused_by_the_whole_store)
{
    struct one *o = one_new();

    begin(o, KNOWN_NEW, 1, BEGUN);
    redis_do(&o->r, "CONFIG SET maxmemory 1");
    cr_expect(begin(o, KNOWN_OURS, 1, RINGS) == CALL_FAILED);
    cr_expect(strstr(o->c->logs, "refuses: OOM"), "%s", o->c->logs);
    redis_do(&o->r, "CONFIG SET maxmemory 0");
    expect_record(o, "string", BEGUN);
    o->c->logs = "";
    one_free(o);
}
