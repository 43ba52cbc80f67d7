/* The stores themselves: the same cases for Redis, for memory, and for the model of the cluster's tests. */
#include <signal.h>
#include <unistd.h>

#include "cluster_impl.h"
#include "pairs.h"
#include "stores.h"

TestSuite(store, .fini = no_leaks, .timeout = 60);

/* ---- what a write does ---- */

struct step {
    enum call_mode mode;
    int node;
    const char *pairs;
    enum call_result result;
    const char *record; /* that stands there afterwards; NULL: none */
};

#define STEPS 5

struct history {
    const char *what;
    struct step steps[STEPS];
    const char *entry; /* the one in the archive, or NULL */
};

#define BEGUN "{\"node\":\"1\",\"trying\":\"100\"}"
#define RINGS "{\"node\":\"1\",\"trying\":\"100\",\"ringing\":\"350\"}"
#define TALKS "{\"node\":\"1\",\"trying\":\"100\",\"answered\":\"1000\"}"
#define LEG_1 "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ringing\":\"350\",\"code\":\"180\",\"var.x\":\"y\"}"
#define ANSWERED_1 "{\"node\":\"1\",\"tx\":\"t\",\"answered\":\"400\"}"
#define ENDED "{\"node\":\"1\",\"trying\":\"100\",\"ended\":\"500\"}"

static const struct history histories[] = {
    {"add begins a record, and adds to it",
     {{CALL_ADD, 1, BEGUN, CALL_WRITTEN, BEGUN},
      {CALL_ADD, 1, "{\"ringing\":\"350\"}", CALL_WRITTEN, RINGS},
      {CALL_ADD, 1, "{\"ringing\":\"350\",\"trying\":\"100\"}", CALL_WRITTEN, RINGS}},
     NULL},
    {"another node adds to a record, and is told that it is not its own",
     {{CALL_ADD, 1, BEGUN, CALL_WRITTEN, BEGUN}, {CALL_ADD, 2, "{\"ringing\":\"350\"}", CALL_OTHER, RINGS}},
     NULL},
    {"a record that names no node is nobody else's",
     {{CALL_ADD, 2, "{\"trying\":\"100\"}", CALL_WRITTEN, "{\"trying\":\"100\"}"},
      {CALL_BEGIN, 1, BEGUN, CALL_WRITTEN, BEGUN}},
     NULL},
    {"begin leaves another node's record as it is",
     {{CALL_BEGIN, 1, BEGUN, CALL_WRITTEN, BEGUN},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"x\":\"y\"}", CALL_OTHER, BEGUN},
      {CALL_BEGIN, 1, "{\"node\":\"1\",\"ringing\":\"350\"}", CALL_WRITTEN, RINGS}},
     NULL},
    {"begin makes it the writer's when it lives by the same transaction",
     {{CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\"}", CALL_WRITTEN, "{\"node\":\"1\",\"tx\":\"t\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\"}", CALL_OTHER, "{\"node\":\"1\",\"tx\":\"t\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"t\"}", CALL_WRITTEN, "{\"node\":\"2\",\"tx\":\"t\"}"}},
     NULL},
    {"but not when it is answered",
     {{CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"answered\":\"9\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"t\",\"answered\":\"9\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"t\"}", CALL_OTHER, "{\"node\":\"1\",\"tx\":\"t\",\"answered\":\"9\"}"}},
     NULL},
    {"take makes it the writer's",
     {{CALL_BEGIN, 1, BEGUN, CALL_WRITTEN, BEGUN},
      {CALL_TAKE, 2, "{\"node\":\"2\"}", CALL_WRITTEN, "{\"node\":\"2\",\"trying\":\"100\"}"},
      {CALL_BEGIN, 1, BEGUN, CALL_OTHER, "{\"node\":\"2\",\"trying\":\"100\"}"}},
     NULL},
    {"take begins a record as well", {{CALL_TAKE, 1, BEGUN, CALL_WRITTEN, BEGUN}}, NULL},
    {"-1 is nobody",
     {{CALL_BEGIN, 1, "{\"node\":\"-1\"}", CALL_WRITTEN, "{\"node\":\"-1\"}"},
      {CALL_ADD, 2, "{\"x\":\"y\"}", CALL_WRITTEN, "{\"node\":\"-1\",\"x\":\"y\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\"}", CALL_WRITTEN, "{\"node\":\"2\",\"x\":\"y\"}"},
      {CALL_BEGIN, 1, "{\"node\":\"1\"}", CALL_OTHER, "{\"node\":\"2\",\"x\":\"y\"}"}},
     NULL},
    {"nodes are compared as a whole",
     {{CALL_BEGIN, 1, "{\"node\":\"11\"}", CALL_OTHER, "{\"node\":\"11\"}"},
      {CALL_BEGIN, 1, "{\"node\":\"1\"}", CALL_OTHER, "{\"node\":\"11\"}"}},
     NULL},
    {"nothing is written to a call that has ended",
     {{CALL_BEGIN, 1, BEGUN, CALL_WRITTEN, BEGUN},
      {CALL_END, 1, "{\"ended\":\"500\"}", CALL_WRITTEN, ENDED},
      {CALL_ADD, 1, "{\"x\":\"y\"}", CALL_OVER, ENDED},
      {CALL_TAKE, 2, "{\"node\":\"2\"}", CALL_OVER, ENDED},
      {CALL_BEGIN, 2, "{\"node\":\"2\"}", CALL_OVER, ENDED}},
     ENDED},
    {"another INVITE of that name begins a call anew, the same one does not",
     {{CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\"}"},
      {CALL_END, 1, "{\"ended\":\"500\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ended\":\"500\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"t\",\"trying\":\"600\",\"answered\":\"700\"}", CALL_OVER,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ended\":\"500\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"499\"}", CALL_FOREIGN,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ended\":\"500\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"500\"}", CALL_WRITTEN,
       "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"500\"}"}},
     "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ended\":\"500\"}"},
    {"of two legs with one name the one that talks, when the other was rejected",
     {{CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\"}"},
      {CALL_END, 1, "{\"ended\":\"500\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ended\":\"500\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"100\",\"answered\":\"400\"}", CALL_WRITTEN,
       "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"100\",\"answered\":\"400\"}"}},
     "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"ended\":\"500\"}"},
    {"a leg leaves another node's record as it is, until it is answered",
     {{CALL_BEGIN, 1, LEG_1, CALL_WRITTEN, LEG_1},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\"}", CALL_OTHER, LEG_1},
      {CALL_TAKE, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\"}", CALL_OTHER, LEG_1},
      {CALL_END, 2, "{\"node\":\"2\",\"tx\":\"u\",\"ended\":\"500\"}", CALL_FOREIGN, LEG_1},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\",\"answered\":\"700\"}", CALL_WRITTEN,
       "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\",\"answered\":\"700\",\"var.x\":\"y\"}"}},
     NULL},
    {"a leg that came first takes over another node's record, unless it is over",
     {{CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\",\"ringing\":\"350\"}", CALL_WRITTEN,
       "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\",\"ringing\":\"350\"}"},
      {CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"99\",\"state\":\"ended\"}", CALL_OTHER,
       "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\",\"ringing\":\"350\"}"},
      {CALL_BEGIN, 1, "{\"node\":\"-1\",\"tx\":\"t\",\"trying\":\"99\"}", CALL_OTHER,
       "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\",\"ringing\":\"350\"}"},
      {CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"99\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"99\"}"},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\"}", CALL_OTHER,
       "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"99\"}"}},
     NULL},
    {"a leg takes over what was not answered from its own node, and what had come of that goes",
     {{CALL_BEGIN, 1, LEG_1, CALL_WRITTEN, LEG_1},
      {CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"600\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"600\",\"var.x\":\"y\"}"},
      {CALL_END, 1, "{\"tx\":\"u\",\"ended\":\"700\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"600\",\"var.x\":\"y\",\"ended\":\"700\"}"}},
     "{\"node\":\"1\",\"tx\":\"u\",\"trying\":\"600\",\"var.x\":\"y\",\"ended\":\"700\"}"},
    {"an answered call is none of its other legs'",
     {{CALL_BEGIN, 1, ANSWERED_1, CALL_WRITTEN, ANSWERED_1},
      {CALL_BEGIN, 2, "{\"node\":\"2\",\"tx\":\"u\",\"answered\":\"500\"}", CALL_FOREIGN, ANSWERED_1},
      {CALL_TAKE, 2, "{\"node\":\"2\",\"tx\":\"u\"}", CALL_FOREIGN, ANSWERED_1},
      {CALL_END, 1, "{\"node\":\"1\",\"tx\":\"u\",\"ended\":\"500\"}", CALL_FOREIGN, ANSWERED_1},
      {CALL_TAKE, 2, "{\"node\":\"2\",\"tx\":\"t\"}", CALL_WRITTEN,
       "{\"node\":\"2\",\"tx\":\"t\",\"answered\":\"400\"}"}},
     NULL},
    {"one entry, however often it ends",
     {{CALL_BEGIN, 1, BEGUN, CALL_WRITTEN, BEGUN},
      {CALL_END, 1, "{\"ended\":\"500\"}", CALL_WRITTEN, ENDED},
      {CALL_END, 1, "{\"ended\":\"600\"}", CALL_OVER, ENDED},
      {CALL_END_ANSWERED, 2, "{\"ended\":\"600\"}", CALL_OVER, ENDED}},
     ENDED},
    {"what is not there cannot end",
     {{CALL_END, 1, "{\"ended\":\"500\"}", CALL_ABSENT, NULL},
      {CALL_END_ANSWERED, 1, "{\"ended\":\"500\"}", CALL_ABSENT, NULL}},
     NULL},
    {"only an answered call is ended by its BYE",
     {{CALL_BEGIN, 1, RINGS, CALL_WRITTEN, RINGS},
      {CALL_END_ANSWERED, 1, "{\"ended\":\"5000\",\"answered\":\"1\"}", CALL_EARLY, RINGS},
      {CALL_ADD, 1, "{\"answered\":\"1000\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"trying\":\"100\",\"ringing\":\"350\",\"answered\":\"1000\"}"},
      {CALL_END_ANSWERED, 1, "{\"ended\":\"5000\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"trying\":\"100\",\"ringing\":\"350\",\"answered\":\"1000\",\"ended\":\"5000\","
       "\"duration_ms\":\"4000\",\"pdd_ms\":\"250\"}"}},
     "{\"node\":\"1\",\"trying\":\"100\",\"ringing\":\"350\",\"answered\":\"1000\",\"ended\":\"5000\","
     "\"duration_ms\":\"4000\",\"pdd_ms\":\"250\"}"},
    {"answered without ringing, ended by another node; the times are real ones",
     {{CALL_BEGIN, 1, "{\"node\":\"1\",\"trying\":\"1795229237928\",\"answered\":\"1795229239000\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"trying\":\"1795229237928\",\"answered\":\"1795229239000\"}"},
      {CALL_END, 2, "{\"ended\":\"1795272439001\"}", CALL_OTHER,
       "{\"node\":\"1\",\"trying\":\"1795229237928\",\"answered\":\"1795229239000\",\"ended\":\"1795272439001\","
       "\"duration_ms\":\"43200001\",\"pdd_ms\":\"1072\"}"}},
     "{\"node\":\"1\",\"trying\":\"1795229237928\",\"answered\":\"1795229239000\",\"ended\":\"1795272439001\","
     "\"duration_ms\":\"43200001\",\"pdd_ms\":\"1072\"}"},
    {"clocks of two nodes that do not agree make no negative durations",
     {{CALL_BEGIN, 1, TALKS, CALL_WRITTEN, TALKS},
      {CALL_END, 1, "{\"ended\":\"900\",\"ringing\":\"99\"}", CALL_WRITTEN,
       "{\"node\":\"1\",\"trying\":\"100\",\"ringing\":\"99\",\"answered\":\"1000\",\"ended\":\"900\","
       "\"duration_ms\":\"0\",\"pdd_ms\":\"0\"}"}},
     "{\"node\":\"1\",\"trying\":\"100\",\"ringing\":\"99\",\"answered\":\"1000\",\"ended\":\"900\","
     "\"duration_ms\":\"0\",\"pdd_ms\":\"0\"}"},
    {"times that are none make no durations",
     {{CALL_BEGIN, 1, "{\"trying\":\"1e3\",\"answered\":\"\"}", CALL_WRITTEN, "{\"trying\":\"1e3\",\"answered\":\"\"}"},
      {CALL_END_ANSWERED, 1, "{\"ended\":\"x\"}", CALL_WRITTEN,
       "{\"trying\":\"1e3\",\"answered\":\"\",\"ended\":\"x\"}"}},
     "{\"trying\":\"1e3\",\"answered\":\"\",\"ended\":\"x\"}"},
    {"nor do those that are too long",
     {{CALL_BEGIN, 1, "{\"answered\":\"1\"}", CALL_WRITTEN, "{\"answered\":\"1\"}"},
      {CALL_END, 1, "{\"ended\":\"1000000000000000\"}", CALL_WRITTEN,
       "{\"answered\":\"1\",\"ended\":\"1000000000000000\"}"}},
     "{\"answered\":\"1\",\"ended\":\"1000000000000000\"}"},
    {"any byte, and empty values",
     {{CALL_ADD, 1, "{\"vars\":\"a\\u0000b\\r\\n'\\\"\\\\ %s {}\",\"none\":\"\",\"n m\":\"\\u00e9\"}", CALL_WRITTEN,
       "{\"vars\":\"a\\u0000b\\r\\n'\\\"\\\\ %s {}\",\"none\":\"\",\"n m\":\"\\u00e9\"}"},
      {CALL_END, 1, "{\"ended\":\"\"}", CALL_WRITTEN,
       "{\"vars\":\"a\\u0000b\\r\\n'\\\"\\\\ %s {}\",\"none\":\"\",\"n m\":\"\\u00e9\",\"ended\":\"\"}"}},
     "{\"vars\":\"a\\u0000b\\r\\n'\\\"\\\\ %s {}\",\"none\":\"\",\"n m\":\"\\u00e9\",\"ended\":\"\"}"},
};

static void expect_json(const char *what, size_t step, json_t *got, const char *wanted)
{
    json_t *json = wanted ? json_loads(wanted, JSON_ALLOW_NUL, NULL) : NULL;
    char *text = got ? json_dumps(got, 0) : strdup("nothing");

    cr_expect((!got && !json) || json_equal(got, json), "%s, step %zu: %s", what, step, text);
    free(text);
    json_decref(json);
}

static size_t steps_of(const struct history *h)
{
    size_t n = 0;

    while (n < STEPS && h->steps[n].pairs)
        n++;
    return n;
}

static void run_histories(struct client *c)
{
    size_t ended = 0;

    for (size_t i = 0; i < COUNT(histories); i++) {
        const struct history *h = &histories[i];
        char *key = scratch("kamsync:call:{%zu}", i);

        for (size_t k = 0; k < steps_of(h); k++) {
            const struct step *s = &h->steps[k];
            enum call_result result;

            c->known = k == 0 ? KNOWN_NEW : KNOWN_NOTHING;
            result = client_write(c, key, s->mode, s->node, s->pairs);

            cr_expect(result == s->result, "%s, step %zu: %d", h->what, k, result);
            cr_expect(client_get(c, key) == (s->record ? GET_FOUND : GET_ABSENT), "%s, step %zu", h->what, k);
            expect_json(h->what, k, c->record, s->record);
        }
        cr_expect(client_archive(c, NULL, 1));
        ended += h->entry != NULL;
        if (h->entry)
            expect_json(h->what, STEPS, json_array_get(json_array_get(c->archive, 0), 1), h->entry);
    }
    cr_expect(client_archive(c, NULL, 1000) && json_array_size(c->archive) == ended, "one entry for each that ended");
}

Test(store, histories_in_the_model)
{
    for (size_t i = 0; i < COUNT(histories); i++) {
        const struct history *h = &histories[i];
        json_t *record = NULL, *archive = json_array();

        for (size_t k = 0; k < steps_of(h); k++) {
            json_t *pairs = json_loads(h->steps[k].pairs, JSON_ALLOW_NUL, NULL);

            cr_expect(model_write(&record, archive, h->steps[k].mode, h->steps[k].node, pairs, NULL, NULL) ==
                          h->steps[k].result,
                      "%s, step %zu", h->what, k);
            expect_json(h->what, k, record, h->steps[k].record);
            json_decref(pairs);
        }
        expect_json(h->what, STEPS, json_array_get(json_array_get(archive, 0), 1), h->entry);
        cr_expect(json_array_size(archive) == (h->entry != NULL), "%s", h->what);
        json_decref(record);
        json_decref(archive);
    }
}

Test(store, weak_pairs_in_the_model)
{
    json_t *record = NULL, *archive = json_array(), *pairs = json_pack("{s:s}", "node", "1");
    json_t *first = json_pack("{s:s}", "ringing", "1"), *second = json_pack("{s:s,s:s}", "ringing", "2", "more", "3");

    cr_expect(model_write(&record, archive, CALL_ADD, 1, pairs, first, NULL) == CALL_WRITTEN);
    cr_expect(model_write(&record, archive, CALL_ADD, 1, pairs, second, NULL) == CALL_WRITTEN);
    expect_json("weak", 0, record, "{\"node\":\"1\",\"ringing\":\"1\",\"more\":\"3\"}");
    json_decref(record);
    json_decref(archive);
    json_decref(pairs);
    json_decref(first);
    json_decref(second);
}

/* ---- the rest of what both stores do ---- */

static const char *id_of(struct client *c, size_t i)
{
    return json_string_value(json_array_get(json_array_get(c->archive, i), 0));
}

/* The call_ids of the last reading, in order. */
static char *archived(struct client *c)
{
    char *text = scratch("%s", "");
    json_t *each;
    size_t i;

    json_array_foreach(c->archive, i, each) text =
        scratch("%s %s", text, json_string_value(json_object_get(json_array_get(each, 1), "call_id")));
    return text;
}

static void end_calls(struct client *c, int from, int count)
{
    for (int i = from; i < from + count; i++) {
        char *key = scratch("kamsync:call:{%d}", i);

        client_ask_write(c, key, CALL_BEGIN, 1, scratch("{\"call_id\":\"%d\"}", i), 60000);
        client_ask_write(c, key, CALL_END, 1, "{\"ended\":\"1\"}", 60000);
        client_wait(c);
        cr_expect(c->results[c->token] == CALL_WRITTEN, "call %d: %d", i, c->results[c->token]);
    }
}

static void read_archive(struct client *c)
{
    static const char *const bad[] = {"",     "-",    "1",    "1-",   "-1", "1-x", "1-1 ",
                                      " 1-1", "+1-1", "1--1", "(1-1", "*",  "$",   "99999999999999999999-1"};
    const char *third;

    cr_expect(client_archive(c, NULL, 10) && json_array_size(c->archive) == 0, "there is none yet");
    end_calls(c, 1, 5);
    cr_expect(client_archive(c, NULL, 3));
    cr_expect_str_eq(archived(c), " 3 4 5");
    third = scratch("%s", id_of(c, 0));
    cr_expect(client_archive(c, third, 10));
    cr_expect_str_eq(archived(c), " 4 5");
    cr_expect(client_archive(c, third, 1));
    cr_expect_str_eq(archived(c), " 4");
    cr_expect(client_archive(c, "0-0", 2));
    cr_expect_str_eq(archived(c), " 1 2");
    cr_expect(client_archive(c, "18446744073709551615-1", 2) && json_array_size(c->archive) == 0);
    cr_expect(client_archive(c, NULL, 100) && json_array_size(c->archive) == 5);
    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect(!client_archive(c, bad[i], 5) && json_array_size(c->archive) == 0, "'%s'", bad[i]);
    cr_expect(!strstr(c->logs, "refuses"), "%s", c->logs);
}

static void any_byte(struct client *c)
{
    char bytes[256];
    struct pair pair = {BYTES("a\0\xff"), {bytes, sizeof(bytes)}};
    struct call_write w = {
        .key = "kamsync:call:{b}", .mode = CALL_ADD, .node = 1, .pairs = &pair, .count = 1, .ttl_ms = 60000};

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    cr_expect(c->results[c->token] == CALL_WRITTEN);
    pair = (struct pair){span_of("raw"), {bytes, sizeof(bytes)}};
    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    cr_assert(client_get(c, w.key) == GET_FOUND && json_object_size(c->record) == 2);
    cr_expect(json_string_length(json_object_get(c->record, "raw")) == sizeof(bytes) &&
              memcmp(json_string_value(json_object_get(c->record, "raw")), bytes, sizeof(bytes)) == 0);
}

/* Weak pairs go over nothing that is there, also if that is empty. */
static void weak_pairs(struct client *c)
{
    const struct pair pairs[] = {
        {BYTES("a"), BYTES("2")}, {BYTES("b"), BYTES("2")}, {BYTES("c"), BYTES("2")}, {BYTES("d"), BYTES("2")}};
    struct call_write w = {.key = "kamsync:call:{w}",
                           .mode = CALL_ADD,
                           .node = 2,
                           .pairs = pairs,
                           .count = COUNT(pairs),
                           .ttl_ms = 60000,
                           .weak = 3};

    client_write(c, w.key, CALL_ADD, 1, "{\"a\":\"1\",\"b\":\"1\",\"c\":\"\"}");
    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    cr_assert(client_get(c, w.key) == GET_FOUND && json_object_size(c->record) == 4);
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "a")), "2");
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "b")), "1");
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "c")), "");
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "d")), "2");
}

/* Of two nodes that route one INVITE the second has another node's call before it knows that. */
static void first_write(struct client *c)
{
    struct pair pairs[] = {{BYTES("node"), BYTES("2")}, {BYTES("tx"), BYTES("t")}};
    struct call_write w = {.key = "kamsync:call:{f}",
                           .mode = CALL_BEGIN,
                           .node = 2,
                           .pairs = pairs,
                           .count = COUNT(pairs),
                           .ttl_ms = 60000,
                           .first = true};

    cr_expect(client_write(c, w.key, CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\"}") == CALL_WRITTEN);
    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    cr_expect(c->results[c->token] == CALL_OTHER);
    cr_assert(client_get(c, w.key) == GET_FOUND);
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "node")), "1");
    w.first = false;
    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    cr_expect(c->results[c->token] == CALL_WRITTEN, "it has the transaction");
    w.key = "kamsync:call:{g}";
    w.first = true;
    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    cr_expect(c->results[c->token] == CALL_WRITTEN, "there was none");
}

static bool is_gone(void *arg)
{
    return client_get(arg, "kamsync:call:{short}") == GET_ABSENT;
}

static void lives_end(struct client *c)
{
    client_ask_write(c, "kamsync:call:{short}", CALL_ADD, 1, "{\"a\":\"1\"}", 60000);
    client_ask_write(c, "kamsync:call:{short}", CALL_ADD, 1, "{\"b\":\"1\"}", 100);
    client_wait(c);
    cr_expect(client_get(c, "kamsync:call:{short}") == GET_FOUND);
    cr_expect(wait_until(c->loop, is_gone, c));
    cr_expect(client_write(c, "kamsync:call:{short}", CALL_END, 1, "{\"ended\":\"1\"}") == CALL_ABSENT);
    cr_expect(client_write(c, "kamsync:call:{short}", CALL_ADD, 1, "{\"c\":\"1\"}") == CALL_WRITTEN);
    cr_expect(client_get(c, "kamsync:call:{short}") == GET_FOUND && json_object_size(c->record) == 1, "it begins anew");
}

static bool has_scanned(void *arg)
{
    return ((struct client *)arg)->scanned;
}

static void scan_finds_calls(struct client *c)
{
    client_write(c, "kamsync:call:{a}", CALL_ADD, 1, "{\"a\":\"1\"}");
    c->store->ops->scan(c->store, 0);
    cr_assert(wait_until(c->loop, has_scanned, c));
    cr_expect(json_array_size(c->keys) == 1);
    cr_expect_str_eq(json_string_value(json_array_get(c->keys, 0)), "kamsync:call:{a}");
}

static enum call_result write_either(struct client *c, const char *key, const char *other)
{
    const struct pair pair = {BYTES("var.x"), BYTES("1")};
    struct call_write w = {
        .key = key, .other = other, .mode = CALL_ADD, .node = 2, .pairs = &pair, .count = 1, .ttl_ms = 60000};

    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    return (enum call_result)c->results[c->token];
}

static void expect_either(struct client *c, const char *key, const char *other, const char *name, bool found)
{
    c->store->ops->call_get(c->store, key, other, ++c->token);
    client_wait(c);
    cr_expect(c->results[c->token] == (found ? GET_FOUND : GET_ABSENT), "%s, %s", key, other);
    cr_expect(!found || json_object_get(c->record, name), "%s, %s: no '%s'", key, other, name);
}

static enum call_result end_dialog(struct client *c, const char *key, const char *tag, const char *at)
{
    const struct pair pair = {span_of("ended"), span_of(at)};
    struct call_write w = {.key = key,
                           .mode = CALL_END_ANSWERED,
                           .node = 1,
                           .pairs = &pair,
                           .count = 1,
                           .ttl_ms = 60000,
                           .dialog = span_of(tag)};

    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    return (enum call_result)c->results[c->token];
}

/* Two phones have answered: the call ends with its last dialog, and has one entry. */
static void two_dialogs(struct client *c)
{
    const char *key = "kamsync:call:{d}:a";

    client_write(c, key, CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\"}");
    cr_expect(end_dialog(c, key, "b1", "500") == CALL_EARLY);
    client_write(c, key, CALL_BEGIN, 1, "{\"node\":\"1\",\"tx\":\"t\",\"to_tag\":\"b1\",\"answered\":\"100\"}");
    cr_expect(end_dialog(c, key, "b2", "500") == CALL_FOREIGN, "its answer is yet to be reported");
    client_write(c, key, CALL_ADD, 1, "{\"dialog.b2\":\"110\"}");
    cr_expect(end_dialog(c, key, "b", "500") == CALL_FOREIGN);
    cr_expect(end_dialog(c, key, "b1", "900") == CALL_GOES_ON && end_dialog(c, key, "b1", "950") == CALL_GOES_ON);
    cr_assert(client_get(c, key) == GET_FOUND && !json_object_get(c->record, "ended"));
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "over.b1")), "900");
    cr_expect(end_dialog(c, key, "b2", "800") == CALL_WRITTEN && end_dialog(c, key, "b2", "990") == CALL_OVER);
    cr_assert(client_archive(c, NULL, 5) && json_array_size(c->archive) == 1);
    cr_assert(client_get(c, key) == GET_FOUND);
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "ended")), "900");
    cr_expect_str_eq(json_string_value(json_object_get(c->record, "duration_ms")), "800");
}

/* Whose tag stands in From of a request within a call nobody can see: the record tells. */
static void one_of_two_places(struct client *c)
{
    const char *a = "kamsync:call:{e}:a", *b = "kamsync:call:{e}:b";

    expect_either(c, a, b, "", false);
    cr_expect(write_either(c, a, b) == CALL_ABSENT && client_get(c, a) == GET_ABSENT, "it has not begun");
    client_write(c, a, CALL_ADD, 1, "{\"var.y\":\"1\"}");
    cr_expect(write_either(c, a, b) == CALL_ABSENT, "it has not begun, either");
    client_write(c, b, CALL_BEGIN, 1, "{\"tx\":\"t\",\"node\":\"1\"}");
    cr_expect(write_either(c, a, b) == CALL_OTHER && write_either(c, b, a) == CALL_OTHER);
    expect_either(c, a, b, "var.x", true);
    expect_either(c, b, a, "var.x", true);
    cr_expect(client_get(c, a) == GET_FOUND && !json_object_get(c->record, "var.x"));
    client_write(c, a, CALL_ADD, 1, "{\"tx\":\"t\"}");
    expect_either(c, a, b, "var.y", true);
    expect_either(c, b, a, "var.x", true);
    cr_expect(write_either(c, b, a) == CALL_OTHER && client_write(c, b, CALL_END, 1, "{\"ended\":\"1\"}") == 0);
    cr_expect(write_either(c, b, a) == CALL_OVER);
}

static void list_keys(struct client *c, const char *call_id)
{
    uint64_t cursor = 0;

    json_array_clear(c->keys);
    do {
        c->store->ops->call_keys(c->store, span_of(call_id), cursor, ++c->token);
        client_wait(c);
        cr_assert(c->results[c->token] == 1);
        cursor = c->next;
    } while (cursor);
}

static void keys_of_a_call_id(struct client *c)
{
    for (int i = 0; i < 800; i++)
        client_write(c, scratch("kamsync:call:{%d*x}:a%d", i % 400, i), CALL_ADD, 1, "{\"a\":\"1\"}");
    client_write(c, "kamsync:call:{1yx}:a", CALL_ADD, 1, "{\"a\":\"1\"}");
    list_keys(c, "1*x");
    cr_expect(json_array_size(c->keys) == 2, "%zu", json_array_size(c->keys));
    list_keys(c, "*");
    cr_expect(json_array_size(c->keys) == 0);
}

BOTH(store, run_histories, 0)
BOTH(store, read_archive, 100000)
BOTH(store, any_byte, 0)
BOTH(store, weak_pairs, 0)
BOTH(store, first_write, 0)
BOTH(store, lives_end, 0)
BOTH(store, scan_finds_calls, 0)
BOTH(store, two_dialogs, 0)
BOTH(store, one_of_two_places, 0)
BOTH(store, keys_of_a_call_id, 0)

static void forgets_exactly(struct client *c)
{
    end_calls(c, 0, 30);
    cr_expect(client_archive(c, NULL, 1000) && json_array_size(c->archive) == 10);
    cr_expect_str_eq(archived(c), " 20 21 22 23 24 25 26 27 28 29");
}

Test(store, cdr_max_in_memory)
{
    with_store(forgets_exactly, false, 10);
}

/* Redis trims whole nodes of a stream, of a hundred entries each. */
static void forgets_roughly(struct client *c)
{
    end_calls(c, 0, 350);
    cr_expect(client_archive(c, NULL, 1000));
    cr_expect(json_array_size(c->archive) >= 10 && json_array_size(c->archive) <= 110, "%zu",
              json_array_size(c->archive));
}

Test(store, cdr_max_in_redis)
{
    with_store(forgets_roughly, true, 10);
}
