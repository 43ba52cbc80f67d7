/* SIP: what is read lies within the message; what is built from a message that can be read can be read again, and is
 * of the same transaction. */
#include "fuzz.h"
#include "sip.h"
#include "sip_head.h"
#include "sip_value.h"

#define VIA "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-fuzz.0"

static void check_inside(struct span part, struct span all)
{
    must(!part.n || (part.p >= all.p && part.p + part.n <= all.p + all.n));
}

static void check_id(const struct sip_id *id, struct span msg)
{
    check_inside(id->method, msg);
    check_inside(id->call_id, msg);
    check_inside(id->branch, msg);
    check_inside(id->sent_by, msg);
    check_inside(id->via, msg);
    check_inside(id->from_uri, msg);
    check_inside(id->from_tag, msg);
    check_inside(id->to_uri, msg);
    check_inside(id->to_tag, msg);
    must(id->call_id.n && id->branch.n && id->method.n);
    must(id->code == 0 || (id->code >= 100 && id->code < 700));
}

static void expect_same(const struct sip_id *a, const struct sip_id *b)
{
    must(span_eq(a->call_id, b->call_id) && a->cseq == b->cseq);
    must(span_eq(a->from_tag, b->from_tag) && span_eq(a->to_tag, b->to_tag));
}

/* With one header more it is not the short form: libre reads it, and nothing may differ. */
static void check_longer(struct span msg, const struct sip_sent *sent)
{
    static const char more[] = "X: a\r\n\r\n";
    struct sip_sent again;
    char *text = malloc(msg.n + sizeof(more));

    must(text && msg.n > 2);
    memcpy(text, msg.p, msg.n - 2);
    memcpy(text + msg.n - 2, more, sizeof(more));
    if (sip_read_sent(&again, (struct span){text, msg.n - 2 + strlen(more)}) == 0)
        must(span_eq(sent->via, again.via) && span_eq(sent->branch, again.branch) && span_eq(sent->ruri, again.ruri));
    free(text);
}

static void check_sent(struct span msg)
{
    struct sip_sent sent;

    if (sip_read_sent(&sent, msg) < 0)
        return;
    check_inside(sent.via, msg);
    check_inside(sent.branch, msg);
    check_inside(sent.ruri, msg);
    must(sent.routes <= SIP_ROUTES_MAX);
    for (size_t i = 0; i < sent.routes; i++)
        check_inside(sent.route[i], msg);
    if (msg.n > 4 && memcmp(msg.p + msg.n - 4, "\r\n\r\n", 4) == 0)
        check_longer(msg, &sent);
}

/* Of any bytes: what is read without libre is what libre reads. */
static void check_values(struct span value)
{
    struct sip_hop hop, any_hop;
    struct sip_party party, any_party;
    struct sip_sequence seq, any_seq;

    if (sip_plain_hop(&hop, value))
        must(sip_any_hop(&any_hop, value) && span_eq(hop.sent_by, any_hop.sent_by) &&
             span_eq(hop.branch, any_hop.branch));
    if (sip_plain_party(&party, value))
        must(sip_any_party(&any_party, value) && span_eq(party.uri, any_party.uri) &&
             span_eq(party.tag, any_party.tag));
    if (sip_plain_sequence(&seq, value))
        must(sip_any_sequence(&any_seq, value) && seq.number == any_seq.number && span_eq(seq.method, any_seq.method));
}

static void check_head(struct span msg)
{
    struct sip_head h;

    check_values(msg);
    if (sip_head_read(&h, msg) < 0)
        return;
    check_values(h.via);
    check_values(h.from);
    check_values(h.to);
    check_values(h.cseq);
}

/* Of any bytes. */
static void check_gleaned(struct span msg)
{
    struct sip_id id;

    sip_glean(&id, msg);
    check_inside(id.call_id, msg);
    check_inside(id.from_uri, msg);
    check_inside(id.from_tag, msg);
    check_inside(id.to_uri, msg);
    check_inside(id.to_tag, msg);
    check_inside(id.ruri, msg);
    check_inside(id.branch, msg);
    check_inside(id.sent_by, msg);
}

static void check_with_header(struct span msg, const struct sip_id *id)
{
    struct sip_id again;
    struct span s;
    char *text = sip_with_header(msg, "X-Kamsync: to=1", &s.n);

    must(text);
    s.p = text;
    must(sip_read_id(&again, s) == 0);
    expect_same(id, &again);
    must(span_eq(id->branch, again.branch) && span_eq(id->method, again.method) && id->code == again.code);
    free(text);
}

/* With a folded line libre reads it whole, not some lines of it: nothing may differ. It dislikes more, as a
 * Content-Type.
 */
static void check_folded(struct span msg, const struct sip_id *id)
{
    struct sip_id again;
    struct span s;
    char *text = sip_with_header(msg, "X: a\r\n b", &s.n);

    must(text);
    s.p = text;
    if (sip_read_id(&again, s) == 0) {
        expect_same(id, &again);
        must(span_eq(id->branch, again.branch) && span_eq(id->sent_by, again.sent_by) && span_eq(id->via, again.via));
        must(span_eq(id->from_uri, again.from_uri) && span_eq(id->to_uri, again.to_uri) && id->code == again.code);
    }
    free(text);
}

/* The request, made into what an adoption sends. */
static void check_adopted(struct span request, const struct sip_id *id, const char *method, const char *route)
{
    struct sip_id again;
    struct span s;
    char *text = sip_adopted(request, "sip:bob@203.0.113.5:5060", VIA, route, &s.n);

    must(text);
    s = exact((struct span){text, s.n});
    must(sip_read_id(&again, s) == 0);
    expect_same(id, &again);
    must(span_eq(again.branch, span_of("z9hG4bK-fuzz.0")) && again.code == 0);
    must(!method || span_eq(again.method, span_of(method)));
    check_sent(s);
    exact_free(s);
    free(text);
}

static void check_made(struct span msg, const struct sip_id *id)
{
    struct span s;
    char *text = id->code ? sip_ack(msg, &s.n) : sip_cancel(msg, &s.n);

    must(text || !id->from_uri.n || !id->to_uri.n);
    if (!text)
        return;
    s = exact((struct span){text, s.n});
    check_adopted(s, id, id->code ? "ACK" : "CANCEL", NULL);
    exact_free(s);
    free(text);
}

/* One that the script has not changed is the same transaction. */
static void check_as_sent(struct span msg, const struct sip_id *id)
{
    struct sip_as_sent as;
    struct sip_id again;
    size_t n = 0;
    char *text;

    if (sip_read_as_sent(&as, msg, msg) < 0)
        return;
    must(!as.from && !as.to && sip_read_id(&again, as.req) == 0);
    expect_same(id, &again);
    must(span_eq(id->branch, again.branch) && span_eq(id->ruri, again.ruri));
    text = sip_readdressed(msg, "<sip:f>;tag=1", NULL, &n);
    must(text && sip_read_id(&again, (struct span){text, n}) == 0 && span_eq(again.from_uri, span_of("sip:f")));
    free(text);
    sip_as_sent_clear(&as);
}

static void check_told(void *ctx, char what, struct span text)
{
    const struct span *both = ctx;

    must(strchr("rbefticd", what));
    check_inside(text, both[what != 'r']);
}

static void check_apart(struct span was, struct span is)
{
    struct span both[] = {was, is};

    sip_apart(was, is, check_told, both);
}

static void nothing(void *ctx, char what, struct span text)
{
    (void)ctx, (void)what, (void)text;
    must(false);
}

/* Of any bytes: a record in the store may hold them. */
static void check_differences(struct span msg)
{
    const struct span other = span_of("INVITE sip:b SIP/2.0\r\nFrom: a\r\nVia: v\r\nc: x/y\r\nl: 1\r\n\r\nx");

    sip_apart(msg, msg, nothing, NULL);
    check_apart(msg, other);
    check_apart(other, msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span msg = exact((struct span){(const char *)data, size});
    struct sip_id id;

    check_sent(msg);
    check_gleaned(msg);
    check_differences(msg);
    check_head(msg);
    if (sip_read_id(&id, msg) == 0) {
        check_id(&id, msg);
        check_with_header(msg, &id);
        check_folded(msg, &id);
        check_made(msg, &id);
        if (!id.code) {
            check_as_sent(msg, &id);
            check_adopted(msg, &id, NULL, NULL);
            check_adopted(msg, &id, NULL, "<sip:r;lr>, <sip:s;lr>");
        }
    } else {
        size_t n = 0;

        free(sip_with_header(msg, "X-Kamsync: to=1", &n));
        free(sip_adopted(msg, "sip:a", VIA, "<sip:r>", &n));
        free(sip_cancel(msg, &n));
        free(sip_ack(msg, &n));
    }
    exact_free(msg);
    return 0;
}
