#include "msg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "base64.h"
#include "count.h"
#include "flat.h"

/* Longest text that is not base64: addresses, incarnations. */
#define TEXT_MAX 80

enum kind {
    KIND_INT,
    KIND_TIME,
    KIND_TEXT,
    KIND_ADDRESS,
    KIND_SOURCE,
    KIND_SIP_ADDRESS,
    KIND_BASE64,
    KIND_BYTES,
    KIND_SIP
};

struct field {
    struct span name;
    enum kind kind;
    size_t at; /* offset in the struct that is filled */
    int64_t min, max;
    bool optional;
};

struct shape {
    const char *name;
    struct field fields[13];
};

/* The input: an object, and the bytes behind it. */
struct input {
    struct flat object;
    struct span rest;
    char *why;
    size_t why_size;
};

/* Versions of clang-format differ on a body in braces. */
/* clang-format off */
#define NUMBER(type, name, min, max) {SPAN(#name), KIND_INT, offsetof(type, name), min, max, false}
#define MAYBE(type, name, min, max) {SPAN(#name), KIND_INT, offsetof(type, name), min, max, true}
#define FIELD(type, name, kind) {SPAN(#name), kind, offsetof(type, name), 0, 0, false}
#define OPTIONAL(type, name, kind) {SPAN(#name), kind, offsetof(type, name), 0, 0, true}
/* clang-format on */

static const struct shape messages[] = {
    [MSG_HELLO] = {"hello",
                   {NUMBER(struct msg, node, 1, INT32_MAX), FIELD(struct msg, inc, KIND_TEXT),
                    FIELD(struct msg, sip, KIND_SIP_ADDRESS), FIELD(struct msg, nonce, KIND_TEXT),
                    FIELD(struct msg, proof, KIND_TEXT)}},
    [MSG_ACK] = {"ack",
                 {NUMBER(struct msg, n, 1, INT64_MAX), MAYBE(struct msg, id, 1, INT32_MAX),
                  MAYBE(struct msg, alive, 0, 1)}},
    [MSG_EVENTS] = {"events", {NUMBER(struct msg, n, 1, INT64_MAX)}},
    [MSG_STRAY] = {"stray",
                   {NUMBER(struct msg, k, 1, INT64_MAX), FIELD(struct msg, msg, KIND_SIP),
                    FIELD(struct msg, src, KIND_ADDRESS), FIELD(struct msg, dst, KIND_ADDRESS),
                    OPTIONAL(struct msg, ask, KIND_TEXT)}},
};

/* Each event's SIP messages in the order in which they follow it. */
static const struct shape events[] = {
    [EVENT_BRANCH] = {"branch",
                      {FIELD(struct event, sent, KIND_SIP), OPTIONAL(struct event, req, KIND_SIP),
                       FIELD(struct event, src, KIND_ADDRESS), FIELD(struct event, dst, KIND_ADDRESS),
                       FIELD(struct event, to, KIND_ADDRESS), FIELD(struct event, sock, KIND_ADDRESS),
                       OPTIONAL(struct event, at, KIND_TIME), MAYBE(struct event, stateless, 0, 1),
                       MAYBE(struct event, consumed, 1, 2), MAYBE(struct event, step, 1, 1),
                       OPTIONAL(struct event, kept, KIND_BASE64), MAYBE(struct event, as_sent, 1, 1)}},
    [EVENT_REPLY] = {"reply",
                     {FIELD(struct event, via, KIND_BASE64), NUMBER(struct event, code, 101, 699),
                      OPTIONAL(struct event, to_tag, KIND_BYTES), OPTIONAL(struct event, at, KIND_TIME),
                      OPTIONAL(struct event, msg, KIND_SIP)}},
    [EVENT_GAVE_UP] = {"gave_up",
                       {FIELD(struct event, call_id, KIND_BASE64), NUMBER(struct event, cseq, 0, UINT32_MAX),
                        FIELD(struct event, branch, KIND_BYTES), FIELD(struct event, sent_by, KIND_BYTES),
                        NUMBER(struct event, i, 0, 30), NUMBER(struct event, code, 300, 699),
                        OPTIONAL(struct event, at, KIND_TIME)}},
    [EVENT_TAKEN] = {"taken", {NUMBER(struct event, token, 1, INT64_MAX), NUMBER(struct event, ok, 0, 1)}},
    [EVENT_ALIVE] = {"alive", {NUMBER(struct event, id, 1, INT32_MAX)}},
    [EVENT_CANCEL] = {"cancel",
                      {FIELD(struct event, call_id, KIND_BASE64), NUMBER(struct event, cseq, 0, UINT32_MAX),
                       FIELD(struct event, branch, KIND_BYTES), FIELD(struct event, sent_by, KIND_BYTES),
                       OPTIONAL(struct event, at, KIND_TIME), OPTIONAL(struct event, all, KIND_TEXT)}},
    [EVENT_BYE] = {"bye",
                   {FIELD(struct event, call_id, KIND_BASE64),
                    OPTIONAL(struct event, from_tag, KIND_BYTES),
                    OPTIONAL(struct event, to_tag, KIND_BYTES),
                    NUMBER(struct event, code, 0, 699),
                    OPTIONAL(struct event, by, KIND_TEXT),
                    OPTIONAL(struct event, at, KIND_TIME),
                    {SPAN("id"), KIND_INT, offsetof(struct event, id), 1, INT32_MAX, true}}},
    [EVENT_SET] = {"set",
                   {FIELD(struct event, call_id, KIND_BASE64), OPTIONAL(struct event, from_tag, KIND_BYTES),
                    OPTIONAL(struct event, to_tag, KIND_BYTES), FIELD(struct event, name, KIND_TEXT),
                    OPTIONAL(struct event, value, KIND_BYTES), OPTIONAL(struct event, at, KIND_TIME)}},
    [EVENT_STRAY] = {"stray",
                     {FIELD(struct event, msg, KIND_SIP), FIELD(struct event, src, KIND_ADDRESS),
                      FIELD(struct event, dst, KIND_ADDRESS), FIELD(struct event, all, KIND_TEXT)}},
    [EVENT_MARK] = {"mark", {NUMBER(struct event, id, 1, INT64_MAX)}},
    [EVENT_STATE] = {"state", {FIELD(struct event, via, KIND_BASE64), NUMBER(struct event, code, 0, 699)}},
    [EVENT_UNTRACKED] = {"untracked",
                         {FIELD(struct event, msg, KIND_SIP), FIELD(struct event, why, KIND_TEXT),
                          FIELD(struct event, src, KIND_SOURCE), OPTIONAL(struct event, at, KIND_TIME)}},
    [EVENT_SHED] = {"shed", {NUMBER(struct event, count, 1, INT32_MAX)}},
};

static bool is_of_address(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == '.' || c == ':' ||
           c == '[' || c == ']';
}

/* Addresses are copied into the X-Kamsync header unchanged, so only characters of an address are accepted. */
bool msg_is_sip_address(const char *s)
{
    size_t n = 0, colons = 0;

    for (; n < TEXT_MAX && is_of_address(s[n]); n++)
        colons += s[n] == ':';
    return n > 2 && n < TEXT_MAX && !s[n] && colons;
}

bool msg_is_connection(const char *address)
{
    return strncmp(address, "udp:", 4) != 0;
}

bool msg_is_address(const char *s)
{
    static const char *const transports[] = {"tcp:", "tls:", "ws:", "wss:"};

    if (!msg_is_connection(s)) /* nearly all */
        return msg_is_sip_address(s + strlen("udp:"));
    for (size_t i = 0; i < COUNT(transports); i++)
        if (strncmp(s, transports[i], strlen(transports[i])) == 0)
            return msg_is_sip_address(s + strlen(transports[i]));
    return false;
}

static bool is_span(enum kind kind)
{
    return kind == KIND_BASE64 || kind == KIND_BYTES || kind == KIND_SIP;
}

/* Any transport is accepted: nothing is ever sent there. */
static bool is_source(const char *s)
{
    return msg_is_address(s) || (strncmp(s, "sctp:", 5) == 0 && msg_is_sip_address(s + 5));
}

/* The same for incarnations. */
bool msg_is_word(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n < TEXT_MAX && strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_") == n;
}

static bool take_text(const struct field *f, const struct flat_field *value, void *at)
{
    const char *s = value->text.p;

    if (!s || (f->kind == KIND_TEXT && !msg_is_word(s)) || (f->kind == KIND_ADDRESS && !msg_is_address(s)) ||
        (f->kind == KIND_SOURCE && !is_source(s)) || (f->kind == KIND_SIP_ADDRESS && !msg_is_sip_address(s)))
        return false;
    *(const char **)at = s;
    return true;
}

static bool take_base64(struct span text, struct span *at)
{
    at->p = text.p;
    return text.n && base64_decode((char *)text.p, text, &at->n);
}

/* The same, but may be empty. */
static bool take_bytes(const struct flat_field *value, struct span *at)
{
    return value->text.p && (!value->text.n || take_base64(value->text, at));
}

/* Kamailio prints seconds with microseconds ($TV(Sn)). */
static bool take_time(const struct flat_field *value, int64_t *at)
{
    *at = value->real > 0 && value->real < 1e11 ? (int64_t)(value->real * 1000) : 0;
    return *at > 0;
}

static bool take_int(const struct field *f, const struct flat_field *value, int64_t *at)
{
    *at = value->number;
    return value->kind == FLAT_INT && *at >= f->min && *at <= f->max;
}

/* Kamailio skips empty lines before the first one (RFC 3261 7.5), the parsers here do not. */
static void skip_empty_lines(struct span *msg)
{
    size_t n = 0;

    while (n < msg->n && (msg->p[n] == '\r' || msg->p[n] == '\n'))
        n++;
    if (n < msg->n)
        *msg = (struct span){msg->p + n, msg->n - n};
}

/* The value is the length of the message's base64, which is cut from the bytes behind the object. */
static bool take_sip(struct input *in, const struct flat_field *value, struct span *at)
{
    int64_t n = value->number;
    struct span text = in->rest;

    if (n <= 0 || (size_t)n > text.n)
        return false;
    text.n = (size_t)n;
    in->rest = (struct span){text.p + n, in->rest.n - text.n};
    if (!take_base64(text, at))
        return false;
    skip_empty_lines(at);
    return true;
}

static bool take_field(struct input *in, const struct field *f, void *out, size_t *left)
{
    const struct flat_field *value = flat_find(&in->object, f->name);
    void *at = (char *)out + f->at;

    if (!value)
        return f->optional;
    --*left;
    switch (f->kind) {
    case KIND_INT:
        return take_int(f, value, at);
    case KIND_BASE64:
        return take_base64(value->text, at);
    case KIND_BYTES:
        return take_bytes(value, at);
    case KIND_TIME:
        return take_time(value, at);
    case KIND_SIP:
        return take_sip(in, value, at);
    default:
        return take_text(f, value, at);
    }
}

/* Fills out from the object by the shape that its "t" names; the shape's index, or -1 with why. Once all fields of the
 * object are taken, no further optional one is looked for. */
static int take_shape(struct input *in, const struct shape *shapes, size_t count, void *out)
{
    const struct flat_field *t = flat_find(&in->object, (struct span)SPAN("t"));
    size_t i = 0, left = in->object.count; /* fields not yet taken, and "t" */

    while (i < count && (!t || !t->text.p || strcmp(shapes[i].name, t->text.p) != 0))
        i++;
    if (i == count) {
        snprintf(in->why, in->why_size, "no known type in field 't'");
        return -1;
    }
    for (const struct field *f = shapes[i].fields; f->name.p; f++) {
        if (f->optional && left == 1)
            continue;
        if (!take_field(in, f, out, &left)) {
            snprintf(in->why, in->why_size, "'%s': bad or missing field '%s'", shapes[i].name, f->name.p);
            return -1;
        }
    }
    return (int)i;
}

/* Reads the object at the front of the input, and moves the input behind it; returns as take_shape(). */
static int read_object(struct input *in, const struct shape *shapes, size_t count, void *out)
{
    return flat_read(&in->object, &in->rest, in->why, in->why_size) == 0 ? take_shape(in, shapes, count, out) : -1;
}

static int read_msg(struct input *in, struct msg *m)
{
    int type = read_object(in, messages, COUNT(messages), m);

    if (type < 0 || type == MSG_EVENTS || in->rest.n == 0)
        return type;
    snprintf(in->why, in->why_size, "'%s': %zu bytes too many", messages[type].name, in->rest.n);
    return -1;
}

int msg_read(struct msg *m, struct span payload, char *why, size_t why_size)
{
    struct input in;
    int type;

    *m = (struct msg){0};
    in.rest = payload;
    in.why = why;
    in.why_size = why_size;
    type = read_msg(&in, m);
    if (type < 0)
        return -EBADMSG;
    m->rest = in.rest;
    m->type = (enum msg_type)type;
    return 0;
}

/* Where the next event may begin: base64 contains no brace. */
static struct span next_object(struct span rest)
{
    const char *brace = rest.n ? memchr(rest.p, '{', rest.n) : NULL;

    return brace ? (struct span){brace, rest.n - (size_t)(brace - rest.p)} : (struct span){0};
}

int msg_event(struct event *ev, struct msg *m, char *why, size_t why_size)
{
    struct input in;
    int type;

    *ev = (struct event){0};
    if (m->rest.n == 0)
        return 0;
    in.rest = m->rest;
    in.why = why;
    in.why_size = why_size;
    type = read_object(&in, events, COUNT(events), ev);
    ev->size = m->rest.n - in.rest.n;
    m->rest = in.rest;
    if (type < 0) {
        m->rest = next_object(ev->size ? in.rest : (struct span){in.rest.p + 1, in.rest.n - 1});
        *ev = (struct event){0};
        return -EBADMSG;
    }
    ev->type = (enum event_type)type;
    return 1;
}

/* The text in a field; empty: none, or a number. */
static struct span text_in(const struct event *ev, const struct field *f)
{
    const void *at = (const char *)ev + f->at;

    if (f->kind == KIND_INT || f->kind == KIND_TIME)
        return (struct span){0};
    return is_span(f->kind) ? *(const struct span *)at : span_of(*(const char *const *)at);
}

static void put_text(struct event *ev, const struct field *f, struct span text)
{
    void *at = (char *)ev + f->at;

    if (is_span(f->kind))
        *(struct span *)at = text;
    else if (text.p)
        *(const char **)at = text.p;
}

bool event_own(struct event *ev)
{
    const struct field *fields = events[ev->type].fields;
    struct span texts[COUNT(events[0].fields)] = {{0}};

    if (ev->own)
        return true;
    for (size_t i = 0; fields[i].name.p; i++)
        texts[i] = text_in(ev, &fields[i]);
    ev->own = span_dup_all(texts, COUNT(texts));
    for (size_t i = 0; ev->own && fields[i].name.p; i++)
        put_text(ev, &fields[i], texts[i]);
    return ev->own != NULL;
}

void event_clear(struct event *ev)
{
    free(ev->own);
    *ev = (struct event){0};
}

/* Frees the object and returns its text. */
static char *text_of(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

    json_decref(object);
    return text;
}

char *msg_hello(const char *tag)
{
    return text_of(json_pack("{s:s,s:s}", "t", "hello", "tag", tag));
}

char *msg_proof(const char *proof, const char *after, int64_t events_read)
{
    return text_of(
        json_pack("{s:s,s:s,s:s,s:I}", "t", "proof", "proof", proof, "after", after, "read", (json_int_t)events_read));
}

char *msg_keys(int64_t n)
{
    return text_of(json_pack("{s:s,s:I}", "t", "keys", "n", (json_int_t)n));
}

/* The one that ordinary calls cause: jansson takes ten times as many instructions. */
char *msg_ack(int64_t n, int64_t events_read, int64_t strays)
{
    char *text;
    int rc = asprintf(&text, "{\"t\":\"ack\",\"n\":%" PRId64 ",\"events\":%" PRId64 ",\"strays\":%" PRId64 "}", n,
                      events_read, strays);

    return rc < 0 ? NULL : text;
}

char *msg_node(int64_t n, int id, const char *sip, const char *inc, bool up)
{
    return text_of(json_pack("{s:s,s:I,s:i,s:s,s:s,s:i}", "t", "node", "n", (json_int_t)n, "id", id, "sip", sip, "inc",
                             inc, "up", (int)up));
}

char *msg_ping(int64_t n)
{
    return text_of(json_pack("{s:s,s:I}", "t", "ping", "n", (json_int_t)n));
}

char *msg_mark(int64_t n, int64_t mark)
{
    return text_of(json_pack("{s:s,s:I,s:I}", "t", "mark", "n", (json_int_t)n, "id", (json_int_t)mark));
}

char *msg_lost(int64_t n, const char *call_id, uint32_t cseq, const char *branch, const char *sent_by)
{
    return text_of(json_pack("{s:s,s:I,s:s,s:I,s:s,s:s}", "t", "lost", "n", (json_int_t)n, "call_id", call_id, "cseq",
                             (json_int_t)cseq, "branch", branch, "sent_by", sent_by));
}

char *msg_second(int64_t n, const char *via_base64, int node)
{
    return text_of(json_pack("{s:s,s:I,s:s,s:i}", "t", "second", "n", (json_int_t)n, "via", via_base64, "node", node));
}

char *msg_part(int64_t n, int k, struct span base64)
{
    return text_of(json_pack("{s:s,s:I,s:i,s:s%}", "t", "part", "n", (json_int_t)n, "k", k, "msg", base64.p, base64.n));
}

char *msg_send(int64_t n, const char *to, const char *sock, const char *base64, int parts)
{
    json_t *frame =
        json_pack("{s:s,s:I,s:s,s:s,s:s}", "t", "send", "n", (json_int_t)n, "to", to, "sock", sock, "msg", base64);

    if (frame && parts && json_object_set_new(frame, "parts", json_integer(parts)) < 0) {
        json_decref(frame);
        frame = NULL;
    }
    return text_of(frame);
}
