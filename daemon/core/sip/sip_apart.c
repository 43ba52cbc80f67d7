/* What a script does to an INVITE so that it becomes another one: for a branch that a takeover sends again otherwise
 * than the branches beside it. */
#include "sip.h"

#include "count.h"
#include "sip_head.h"

#define HEADERS_MAX 128 /* each is compared with all others */
/* KAMSYNC_APART makes each in a loop, and Kamailio ends one after 100 rounds (max_while_loops). */
#define DIFFERENCES_MAX 96

/* Whom differences are told, and how many there were. */
struct teller {
    sip_apart_fn *fn;
    void *ctx;
    size_t n;
};

static void tell(struct teller *t, char what, struct span text)
{
    t->n++;
    t->fn(t->ctx, what, text);
}

static struct span name_of(struct span header)
{
    size_t n = 0;

    while (n < header.n && header.p[n] != ':' && header.p[n] != ' ' && header.p[n] != '\t')
        n++;
    return (struct span){header.p, n};
}

static bool next_named(struct span *header, struct span *rest, struct span name)
{
    while (sip_cut_header(header, rest))
        if (span_caseeq(name_of(*header), name))
            return true;
    return false;
}

/* Kamailio writes it. */
static bool is_length(struct span header)
{
    return sip_is_header(header, "Content-Length") || sip_is_header(header, "l");
}

/* Whether the first head's headers of that name stand in the second one, too, before any others of that name. */
static bool stay(struct span was, struct span is, struct span name)
{
    struct span a, b;

    while (next_named(&a, &was, name))
        if (!next_named(&b, &is, name) || !span_eq(a, b))
            return false;
    return true;
}

/* Headers of that name before that place. */
static size_t count(struct span head, struct span name, const char *end)
{
    struct span header;
    size_t n = 0;

    while (next_named(&header, &head, name) && header.p < end)
        n++;
    return n;
}

static bool is_added(struct span was, struct span is, struct span header)
{
    struct span name = name_of(header);

    return !is_length(header) && (!stay(was, is, name) || count(is, name, header.p) >= count(was, name, was.p + was.n));
}

static void tell_removed(struct span was, struct span is, struct teller *to)
{
    struct span rest = was, header, first, all;

    while (sip_cut_header(&header, &rest)) {
        all = was;
        if (!is_length(header) && !stay(was, is, name_of(header)) && next_named(&first, &all, name_of(header)) &&
            first.p == header.p)
            tell(to, 'r', name_of(header));
    }
}

/* Where headers stand that follow this one: at the end, unless behind one that each INVITE has once. */
static char place_behind(struct span header)
{
    static const char *const names[][2] = {{"From", "f"}, {"To", "t"}, {"Call-ID", "i"}, {"CSeq", ""}};

    for (size_t i = 0; i < COUNT(names); i++)
        if (sip_is_header(header, names[i][0]) || (*names[i][1] && sip_is_header(header, names[i][1])))
            return "ftic"[i];
    return 'e';
}

/* Those of one place stand in one piece of the message. Behind what is at the end all are there: several of one name
 * keep their order. */
static void tell_added(struct span was, struct span is, struct teller *to)
{
    struct span rest = is, header, piece = {is.p, 0};
    char place = 'b', last = 'b';

    while (sip_cut_header(&header, &rest)) {
        if (is_added(was, is, header)) {
            piece.n += header.n;
            continue;
        }
        if (piece.n)
            tell(to, last = place, piece);
        piece = (struct span){rest.p, 0};
        place = last == 'e' ? 'e' : place_behind(header);
    }
    if (piece.n)
        tell(to, 'e', piece);
}

/* What follows the empty line between head and body. */
static struct span body_of(struct span rest)
{
    const char *lf = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
    size_t n = lf ? (size_t)(lf + 1 - rest.p) : rest.n;

    return (struct span){rest.p + n, rest.n - n};
}

/* Splits it; false when it has too many headers. */
static bool split(struct span msg, struct span *head, struct span *body)
{
    struct span header;
    size_t n = 0;

    sip_cut_header(&header, &msg); /* the first line */
    *head = msg;
    while (sip_cut_header(&header, &msg))
        n++;
    head->n -= msg.n;
    *body = body_of(msg);
    return n <= HEADERS_MAX;
}

/* set_body() would else write a header of its own. */
static bool can_change_body(struct span head, struct span was, struct span is)
{
    struct span all = head, header;

    return was.n && is.n &&
           (next_named(&header, &head, span_of("Content-Type")) || next_named(&header, &all, span_of("c")));
}

bool sip_apart(struct span was, struct span is, sip_apart_fn *fn, void *ctx)
{
    struct teller to = {.fn = fn, .ctx = ctx};
    struct span was_head, was_body, is_head, is_body;

    if (!split(was, &was_head, &was_body) || !split(is, &is_head, &is_body))
        return false;
    if (!span_eq(was_body, is_body) && !can_change_body(was_head, was_body, is_body))
        return false;
    tell_removed(was_head, is_head, &to);
    tell_added(was_head, is_head, &to);
    if (!span_eq(was_body, is_body))
        tell(&to, 'd', is_body);
    return to.n <= DIFFERENCES_MAX;
}
