#include "fake.h"

#include <stdarg.h>

#include "base64.h"
#include "conf.h"
#include "frame.h"
#include "key.h"
#include "record.h"
#include "turn.h"

/* ---- what the engine asks of the world ---- */

/* Asks another node's Kamailio whether it lives; no business of a test that counts what is sent. */
static bool is_probe(struct fake *f, json_t *frame)
{
    size_t n;
    char *msg = strcmp(fake_text(frame, "t"), "send") == 0 ? base64_bytes(span_of(fake_text(frame, "msg")), &n) : NULL;
    const char *probe = msg ? strstr(msg, ";why=probe;") : NULL, *to = probe ? strstr(msg, "X-Kamsync: to=") : NULL;

    if (to && !f->unreachable)
        f->probed |= 1ull << (atoi(to + strlen("X-Kamsync: to=")) % 64);
    free(msg);
    return probe;
}

static bool is_mark(struct fake *f, json_t *frame)
{
    bool yes = strcmp(fake_text(frame, "t"), "mark") == 0;

    if (yes)
        f->mark = fake_int(frame, "id");
    return yes;
}

static void await_ack(struct fake *f, int64_t n)
{
    if (f->unacked_count == f->unacked_size) {
        f->unacked_size = 2 * f->unacked_size + 16;
        f->unacked = realloc(f->unacked, f->unacked_size * sizeof(*f->unacked));
        cr_assert_not_null(f->unacked);
    }
    f->unacked[f->unacked_count++] = n;
}

/* All up to that one, in order. */
static void ack_to(struct fake *f, int64_t n)
{
    size_t i = 0;

    while (i < f->unacked_count && f->unacked[i] != n)
        i++;
    for (bool last = i == f->unacked_count; !last;) {
        int64_t first = f->unacked[0];

        last = first == n;
        fake_say(f, "{\"t\":\"ack\",\"n\":%lld}", (long long)first);
    }
}

static void io_close(void *ctx)
{
    ((struct fake *)ctx)->closes++;
}

static void on_payload(void *arg, struct span payload)
{
    struct fake *f = arg;
    json_t *json = json_loadb(payload.p, payload.n, JSON_REJECT_DUPLICATES, NULL);

    cr_assert_not_null(json, "not JSON: %.*s", (int)payload.n, payload.p);
    f->written++;
    if (json_object_get(json, "n")) /* the first words have none */
        await_ack(f, fake_int(json, "n"));
    if (strcmp(fake_text(json, "t"), "hello") == 0)
        f->tag = scratch("%s", fake_text(json, "tag"));
    if (!f->deaf && (strcmp(fake_text(json, "t"), "ping") == 0 || is_mark(f, json) || is_probe(f, json) ||
                     fake_is_question(f, json))) {
        cr_assert(f->ping_count < COUNT(f->pings));
        f->pings[f->ping_count++] = fake_int(json, "n");
        json_decref(json);
    } else {
        if (f->polite && json_object_get(json, "n"))
            f->pings[f->ping_count++] = fake_int(json, "n");
        json_array_append_new(f->frames, json);
    }
}

static void io_write(void *ctx, struct span bytes)
{
    struct fake *f = ctx;
    struct frame_reader reader = {0};
    size_t before = f->written;

    cr_assert(frame_feed(&reader, bytes.p, bytes.n, on_payload, f) == 0);
    cr_assert(reader.len == 0 && f->written == before + 1, "one whole frame per write");
    frame_reset(&reader);
}

void fake_add(struct fake *f, struct fake_later a)
{
    if (f->later_count == f->later_size) {
        f->later_size = 2 * f->later_size + 16;
        f->later = realloc(f->later, f->later_size * sizeof(*f->later));
        cr_assert_not_null(f->later);
    }
    f->later[f->later_count++] = a;
}

bool fake_settle(struct fake *f)
{
    bool any = f->later_count > 0;

    while (f->later_count > 0) {
        struct fake_later a = f->later[0];

        memmove(f->later, f->later + 1, --f->later_count * sizeof(a));
        a.say(f, &a);
    }
    return any;
}

static void say_put(struct fake *f, const struct fake_later *a)
{
    engine_put_done(f->e, a->token, (enum put_status)a->status, span_of(a->text), f->now);
}

static void say_got(struct fake *f, const struct fake_later *a)
{
    engine_got(f->e, a->token, (enum get_status)a->status, span_of(a->text), f->now);
}

static void say_claimed(struct fake *f, const struct fake_later *a)
{
    engine_claimed(f->e, a->token, (enum claim_status)a->status, span_of(a->text), f->now);
}

static void io_put(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct fake *f = ctx;

    cr_assert(f->put_count < FAKE_MAX);
    f->puts[f->put_count++] = (struct fake_put){scratch("%s", key), scratch("%s", value), ttl_ms};
    if (!f->answer_puts)
        f->unanswered[f->unanswered_count++] = token;
    else if (f->record && record_fences(span_of(f->record), span_of(value)))
        fake_add(f, (struct fake_later){say_put, token, PUT_FENCED, f->record});
    else
        fake_add(f, (struct fake_later){say_put, token, PUT_DONE, NULL});
}

static void answer(struct fake *f, uint64_t token, const char *record)
{
    fake_add(f, (struct fake_later){say_got, token, record && *record ? GET_FOUND : GET_ABSENT, record});
}

static void io_get(void *ctx, const char *key, uint64_t token)
{
    struct fake *f = ctx;

    if (strncmp(key, "kamsync:node:", 13) == 0) {
        f->asked++;
        if (!f->mute_nodes)
            answer(f, token, f->node_record);
        f->node_token = token;
        return;
    }
    cr_assert(f->get_count < FAKE_MAX);
    f->gets[f->get_count++] = (struct fake_get){scratch("%s", key), token};
    if (f->found)
        answer(f, token, f->found);
}

static void io_claim(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct fake *f = ctx;

    if (*value == '{') { /* a transaction's first record */
        io_put(ctx, key, value, ttl_ms, token);
        return;
    }
    cr_assert(f->claim_count < FAKE_MAX);
    f->claims[f->claim_count++] = (struct fake_claim){scratch("%s", key), scratch("%s", value), ttl_ms, token};
    if (f->holder)
        fake_add(f, (struct fake_later){say_claimed, token, *f->holder ? CLAIM_LOST : CLAIM_WON, f->holder});
}

static void io_scan(void *ctx, uint64_t cursor)
{
    struct fake *f = ctx;

    cr_assert(!f->scanning, "one part at a time");
    f->scans++;
    f->cursor = cursor;
    f->scanning = true;
}

static void io_beat(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce)
{
    struct fake *f = ctx;

    cr_expect(id > 0);
    f->beats[f->beat_count++ % COUNT(f->beats)] = (struct fake_beat){scratch("%s", record), ttl_ms, announce};
}

static void io_read_nodes(void *ctx)
{
    ((struct fake *)ctx)->node_reads++;
}

static void io_log(void *ctx, const struct log_entry *line)
{
    struct fake *f = ctx;

    for (const char *p = line->text; *p; p++)
        cr_assert((unsigned char)*p >= ' ', "a line of the log holds a control character");
    if (strlen(f->logs) < 100000)
        f->logs = scratch("%s%s\n", f->logs, line->text);
}

/* ---- life ---- */

struct fake *fake_new(void)
{
    struct fake *f = calloc(1, sizeof(*f));
    struct engine_io io = {.ctx = f,
                           .link_write = io_write,
                           .link_close = io_close,
                           .put = io_put,
                           .get = io_get,
                           .get_near = fake_get_near,
                           .claim = io_claim,
                           .scan = io_scan,
                           .beat = io_beat,
                           .read_nodes = io_read_nodes,
                           .log = io_log};

    cr_assert_not_null(f);
    fake_calls_io(&io);
    f->now = 1000000;
    f->logs = scratch("%s", "");
    f->frames = json_array();
    f->questions = json_array();
    f->conf = conf_default();
    f->conf.name = "ams1";
    f->conf.hang_ms = 3600000;
    f->conf.beat_base = 5000;
    f->e = engine_new(&f->conf, &io, f->now);
    cr_assert_not_null(f->e);
    return f;
}

void fake_free(struct fake *f)
{
    engine_free(f->e);
    free(f->later);
    free(f->unacked);
    fake_forget_calls(f);
    json_decref(f->frames);
    json_decref(f->questions);
    free(f);
}

struct fake *fake_ready(void)
{
    struct fake *f = fake_new();

    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    fake_forget(f);
    return f;
}

void fake_own(struct fake *f, struct leg *c)
{
    *c = call_make(1);
    f->answer_puts = true;
    fake_branch(f, 1, c, "0", true);
    fake_turn(f);
    fake_ack_all(f);
    fake_turn(f);
    cr_assert(f->put_count == 1);
    fake_forget(f);
}

struct fake *fake_owning(struct leg *c)
{
    struct fake *f = fake_ready();

    fake_own(f, c);
    return f;
}

void fake_forget(struct fake *f)
{
    json_array_clear(f->frames);
    f->put_count = f->get_count = f->claim_count = f->beat_count = f->node_reads = f->scans = 0;
    fake_forget_calls(f);
}

const struct counters *fake_counters(const struct fake *f)
{
    return engine_counters(f->e);
}

struct engine_status fake_status(const struct fake *f)
{
    struct engine_status s;

    engine_status(f->e, &s);
    return s;
}

/* ---- time ---- */

static bool answer_barrier(struct fake *f)
{
    int64_t n = f->barrier;

    f->barrier = 0;
    for (int id = 2; n && id < 32; id++)
        if (f->incs[id])
            fake_message(
                f, scratch("{\"t\":\"here\",\"node\":%d,\"inc\":\"%s\",\"n\":%lld}", id, f->incs[id], (long long)n));
    return n;
}

/* What Kamailio, the store and the other nodes answer by themselves. */
static bool answer_more(struct fake *f)
{
    bool scanned = f->scanning && !f->mute_scans, pinged = f->ping_count > 0, called = answer_barrier(f);

    fake_tell_states(f);
    if (scanned) {
        f->scanning = false;
        engine_scanned(f->e, true, 0, f->now);
    }
    for (size_t i = 0; i < f->ping_count; i++)
        ack_to(f, f->pings[i]);
    f->ping_count = 0;
    for (int id = 1; id < 32; id++)
        if (f->probed & 1ull << id)
            fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"alive\",\"id\":%d}", f->events ? f->events : 1, id);
    f->probed = 0;
    return scanned || pinged || called;
}

/* A second tick at once must have nothing to do. */
void fake_turn(struct fake *f)
{
    bool more;

    do {
        turn_once(f->e, f->now);
        more = fake_settle(f);
        more = answer_more(f) || more;
    } while (more);
    cr_assert(engine_wait(f->e, f->now) > 0, "after a tick nothing may be due at once: that would be a busy loop");
}

static void turn(void *world)
{
    fake_turn(world);
}

void fake_pass(struct fake *f, int64_t ms)
{
    turn_pass(f->e, &f->now, ms, turn, f);
}

/* ---- Kamailio ---- */

static void forget_acked(struct fake *f, const char *text)
{
    long long n;
    size_t i = 0;

    if (sscanf(text, "{\"t\":\"ack\",\"n\":%lld}", &n) != 1)
        return;
    while (i < f->unacked_count && f->unacked[i] != n)
        i++;
    if (i < f->unacked_count) {
        f->unacked_count -= i + 1;
        memmove(f->unacked, f->unacked + i + 1, f->unacked_count * sizeof(*f->unacked));
    }
}

static void say(struct fake *f, const char *text)
{
    size_t len;
    char *frame = frame_make(span_of(text), &len);

    sscanf(text, "{\"t\":\"events\",\"n\":%lld", &f->events);
    forget_acked(f, text);
    cr_assert(engine_link_data(f->e, frame, len, f->now) == 0);
    free(frame);
    fake_settle(f);
}

void fake_say(struct fake *f, const char *fmt, ...)
{
    va_list ap;
    char text[2048];

    va_start(ap, fmt);
    cr_assert(vsnprintf(text, sizeof(text), fmt, ap) < (int)sizeof(text));
    va_end(ap);
    say(f, text);
}

void fake_ack_all(struct fake *f)
{
    if (f->unacked_count > 0)
        ack_to(f, f->unacked[f->unacked_count - 1]);
}

void fake_branch(struct fake *f, int64_t n, const struct leg *c, const char *index, bool with_req)
{
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}%s", (long long)n,
             branch_text(sip_sent_on(c, index), with_req ? sip_request(c, "INVITE") : NULL, ""));
}

void fake_reply(struct fake *f, int64_t n, const struct leg *c, const char *index, int code)
{
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"reply\",\"via\":\"%s\",\"code\":%d}", (long long)n,
             base64_of(scratch("%s.%s", c->tm, index)), code);
}

void fake_stray(struct fake *f, int64_t k, const struct leg *c, const char *method)
{
    fake_say(f, "%s", stray_text(k, sip_request(c, method), ""));
}

void fake_stray_reply(struct fake *f, int64_t k, const struct leg *c, const char *index, int code)
{
    char *below = strstr(sip_request(c, "INVITE"), "Via: ");

    fake_say(f, "%s",
             stray_text(k,
                        scratch("SIP/2.0 %d Said\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.%s;srvid=1\r\n%s", code,
                                c->tm, index, below),
                        ""));
}

/* ---- the store ---- */

void fake_node(struct fake *f, int id, int64_t beat, const char *inc, bool up)
{
    if (id < (int)COUNT(f->incs))
        f->incs[id] = scratch("%s", inc);
    turn_node(f->e, f->now, id, beat, inc, up);
    fake_settle(f);
}

void fake_version(struct fake *f, int id, int version)
{
    struct node n = {.id = id, .name = "x", .sip = "192.0.2.66:5060", .inc = "9.9", .beat = 1, .version = version};
    char *record = node_record(&n, f->conf.secret);

    engine_node(f->e, span_of(record), f->now);
    free(record);
}

void fake_answer(struct fake *f, const char *record)
{
    cr_assert(f->get_count > 0);
    answer(f, f->gets[f->get_count - 1].token, record);
    fake_settle(f);
}

void fake_claimed(struct fake *f, enum claim_status status, const char *holder)
{
    cr_assert(f->claim_count > 0);
    engine_claimed(f->e, f->claims[f->claim_count - 1].token, status, span_of(holder), f->now);
    fake_settle(f);
}

void fake_scanned(struct fake *f, unsigned from, size_t n, bool ok, uint64_t next)
{
    cr_assert(f->scanning);
    f->scanning = false;
    for (unsigned i = from; i < from + n; i++)
        engine_scan_key(f->e,
                        scratch("kamsync:tx:{call-%u@caller.example}:1:z9hG4bK-caller-%u:198.51.100.9:5060", i, i));
    engine_scanned(f->e, ok, next, f->now);
    fake_settle(f);
}

/* The first put that was not answered yet is. */
static void answer_put(struct fake *f, enum put_status status, const char *record)
{
    uint64_t token;

    cr_assert(f->unanswered_count > 0);
    token = f->unanswered[0];
    memmove(f->unanswered, f->unanswered + 1, --f->unanswered_count * sizeof(*f->unanswered));
    engine_put_done(f->e, token, status, span_of(record), f->now);
}

void fake_put_done(struct fake *f, size_t n, bool ok)
{
    for (size_t i = 0; i < n; i++)
        answer_put(f, ok ? PUT_DONE : PUT_FAILED, NULL);
    fake_settle(f);
}

void fake_put_refused(struct fake *f)
{
    answer_put(f, PUT_REFUSED, NULL);
}

void fake_put_fenced(struct fake *f, const char *record)
{
    answer_put(f, PUT_FENCED, record);
    fake_settle(f);
}

void fake_taken(struct fake *f, int64_t n, int ok)
{
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"taken\",\"token\":%lld,\"ok\":%d}", (long long)n,
             (long long)fake_token(f, NULL), ok);
}

int64_t fake_token(const struct fake *f, char **branches)
{
    size_t n = fake_sent_count(f, "why=takeover");
    char *msg = n ? fake_sent(f, "why=takeover", n - 1, NULL) : NULL, *line, *list;

    cr_assert_not_null(msg, "no INVITE was injected");
    line = strstr(msg, "\r\nX-Kamsync-Branches: ");
    cr_assert_not_null(line);
    line += strlen("\r\nX-Kamsync-Branches: ");
    list = line + strspn(line, "0123456789");
    if (branches)
        *branches = scratch("%.*s", (int)strcspn(list, "\r"), list);
    return strtoll(line, NULL, 10);
}

size_t fake_count(const struct fake *f, const char *t)
{
    json_t *frame;
    size_t i, n = 0;

    json_array_foreach(f->frames, i, frame) n += strcmp(fake_text(frame, "t"), t) == 0;
    return n;
}

json_t *fake_last(const struct fake *f, const char *t)
{
    for (size_t i = json_array_size(f->frames); i-- > 0;)
        if (strcmp(fake_text(json_array_get(f->frames, i), "t"), t) == 0)
            return json_array_get(f->frames, i);
    return NULL;
}

int64_t fake_int(json_t *frame, const char *field)
{
    json_t *v = json_object_get(frame, field);

    return json_is_integer(v) ? json_integer_value(v) : -1;
}

const char *fake_text(json_t *frame, const char *field)
{
    const char *s = json_string_value(json_object_get(frame, field));

    return s ? s : "(none)";
}

char *fake_handover(const struct fake *f, char **rest)
{
    size_t n = 0;
    char *msg = base64_bytes(span_of(fake_text(fake_last(f, "send"), "msg")), &n), *header, *end, *result;

    cr_assert_not_null(msg, "no send");
    header = strstr(msg, "\r\nX-Kamsync: ");
    cr_assert_not_null(header);
    header += 2;
    end = strstr(header, "\r\n") + 2;
    result = scratch("%.*s", (int)(end - 2 - header), header);
    if (rest)
        *rest = scratch("%.*s%s", (int)(header - msg), msg, end);
    free(msg);
    return result;
}

json_t *fake_put_field(const struct fake *f, const char *field)
{
    static json_t *json;

    json_decref(json);
    cr_assert(f->put_count > 0);
    json = json_loads(f->puts[f->put_count - 1].value, 0, NULL);
    return json_object_get(json, field);
}
