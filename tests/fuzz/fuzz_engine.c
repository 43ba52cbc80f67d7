/* A whole engine: bytes of the link, answers of the store, other nodes and time, in whatever order the input wants.
 * Each step is one byte that says what happens, and what that needs. */
#include "base64.h"
#include "engine_parts.h"
#include "key.h"
#include "record.h"
#include "world.h"

#define ADDRESSES                                                                                                      \
    "\"src\":\"udp:198.51.100.9:5060\",\"dst\":\"udp:192.0.2.10:5060\",\"to\":\"udp:203.0.113.5:5060\","               \
    "\"sock\":\"udp:192.0.2.10:5060\""

/* ---- messages of one of four calls ---- */

static char *sip_rest(unsigned call, const char *method)
{
    return text_of("Via: SIP/2.0/UDP 198.51.100.9:5060;branch=z9hG4bK-c%u\r\nFrom: <sip:a@x>;tag=a1\r\nTo: <sip:b@x>%s"
                   "\r\nCall-ID: c%u@x\r\nCSeq: 1 %s\r\nContent-Length: 0\r\n\r\n",
                   call, call & 8 ? ";tag=b1" : "", call, method);
}

static char *sip_message(unsigned call, const char *method, const char *first, const char *via)
{
    char *rest = sip_rest(call, method), *text = text_of("%s%s%s", first, via, rest), *base64;

    base64 = base64_text(span_of(text));
    free(rest);
    free(text);
    return base64;
}

static char *invite(unsigned call)
{
    return sip_message(call, "INVITE", "INVITE sip:b@192.0.2.10 SIP/2.0\r\n", "");
}

static char *key_of(unsigned call)
{
    char id[16], branch[32];

    snprintf(id, sizeof(id), "c%u@x", call);
    snprintf(branch, sizeof(branch), "z9hG4bK-c%u", call);
    return key_tx(span_of(id), 1, span_of(branch), span_of("198.51.100.9:5060"));
}

static void say(struct world *w, char *text)
{
    world_say(w, text);
    free(text);
}

static void say_event(struct world *w, struct input *in, char *event)
{
    say(w, text_of("{\"t\":\"events\",\"n\":%u}%s", 1 + input_byte(in), event));
    free(event);
}

static void do_branch(struct world *w, struct input *in)
{
    unsigned call = input_byte(in) & 11, index = input_byte(in) & 15;
    char *via = text_of("Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKt%u.%x\r\n", call, index & 7);
    char *sent = sip_message(call, "INVITE", "INVITE sip:b@203.0.113.5 SIP/2.0\r\n", via), *req = invite(call);
    char *more = text_of(",\"req\":%zu", strlen(req));

    say_event(w, in,
              text_of("{\"t\":\"branch\"," ADDRESSES ",\"sent\":%zu%s}%s%s", strlen(sent), index & 8 ? "" : more, sent,
                      index & 8 ? "" : req));
    free(more);
    free(via);
    free(sent);
    free(req);
}

static void do_reply(struct world *w, struct input *in)
{
    static const int codes[] = {180, 183, 200, 302, 401, 408, 486, 487, 503, 603, 199, 101};
    unsigned call = input_byte(in) & 11, index = input_byte(in) & 7;
    int code = codes[input_byte(in) % COUNT(codes)];
    char *via = text_of("z9hG4bKt%u.%x", call, index), *base64 = base64_text(span_of(via));

    say_event(w, in,
              text_of("{\"t\":\"reply\",\"via\":\"%s\",\"code\":%d%s}", base64, code,
                      code == 200 ? ",\"to_tag\":\"YjE=\"" : ""));
    free(via);
    free(base64);
}

#define FROM_TO "\"src\":\"udp:198.51.100.9:5060\",\"dst\":\"udp:192.0.2.10:5060\""

/* For some all nodes have it already: then it comes among the events. */
static void do_stray(struct world *w, struct input *in)
{
    static const char *const methods[] = {"CANCEL", "ACK", "INVITE", "BYE"};
    unsigned first_byte = input_byte(in), call = first_byte & 11, kind = input_byte(in);
    const char *method = methods[kind & 3];
    char *via = text_of("Via: SIP/2.0/UDP 192.0.2.3:5060;branch=z9hG4bKt%u.%x\r\n", call, kind >> 6);
    char *first = kind & 8 ? text_of("SIP/2.0 %u X\r\n", kind & 16 ? 200 : 486)
                           : text_of("%s sip:b@192.0.2.10 SIP/2.0\r\n", method);
    char *msg = sip_message(call, kind & 8 ? "INVITE" : method, first, kind & 8 ? via : "");

    if (first_byte & 4)
        say_event(
            w, in,
            text_of("{\"t\":\"stray\"," FROM_TO ",\"all\":\"1.%u\",\"msg\":%zu}%s", input_byte(in), strlen(msg), msg));
    else
        say(w, text_of("{\"t\":\"stray\",\"k\":%u," FROM_TO ",\"msg\":%zu%s}%s", 1 + input_byte(in), strlen(msg),
                       kind & 32 ? ",\"ask\":\"owner\"" : "", msg));
    free(via);
    free(first);
    free(msg);
}

static void do_other_event(struct world *w, struct input *in)
{
    static const char *const texts[] = {
        "{\"t\":\"alive\",\"id\":2}",
        "{\"t\":\"alive\",\"id\":3}",
        "{\"t\":\"cancel\",\"call_id\":\"YzBAeA==\",\"cseq\":1,\"branch\":\"ejloRzRiSy1jMA==\",\"sent_by\":"
        "\"MTk4LjUxLjEwMC45OjUwNjA=\"}",
        "{\"t\":\"bye\",\"call_id\":\"YzBAeA==\",\"from_tag\":\"YTE=\",\"to_tag\":\"YjE=\",\"code\":0}",
        "{\"t\":\"bye\",\"call_id\":\"YzBAeA==\",\"from_tag\":\"YTE=\",\"to_tag\":\"YjE=\",\"code\":200}",
        "{\"t\":\"bye\",\"call_id\":\"YzFAeA==\",\"code\":401,\"by\":\"kamailio\"}",
        "{\"t\":\"set\",\"call_id\":\"YzBAeA==\",\"from_tag\":\"YTE=\",\"name\":\"a\",\"value\":\"djE=\"}",
        "{\"t\":\"set\",\"call_id\":\"YzBAeA==\",\"from_tag\":\"YjE=\",\"to_tag\":\"YTE=\",\"name\":\"a\",\"value\":"
        "\"\"}",
    };

    say_event(w, in, text_of("%s", texts[input_byte(in) % COUNT(texts)]));
}

static void do_taken(struct world *w, struct input *in)
{
    unsigned ok = input_byte(in) & 1;
    uint64_t token = w->e->takeovers.list ? w->e->last_token - input_byte(in) % 16 * 2 : 1;

    say_event(w, in, text_of("{\"t\":\"taken\",\"token\":%llu,\"ok\":%u}", (unsigned long long)token, ok));
}

/* ---- Kamailio ---- */

static void do_bytes(struct world *w, struct input *in)
{
    struct span s = exact(input_chunk(in));

    if (w->linked && engine_link_data(w->e, s.p, s.n, w->now) < 0)
        world_link(w, false);
    exact_free(s);
}

static void do_frame(struct world *w, struct input *in)
{
    char *text = input_text(in);

    if (*text)
        world_say(w, text);
    free(text);
}

static void do_acks(struct world *w, struct input *in)
{
    world_ack(w, input_byte(in) & 15);
}

static void do_hello(struct world *w, struct input *in)
{
    unsigned kind = input_byte(in);

    if (kind & 1)
        world_link(w, !w->linked);
    else
        world_hello(w, 1 + (kind >> 6), kind >> 4 & 1 ? "100.1" : "100.0");
}

/* ---- the store ---- */

/* A record of a call, as another node or this one might have left it; or what was written last; or anything. */
static char *record(struct world *w, struct input *in)
{
    unsigned kind = input_byte(in), call = kind & 3, node = 1 + (kind >> 2 & 3), code = kind & 64 ? 180 : 486;
    unsigned more;
    char *req, *text, *front;

    if (kind & 128)
        return input_text(in);
    if (kind & 32)
        return text_of("%s", w->kept[call][1] ? w->kept[call][1] : "");
    more = input_byte(in);
    req = invite(call);
    front = more & 7 ? text_of("\"epoch\":%u,", more & 7) : text_of("%s", "");
    text = text_of("{%s\"owner\":%u,\"inc\":\"%u00.1\"%s,\"done\":%s,\"call_id\":\"c%u@x\",\"cseq\":1,\"branch\":"
                   "\"z9hG4bK-c%u\",\"sent_by\":\"198.51.100.9:5060\",\"from_tag\":\"a1\",\"src\":\"udp:198.51.100.9:"
                   "5060\",\"dst\":"
                   "\"udp:192.0.2.10:5060\",\"branches\":[{\"i\":0,\"code\":%u,\"via\":\"SIP/2.0/UDP "
                   "192.0.2.3:5060;branch=z9hG4bKt%u.0\",\"to\":\"udp:203.0.113.5:5060\",\"sock\":\"udp:192.0.2.10:"
                   "5060\",\"ruri\":\"sip:b@x\"}]%s%s%s}",
                   front, more & 8 ? 0 : node, node, more & 16 ? ",\"taking\":true" : "", kind & 16 ? "true" : "false",
                   call, call, code, call, kind & 8 ? "" : ",\"req\":{\"base64\":\"", kind & 8 ? "" : req,
                   kind & 8 ? "" : "\"}");
    free(front);
    free(req);
    return text;
}

static void do_got(struct world *w, struct input *in)
{
    unsigned status = input_byte(in);
    struct wait x;
    char *text;

    if (!world_take(&w->gets, input_byte(in), &x))
        return;
    text = record(w, in);
    if (status & 3)
        engine_got(w->e, x.token, GET_FOUND, span_of(text), w->now);
    else
        engine_got(w->e, x.token, status & 4 ? GET_FAILED : GET_ABSENT, (struct span){0}, w->now);
    free(text);
    free(x.key);
}

static void do_claimed(struct world *w, struct input *in)
{
    static const char *const holders[] = {"1 100.1", "2 200.1", "3 300.1", "2 200.2", "1 100.0", "9 9"};
    unsigned kind = input_byte(in);
    char *text = NULL;
    struct wait x;

    if (!world_take(&w->claims, input_byte(in), &x))
        return;
    if (kind & 128)
        text = input_text(in);
    else if (key_is_tx(x.key))
        text = record(w, in); /* where the first one of a transaction should go */
    engine_claimed(w->e, x.token,
                   kind & 3   ? CLAIM_WON
                   : kind & 4 ? CLAIM_FAILED
                              : CLAIM_LOST,
                   span_of(text ? text : holders[(kind >> 3) % COUNT(holders)]), w->now);
    free(text);
    free(x.key);
}

static void do_scanned(struct world *w, struct input *in)
{
    unsigned kind = input_byte(in);

    if (!w->scanning)
        return;
    w->scanning = false;
    for (unsigned call = 0; call < (kind & 3); call++) {
        char *key = kind & 4 ? input_text(in) : key_of(call);

        engine_scan_key(w->e, key);
        free(key);
    }
    if (kind & 8)
        engine_scan_key(w->e, "kamsync:call:{c0@x}");
    engine_scanned(w->e, !(kind & 16), kind >> 6, w->now);
}

/* Another node's beat; or its record may hold anything. */
static void do_node(struct world *w, struct input *in)
{
    unsigned kind = input_byte(in);
    char inc[16], *text;

    if (kind & 128) {
        text = input_text(in);
        engine_node(w->e, span_of(text), w->now);
        engine_nodes_read(w->e, kind & 1, w->now);
        free(text);
        return;
    }
    snprintf(inc, sizeof(inc), "%u00.%u", 2 + (kind & 1), 1 + (kind >> 1 & 1));
    world_node(w, 2 + (int)(kind & 1), (long)(w->now / 1000 + (kind >> 4)), inc, kind & 4);
}

static void answer_put(struct world *w, struct input *in, bool good)
{
    enum put_status status = good ? PUT_DONE : (enum put_status)(input_byte(in) % (PUT_REFUSED + 1));
    struct wait x;
    char *text;

    if (!world_take(&w->puts, 0, &x))
        return;
    text = status == PUT_FENCED ? record(w, in) : NULL;
    engine_put_done(w->e, x.token, status, span_of(text), w->now);
    free(text);
    free(x.key);
}

static void do_done(struct world *w, struct input *in)
{
    unsigned kind = input_byte(in);
    struct wait x;

    for (size_t n = 1 + (kind & 7); n > 0; n--)
        answer_put(w, in, kind & 8);
    if (world_take(&w->writes, kind >> 4, &x)) {
        engine_call_written(w->e, x.token, (enum call_result)(input_byte(in) % (CALL_FAILED + 1)), w->now);
        free(x.key);
    }
}

/* Pairs of a call's record; some that fit, and some that say anything. */
static size_t pairs(struct input *in, struct pair *list, size_t most)
{
    static const char *const names[] = {"call_id", "node", "inc",   "from_tag", "to_tag", "tx",
                                        "trying",  "code", "state", "ended",    "var.a",  "caller"};
    static const char *const values[] = {"c0@x",     "2", "200.1",    "a1", "b1", "kamsync:tx:{c0@x}:1:z9hG4bK-c0",
                                         "17000000", "1", "answered", "3",  "v",  "sip:a@x"};
    size_t count = 0;

    for (unsigned bits = input_byte(in) | input_byte(in) << 8, i = 0; i < COUNT(names); i++)
        if (bits & 1u << i)
            list[count++] = (struct pair){span_of(names[i]), span_of(values[i])};
    for (unsigned more = input_byte(in) & 3; more > 0 && count < most; more--) {
        struct span name = input_chunk(in);

        list[count++] = (struct pair){name, input_chunk(in)};
    }
    return count;
}

static void do_call_got(struct world *w, struct input *in)
{
    unsigned status = input_byte(in);
    struct pair list[20];
    struct wait x;
    size_t count;

    if (!world_take(&w->readings, input_byte(in), &x))
        return;
    count = pairs(in, list, COUNT(list));
    if (status & 3)
        engine_call_got(w->e, x.token, GET_FOUND, list, count, w->now);
    else
        engine_call_got(w->e, x.token, status & 4 ? GET_FAILED : GET_ABSENT, NULL, 0, w->now);
    free(x.key);
}

static void do_listed(struct world *w, struct input *in)
{
    unsigned kind = input_byte(in);
    struct pair list[20];
    char *id = input_text(in);
    struct wait x;

    if (world_take(&w->listings, kind, &x)) {
        engine_call_key(w->e, x.token, "kamsync:call:{c0@x}:a1");
        engine_call_keys(w->e, x.token, kind & 64, kind & 1, w->now);
        free(x.key);
    } else if (world_take(&w->archives, kind, &x)) {
        size_t count = pairs(in, list, COUNT(list));

        if (kind & 128)
            engine_archived(w->e, x.token, id, list, count, true, w->now);
        engine_archived(w->e, x.token, NULL, NULL, 0, kind & 64, w->now);
        free(x.key);
    }
    free(id);
}

static void do_store(struct world *w, struct input *in)
{
    (void)in;
    world_store(w, !w->stored);
}

/* ---- others ---- */

static void do_message(struct world *w, struct input *in)
{
    struct span text = exact(input_chunk(in));

    engine_message(w->e, text, w->now);
    exact_free(text);
}

static void do_ask(struct world *w, struct input *in)
{
    static const char *const questions[] = {"{\"cmd\":\"status\"}",
                                            "{\"cmd\":\"nodes\"}",
                                            "{\"cmd\":\"calls\"}",
                                            "{\"cmd\":\"call\",\"call_id\":\"c0@x\"}",
                                            "{\"cmd\":\"tx\",\"call_id\":\"c0@x\"}",
                                            "{\"cmd\":\"trace\",\"call_id\":\"c0@x\"}",
                                            "{\"cmd\":\"cdr\"}"};
    unsigned kind = input_byte(in), client = input_byte(in) % CLIENTS_MAX;
    char *text = kind < COUNT(questions) ? text_of("%s", questions[kind]) : input_text(in);

    if (kind & 128)
        engine_forget_client(w->e, client);
    else
        world_ask(w, text, client);
    free(text);
}

static void do_time(struct world *w, struct input *in)
{
    unsigned ms = input_byte(in);

    world_pass(w, ms < 128 ? ms * 4 : (ms - 127) * 100);
}

/* The host stood still. */
static void do_standstill(struct world *w, struct input *in)
{
    w->now += (int64_t)input_byte(in) * 20000;
}

static void (*const steps[])(struct world *w, struct input *in) = {
    do_branch,   do_reply,  do_stray, do_other_event, do_taken,   do_bytes, do_frame,
    do_acks,     do_hello,  do_got,   do_claimed,     do_scanned, do_node,  do_done,
    do_call_got, do_listed, do_store, do_message,     do_ask,     do_time,  do_standstill};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    unsigned kind = input_byte(&in);
    struct world *w = kind & 1 ? world_new(kind & 2) : world_ready(kind & 2);

    for (int i = 0; i < 300 && in.n; i++) {
        steps[input_byte(&in) % COUNT(steps)](w, &in);
        world_turn(w);
    }
    world_free(w);
    return 0;
}
