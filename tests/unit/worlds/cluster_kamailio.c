/* The modelled Kamailio: what it does with packets, and with the frames of its kamsyncd. */
#include "cluster_impl.h"

#include <utlist.h>

#include "base64.h"
#include "frame.h"
#include "hello.h"
#include "takeovers.h"

#define LINGER_MS 5000 /* tm's wt_timer */
#define LOSS 12        /* one packet in so many, where they get lost */
#define REPLAY_S 10    /* so old a handover may be */

/* When the script saw it, as it writes that into each event of a call. */
char *kamailio_now(const struct site *s)
{
    return scratch("\"at\":%.3f", (double)(EPOCH + s->c->now) / 1000);
}

static void say(struct site *s, const char *text)
{
    size_t len;
    char *frame = frame_make(span_of(text), &len);

    cr_assert(engine_link_data(s->e, frame, len, s->c->now) == 0);
    free(frame);
}

void kamailio_event(struct site *s, const char *event)
{
    if (s->linked && s->hello)
        say(s, scratch("{\"t\":\"events\",\"n\":%lld}%s", (long long)++s->events, event));
    else
        json_array_append_new(s->queue, json_string(event));
}

static void say_queue(struct site *s)
{
    json_t *each;
    size_t i;

    json_array_foreach(s->queue, i, each)
    {
        kamailio_event(s, json_string_value(each));
    }
    json_array_clear(s->queue);
}

char *kamailio_branch(const struct site *s, const struct leg *k, const char *req, bool with_req)
{
    char *text = branch_text(sip_sent_on(k, "0"), with_req ? req : NULL, scratch(",%s", kamailio_now(s)));

    return k->cseq == 1 ? connected_text(s->c, call_of(scratch("Call-ID: %s", k->call_id)), text) : text;
}

char *kamailio_replied(const struct site *s, const struct leg *k, int code)
{
    return scratch("{\"t\":\"reply\",\"via\":\"%s\",\"code\":%d,%s%s}", base64_of(scratch("%s.0", k->tm)), code,
                   kamailio_now(s), code == 200 ? scratch(",\"to_tag\":\"%s\"", base64_of("b1")) : "");
}

void kamailio_reply(struct site *s, int call, int code)
{
    struct leg k = call_make((unsigned)call);

    kamailio_event(s, kamailio_replied(s, &k, code));
}

/* Its tm has it from now on. */
static void hold(struct site *s, int call)
{
    s->holds[call] = true;
    s->c->last_at[call] = s;
    s->c->vanished[call] = s->c->orphaned[call] = false;
    s->c->changed_ms[call] = s->c->now;
}

void kamailio_call(struct site *s, int call)
{
    struct leg k = call_make((unsigned)call);

    hold(s, call);
    s->left[call] = false;
    if (!s->c->begun[call])
        s->c->first_at[call] = (size_t)(s - s->c->site);
    s->c->begun[call] = true;
    kamailio_event(s, kamailio_branch(s, &k, sip_request(&k, "INVITE"), true));
    kamailio_reply(s, call, 180);
}

/* A caller on a connection hears of his INVITE over that alone. The answer to a CANCEL goes where that came from. */
static bool is_out_of_hearing(const struct site *s, const struct heard *h)
{
    size_t node;

    return (h->what == HEARD_RINGING || h->what == HEARD_FINAL) && cluster_is_connected(s->c, h->call) &&
           (!cluster_connection(s->c, h->call, &node) || &s->c->site[node] != s);
}

void kamailio_hear(struct site *s, struct heard h)
{
    if (s->c->hear && !s->isolated && !is_out_of_hearing(s, &h))
        s->c->hear(s->c, &h);
}

/* Not probes: three in a row that get lost are what the death of a node looks like whose kamsyncd is gone. */
static bool is_lost(struct cluster *c, const char *msg)
{
    return c->lossy && !strstr(msg, ";why=probe;") && strncmp(msg, "SIP/2.0 200 alive", 17) != 0 && one_in(c, LOSS);
}

static bool is_parted(const struct site *s, size_t to)
{
    return s->c->parted && cluster_are_apart(s->c, (size_t)(s - s->c->site), to);
}

/* A packet to the node with that number, counted from 0. Nothing leaves an isolated one, but what is for itself. */
static void send_packet(struct site *s, size_t to, const char *msg)
{
    bool local = &s->c->site[to] == s, waits = local && strstr(msg, ";why=takeover;") && s->full_ms > s->c->now;
    struct task *t;

    if (!local && (s->isolated || is_parted(s, to) || is_lost(s->c, msg)))
        return;
    t = task_add(&s->c->site[to], PACKET, waits ? &s->full_ms : NULL, NULL, msg);
    t->status = local;
    t->epoch = waits ? s->starts : 0; /* it dies with the socket */
}

void hand_over(struct site *s, size_t to, const char *why, const char *at, const char *msg)
{
    const char *rest = strstr(msg, "\r\n") + 2;

    send_packet(s, to,
                scratch("%.*sX-Kamsync: to=%zu;inc=%s;why=%s;src=udp:198.51.100.9:5060;dst=udp:192.0.2.10:5060;"
                        "from=%d;at=%s;proof=0\r\n%s",
                        (int)(rest - msg), msg, to + 1, s->knows[to + 1], why, s->id, at, rest));
}

char *handover_at(struct site *s)
{
    int64_t wall = EPOCH + s->c->now;

    return scratch("%lld.%03d000.%u", (long long)wall / 1000, (int)(wall % 1000), ++s->handovers);
}

int call_of(const char *msg)
{
    const char *id = strstr(msg, "Call-ID: call-");

    return id ? atoi(id + strlen("Call-ID: call-")) : -1;
}

/* tm has that transaction, though it may have ended. */
bool kamailio_has(const struct site *s, int call)
{
    return s->holds[call] || s->lingers[call] > s->c->now;
}

/* Its final reply has come. */
static void finish(struct site *s, int call)
{
    s->c->ended[call] = true;
    s->c->changed_ms[call] = s->c->now;
    s->holds[call] = false;
    s->lingers[call] = s->c->now + LINGER_MS;
}

/* A final reply of the far end's goes on to the caller: a 2xx each time, and what no transaction takes. */
static void pass_on(struct site *s, int call, int code)
{
    kamailio_hear(s, (struct heard){.what = HEARD_FINAL, .call = call, .code = code});
}

/* It is over, and tm says the final reply again: route[KAMSYNC_FINAL]. */
static void say_again(struct site *s, int call, long long token, int code)
{
    if (kamailio_has(s, call))
        return; /* a retransmission */
    cluster_note(s, "* Kamailio: call %d is told its %d again", call, code);
    s->lingers[call] = s->c->now + LINGER_MS;
    kamailio_event(s, scratch("{\"t\":\"taken\",\"token\":%lld,\"ok\":1}", token));
    pass_on(s, call, code);
}

static bool is_given(const struct site *s, int call)
{
    const struct takeover *t = takeover_by_key(s->e, cluster_key(call));

    return t && t->txn && t->txn->hold == HOLD_GIVEN;
}

/* Its caller has come here over another connection: no other node would do. */
static bool has_caller(const struct site *s, int call)
{
    size_t node;

    return cluster_connection(s->c, call, &node) && &s->c->site[node] == s;
}

/* Of a start of another Kamailio that has ended; nobody has given it away or released it. */
static void note_taking(struct site *s, int call)
{
    const struct takeover *t = takeover_by_key(s->e, cluster_key(call));
    struct taking *x = &s->c->taking[call];
    unsigned start = 0;

    *x = (struct taking){.by = s->id, .unwritten = t && s->c->written[s - s->c->site][call] < t->epoch};
    if (x->unwritten || !t || !t->from.owner || t->from.owner == s->id || is_given(s, call) || has_caller(s, call) ||
        sscanf(t->from.inc, "%*d.%u", &start) != 1)
        return;
    *x = (struct taking){.from = (size_t)t->from.owner - 1, .by = s->id, .at_ms = s->c->now};
    x->gone_ms = s->c->site[x->from].gone_ms[start % STARTS_KEPT];
}

static void on_takeover(struct site *s, const char *msg)
{
    int call = call_of(msg);
    struct leg k = call_make((unsigned)call);
    char *rest;
    long long token = strtoll(strstr(msg, "X-Kamsync-Branches: ") + strlen("X-Kamsync-Branches: "), &rest, 10);

    json_decref(s->c->last_invite);
    s->c->last_invite = json_string(msg);
    if (s->silent)
        return;
    if (s->refuse) {
        kamailio_event(s, scratch("{\"t\":\"taken\",\"token\":%lld,\"ok\":0}", token));
        return;
    }
    if (re_of(msg)) {
        re_taken_over(s, msg, token);
        return;
    }
    if (*rest == ' ') {
        say_again(s, call, token, (int)strtol(rest, NULL, 10));
        return;
    }
    if (s->holds[call] || (s->left[call] && !s->c->ended[call]))
        return; /* a retransmission */
    if (is_given(s, call))
        s->c->handed_ms[call] = s->c->now;
    note_taking(s, call);
    s->c->injected[call]++;
    cluster_note(s, "* Kamailio: call %d is taken over", call);
    hold(s, call);
    kamailio_event(s,
                   scratch("%s{\"t\":\"taken\",\"token\":%lld,\"ok\":1}", kamailio_branch(s, &k, NULL, false), token));
    if (s->c->final[call] == 200) {
        cluster_final(s->c, (size_t)(s - s->c->site), call);
    } else if (s->c->final[call] || s->c->ended[call]) { /* the far end repeats its final reply */
        kamailio_reply(s, call, s->c->final[call] ? s->c->final[call] : 487);
        finish(s, call);
    }
}

bool kamailio_stray(struct site *s, const char *msg)
{
    if (!s->linked || !s->hello)
        return false;
    say(s, re_of(msg) ? stray_text(++s->strays, msg, "")
                      : connected_text(s->c, call_of(msg), stray_text(++s->strays, msg, "")));
    return true;
}

void kamailio_final(struct site *s, int call, int code)
{
    bool first = s->holds[call];

    cluster_note(s, "* Kamailio: call %d has its %d", call, code);
    kamailio_reply(s, call, code);
    if (first)
        finish(s, call);
    if (code >= 300)
        kamailio_hear(s, (struct heard){.what = HEARD_ACK, .call = call});
    if (first || code < 300)
        pass_on(s, call, code);
}

/* The way of route[KAMSYNC_REPLY]. */
static void on_final(struct site *s, const char *why, const char *msg)
{
    int call = call_of(msg), code = atoi(msg + strlen("SIP/2.0 "));
    size_t to = s->c->first_at[call];

    if (kamailio_has(s, call))
        kamailio_final(s, call, code);
    else if (!why && &s->c->site[to] != s && *s->knows[to + 1])
        hand_over(s, to, "owner", handover_at(s), msg);
    else if (why && strcmp(why, "owner") != 0)
        pass_on(s, call, code);
    else if (kamailio_stray(s, msg))
        final_is_asked(s, call);
    else
        pass_on(s, call, code);
}

/* A BYE, or the reply to one, is routed by any node. */
static void on_bye(struct site *s, const char *msg)
{
    int call = call_of(msg), code = strncmp(msg, "SIP", 3) == 0 ? atoi(msg + strlen("SIP/2.0 ")) : 0;
    size_t side = strstr(msg, "tag=b1\r\nTo") != NULL;
    struct leg k = call_make((unsigned)call);

    kamailio_event(s, scratch("{\"t\":\"bye\",\"call_id\":\"%s\",\"from_tag\":\"%s\",\"to_tag\":\"%s\",\"code\":%d,%s}",
                              base64_of(k.call_id), base64_of(side ? "b1" : "a1"), base64_of(side ? "a1" : "b1"), code,
                              kamailio_now(s)));
    kamailio_hear(s, (struct heard){.what = HEARD_BYE, .call = call, .side = side, .code = code});
}

/* What has tm answered the caller? */
static void on_question(struct site *s, const char *msg)
{
    int call = call_of(msg), re = re_of(msg), final = s->c->final[call] ? s->c->final[call] : 487, code = 0;
    const char *name = msg + strlen("INVITE sip:");

    if (re)
        code = s->re[call] == re ? 180 : 0;
    else if (kamailio_has(s, call))
        code = s->holds[call] ? 180 : final;
    kamailio_event(s, scratch("{\"t\":\"state\",\"via\":\"%s\",\"code\":%d}",
                              base64_of(scratch("%.*s", (int)strcspn(name, "@"), name)), code));
}

static void on_message(struct site *s, const struct handed *h, const char *msg)
{
    const char *why = *h->why ? h->why : NULL;

    if (why && strcmp(why, "state") == 0)
        on_question(s, msg);
    else if (re_of(msg))
        re_arrives(s, why, msg);
    else if (strncmp(msg, "INVITE ", 7) == 0)
        invite_arrives(s, why, msg);
    else if (strstr(msg, " BYE\r\n"))
        on_bye(s, msg);
    else if (strncmp(msg, "CANCEL ", 7) == 0)
        cancel_arrives(s, h, msg);
    else if (strncmp(msg, "SIP/2.0 ", 8) == 0 && !strstr(msg, "SIP/2.0 100"))
        on_final(s, why, msg);
}

/* Another node asks whether this one answers. */
static void on_probe(struct site *s, const char *msg)
{
    struct cluster *c = s->c;
    const char *via = strstr(msg, "Via: SIP/2.0/UDP ");
    int from = via ? node_at(c, via + strlen("Via: SIP/2.0/UDP ")) : 0;

    if (from)
        send_packet(s, (size_t)from - 1, scratch("SIP/2.0 200 alive %d", s->id));
}

/* Each is taken once, and only within some seconds by its sender's clock, if that is known: route[KAMSYNC_FRESH]. */
static bool is_fresh(struct site *s, const struct handed *h, const char *header)
{
    long long sec = 0, ms = 0;

    if (strcmp(h->why, "probe") == 0)
        return true;
    sscanf(h->at, "%lld.%3lld", &sec, &ms);
    s->said_ms = sec * 1000 + ms - EPOCH;
    if (json_object_get(s->seen, header))
        return false;
    json_object_set_new(s->seen, header, json_true());
    return (h->from != s->id && !s->clock[h->from]) || llabs((EPOCH + s->c->now) / 1000 - sec) <= REPLAY_S;
}

static void read_header(struct handed *h, int *to, char inc[32], const char *header)
{
    cr_assert(sscanf(header, "X-Kamsync: to=%d;inc=%31[^;];why=%15[^;];src=%*[^;];dst=%*[^;];from=%d;at=%63[^;]", to,
                     inc, h->why, &h->from, h->at) == 5 &&
                  h->from > 0 && h->from <= SITES_MAX,
              "%s", header);
}

/* Takes the header off: route[KAMSYNC_VERIFY]. False: the message is dropped. What the header of another incarnation
 * leaves is a message from the network, but an INVITE is none: it was about a transaction of that Kamailio. The proof
 * is not looked at: nobody forges one here. */
static bool verify(struct site *s, struct handed *h, char *msg)
{
    char inc[32] = "", *line = strstr(msg, "X-Kamsync: "), *end = line ? strstr(line, "\r\n") + 2 : NULL, *header;
    int to = 0;

    if (!line)
        return true;
    header = scratch("%.*s", (int)(end - line), line);
    memmove(line, end, strlen(end) + 1);
    read_header(h, &to, inc, header);
    h->came = true;
    if (strncmp(msg, "CANCEL ", 7) == 0 && cancel_is_seen(s, h))
        return false;
    if (to == s->id && strcmp(inc, s->inc) == 0)
        return is_fresh(s, h, header);
    *h->why = '\0';
    return strncmp(msg, "INVITE ", 7) != 0;
}

static void on_packet(struct site *s, const char *text)
{
    struct handed h = {0};
    char *copy = strdup(text);

    if (!verify(s, &h, copy))
        ;
    else if (strcmp(h.why, "probe") == 0)
        on_probe(s, copy);
    else if (strncmp(copy, "SIP/2.0 200 alive ", 18) == 0)
        kamailio_alive(s, atoi(copy + 18));
    else if (strcmp(h.why, "takeover") == 0)
        on_takeover(s, copy);
    else
        on_message(s, &h, copy);
    free(copy);
}

/* The value of a field of a frame, up to its end: ours hold nothing that JSON escapes, and to parse each of them took a
 * third of the simulator's time. */
static struct span field(const char *frame, const char *name)
{
    char label[16];
    const char *at;

    snprintf(label, sizeof(label), "\"%s\":", name);
    at = strstr(frame, label);
    if (!at)
        return (struct span){0};
    at += strlen(label);
    at += *at == '"';
    return (struct span){at, strcspn(at, "\",}")};
}

static char *base64_field(const char *frame, const char *name)
{
    struct span value = field(frame, name);
    char *text = span_dup(value), *bytes;
    size_t len;

    bytes = base64_bytes(span_of(text), &len);
    free(text);
    return bytes;
}

/* What its acknowledgement says more. */
static const char *on_send(struct site *s, const char *frame)
{
    struct span to = field(frame, "to");
    int id = node_at(s->c, to.p);
    char *msg = base64_field(frame, "msg"), *more = NULL;

    if (id && strncmp(msg, "OPTIONS ", 8) == 0)
        more = kamailio_probes(s, id);
    if (id)
        send_packet(s, (size_t)id - 1, msg);
    else
        far_end_hears(s, msg);
    free(msg);
    return more ? more : "";
}

/* Another node has the call. */
static void on_lost(struct site *s, const char *frame)
{
    char *id = base64_field(frame, "call_id");
    int call = atoi(id + strlen("call-")), re = atoi(field(frame, "cseq").p) - 1;

    if (re > 0) {
        s->re[call] = s->re[call] == re ? 0 : s->re[call];
        free(id);
        return;
    }
    cluster_note(s, "* Kamailio: call %d is lost", call);
    s->holds[call] = false;
    s->lingers[call] = 0;
    s->c->changed_ms[call] = s->c->now;
    s->left[call] = true;
    s->c->lost[call]++;
    s->c->vanished[call] = cluster_holders(s->c, call, NULL) == 0 && !s->c->orphaned[call];
    free(id);
}

static void on_node(struct site *s, const char *frame)
{
    long id = strtol(field(frame, "id").p, NULL, 10);

    bool up = strtol(field(frame, "up").p, NULL, 10);
    struct span inc = field(frame, "inc");

    if (id > 0 && id <= SITES_MAX)
        snprintf(s->knows[id], sizeof(s->knows[id]), "%.*s", up ? (int)inc.n : 0, inc.p);
}

static void on_frame(struct site *s, const char *text)
{
    struct span t = field(text, "t");
    const char *more = "";

    if (span_eq(t, span_of("hello"))) {
        struct span tag = field(text, "tag");
        char answer[HELLO_MAX];

        hello_write(answer, "0123456789abcdef", scratch("%.*s", (int)tag.n, tag.p), s->id, s->inc, address_of(s));
        say(s, answer);
        return;
    }
    if (span_eq(t, span_of("proof"))) {
        s->hello = true;
        s->events = s->strays = 0;
        memset(s->knows, 0, sizeof(s->knows));
        say_queue(s);
        return;
    }
    if (span_eq(t, span_of("send"))) {
        more = on_send(s, text);
    } else if (span_eq(t, span_of("node"))) {
        on_node(s, text);
    } else if (span_eq(t, span_of("lost"))) {
        on_lost(s, text);
    } else if (span_eq(t, span_of("mark"))) {
        kamailio_event(s, scratch("{\"t\":\"mark\",\"id\":%lld}", strtoll(field(text, "id").p, NULL, 10)));
    }
    say(s, scratch("{\"t\":\"ack\",\"n\":%lld%s}", strtoll(field(text, "n").p, NULL, 10), more));
}

void to_kamailio(struct site *s, const struct task *t)
{
    bool frame = t->kind == FRAME;

    if (s->dead || (!frame && s->isolated && !t->status) || (frame && (!s->linked || t->epoch != s->link_epoch)) ||
        (!frame && t->epoch && t->epoch != s->starts))
        return;
    if (s->hung)
        json_array_append_new(s->inbox, json_pack("[i,i,s]", (int)frame, (int)t->epoch, t->value));
    else if (frame)
        on_frame(s, t->value);
    else
        on_packet(s, t->value);
}

void read_inbox(struct site *s)
{
    json_t *inbox = s->inbox, *each;
    size_t i;

    s->inbox = json_array();
    json_array_foreach(inbox, i, each)
    {
        struct task t = {.kind = json_integer_value(json_array_get(each, 0)) ? FRAME : PACKET,
                         .epoch = (unsigned)json_integer_value(json_array_get(each, 1)),
                         .value = (char *)json_string_value(json_array_get(each, 2)),
                         .status = true}; /* it has arrived */

        to_kamailio(s, &t);
    }
    json_decref(inbox);
}

/* ---- what arrives from outside ---- */

/* From the network, in a moment, unless it gets lost at an isolated node. */
void arrive(struct cluster *c, size_t node, const char *msg)
{
    task_add(&c->site[node], PACKET, NULL, NULL, msg);
}

void cluster_final(struct cluster *c, size_t node, int call)
{
    struct leg k = call_make((unsigned)call);

    arrive(c, node,
           scratch("SIP/2.0 %d Final\r\nContact: <sip:bob@203.0.113.5>\r\n"
                   "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0\r\n%s",
                   c->final[call], k.tm, strstr(sip_request(&k, "INVITE"), "Via: ")));
}

void cluster_bye(struct cluster *c, size_t node, int call, size_t side, int code)
{
    const char *start = code ? scratch("SIP/2.0 %d Done", code) : "BYE sip:you SIP/2.0";

    arrive(c, node,
           scratch("%s\r\nFrom: <sip:x>;tag=%s\r\nTo: <sip:y>;tag=%s\r\nCall-ID: %s\r\nCSeq: 2 BYE\r\n\r\n", start,
                   side ? "b1" : "a1", side ? "a1" : "b1", call_make((unsigned)call).call_id));
}

void cluster_time_out(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++)
        for (int call = 0; call < CALLS_MAX; call++)
            if (!c->site[i].dead && c->site[i].holds[call] && c->final[call]) {
                c->timed_out[call] = true;
                finish(&c->site[i], call);
                kamailio_reply(&c->site[i], call, 408);
            }
}
