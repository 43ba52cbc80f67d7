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

json_t *vectors(const char *file)
{
    json_error_t err;
    json_t *list = json_load_file(scratch("%s/%s", EXAMPLES_DIR, file), 0, &err);

    cr_assert(json_is_array(list), "%s, line %d: %s", file, err.line, err.text);
    return list;
}

struct span vector_payload(json_t *vector)
{
    json_t *message = json_object_get(vector, "message");
    const char *text = json_string_value(json_object_get(vector, "text"));
    const char *base64 = json_string_value(json_object_get(vector, "base64"));
    struct span out = {0};

    if (base64)
        out.p = keep(base64_bytes(base64, &out.n));
    else
        out = span_of(text ? text : keep(json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY)));
    return scratch_exact(out);
}
