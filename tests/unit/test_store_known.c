/* A node that knows its call's record tells the store so, which spares the store work: the outcome is the same. */
#include "stores.h"

#include "count.h"

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
    const struct pair whole[] = {{span_of("node"), span_of("1")},       {span_of("tx"), span_of("t")},
                                 {span_of("answered"), span_of("100")}, {span_of("var.x"), span_of("1")},
                                 {span_of("ended"), span_of("900")},    {span_of("how"), span_of("completed")}};
    const struct pair times = {span_of("duration_ms"), span_of("800")};
    struct call_write w = {.key = key,
                           .mode = CALL_END_ANSWERED,
                           .node = 1,
                           .pairs = whole + 4,
                           .count = 2,
                           .ttl_ms = 60000,
                           .dialog = span_of(dialog),
                           .tx = "t",
                           .known = 4,
                           .whole = whole,
                           .whole_count = COUNT(whole),
                           .times = &times,
                           .time_count = 1};

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

        client_write(c, key, CALL_BEGIN, 1, "{\"node\":\"1\"," OWN_CALL "}");
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

/* As before that right was asked for. */
Test(store_known, without_the_right_to_hlen)
{
    struct redis_server r = redis_server_start();
    struct client *c;
    uv_loop_t loop;

    redis_do(&r, "ACL SETUSER u on >p ~* &* +@all -hlen");
    uv_loop_init(&loop);
    c = client_new(&loop, &r, 0, "u");
    known_ends(c);
    cr_expect(!strstr(c->logs, "NOPERM"), "%s", c->logs);
    clients_free(&loop, &c, 1);
    redis_server_stop(&r);
}
