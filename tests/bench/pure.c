/* The pure parts of kamsyncd in loops, to be counted by instructions: `./dev bench count`, `./dev test count`.
 *
 *     pure PART TIMES
 *
 * The cost of one is the difference between two runs, by what they differ in times; so what comes before and after does
 * not count. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "conf.h"
#include "engine.h"
#include "frame.h"
#include "hello.h"
#include "key.h"
#include "msg.h"
#include "record.h"
#include "sip.h"
#include "txn_read.h"

#define EPOCH 1800000000000
#define PAIRS 40 /* of a call's record */
#define TEXT 16000
#define INVITE_MAX 4000

static const char sdp[] =
    "v=0\r\no=- 3905212 3905212 IN IP4 198.51.100.11\r\ns=-\r\nc=IN IP4 198.51.100.11\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 9 8 0 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    "a=ptime:20\r\na=sendrecv\r\n";

static struct engine *e;
static int64_t now = 1000, frame_n;

static void must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "pure: %s\n", strerror(-rc));
        exit(1);
    }
}

/* ---- what Kamailio says ---- */

static void invite(char *out, unsigned i)
{
    snprintf(
        out, INVITE_MAX,
        "INVITE sip:callee@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.11:5090;branch=z9hG4bKbench%07u;rport\r\n"
        "Max-Forwards: 70\r\nTo: <sip:callee@example.com>\r\nFrom: \"Caller\" <sip:caller@example.com>;tag=f%07u\r\n"
        "Call-ID: bench-%07u@bench\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@198.51.100.11:5090>\r\n"
        "User-Agent: kamsync bench\r\nContent-Type: application/sdp\r\nContent-Length: %zu\r\n\r\n%s",
        i, i, i, strlen(sdp), sdp);
}

static void tm_branch(char *out, unsigned i)
{
    sprintf(out, "z9hG4bK%04x.%032x.0", i & 0xffffU, i);
}

static char *base64_of(const char *text)
{
    char *out = base64_text((struct span){text, strlen(text)});

    must(out ? 0 : -1);
    return out;
}

static void branch_event(char *out, unsigned i)
{
    char text[INVITE_MAX], via[200], tm[80], *sent, *req;

    tm_branch(tm, i);
    snprintf(via, sizeof(via),
             "INVITE sip:callee@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=%s;srvid=1\r\n\r\n", tm);
    sent = base64_of(via);
    invite(text, i);
    req = base64_of(text);
    snprintf(out, TEXT,
             "{\"t\":\"branch\",\"src\":\"udp:198.51.100.11:5090\",\"dst\":\"udp:192.0.2.1:5060\","
             "\"to\":\"udp:198.51.100.12:5060\",\"sock\":\"udp:192.0.2.1:5060\",\"at\":1800000000.123456,"
             "\"sent\":%zu,\"req\":%zu}%s%s",
             strlen(sent), strlen(req), sent, req);
    free(sent);
    free(req);
}

static void reply_event(char *out, unsigned i, int code)
{
    char tm[80], *via, *tag = base64_of("gw12345");

    tm_branch(tm, i);
    via = base64_of(tm);
    sprintf(out, "{\"t\":\"reply\",\"via\":\"%s\",\"code\":%d,\"at\":1800000000.123456%s%s%s}", via, code,
            code >= 200 ? ",\"to_tag\":\"" : "", code >= 200 ? tag : "", code >= 200 ? "\"" : "");
    free(via);
    free(tag);
}

static void bye_event(char *out, unsigned i, int code)
{
    char text[80], *id, *from, *to = base64_of("gw12345");

    sprintf(text, "bench-%07u@bench", i);
    id = base64_of(text);
    sprintf(text, "f%07u", i);
    from = base64_of(text);
    sprintf(
        out,
        "{\"t\":\"bye\",\"call_id\":\"%s\",\"code\":%d,\"at\":1800000010.123456,\"from_tag\":\"%s\",\"to_tag\":\"%s\"}",
        id, code, from, to);
    free(id);
    free(from);
    free(to);
}

static void say(const char *text)
{
    size_t len;
    char *bytes = frame_make((struct span){text, strlen(text)}, &len);

    must(bytes ? engine_link_data(e, bytes, len, now) : -1);
    free(bytes);
}

/* ---- an engine whose store and Kamailio answer as soon as they may: when the call that asked has returned ---- */

static struct answer {
    void (*give)(const struct answer *a);
    uint64_t token;
    bool found;
} answers[100];
static size_t answer_count;

static void answer_later(struct answer a)
{
    must(answer_count < sizeof(answers) / sizeof(*answers) ? 0 : -1);
    answers[answer_count++] = a;
}

static void settle(void)
{
    for (size_t i = 0; i < answer_count; i++)
        answers[i].give(&answers[i]);
    answer_count = 0;
}

static void turn(void)
{
    do {
        settle();
        engine_flush(e, now);
    } while (answer_count > 0);
}

static void say_event(const char *event)
{
    char text[TEXT + 100];

    snprintf(text, sizeof(text), "{\"t\":\"events\",\"n\":%lld}%s", (long long)++frame_n, event);
    say(text);
    turn();
}

static void give_ack(const struct answer *a)
{
    char text[60];

    snprintf(text, sizeof(text), "{\"t\":\"ack\",\"n\":%ld}", (long)a->token);
    say(text);
}

static void on_payload(void *arg, struct span payload)
{
    const char *n = strstr(payload.p, "\"n\":");

    (void)arg;
    if (n)
        answer_later((struct answer){give_ack, strtoul(n + 4, NULL, 10), true});
}

static void io_write(void *ctx, struct span bytes)
{
    struct frame_reader reader = {0};

    must(frame_feed(&reader, bytes.p, bytes.n, on_payload, ctx));
    frame_reset(&reader);
}

static void io_close(void *ctx)
{
    (void)ctx;
}

static void give_put(const struct answer *a)
{
    engine_put_done(e, a->token, PUT_DONE, (struct span){0}, now);
}

static void io_put(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    (void)ctx, (void)key, (void)value, (void)ttl_ms;
    answer_later((struct answer){give_put, token, true});
}

static void give_got(const struct answer *a)
{
    engine_got(e, a->token, GET_ABSENT, (struct span){0}, now);
}

static void io_get(void *ctx, const char *key, uint64_t token)
{
    (void)ctx, (void)key;
    answer_later((struct answer){give_got, token, false});
}

static void give_claimed(const struct answer *a)
{
    engine_claimed(e, a->token, CLAIM_WON, (struct span){0}, now);
}

static void io_claim(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    (void)ctx, (void)key, (void)value, (void)ttl_ms;
    answer_later((struct answer){give_claimed, token, true});
}

static void give_scanned(const struct answer *a)
{
    (void)a;
    engine_scanned(e, true, 0, now);
}

static void io_scan(void *ctx, uint64_t cursor)
{
    (void)ctx, (void)cursor;
    answer_later((struct answer){give_scanned, 0, true});
}

static void io_beat(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce)
{
    (void)ctx, (void)id, (void)record, (void)ttl_ms, (void)announce;
}

static void give_nodes(const struct answer *a)
{
    (void)a;
    engine_nodes_read(e, true, now);
}

static void io_read_nodes(void *ctx)
{
    (void)ctx;
    answer_later((struct answer){give_nodes, 0, true});
}

/* The record of the call that was written last, and how many were ended. */
static struct {
    char key[TEXT], names[PAIRS][40], values[PAIRS][200];
    struct pair pairs[PAIRS];
    size_t count;
    unsigned ended;
} stored;

static void store_pair(const struct pair *p)
{
    size_t i = 0;

    while (i < stored.count && !span_eq(stored.pairs[i].name, p->name))
        i++;
    must(i < PAIRS && p->name.n < sizeof(stored.names[0]) && p->value.n < sizeof(stored.values[0]) ? 0 : -1);
    memcpy(stored.names[i], p->name.p, p->name.n);
    memcpy(stored.values[i], p->value.p, p->value.n);
    stored.pairs[i] = (struct pair){{stored.names[i], p->name.n}, {stored.values[i], p->value.n}};
    stored.count += i == stored.count;
}

static void give_written(const struct answer *a)
{
    engine_call_written(e, a->token, CALL_WRITTEN, now);
}

static void io_call_write(void *ctx, const struct call_write *w, uint64_t token)
{
    (void)ctx;
    if (strcmp(stored.key, w->key) != 0)
        stored.count = 0;
    snprintf(stored.key, sizeof(stored.key), "%s", w->key);
    for (size_t i = 0; i < w->count; i++)
        store_pair(&w->pairs[i]);
    stored.ended += w->mode == CALL_END || w->mode == CALL_END_ANSWERED;
    answer_later((struct answer){give_written, token, true});
}

static void give_call(const struct answer *a)
{
    engine_call_got(e, a->token, a->found ? GET_FOUND : GET_ABSENT, stored.pairs, a->found ? stored.count : 0, now);
}

static void io_call_get(void *ctx, const char *key, const char *other, uint64_t token)
{
    (void)ctx, (void)other;
    answer_later((struct answer){give_call, token, strcmp(stored.key, key) == 0});
}

static void give_archive(const struct answer *a)
{
    engine_archived(e, a->token, NULL, NULL, 0, true, now);
}

static void io_archive(void *ctx, const char *after, int count, uint64_t token)
{
    (void)ctx, (void)after, (void)count;
    answer_later((struct answer){give_archive, token, true});
}

static void io_tell(void *ctx, int node, const char *text)
{
    (void)ctx, (void)node, (void)text;
}

static int64_t io_wall(void *ctx)
{
    (void)ctx;
    return EPOCH + now;
}

static void io_answer(void *ctx, uint64_t client, json_t *answer)
{
    (void)ctx, (void)client;
    json_decref(answer);
}

static void io_log(void *ctx, const struct log_entry *line)
{
    (void)ctx, (void)line;
}

static void start_engine(void)
{
    const struct engine_io io = {.link_write = io_write,
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
                                 .answer = io_answer,
                                 .log = io_log};
    struct engine_conf conf = conf_default();
    char hello[HELLO_MAX];

    conf.hang_ms = 3600000; /* nobody answers probes here */
    conf.beat_base = 5000;
    e = engine_new(&conf, &io, now);
    must(e ? 0 : -1);
    engine_store_up(e, now);
    engine_link_up(e, "tag", now);
    turn();
    hello_write(hello, conf.secret, "tag", 1, "100.1", "192.0.2.1:5060");
    say(hello);
    turn();
}

/* ---- the parts ---- */

static void count_payload(void *arg, struct span payload)
{
    *(size_t *)arg += payload.n;
}

static void do_frame(unsigned times)
{
    char event[TEXT], *bytes;
    struct frame_reader reader = {0};
    size_t len, seen = 0;

    branch_event(event, 1);
    bytes = frame_make((struct span){event, strlen(event)}, &len);
    for (unsigned i = 0; i < times; i++)
        must(frame_feed(&reader, bytes, len, count_payload, &seen));
    free(bytes);
    frame_reset(&reader);
}

static void do_msg(unsigned times)
{
    char event[TEXT], text[TEXT + 100], copy[sizeof(text)], why[100];
    struct msg m;
    struct event ev;
    size_t n;

    branch_event(event, 1);
    n = (size_t)snprintf(text, sizeof(text), "{\"t\":\"events\",\"n\":1}%s", event);
    for (unsigned i = 0; i < times; i++) {
        memcpy(copy, text, n); /* it is used up */
        must(msg_read(&m, (struct span){copy, n}, why, sizeof(why)));
        must(msg_event(&ev, &m, why, sizeof(why)) - 1);
    }
}

static void do_record(unsigned times)
{
    char event[TEXT], text[TEXT + 100], why[100];
    struct msg m;
    struct event ev;
    struct txn *t;

    branch_event(event, 1);
    snprintf(text, sizeof(text), "{\"t\":\"events\",\"n\":1}%s", event);
    must(msg_read(&m, (struct span){text, strlen(text)}, why, sizeof(why)));
    must(msg_event(&ev, &m, why, sizeof(why)) - 1);
    must(txn_read(&t, &ev, 0));
    for (unsigned i = 0; i < times; i++)
        free(record_write(t, &(struct head){1, 1, "100.1", HEAD_HELD, NULL}, NULL, true));
    txn_free(t);
}

/* Of a stray: its identity, and the name of the record to look for. */
static void do_lookup(unsigned times)
{
    char text[TEXT];
    struct sip_id id;

    invite(text, 1);
    for (unsigned i = 0; i < times; i++) {
        must(sip_read_id(&id, (struct span){text, strlen(text)}));
        free(key_tx(id.call_id, id.cseq, id.branch, id.sent_by));
    }
}

/* INVITE, 180, 200, BYE and its 200, each in a frame and a turn of its own; then what the janitor does. */
static void do_call(unsigned times)
{
    char event[TEXT];

    start_engine();
    for (unsigned i = 0; i < times; i++) {
        branch_event(event, i);
        say_event(event);
        for (int code = 180; code <= 200; code += 20) {
            reply_event(event, i, code);
            say_event(event);
        }
        for (int code = 0; code <= 200; code += 200) {
            bye_event(event, i, code);
            say_event(event);
        }
        now += 10;
        engine_tick(e, now);
        settle();
    }
    must(stored.ended == times ? 0 : -1);
    engine_free(e);
}

/* What do_call() does besides, to be subtracted. */
static void do_script(unsigned times)
{
    char event[TEXT];

    for (unsigned i = 0; i < times; i++) {
        branch_event(event, i);
        for (int code = 180; code <= 200; code += 20)
            reply_event(event, i, code);
        for (int code = 0; code <= 200; code += 200)
            bye_event(event, i, code);
    }
}

static const struct {
    const char *name;
    void (*run)(unsigned times);
} parts[] = {{"frame", do_frame},   {"msg", do_msg},   {"record", do_record},
             {"lookup", do_lookup}, {"call", do_call}, {"script", do_script}};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strcmp(parts[i].name, argv[1]) == 0) {
            parts[i].run((unsigned)strtoul(argv[2], NULL, 10));
            return 0;
        }
    }
    fprintf(stderr, "pure PART TIMES\n");
    return 2;
}
