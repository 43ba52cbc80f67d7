/* A node that knows its call's record tells the store so, which spares the store work: the outcome is the same. */
#include "stores.h"

#include "count.h"
#include "pairs.h"

TestSuite(store_known, .fini = no_leaks, .timeout = 60);

#define OWN_CALL "\"tx\":\"t\",\"answered\":\"100\",\"var.x\":\"1\""
#define END_OF_CALL ",\"ended\":\"900\",\"how\":\"completed\",\"duration_ms\":\"800\"}"

static void expect_entry(const char *what, json_t *got, const char *wanted)
{
    json_t *json = json_loads(wanted, 0, NULL);
    char *text = json_dumps(got, 0);

    cr_expect(json && json_equal(got, json), "%s: %s", what, text);
    free(text);
    json_decref(json);
}

/* The end of a call by its node, which believes that the record is {"node":"1",OWN_CALL}. */
static enum call_result end_known(struct client *c, const char *key, const char *dialog)
{
    const struct pair entry[] = {{span_of("node"), span_of("1")},         {span_of("tx"), span_of("t")},
                                 {span_of("answered"), span_of("100")},   {span_of("var.x"), span_of("1")},
                                 {span_of("ended"), span_of("900")},      {span_of("how"), span_of("completed")},
                                 {span_of("duration_ms"), span_of("800")}};
    struct call_write w = {.key = key,
                           .mode = CALL_END_ANSWERED,
                           .node = 1,
                           .pairs = entry + 4,
                           .count = 2,
                           .ttl_ms = 60000,
                           .dialog = span_of(dialog),
                           .tx = "t",
                           .known = KNOWN_OURS,
                           .entry = entry,
                           .entry_count = COUNT(entry)};

    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    return (enum call_result)c->results[c->token];
}

/* What another node does with the call before its end, and what this one gets. */
static void known_ends(struct client *c)
{
    static const struct {
        const char *what, *pairs;
        enum call_mode mode;
        enum call_result result;
        const char *entry; /* NULL: none */
    } others[] = {
        {"nothing", NULL, CALL_ADD, CALL_WRITTEN, "{\"node\":\"1\"," OWN_CALL END_OF_CALL},
        {"a variable has another value", "{\"var.x\":\"2\",\"at.2\":\"5\"}", CALL_ADD, CALL_WRITTEN,
         "{\"node\":\"1\",\"tx\":\"t\",\"answered\":\"100\",\"var.x\":\"2\",\"at.2\":\"5\"" END_OF_CALL},
        {"it has taken the call", "{\"node\":\"2\"}", CALL_TAKE, CALL_OTHER, "{\"node\":\"2\"," OWN_CALL END_OF_CALL},
        {"the call lives by another INVITE", "{\"node\":\"2\",\"tx\":\"u\"}", CALL_ADD, CALL_OTHER,
         "{\"node\":\"2\",\"tx\":\"u\",\"answered\":\"100\",\"var.x\":\"1\"" END_OF_CALL},
        {"it has ended it", "{\"ended\":\"500\"}", CALL_END, CALL_OVER, NULL},
    };

    for (size_t i = 0; i < COUNT(others); i++) {
        const char *key = scratch("kamsync:call:{%zu}:a", i);

        c->known = KNOWN_NEW;
        client_write(c, key, CALL_BEGIN, 1, "{\"node\":\"1\"," OWN_CALL "}");
        c->known = KNOWN_NOTHING;
        if (others[i].pairs)
            client_write(c, key, others[i].mode, 2, others[i].pairs);
        cr_expect(end_known(c, key, "b1") == others[i].result, "%s", others[i].what);
        cr_assert(client_archive(c, NULL, 1));
        if (others[i].entry)
            expect_entry(others[i].what, json_array_get(json_array_get(c->archive, 0), 1), others[i].entry);
        cr_expect(end_known(c, key, "b1") == CALL_OVER, "%s: one entry", others[i].what);
        cr_expect(client_get(c, key) == GET_FOUND && json_object_get(c->record, "ended"), "%s", others[i].what);
    }
}

BOTH(store_known, known_ends, 0)

/* ---- what the archive gets ---- */

#define FROM                                                                                                           \
    "{\"node\":\"1\",\"tx\":\"t\",\"call_id\":\"c\",\"inc\":\"7.1\",\"caller\":\"sip:a@x\",\"callee\":\"sip:b@x\","    \
    "\"ruri\":\"sip:b@y\",\"source\":\"udp:z\",\"from_tag\":\"a\",\"trying\":\"100\","
#define ANSWERED "\"to_tag\":\"b1\",\"ringing\":\"350\",\"answered\":\"400\",\"code\":\"200\""
#define AT_END "\"ended\":\"900\",\"how\":\"completed\",\"by\":\"caller\",\"state\":\"ended\""

/* Its pairs are `late`. The entry is all of the record, these, and the times. */
static enum call_result end_all(struct client *c, const char *key, const char *late, json_t *entry)
{
    json_t *json = json_loads(late, 0, NULL);
    struct call_write w = {.key = key,
                           .mode = CALL_END,
                           .node = 1,
                           .ttl_ms = 60000,
                           .dialog = span_of(""),
                           .tx = "t",
                           .known = KNOWN_OURS};
    struct pair *pairs = pairs_of_json(json, &w.count), *all = pairs_of_json(entry, &w.entry_count);

    w.pairs = pairs;
    w.entry = all;
    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    free(pairs);
    free(all);
    json_decref(json);
    return (enum call_result)c->results[c->token];
}

static void entries(struct client *c)
{
    static const struct {
        const char *record, *late, *times;
    } calls[] = {
        {FROM ANSWERED ",\"state\":\"answered\",\"at.1\":\"100\"}", "{" AT_END "}",
         "{\"duration_ms\":\"500\",\"pdd_ms\":\"250\"}"},
        {FROM ANSWERED ",\"site\":\"s\",\"var.x\":\"\",\"var.\\\"\":\"\\\\\"}", "{" AT_END "}",
         "{\"duration_ms\":\"500\",\"pdd_ms\":\"250\"}"},
        {FROM "\"to_tag\":\"\",\"answered\":\"400\"}", "{" AT_END "}", "{\"duration_ms\":\"500\",\"pdd_ms\":\"300\"}"},
        {FROM "\"state\":\"trying\"}",
         "{\"ended\":\"900\",\"how\":\"cancelled\",\"by\":\"caller\",\"state\":\"ended\"}", "{}"},
        {"{\"node\":\"1\",\"tx\":\"t\"}", "{\"ended\":\"900\"}", "{}"},
    };

    for (size_t i = 0; i < COUNT(calls); i++) {
        const char *key = scratch("kamsync:call:{%zu}:a", i);
        json_t *entry = json_loads(calls[i].record, 0, NULL), *late = json_loads(calls[i].late, 0, NULL);
        json_t *times = json_loads(calls[i].times, 0, NULL);
        char *wanted;

        c->known = KNOWN_NEW;
        client_write(c, key, CALL_BEGIN, 1, calls[i].record);
        json_object_update(entry, late);
        json_object_update(entry, times);
        wanted = json_dumps(entry, 0);
        cr_expect(end_all(c, key, calls[i].late, entry) == CALL_WRITTEN, "%zu", i);
        cr_assert(client_archive(c, NULL, 1));
        expect_entry("its entry", json_array_get(json_array_get(c->archive, 0), 1), wanted);
        cr_expect(client_get(c, key) == GET_FOUND);
        expect_entry("its record", c->record, wanted);
        free(wanted);
        json_decref(entry);
        json_decref(late);
        json_decref(times);
    }
}

BOTH(store_known, entries, 0)

/* As before these rights were asked for. */
Test(store_known, without_the_newest_rights)
{
    struct redis_server r = redis_server_start();
    struct client *c;
    uv_loop_t loop;

    redis_do(&r, "ACL SETUSER u on >p ~* &* +@all -pttl -append");
    uv_loop_init(&loop);
    c = client_new(&loop, &r, 0, "u");
    known_ends(c);
    cr_expect(!strstr(c->logs, "NOPERM"), "%s", c->logs);
    clients_free(&loop, &c, 1);
    redis_server_stop(&r);
}

/* ---- legs at two nodes ---- */

static enum call_result end_tx(struct client *c, const char *key, const char *tx, const char *own)
{
    const struct pair pairs[] = {{span_of("node"), span_of("1")},
                                 {span_of("tx"), span_of(tx)},
                                 {span_of("ended"), span_of("900")},
                                 {span_of("how"), span_of("cancelled")}};
    struct call_write w = {
        .key = key, .mode = CALL_END, .node = 1, .pairs = pairs, .count = COUNT(pairs), .ttl_ms = 60000, .tx = own};

    c->store->ops->call_write(c->store, &w, ++c->token);
    client_wait(c);
    return (enum call_result)c->results[c->token];
}

/* The first node's leg has failed. own: NULL: it does not wait for the other any more. */
static enum call_result end_leg(struct client *c, const char *key, const char *own)
{
    return end_tx(c, key, "t", own);
}

static void expect_field(struct client *c, const char *key, const char *name, const char *value)
{
    const char *text;

    cr_assert(client_get(c, key) == GET_FOUND);
    text = json_string_value(json_object_get(c->record, name));
    cr_expect_str_eq(text ? text : "(none)", value, "%s: %s", key, name);
}

#define LEG_1 "{\"node\":\"1\",\"tx\":\"t\",\"trying\":\"100\",\"state\":\"ringing\",\"ringing\":\"150\"}"
#define LEG_2(more) "{\"node\":\"2\",\"tx\":\"u\",\"trying\":\"101\"," more "}"

/* What the other node does next, what this one's end is then, and whether it is the call's. */
static void leg_elsewhere(struct client *c)
{
    static const struct {
        const char *what, *pairs;
        enum call_mode mode;
        const char *tx;
        enum call_result end;
    } others[] = {
        {"it rings", LEG_2("\"state\":\"ringing\""), CALL_BEGIN, "t", CALL_GOES_ON},
        {"it rings for too long", LEG_2("\"state\":\"ringing\""), CALL_BEGIN, NULL, CALL_WRITTEN},
        {"it has failed", LEG_2("\"state\":\"ended\""), CALL_BEGIN, "t", CALL_WRITTEN},
        {"it has ended", LEG_2("\"state\":\"ended\",\"ended\":\"800\""), CALL_END, "t", CALL_WRITTEN},
        {"it was taken over, and ended, here", LEG_2("\"state\":\"ringing\""), CALL_BEGIN, "t\nu", CALL_WRITTEN},
        {"it is left alone", "{\"var.x\":\"1\"}", CALL_ADD, "t", CALL_WRITTEN},
        {"it is answered", LEG_2("\"state\":\"answered\",\"answered\":\"800\""), CALL_BEGIN, "t", CALL_FOREIGN},
    };

    for (size_t i = 0; i < COUNT(others); i++) {
        const char *key = scratch("kamsync:call:{%zu}:a", i);
        size_t before, now;

        cr_assert(client_archive(c, NULL, 100));
        before = json_array_size(c->archive);
        client_write(c, key, CALL_BEGIN, 1, LEG_1);
        cr_expect(client_write(c, key, CALL_BEGIN, 2, LEG_2("\"state\":\"trying\"")) == CALL_OTHER);
        expect_field(c, key, "leg.2", "u");
        client_write(c, key, others[i].mode, 2, others[i].pairs);
        cr_expect(end_leg(c, key, others[i].tx) == others[i].end, "%s", others[i].what);
        cr_assert(client_archive(c, NULL, 100));
        now = json_array_size(c->archive);
        cr_expect(now - before == (others[i].end == CALL_WRITTEN), "%s: %zu entries", others[i].what, now - before);
        cr_expect(!now || !json_object_get(json_array_get(json_array_get(c->archive, now - 1), 1), "leg.2"));
    }
    expect_field(c, "kamsync:call:{0}:a", "node", "-1");
    expect_field(c, "kamsync:call:{0}:a", "state", "ringing");
    cr_expect(client_write(c, "kamsync:call:{0}:a", CALL_BEGIN, 2, LEG_2("\"state\":\"ended\"")) == CALL_WRITTEN);
    cr_expect(end_leg(c, "kamsync:call:{0}:a", "t") == CALL_FOREIGN, "the call lives by the other leg");
    expect_field(c, "kamsync:call:{0}:a", "leg.2", "(none)");
}

Test(store_known, leg_elsewhere)
{
    with_store(leg_elsewhere, true, 0);
}

/* Its node has died: whoever takes its transaction over has the mark, too, or has the call. */
static void leg_of_a_dead_node(struct client *c)
{
    for (int taker = 1; taker <= 3; taker += 2) {
        const char *key = scratch("kamsync:call:{%d}:a", taker);
        const char *taken = scratch("{\"node\":\"%d\",\"tx\":\"u\",\"trying\":\"101\",\"state\":\"%%s\"}", taker);

        client_write(c, key, CALL_BEGIN, 1, LEG_1);
        client_write(c, key, CALL_BEGIN, 2, LEG_2("\"state\":\"trying\""));
        client_write(c, key, CALL_BEGIN, taker, scratch(taken, "ringing"));
        expect_field(c, key, "leg.2", "");
        expect_field(c, key, "leg.3", taker == 1 ? "(none)" : "u");
        client_write(c, key, CALL_BEGIN, taker, scratch(taken, "ended"));
        cr_expect(end_tx(c, key, taker == 1 ? "u" : "t", taker == 1 ? "u" : "t") == CALL_WRITTEN, "taken over by %d",
                  taker);
    }
}

Test(store_known, leg_of_a_dead_node)
{
    with_store(leg_of_a_dead_node, true, 0);
}
