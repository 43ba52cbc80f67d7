/* The nodes of the cluster, each with its Kamailio, and the clock. */
#include "cluster_impl.h"

#include <stdarg.h>
#include <utlist.h>

#include "base64.h"
#include "conf.h"
#include "frame.h"

static int64_t one_ms(struct cluster *c)
{
    (void)c;
    return 1;
}

static bool never(struct cluster *c)
{
    (void)c;
    return false;
}

void cluster_note(const struct site *s, const char *fmt, ...)
{
    static int wanted = -1;
    va_list ap;

    if (wanted < 0)
        wanted = getenv("CLUSTER_LOG") != NULL;
    if (!wanted)
        return;
    fprintf(stderr, "%8lld node %d: ", (long long)s->c->now, s->id);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static void io_log(void *ctx, enum log_level level, const char *line)
{
    (void)level;
    cluster_note(ctx, "%s", line);
}

/* ---- Kamailio ---- */

static void io_write(void *ctx, struct span bytes)
{
    struct site *s = ctx;
    char *text = strndup(bytes.p, bytes.n), *payload = strchr(text, ':') + 1;

    payload[strlen(payload) - 1] = '\0';
    task_add(s, FRAME, &s->link_at, NULL, payload)->epoch = s->link_epoch;
    free(text);
}

static void say(struct site *s, const char *text)
{
    size_t len;
    char *frame = frame_make(span_of(text), &len);

    cr_assert(engine_link_data(s->e, frame, len, s->c->now) == 0);
    free(frame);
}

static void say_event(struct site *s, const char *event)
{
    if (s->linked && s->hello)
        say(s, scratch("{\"t\":\"events\",\"n\":%lld,\"e\":[%s]}", (long long)++s->events, event));
    else
        json_array_append_new(s->queue, json_string(event));
}

static void say_queue(struct site *s)
{
    json_t *each;
    size_t i;

    json_array_foreach(s->queue, i, each)
    {
        say_event(s, json_string_value(each));
    }
    json_array_clear(s->queue);
}

static char *branch_event(int call, const char *suffix, bool with_req)
{
    struct leg k = call_make((unsigned)call);

    return scratch("{\"t\":\"branch\",\"src\":\"udp:198.51.100.9:5060\",\"dst\":\"udp:192.0.2.10:5060\","
                   "\"to\":\"udp:203.0.113.5:5060\",\"sock\":\"udp:192.0.2.10:5060\",\"sent\":\"%s\"%s%s%s}",
                   base64_of(sip_sent_on(&k, suffix)), with_req ? ",\"req\":\"" : "",
                   with_req ? base64_of(sip_request(&k, "INVITE")) : "", with_req ? "\"" : "");
}

static void say_reply(struct site *s, int call, int code)
{
    struct leg k = call_make((unsigned)call);

    say_event(s, scratch("{\"t\":\"reply\",\"via\":\"%s\",\"code\":%d}", base64_of(scratch("%s.0", k.tm)), code));
}

/* A packet to the node with that number, counted from 0. Nothing leaves an isolated one, but what is for itself. */
static void send_packet(struct site *s, size_t to, const char *why, const char *msg)
{
    bool local = &s->c->site[to] == s;

    if (!s->isolated || local)
        task_add(&s->c->site[to], PACKET, NULL, why, msg)->status = local;
}

static int call_of(const char *msg)
{
    const char *id = strstr(msg, "Call-ID: call-");

    return id ? atoi(id + strlen("Call-ID: call-")) : -1;
}

/* The number that the caller put into his CANCEL. */
static int cancel_of(const char *msg)
{
    const char *number = strstr(msg, "X-Number: ");

    return number ? atoi(number + strlen("X-Number: ")) : -1;
}

static void end_call(struct site *s, int call)
{
    cluster_note(s, "* Kamailio: call %d is cancelled", call);
    s->c->ended[call] = true;
    s->holds[call] = false;
    say_reply(s, call, 487);
}

static void on_takeover(struct site *s, const char *msg)
{
    int call = call_of(msg);
    long long token = strtoll(strstr(msg, "X-Kamsync-Branches: ") + strlen("X-Kamsync-Branches: "), NULL, 10);

    json_decref(s->c->last_invite);
    s->c->last_invite = json_string(msg);
    if (s->silent)
        return;
    if (s->refuse) {
        say_event(s, scratch("{\"t\":\"taken\",\"token\":%lld,\"ok\":0}", token));
        return;
    }
    if (s->holds[call] || (s->left[call] && !s->c->ended[call]))
        return; /* a retransmission */
    s->c->injected[call]++;
    cluster_note(s, "* Kamailio: call %d is taken over", call);
    s->holds[call] = true;
    say_event(s, scratch("%s,{\"t\":\"taken\",\"token\":%lld,\"ok\":1}", branch_event(call, "0", false), token));
    if (s->c->ended[call]) { /* the far end repeats its final reply */
        say_reply(s, call, 487);
        s->holds[call] = false;
    }
}

static void say_stray(struct site *s, const char *msg)
{
    if (s->linked && s->hello)
        say(s, scratch("{\"t\":\"stray\",\"k\":%lld,\"src\":\"udp:198.51.100.9:5060\",\"dst\":\"udp:192.0.2.10:5060\","
                       "\"msg\":\"%s\"}",
                       (long long)++s->strays, base64_of(msg)));
}

/* why: NULL, of the network; else what the header says. */
static void on_cancel(struct site *s, const char *why, const char *msg)
{
    int call = call_of(msg), number = cancel_of(msg);
    bool adopted = strncmp(msg, "CANCEL sip:bob@203", 18) == 0;

    if (adopted || number < 0)
        return;
    if (s->holds[call]) {
        s->c->delivered[number]++;
        end_call(s, call);
    } else if (!why) {
        say_stray(s, msg);
    } else if (strcmp(why, "unavailable") == 0) {
        for (size_t i = 0; i < s->c->count; i++)
            send_packet(s, i, "perhaps", msg);
    } else if (strcmp(why, "perhaps") != 0) {
        s->c->refused[number]++;
    }
}

/* Another node asks whether this one answers. */
static void on_probe(struct site *s, const char *msg)
{
    struct cluster *c = s->c;
    const char *via = strstr(msg, "Via: SIP/2.0/UDP 192.0.2.");
    size_t from = via ? (size_t)atoi(via + strlen("Via: SIP/2.0/UDP 192.0.2.")) : 0;

    if (from > 0 && from <= c->count)
        send_packet(s, from - 1, NULL, scratch("SIP/2.0 200 alive %d", s->id));
}

/* A packet arrives at Kamailio. A handover to another incarnation is one from the network. */
static void on_packet(struct site *s, const char *text)
{
    char why[16] = "", inc[32] = "", *copy = strdup(text), *header = strstr(copy, "X-Kamsync: ");
    int to = 0;

    if (header && sscanf(header, "X-Kamsync: to=%d;inc=%31[^;];why=%15[^;]", &to, inc, why) == 3) {
        char *end = strstr(header, "\r\n") + 2;

        memmove(header, end, strlen(end) + 1);
        if (to != s->id || strcmp(inc, s->inc) != 0)
            *why = '\0';
    }
    if (strcmp(why, "probe") == 0)
        on_probe(s, copy);
    else if (strncmp(copy, "SIP/2.0 200 alive ", 18) == 0)
        say_event(s, scratch("{\"t\":\"alive\",\"id\":%d}", atoi(copy + 18)));
    else if (strcmp(why, "takeover") == 0)
        on_takeover(s, copy);
    else if (strncmp(copy, "CANCEL ", 7) == 0)
        on_cancel(s, *why ? why : NULL, copy);
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

    bytes = base64_bytes(text, &len);
    free(text);
    return bytes;
}

static void on_send(struct site *s, const char *frame)
{
    struct span to = field(frame, "to");
    int id = 0;
    char *msg = base64_field(frame, "msg");

    if (sscanf(to.p, "192.0.2.%d:5060", &id) == 1 && id <= (int)s->c->count)
        send_packet(s, (size_t)id - 1, NULL, msg);
    free(msg);
}

/* Another node has the call. */
static void on_lost(struct site *s, const char *frame)
{
    char *id = base64_field(frame, "call_id");
    int call = atoi(id + strlen("call-"));

    cluster_note(s, "* Kamailio: call %d is lost", call);
    s->holds[call] = false;
    s->left[call] = true;
    s->c->lost[call]++;
    free(id);
}

static void on_frame(struct site *s, const char *text)
{
    struct span t = field(text, "t");

    if (span_eq(t, span_of("hello"))) {
        s->hello = true;
        s->events = s->strays = 0;
        say(s,
            scratch("{\"t\":\"hello\",\"node\":%d,\"inc\":\"%s\",\"sip\":\"192.0.2.%d:5060\"}", s->id, s->inc, s->id));
    } else if (span_eq(t, span_of("send"))) {
        on_send(s, text);
    } else if (span_eq(t, span_of("lost"))) {
        on_lost(s, text);
    }
    if (span_eq(t, span_of("hello")))
        say_queue(s);
    say(s, scratch("{\"t\":\"ack\",\"n\":%lld}", strtoll(field(text, "n").p, NULL, 10)));
}

static void to_kamailio(struct site *s, const struct task *t)
{
    bool frame = t->kind == FRAME;

    if (s->dead || (!frame && s->isolated && !t->status) || (frame && (!s->linked || t->epoch != s->link_epoch)))
        return;
    if (s->hung)
        json_array_append_new(s->inbox, json_pack("[i,i,s,s?]", (int)frame, (int)t->epoch, t->value, t->key));
    else if (frame)
        on_frame(s, t->value);
    else if (t->key)
        on_cancel(s, t->key, t->value);
    else
        on_packet(s, t->value);
}

static void read_inbox(struct site *s)
{
    json_t *inbox = s->inbox, *each;
    size_t i;

    s->inbox = json_array();
    json_array_foreach(inbox, i, each)
    {
        struct task t = {.kind = json_integer_value(json_array_get(each, 0)) ? FRAME : PACKET,
                         .epoch = (unsigned)json_integer_value(json_array_get(each, 1)),
                         .value = (char *)json_string_value(json_array_get(each, 2)),
                         .key = (char *)json_string_value(json_array_get(each, 3)),
                         .status = true}; /* it has arrived */

        to_kamailio(s, &t);
    }
    json_decref(inbox);
}

void cluster_hang(struct cluster *c, size_t node, bool hung)
{
    struct site *s = &c->site[node];

    cluster_note(s, "* Kamailio %s", hung ? "hangs" : "goes on");
    s->hung = hung;
    if (!hung)
        read_inbox(s);
    engine_flush(s->e, c->now);
}

void cluster_stand(struct cluster *c, size_t node, bool still)
{
    struct task *t, *next;

    cluster_note(&c->site[node], "* the host %s", still ? "stands still" : "goes on");
    c->site[node].still = still;
    LL_FOREACH_SAFE(c->site[node].parked, t, next)
    {
        LL_DELETE(c->site[node].parked, t);
        task_again(c, t);
    }
}

void cluster_break(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (!s->linked)
        return;
    cluster_note(s, "* the link breaks");
    s->linked = s->hello = false;
    s->link_epoch++;
    engine_link_down(s->e, c->now);
    engine_flush(s->e, c->now);
}

void cluster_mend(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (s->linked || s->dead)
        return;
    cluster_note(s, "* the link is up");
    s->linked = true;
    s->crashed = false;
    engine_link_up(s->e, scratch("tag-%u", s->link_epoch), c->now);
    engine_flush(s->e, c->now);
}

void cluster_kill(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    cluster_note(s, "* Kamailio dies");
    s->dead = true;
    s->hung = false;
    memset(s->holds, 0, sizeof(s->holds));
    memset(s->left, 0, sizeof(s->left));
    json_array_clear(s->inbox);
    json_array_clear(s->queue);
    cluster_break(c, node);
}

void cluster_restart(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (!s->dead)
        cluster_kill(c, node);
    cluster_note(s, "* Kamailio starts");
    s->dead = false;
    snprintf(s->inc, sizeof(s->inc), "%d.%u", s->id, ++s->starts);
    cluster_mend(c, node);
}

/* ---- life ---- */

static void site_init(struct cluster *c, size_t i)
{
    struct site *s = &c->site[i];
    struct engine_io io = store_io(s);

    *s = (struct site){.c = c, .id = (int)i + 1, .dead = true, .queue = json_array(), .inbox = json_array()};
    s->conf = conf_default();
    s->conf.beat_base = 1000;
    io.link_write = io_write;
    io.log = io_log;
    s->io = io;
    s->e = engine_new(&s->conf, &io, c->now);
    cr_assert_not_null(s->e);
    cluster_join(c, i);
    cluster_restart(c, i);
}

struct cluster *cluster_new(size_t nodes)
{
    struct cluster *c = calloc(1, sizeof(*c));

    cr_assert_not_null(c);
    c->now = 1000000;
    c->count = nodes;
    c->scan_part = 10;
    c->delay = one_ms;
    c->maybe = never;
    c->archive = json_array();
    for (size_t i = 0; i < nodes; i++)
        site_init(c, i);
    cluster_run(c, 7000);
    return c;
}

void cluster_free(struct cluster *c)
{
    struct task *t, *next;
    struct entry *x, *after;

    for (size_t i = 0; i < c->count; i++) {
        cluster_stand(c, i, false);
        engine_free(c->site[i].e);
        json_decref(c->site[i].inbox);
        json_decref(c->site[i].queue);
    }
    LL_FOREACH_SAFE(c->tasks, t, next)
    {
        task_free(t);
    }
    LL_FOREACH_SAFE(c->entries, x, after)
    {
        entry_free(x);
    }
    json_decref(c->archive);
    json_decref(c->last_invite);
    free(c);
}

/* Carries out the tasks that are due, each followed by the flush that ends a turn of the loop. */
static void run_tasks(struct cluster *c)
{
    while (c->tasks && c->tasks->at <= c->now) {
        struct task *t = c->tasks;
        struct site *s = &c->site[t->site];

        LL_DELETE(c->tasks, t);
        if (t->kind >= ANSWER && s->still) {
            LL_APPEND(s->parked, t);
            continue;
        }
        if (t->kind < ANSWER)
            store_apply(c, t);
        else if (t->kind == ANSWER)
            store_answer(s, t->of, t, false);
        else if (t->kind == ANNOUNCE && s->connected && t->epoch == s->store_epoch)
            engine_node(s->e, span_of(t->value), c->now);
        else if (t->kind == TOLD && s->connected && t->epoch == s->store_epoch)
            engine_told(s->e, span_of(t->value), c->now);
        else if (t->kind == FRAME || t->kind == PACKET)
            to_kamailio(s, t);
        if (!s->still)
            engine_flush(s->e, c->now);
        task_free(t);
    }
}

static void run_ticks(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct engine *e = c->site[i].e;

        if (c->site[i].still || engine_wait(e, c->now) > 0)
            continue;
        engine_tick(e, c->now);
        engine_flush(e, c->now);
        cr_assert(engine_wait(e, c->now) > 0, "after a tick nothing may be due at once: that would be a busy loop");
    }
}

void cluster_run(struct cluster *c, int64_t ms)
{
    int64_t end = c->now + ms;

    for (;;) {
        int64_t next = end;

        run_tasks(c);
        run_ticks(c);
        if (c->tasks && c->tasks->at < next)
            next = c->tasks->at;
        for (size_t i = 0; i < c->count; i++) {
            int64_t due = c->now + engine_wait(c->site[i].e, c->now);

            next = due < next && !c->site[i].still ? due : next;
        }
        if (c->now >= end && next >= end)
            return;
        c->now = next;
    }
}

/* ---- calls ---- */

void cluster_call(struct cluster *c, size_t node, int call)
{
    struct site *s = &c->site[node];

    if (s->dead || s->hung || s->still)
        return;
    cluster_note(s, "* Kamailio: call %d begins", call);
    s->holds[call] = true;
    say_event(s, branch_event(call, "0", true));
    say_reply(s, call, 180);
    engine_flush(s->e, c->now);
}

size_t cluster_cancel(struct cluster *c, size_t node, int call)
{
    struct site *s = &c->site[node];
    struct leg k = call_make((unsigned)call);
    char *msg = sip_request(&k, "CANCEL"), *rest = strstr(msg, "Content-Length");
    struct task t = {.kind = PACKET};

    cr_assert(c->cancel_count < CANCELS_MAX);
    c->cancel_call[c->cancel_count] = call;
    t.value = scratch("%.*sX-Number: %zu\r\n%s", (int)(rest - msg), msg, c->cancel_count, rest);
    if (!s->still)
        to_kamailio(s, &t);
    if (!s->still)
        engine_flush(s->e, c->now);
    return c->cancel_count++;
}

void cluster_answer(struct cluster *c, int call)
{
    size_t who;

    if (cluster_holders(c, call, &who) == 0)
        return;
    c->ended[call] = true;
    c->site[who].holds[call] = false;
    say_reply(&c->site[who], call, 200);
    engine_flush(c->site[who].e, c->now);
}

size_t cluster_holders(const struct cluster *c, int call, size_t *which)
{
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++) {
        if (c->site[i].dead || !c->site[i].holds[call])
            continue;
        n++;
        if (which)
            *which = i;
    }
    return n;
}
