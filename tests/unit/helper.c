#include "helper.h"

#include <stdarg.h>

#include "base64.h"

/* Everything given out, chained from here: still reachable at the end, so no leak to the leak checker. */
struct block {
    struct block *next;
    char *text;
};

static struct block *blocks;

static char *keep(char *text)
{
    struct block *b = malloc(sizeof(*b));

    cr_assert(b && text, "memory is short");
    *b = (struct block){blocks, text};
    blocks = b;
    return text;
}

__attribute__((weak)) int __lsan_do_recoverable_leak_check(void);

void no_leaks(void)
{
    if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
        abort();
}

char *scratch(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    return keep(text);
}

void scratch_clear(void)
{
    while (blocks) {
        struct block *b = blocks;

        blocks = b->next;
        free(b->text);
        free(b);
    }
}

struct span scratch_exact(struct span s)
{
    char *copy = keep(malloc(s.n ? s.n : 1));

    if (s.n)
        memcpy(copy, s.p, s.n);
    return (struct span){copy, s.n};
}

struct leg call_make(unsigned i)
{
    return (struct leg){
        .call_id = scratch("call-%u@caller.example", i),
        .cseq = 1,
        .branch = scratch("z9hG4bK-caller-%u", i),
        .sent_by = "198.51.100.9:5060",
        .tm = scratch("z9hG4bK%04x.%032x", i & 0xffff, i),
    };
}

/* The part of a request that caller and proxy write alike. */
static char *rest_of(const struct leg *c, const char *method)
{
    return scratch("Via: SIP/2.0/UDP %s;branch=%s\r\n"
                   "From: \"Alice\" <sip:alice@example.org>;tag=a1\r\n"
                   "To: <sip:bob@example.org>\r\n"
                   "Call-ID: %s\r\n"
                   "CSeq: %u %s\r\n"
                   "Max-Forwards: 70\r\n"
                   "Content-Length: 0\r\n"
                   "\r\n",
                   c->sent_by, c->branch, c->call_id, c->cseq, method);
}

char *sip_request(const struct leg *c, const char *method)
{
    return scratch("%s sip:bob@192.0.2.10 SIP/2.0\r\n%s", method, rest_of(c, method));
}

char *sip_sent_on(const struct leg *c, const char *index)
{
    return scratch("INVITE sip:bob@203.0.113.5:5060 SIP/2.0\r\n"
                   "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.%s\r\n%s",
                   c->tm, index, rest_of(c, "INVITE"));
}

char *base64_of(const char *text)
{
    return keep(base64_text(span_of(text)));
}

char *cancel_event(const struct leg *c)
{
    return scratch("{\"t\":\"cancel\",\"call_id\":\"%s\",\"cseq\":%u,\"branch\":\"%s\",\"sent_by\":\"%s\"",
                   base64_of(c->call_id), c->cseq, base64_of(c->branch), base64_of(c->sent_by));
}

#define SRC_DST "\"src\":\"udp:198.51.100.9:5060\",\"dst\":\"udp:192.0.2.10:5060\""

char *branch_text(const char *sent, const char *req, const char *more)
{
    return scratch("{\"t\":\"branch\"," SRC_DST ",\"to\":\"udp:203.0.113.5:5060\",\"sock\":\"udp:192.0.2.10:5060\","
                   "\"sent\":%zu%s%s}%s%s",
                   strlen(base64_of(sent)), req ? scratch(",\"req\":%zu", strlen(base64_of(req))) : "", more,
                   base64_of(sent), req ? base64_of(req) : "");
}

char *stray_text(int64_t k, const char *msg, const char *more)
{
    return scratch("{\"t\":\"stray\",\"k\":%lld," SRC_DST ",\"msg\":%zu%s}%s", (long long)k, strlen(base64_of(msg)),
                   more, base64_of(msg));
}

char *told_text(const char *msg, const char *all)
{
    return scratch("{\"t\":\"stray\"," SRC_DST ",\"all\":\"%s\",\"msg\":%zu}%s", all, strlen(base64_of(msg)),
                   base64_of(msg));
}

json_t *vectors(const char *file)
{
    json_error_t err;
    json_t *list = json_load_file(scratch("%s/%s", EXAMPLES_DIR, file), 0, &err);

    cr_assert(json_is_array(list), "%s, line %d: %s", file, err.line, err.text);
    return list;
}

/* Appends the text, or the bytes, or the object as JSON. */
static void add_part(struct span *out, json_t *part)
{
    const char *text = json_string_value(part), *base64 = json_string_value(json_object_get(part, "base64"));
    struct span add = span_of(text);
    char *both;

    if (base64)
        add.p = keep(base64_bytes(span_of(base64), &add.n));
    else if (!text)
        add = span_of(keep(json_dumps(part, JSON_COMPACT | JSON_ENCODE_ANY)));
    both = keep(malloc(out->n + add.n + 1));
    cr_assert_not_null(both);
    if (out->n)
        memcpy(both, out->p, out->n);
    if (add.n)
        memcpy(both + out->n, add.p, add.n);
    *out = (struct span){both, out->n + add.n};
}

struct span vector_payload(json_t *vector)
{
    json_t *message = json_object_get(vector, "message"), *text = json_object_get(vector, "text"), *part;
    struct span out = {0};
    size_t i;

    add_part(&out, message ? message : text ? text : vector);
    json_array_foreach(json_object_get(vector, "then"), i, part) add_part(&out, part);
    return scratch_exact(out);
}
