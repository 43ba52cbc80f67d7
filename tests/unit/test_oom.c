/* Short memory: each scenario is run again and again, with its first, second, third … allocation failing, until it runs
 * to its end without one. Nothing may crash, leak, or be half done and taken for done. */
#include "base64.h"
#include "conf.h"
#include "engine.h"
#include "frame.h"
#include "hello.h"
#include "helper.h"
#include "link.h"
#include "oom.h"
#include "record.h"
#include "txn_read.h"
#include "txns.h"

TestSuite(oom, .init = oom_setup, .fini = no_leaks);

static struct event branch_event(void)
{
    struct leg c = call_make(1);
    char *sent = scratch("%s", sip_sent_on(&c, "0")), *end = strstr(sent, "Content-Length");

    *end = '\0';
    return (struct event){.type = EVENT_BRANCH,
                          .src = "udp:198.51.100.9:5060",
                          .dst = "udp:192.0.2.10:5060",
                          .to = "udp:203.0.113.5:5060",
                          .sock = "udp:192.0.2.10:5060",
                          .sent = span_of(scratch("%sRoute: <sip:r1>,<sip:r2>\r\n\r\n", sent)),
                          .req = span_of(sip_request(&c, "INVITE"))};
}

struct read_again {
    struct span payload;
    char *copy; /* it is used up each time */
};

static void read_msg(void *arg, bool *good)
{
    const struct read_again *r = arg;
    char why[128] = "";
    struct msg m;
    struct event ev;
    int rc;

    r->copy[0] = ' '; /* so jansson reads it */
    memcpy(r->copy + 1, r->payload.p, r->payload.n);
    if (msg_read(&m, (struct span){r->copy, 1 + r->payload.n}, why, sizeof(why)) < 0)
        return;
    *good = true;
    while ((rc = msg_event(&ev, &m, why, sizeof(why))) != 0) {
        *good = *good && rc > 0 && event_own(&ev);
        event_clear(&ev);
    }
}

Test(oom, msg_read)
{
    json_t *list = vectors("good-from-kamailio.json"), *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        struct span payload = vector_payload(v);

        oom_run(read_msg, &(struct read_again){payload, scratch("%*s", (int)payload.n + 1, "")});
    }
    json_decref(list);
}

static void write_msgs(void *arg, bool *good)
{
    char *texts[] = {msg_hello("t"),
                     msg_proof("p", "kamsync-1-2", 3),
                     msg_keys(1),
                     msg_ack(1, 2, 3),
                     msg_node(1, 2, "s", "i", true),
                     msg_send(1, "t", "s", "m", 0),
                     msg_ping(1),
                     msg_mark(1, 1),
                     msg_lost(1, "YQ==", 1, "YQ==", "YQ=="),
                     msg_second(1, "YQ==", 2)};

    (void)arg;
    *good = true;
    for (size_t i = 0; i < COUNT(texts); i++) {
        *good = *good && texts[i];
        free(texts[i]);
    }
}

Test(oom, msg_write)
{
    oom_run(write_msgs, NULL);
}

static void new_txn(void *arg, bool *good)
{
    struct txn *t = NULL;
    int rc = txn_read(&t, arg, 0);

    cr_expect(rc == 0 || rc == -ENOMEM || rc == -EPERM, "%d", rc);
    cr_expect((rc == 0) == (t != NULL));
    *good = rc == 0;
    txn_free(t);
}

Test(oom, txn_new)
{
    struct event ev = branch_event();

    oom_run(new_txn, &ev);
}

static void write_record(void *arg, bool *good)
{
    char *text = record_write(arg, &(struct head){1, 1, "1", HEAD_HELD, NULL}, NULL, true);

    /* All or nothing: a survivor must not take a record with holes for the whole story. */
    cr_expect(!text || strstr(text, "\"req\":"), "a record without its request: %s", text);
    cr_expect(!text || strstr(text, "\"route\":"), "a record without its Route set: %s", text);
    *good = text != NULL;
    free(text);
}

Test(oom, record_write)
{
    struct event ev = branch_event();
    struct txn *t = NULL;

    cr_assert(txn_read(&t, &ev, 0) == 0);
    oom_run(write_record, t);
    txn_free(t);
}

static void write_binary_record(void *arg, bool *good)
{
    char *text = record_write(arg, &(struct head){1, 1, "1", HEAD_HELD, NULL}, NULL, true);

    *good = text != NULL;
    free(text);
}

Test(oom, record_write_of_a_request_that_is_no_utf8)
{
    struct event ev = branch_event();
    struct txn *t = NULL;

    ev.req = span_of(scratch("%s\xff\xfe", ev.req.p));
    cr_assert(txn_read(&t, &ev, 0) == 0);
    oom_run(write_binary_record, t);
    txn_free(t);
}

static void read_record(void *arg, bool *good)
{
    struct record r;

    *good = record_read(&r, span_of(arg)) == 0;
}

Test(oom, record_read)
{
    oom_run(read_record, "{\"owner\":1,\"inc\":\"1\",\"done\":false,\"sent_by\":\"h\",\"branches\":[{\"i\":0}]}");
}

static void ignore_payload(void *arg, struct span payload)
{
    *(size_t *)arg += payload.n;
}

static void read_frames(void *arg, bool *good)
{
    struct frame_reader r = {0};
    size_t n = 0;
    int rc = frame_feed(&r, arg, 6, ignore_payload, &n);

    if (rc == 0)
        rc = frame_feed(&r, (char *)arg + 6, strlen(arg) - 6, ignore_payload, &n);
    cr_expect(rc == 0 || rc == -ENOMEM);
    *good = rc == 0 && n == 10000;
    frame_reset(&r);
}

Test(oom, frame_feed)
{
    oom_run(read_frames, scratch("10000:%010000d,", 1));
}

static void use_link(void *arg, bool *good)
{
    struct link l = {0};
    char *bytes;
    size_t len;

    (void)arg;
    link_open(&l);
    *good = link_push(&l, link_next_n(&l), span_dup(span_of("a")), 0);
    bytes = link_take(&l, &len);
    *good = *good && bytes;
    free(bytes);
    link_close(&l, 0);
    link_free(&l);
}

Test(oom, link)
{
    oom_run(use_link, NULL);
}

/* ---- a whole engine ---- */

#define NODE_2 "{\"id\":2,\"name\":\"b\",\"sip\":\"192.0.2.2:5060\",\"inc\":\"3\",\"beat\":1,\"up\":true}"

struct world {
    struct engine *e;
    size_t writes, puts, acks; /* acks: credits among the writes */
    char *hello, *stray, *told, *branch, *reply, *taken, *stray_ack, *ack, *key, *orphan, *found_first, *heir;
    char *found;
    const char *fence; /* the newer record that stands where one is put; NULL: none */
};

static void io_write(void *ctx, struct span bytes)
{
    struct world *w = ctx;

    w->writes++;
    w->acks += memmem(bytes.p, bytes.n, "\"t\":\"ack\"", 9) != NULL;
}

static void io_close(void *ctx)
{
    (void)ctx;
}

static void io_put(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct world *w = ctx;

    (void)key;
    (void)value;
    (void)ttl_ms;
    w->puts++;
    if (w->fence)
        engine_put_done(w->e, token, PUT_FENCED, span_of(w->fence), 0);
    else
        engine_put_done(w->e, token, PUT_DONE, (struct span){0}, 0);
}

static void io_get(void *ctx, const char *key, uint64_t token)
{
    struct world *w = ctx;

    if (strncmp(key, "kamsync:node:", 13) == 0)
        engine_got(w->e, token, GET_ABSENT, (struct span){0}, 0);
    else
        engine_got(w->e, token, GET_FOUND, span_of(w->found), 0);
}

static void io_claim(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct world *w = ctx;

    if (*value == '{') /* a transaction's first record */
        io_put(ctx, key, value, ttl_ms, token);
    else
        engine_claimed(w->e, token, CLAIM_FAILED, (struct span){0}, 0);
}

static void io_find(void *ctx, uint64_t cursor)
{
    struct world *w = ctx;

    (void)cursor;
    w->found = w->found_first;
    engine_scan_key(w->e, w->key);
    engine_scanned(w->e, true, 0, 0);
}

static void io_scan(void *ctx, uint64_t cursor)
{
    (void)ctx;
    (void)cursor;
}

static void io_beat(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce)
{
    (void)ctx;
    (void)id;
    (void)record;
    (void)ttl_ms;
    (void)announce;
}

static void io_read_nodes(void *ctx)
{
    (void)ctx;
}

static void io_call_write(void *ctx, const struct call_write *c, uint64_t token)
{
    struct world *w = ctx;

    (void)c;
    engine_call_written(w->e, token, CALL_WRITTEN, 0);
}

static void io_call_get(void *ctx, const char *key, const char *other, uint64_t token)
{
    struct world *w = ctx;

    (void)key, (void)other;
    engine_call_got(w->e, token, GET_ABSENT, NULL, 0, 0);
}

static void io_archive(void *ctx, const char *after, int count, uint64_t token)
{
    struct world *w = ctx;

    (void)after;
    (void)count;
    engine_archived(w->e, token, NULL, NULL, 0, true, 0);
}

static void io_tell(void *ctx, int node, const char *text)
{
    (void)ctx;
    (void)node;
    (void)text;
}

static int64_t io_wall(void *ctx)
{
    (void)ctx;
    return 1800000000000;
}

static void io_log(void *ctx, const struct log_entry *line)
{
    (void)ctx;
    (void)line;
}

static struct engine_io world_io(struct world *w)
{
    return (struct engine_io){.ctx = w,
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
                              .archive = io_archive,
                              .tell = io_tell,
                              .wall = io_wall,
                              .log = io_log};
}

static char *framed(const char *text)
{
    return scratch("%zu:%s,", strlen(text), text);
}

static struct world world_new(void)
{
    struct event ev = branch_event();
    struct leg c = call_make(1), other = call_make(2);
    char hello[HELLO_MAX];

    hello_write(hello, "s", "t", 1, "1", "192.0.2.1:5060");
    return (struct world){
        .hello = framed(hello),
        .stray = framed(stray_text(1, sip_request(&other, "CANCEL"), "")),
        .told = framed(scratch("{\"t\":\"events\",\"n\":3}%s", told_text(sip_request(&other, "CANCEL"), "1.2"))),
        .branch = framed(scratch("{\"t\":\"events\",\"n\":1}%s", branch_text(ev.sent.p, ev.req.p, ""))),
        .reply = framed(scratch("{\"t\":\"events\",\"n\":2}{\"t\":\"reply\",\"via\":\"%s\",\"code\":200}",
                                base64_of(scratch("%s.0", c.tm)))),
        .found = "{\"owner\":2,\"inc\":\"2\",\"done\":false,\"sent_by\":\"198.51.100.9:5060\"}",
    };
}

static int say(struct world *w, const char *frame)
{
    int rc = engine_link_data(w->e, frame, strlen(frame), 0);

    cr_expect(rc == 0 || rc == -ENOMEM || rc == -EPERM, "%d", rc);
    engine_flush(w->e, 0);
    return rc;
}

/* One node's day: hello, a transaction, its end, a stray for node 2. The engine itself was made with enough memory. */
static void live(void *arg, bool *good)
{
    struct engine_conf conf = conf_default();
    struct world *w = arg;
    struct engine_io io = world_io(w);

    conf.secret = "s";
    conf.hang_ms = 0;
    conf.takeover = false;
    w->writes = w->puts = w->acks = 0;
    w->e = engine_new(&conf, &io, 0);
    if (!w->e)
        return;
    engine_store_up(w->e, 0);
    engine_link_up(w->e, "t", 0);
    engine_flush(w->e, 0);
    *good = say(w, w->hello) == 0;
    engine_node(
        w->e, span_of("{\"id\":2,\"name\":\"b\",\"sip\":\"192.0.2.2:5060\",\"inc\":\"2\",\"beat\":1,\"up\":true}"), 0);
    engine_nodes_read(w->e, true, 0);
    *good = say(w, w->branch) == 0 && *good;
    *good = say(w, w->reply) == 0 && *good;
    *good = say(w, w->stray) == 0 && *good;
    *good = say(w, w->told) == 0 && *good;
    engine_configure(w->e, &conf, 0);
    engine_tick(w->e, 20);
    engine_flush(w->e, 20);
    *good = *good && engine_counters(w->e)->verdict_owner == 2 && w->puts == 2;
    engine_link_down(w->e, 0);
    engine_free(w->e);
}

Test(oom, engine)
{
    struct world w = world_new();

    oom_run(live, &w);
}

/* A node dies, its call is found by the search and taken over, and a CANCEL waits for it; then our own is lost, and an
 * orphan is adopted. */
static void take_over(void *arg, bool *good)
{
    struct engine_conf conf = conf_default();
    struct world *w = arg;
    struct engine_io io = world_io(w);
    const struct counters *count;

    conf.secret = "s";
    io.scan = io_find;
    w->writes = w->puts = w->acks = 0;
    w->fence = NULL;
    w->e = engine_new(&conf, &io, 0);
    if (!w->e)
        return;
    count = engine_counters(w->e);
    engine_store_up(w->e, 0);
    engine_link_up(w->e, "t", 0);
    say(w, w->hello);
    engine_node(w->e, span_of(NODE_2), 0);
    engine_nodes_read(w->e, true, 0);
    engine_flush(w->e, 0);
    say(w, w->stray);
    say(w, w->taken);
    /* It is written to take it, and when it is taken. */
    *good = count->takeovers_done == 1 && count->verdict_mine == 1 && w->puts == 2;
    say(w, w->ack);
    engine_link_down(w->e, 0);
    engine_link_up(w->e, "t", 0);
    w->fence = w->heir;
    say(w, w->hello);
    *good = *good && count->txns_lost == 1;
    w->found = w->orphan;
    say(w, w->stray_ack);
    *good = *good && count->adoptions == 1;
    engine_tick(w->e, 5000);
    engine_flush(w->e, 5000);
    engine_free(w->e);
}

Test(oom, takeover)
{
    struct leg c = call_make(2);
    struct world w = world_new();
    json_t *req = json_string(sip_request(&c, "INVITE"));
    char *text = json_dumps(req, JSON_ENCODE_ANY);
    static const char head[] = "{\"owner\":2,\"inc\":\"2\",\"done\":false,\"call_id\":\"%s\",\"cseq\":1,"
                               "\"branch\":\"%s\",\"sent_by\":\"%s\",\"from_tag\":\"a1\",\"src\":\"udp:1.1.1.1:1\","
                               "\"dst\":\"udp:1.1.1.1:1\",\"branches\":[{\"i\":0,\"code\":%d,\"via\":\"V;branch=%s.0\","
                               "\"to\":\"udp:1.1.1.1:1\",\"sock\":\"udp:1.1.1.1:1\",\"ruri\":\"sip:a\","
                               "\"route\":\"<sip:r>\"}],\"req\":%s}";

    w.ack = framed("{\"t\":\"ack\",\"n\":1}");
    w.key = scratch("kamsync:tx:{%s}:1:%s:%s", c.call_id, c.branch, c.sent_by);
    w.orphan = scratch(head, c.call_id, c.branch, c.sent_by, 486, c.tm, text);
    w.found_first = scratch(head, c.call_id, c.branch, c.sent_by, 180, c.tm, text);
    w.heir = scratch("{\"epoch\":9,\"owner\":2,\"inc\":\"3\",%s", strstr(w.found_first, "\"done\""));
    w.taken = framed(scratch("{\"t\":\"events\",\"n\":1}%s", branch_text(sip_sent_on(&c, "0"), NULL, "")));
    w.stray_ack = framed(stray_text(2, sip_request(&c, "ACK"), ""));
    free(text);
    json_decref(req);
    oom_run(take_over, &w);
}

/* Memory that was short for a moment must not leave the engine deaf or dumb: afterwards it must hand out credit again.
 */
static void recover(void *arg, bool *good)
{
    static const struct engine_conf conf = {.name = "n",
                                            .site = "",
                                            .secret = "s",
                                            .old_secret = "",
                                            .heartbeat_ms = 1000,
                                            .node_ttl_ms = 3000,
                                            .lookup_ms = 200,
                                            .store_wait_ms = 250};
    struct world *w = arg;
    struct engine_io io = world_io(w);
    unsigned n = (unsigned)w->writes;

    oom_begin(0, false);
    w->writes = w->puts = w->acks = 0;
    w->e = engine_new(&conf, &io, 0);
    engine_link_up(w->e, "t", 0);
    say(w, w->hello);
    oom_begin(n, false);
    if (say(w, w->reply) < 0)
        w->acks = 1; /* the caller closes the link: the next one starts anew */
    *good = !oom_end();
    if (w->acks == 0)
        say(w, w->reply);
    for (int64_t now = 0; w->acks == 0 && now < 3000; now += 100) /* an ack for few frames waits a second */
        engine_flush(w->e, now);
    cr_expect(w->acks > 0, "no credit after allocation %u failed", n);
    engine_free(w->e);
}

Test(oom, credit_is_given_after_short_memory)
{
    struct world w = world_new();
    bool good = false;

    for (unsigned n = 1; !good; n++) {
        w.writes = n;
        recover(&w, &good);
    }
}
