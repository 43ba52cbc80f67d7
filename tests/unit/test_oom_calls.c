/* Short memory through a call's whole life, and in all that is asked about it. */
#include "conf.h"
#include "engine.h"
#include "handover.h"
#include "hello.h"
#include "helper.h"
#include "oom.h"

TestSuite(oom_calls, .init = oom_setup, .fini = no_leaks, .timeout = 120);

static struct pair record[] = {{BYTES("call_id"), BYTES("call-1@caller.example")},
                               {BYTES("node"), BYTES("2")},
                               {BYTES("inc"), BYTES("2")},
                               {BYTES("from_tag"), BYTES("a1")},
                               {BYTES("tx"), BYTES("x")},
                               {BYTES("state"), BYTES("answered")},
                               {BYTES("trying"), BYTES("5")},
                               {BYTES("at.2"), BYTES("5")},
                               {BYTES("var.x"), BYTES("y")},
                               {BYTES("var.z"), BYTES("\xff")}};

struct world {
    struct engine *e;
    int64_t now;
    size_t writes, ends, answers, told;
    bool scan; /* finds a call */
    char *handover, *hello, *node, *life[9];
};

static void io_write(void *ctx, struct span bytes)
{
    (void)ctx, (void)bytes;
}

static void io_close(void *ctx)
{
    (void)ctx;
}

static void io_put(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct world *w = ctx;

    (void)key, (void)value, (void)ttl_ms;
    engine_put_done(w->e, token, PUT_DONE, (struct span){0}, w->now);
}

static void io_get(void *ctx, const char *key, uint64_t token)
{
    struct world *w = ctx;

    (void)key;
    engine_got(w->e, token, GET_ABSENT, (struct span){0}, w->now);
}

static void io_claim(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct world *w = ctx;

    (void)key, (void)value, (void)ttl_ms;
    engine_claimed(w->e, token, CLAIM_WON, (struct span){0}, w->now);
}

static void io_scan(void *ctx, uint64_t cursor)
{
    struct world *w = ctx;

    (void)cursor;
    if (w->scan)
        engine_scan_key(w->e, "kamsync:call:{call-7@caller.example}:a1");
    engine_scanned(w->e, true, 0, w->now);
}

static void io_beat(void *ctx, int id, const char *text, int64_t ttl_ms, bool announce)
{
    (void)ctx, (void)id, (void)text, (void)ttl_ms, (void)announce;
}

static void io_read_nodes(void *ctx)
{
    (void)ctx;
}

static void io_call_write(void *ctx, const struct call_write *c, uint64_t token)
{
    struct world *w = ctx;

    w->writes++;
    w->ends += c->mode == CALL_END || c->mode == CALL_END_ANSWERED;
    engine_call_written(w->e, token, CALL_WRITTEN, w->now);
}

static void io_call_get(void *ctx, const char *key, const char *other, uint64_t token)
{
    struct world *w = ctx;

    (void)key, (void)other;
    engine_call_got(w->e, token, GET_FOUND, record, COUNT(record), w->now);
}

static void io_call_keys(void *ctx, struct span call_id, uint64_t cursor, uint64_t token)
{
    struct world *w = ctx;

    (void)call_id, (void)cursor;
    engine_call_key(w->e, token, "kamsync:call:{c}:a");
    engine_call_keys(w->e, token, true, 0, w->now);
}

static void io_archive(void *ctx, const char *after, int count, uint64_t token)
{
    struct world *w = ctx;

    (void)after, (void)count;
    engine_archived(w->e, token, "1-0", record, COUNT(record), true, w->now);
    engine_archived(w->e, token, NULL, NULL, 0, true, w->now);
}

static void io_tell(void *ctx, int node, const char *text)
{
    (void)node, (void)text;
    ((struct world *)ctx)->told++;
}

static int64_t io_wall(void *ctx)
{
    return 1800000000000 + ((struct world *)ctx)->now;
}

static void io_answer(void *ctx, uint64_t client, json_t *answer)
{
    (void)client;
    ((struct world *)ctx)->answers += json_is_true(json_object_get(answer, "ok"));
    json_decref(answer);
}

static void io_log(void *ctx, const struct log_entry *line)
{
    (void)ctx, (void)line;
}

static struct engine *engine_of(struct world *w)
{
    struct engine_conf conf = conf_default();
    struct engine_io io = {.ctx = w,
                           .link_write = io_write,
                           .link_close = io_close,
                           .put = io_put,
                           .get = io_get,
                           .claim = io_claim,
                           .scan = io_scan,
                           .beat = io_beat,
                           .read_nodes = io_read_nodes,
                           .call_write = io_call_write,
                           .call_get = io_call_get,
                           .call_keys = io_call_keys,
                           .archive = io_archive,
                           .tell = io_tell,
                           .wall = io_wall,
                           .answer = io_answer,
                           .log = io_log};

    conf.secret = "s";
    conf.old_secret = "o";
    conf.hang_ms = 3600000;
    conf.takeover = false;
    return engine_new(&conf, &io, 0);
}

static char *framed(const char *text)
{
    return scratch("%zu:%s,", strlen(text), text);
}

static char *event(int n, const char *text)
{
    return framed(scratch("{\"t\":\"events\",\"n\":%d}{%s}", n, text));
}

static void say(struct world *w, const char *frame)
{
    int rc = engine_link_data(w->e, frame, strlen(frame), w->now);

    cr_expect(rc == 0 || rc == -ENOMEM || rc == -EPERM, "%d", rc);
    engine_flush(w->e, w->now);
}

/* An engine that has said hello and knows node 2; false when memory was too short even for that. */
static bool begin(struct world *w)
{
    w->writes = w->ends = w->answers = w->told = 0;
    w->now = 0;
    w->e = engine_of(w);
    if (!w->e)
        return false;
    engine_store_up(w->e, 0);
    engine_link_up(w->e, "t", 0);
    engine_flush(w->e, 0);
    say(w, w->hello);
    engine_node(w->e, span_of(w->node), 0);
    engine_nodes_read(w->e, true, 0);
    engine_flush(w->e, 0);
    return true;
}

static void wait(struct world *w, int64_t ms)
{
    w->now += ms;
    engine_tick(w->e, w->now);
    engine_flush(w->e, w->now);
}

/* A whole world: none of these is done with a few allocations. */
static void run(void (*scenario)(void *arg, bool *good), struct world *w)
{
    unsigned n = oom_run(scenario, w);

    cr_expect(n > 20, "%u allocations", n);
}

static struct world world_new(void)
{
    struct leg c = call_make(1);
    char *id = scratch("\"call_id\":\"%s\"", base64_of(c.call_id)), *via = base64_of(scratch("%s.0", c.tm));
    char hello[HELLO_MAX];

    hello_write(hello, "s", "t", 1, "1", "192.0.2.1:5060");
    return (struct world){
        .hello = framed(hello),
        .node = "{\"id\":2,\"name\":\"b\",\"sip\":\"192.0.2.2:5060\",\"inc\":\"2\",\"beat\":1,\"up\":true}",
        .life = {event(1, scratch("\"t\":\"set\",%s,\"from_tag\":\"YTE=\",\"name\":\"a\",\"value\":\"YQ==\"", id)),
                 framed(scratch("{\"t\":\"events\",\"n\":2}%s",
                                branch_text(sip_sent_on(&c, "0"), sip_request(&c, "INVITE"), ""))),
                 event(3, scratch("\"t\":\"reply\",\"via\":\"%s\",\"code\":180", via)),
                 event(4, scratch("\"t\":\"reply\",\"via\":\"%s\",\"code\":200,\"to_tag\":\"YjE=\"", via)),
                 event(5, scratch("\"t\":\"set\",%s,\"from_tag\":\"YTE=\",\"name\":\"a\",\"value\":\"\"", id)),
                 event(6, scratch("\"t\":\"bye\",%s,\"from_tag\":\"YTE=\",\"to_tag\":\"YjE=\",\"code\":0", id)),
                 event(7, scratch("\"t\":\"bye\",%s,\"from_tag\":\"YTE=\",\"to_tag\":\"YjE=\",\"code\":200", id))}};
}

/* Begun, answered, ended by its BYE, whose tags are known here. */
static void live(void *arg, bool *good)
{
    struct world *w = arg;

    if (!begin(w))
        return;
    for (size_t i = 0; w->life[i]; i++)
        say(w, w->life[i]);
    wait(w, 4000);
    *good = w->writes == 6 && w->ends == 1 && w->told == 0;
    engine_free(w->e);
}

/* Only the BYE comes here; node 2, whose call it is in the store, is told. */
static void bye_alone(void *arg, bool *good)
{
    struct world *w = arg;

    if (!begin(w))
        return;
    say(w, w->life[5]);
    say(w, w->life[6]);
    wait(w, 4000);
    *good = w->writes == 1 && w->ends == 1 && w->told == 1;
    engine_free(w->e);
}

Test(oom_calls, bye_of_another_nodes_call)
{
    struct world w = world_new();

    run(bye_alone, &w);
}

Test(oom_calls, whole_life)
{
    struct world w = world_new();

    run(live, &w);
}

/* Rejected, and ended by its own transaction. */
static void fail(void *arg, bool *good)
{
    struct world *w = arg;

    if (!begin(w))
        return;
    say(w, w->life[0]);
    say(w, w->life[1]);
    say(w, w->life[8]);
    for (int i = 0; i < 5; i++)
        wait(w, 1000);
    *good = w->ends == 1;
    engine_free(w->e);
}

Test(oom_calls, rejected)
{
    struct world w = world_new();

    w.life[8] =
        event(3, scratch("\"t\":\"reply\",\"via\":\"%s\",\"code\":486", base64_of(scratch("%s.0", call_make(1).tm))));
    run(fail, &w);
}

/* Of the script, to this node and to the owner. */
static void question(void *arg, bool *good)
{
    struct world *w = arg;

    if (!begin(w))
        return;
    say(w, w->life[0]);
    say(w, w->life[1]);
    wait(w, 100);
    wait(w, 300);
    *good = engine_counters(w->e)->questions == 2 && engine_counters(w->e)->frames_shed == 0;
    engine_free(w->e);
}

Test(oom_calls, questions_of_the_script)
{
    struct leg c = call_make(1);
    struct world w = world_new();

    for (int i = 0; i < 2; i++)
        w.life[i] = framed(stray_text(i + 1, sip_request(&c, "INFO"), i ? ",\"ask\":\"owner\"" : ",\"ask\":\"call\""));
    run(question, &w);
}

static void inquire(void *arg, bool *good)
{
    static const char *const commands[] = {"status", "nodes", "calls", "call", "tx", "cdr", "trace", "views"};
    struct world *w = arg;
    json_t *q;

    if (!begin(w))
        return;
    say(w, w->life[1]);
    for (size_t i = 0; i < COUNT(commands); i++) {
        q = json_pack("{s:s,s:s}", "cmd", commands[i], "call_id", "call-1@caller.example");
        if (q)
            engine_ask(w->e, q, i, w->now);
        json_decref(q);
    }
    engine_message(w->e, span_of("{\"t\":\"ask\",\"from\":2,\"token\":1,\"q\":{\"cmd\":\"calls\"}}"), w->now);
    for (int token = 1; token < 40; token++) {
        char text[160];

        snprintf(text, sizeof(text), "{\"t\":\"answer\",\"node\":2,\"token\":%d,\"a\":{\"calls\":[{}],\"total\":1}}",
                 token);
        engine_message(w->e, span_of(text), w->now);
    }
    wait(w, 200);
    *good = w->answers == COUNT(commands) && w->told == 5;
    engine_free(w->e);
}

Test(oom_calls, questions_of_kamsyncctl)
{
    struct world w = world_new();

    run(inquire, &w);
}

/* A handover and an end that another node tells; and the call of a node that this one has never heard of. */
static void hear(void *arg, bool *good)
{
    struct world *w = arg;

    record[1].value = span_of("5");
    if (!begin(w))
        return;
    engine_message(w->e, span_of(w->handover), w->now);
    engine_message(w->e, span_of("{\"t\":\"over\",\"call_id\":\"call-1@caller.example\",\"from_tag\":\"a1\"}"), w->now);
    for (int i = 0; i < 12; i++) {
        wait(w, 500);
        engine_nodes_read(w->e, true, w->now);
    }
    *good = engine_counters(w->e)->relayed_in == 1 && engine_counters(w->e)->calls_failed_over == 1;
    engine_free(w->e);
}

Test(oom_calls, told_and_inherited)
{
    struct handover h = {1, "1", "owner", "udp:1.1.1.1:1", "udp:1.1.1.1:1", 2, "1.1"};
    struct world w = world_new();
    char *text = handover_make(&h, span_of("ACK x SIP/2.0\r\n\r\n"), "o");

    w.scan = true;
    w.handover = scratch("{\"t\":\"handover\",\"msg\":\"%s\"}", text);
    free(text);
    run(hear, &w);
}
