/* Writes SIP: one more header, and requests and replies of kamsync's own. */
#include "sip.h"

#include <stdio.h>

#include "sip_head.h"
#include "sip_value.h"

char *sip_with_header(struct span msg, const char *header, size_t *len)
{
    const char *lf = msg.n ? memchr(msg.p, '\n', msg.n) : NULL;
    size_t head = lf ? (size_t)(lf - msg.p) + 1 : 0, n = strlen(header);
    char *out = lf ? malloc(msg.n + n + 2) : NULL;

    if (!out)
        return NULL;
    memcpy(out, msg.p, head);
    memcpy(out + head, header, n);
    memcpy(out + head + n, "\r\n", 2);
    memcpy(out + head + n + 2, msg.p + head, msg.n - head);
    *len = msg.n + n + 2;
    return out;
}

/* A header line; its value may hold any byte. */
static char *add_line(char *to, const char *name, struct span value)
{
    to += sprintf(to, "%s: ", name);
    to = (char *)memcpy(to, value.p, value.n) + value.n;
    return (char *)memcpy(to, "\r\n", 2) + 2;
}

/* A message with the model's From, To (followed by to_more), Call-ID and CSeq number, a BYE with the next. `start` is
 * everything above these. */
static char *made_of(const char *start, const char *method, struct span model, const char *to_more, size_t *len)
{
    struct sip_head h;
    struct sip_sequence seq;
    char *out, *to;

    if (sip_head_read(&h, model) < 0 || !h.from.n || !h.to.n || !h.call_id.n || !sip_read_sequence(&seq, h.cseq))
        return NULL;
    out = to = malloc(h.from.n + h.to.n + h.call_id.n + strlen(start) + strlen(to_more) + 160);
    if (!out)
        return NULL;
    to += sprintf(to, "%s", start);
    to = add_line(to, "From", h.from);
    to = add_line(to, "To", h.to);
    if (*to_more)
        to += sprintf(to - 2, "%s\r\n", to_more) - 2;
    to = add_line(to, "Call-ID", h.call_id);
    to += sprintf(to, "CSeq: %u %s\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                  seq.number + (strcmp(method, "BYE") == 0), method);
    *len = (size_t)(to - out);
    return out;
}

char *sip_cancel(struct span invite, size_t *len)
{
    return made_of("CANCEL sip:x SIP/2.0\r\n", "CANCEL", invite, "", len);
}

char *sip_cancel_of_caller(struct span invite, size_t *len)
{
    struct span line, ruri, rest = invite;
    struct sip_head h;
    char *start = NULL, *out = NULL;

    if (sip_cut_line(&line, &rest) && sip_read_request_line(&ruri, line) && sip_head_read(&h, invite) == 0 &&
        asprintf(&start, "CANCEL %.*s SIP/2.0\r\nVia: %.*s\r\n", (int)ruri.n, ruri.p, (int)h.via.n, h.via.p) > 0)
        out = made_of(start, "CANCEL", invite, "", len);
    free(start);
    return out;
}

char *sip_question(struct span invite, const char *tm_id, size_t *len)
{
    struct sip_head h;
    char *start = NULL, *out = NULL;

    if (sip_head_read(&h, invite) == 0 &&
        asprintf(&start, "INVITE sip:%s@kamsync SIP/2.0\r\nVia: %.*s\r\n", tm_id, (int)h.via.n, h.via.p) > 0)
        out = made_of(start, "INVITE", invite, "", len);
    free(start);
    return out;
}

char *sip_named(const char *call_id, uint32_t cseq, const char *branch, const char *sent_by)
{
    char *out;

    if (asprintf(&out,
                 "INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=%s\r\nFrom: <sip:x>;tag=x\r\nTo: <sip:x>\r\n"
                 "Call-ID: %s\r\nCSeq: %u INVITE\r\n\r\n",
                 sent_by, branch, call_id, cseq) < 0)
        return NULL;
    return out;
}

char *sip_ack(struct span reply, size_t *len)
{
    return made_of("ACK sip:x SIP/2.0\r\n", "ACK", reply, "", len);
}

char *sip_trying(struct span invite, const char *via, size_t *len)
{
    static const char status[] = "SIP/2.0 100 Trying\r\nVia: ";
    size_t size = sizeof(status) + strlen(via) + 2;
    char *start = malloc(size), *out = NULL;

    if (start) {
        snprintf(start, size, "%s%s\r\n", status, via);
        out = made_of(start, "INVITE", invite, "", len);
    }
    free(start);
    return out;
}

char *sip_refusal(struct span invite, const char *via, int code, size_t *len)
{
    size_t n = 0;
    char *vias = sip_vias(invite, &n), *start = NULL, *out = NULL;
    struct sip_id id;

    if (vias && sip_read_id(&id, invite) == 0 &&
        asprintf(&start, "SIP/2.0 %d Already Said\r\nVia: %s\r\n%.*s", code, via, (int)n, vias) > 0)
        out = made_of(start, "INVITE", invite, id.to_tag.n ? "" : ";tag=kamsync", len);
    free(start);
    free(vias);
    return out;
}

/* ---- in the caller's stead ---- */

struct route_set {
    char *text, *to;
};

static bool add_route(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
    struct route_set *set = arg;

    (void)msg;
    set->to = add_line(set->to, "Route", sip_span(&hdr->val));
    return false;
}

/* The Record-Route of a reply, backwards (RFC 3261 12.1.2). */
static bool read_routes(struct route_set *set, const struct sip_parsed *p, size_t size)
{
    set->text = set->to = malloc(10 * size + 1);
    if (!set->text)
        return false;
    sip_msg_hdr_apply(p->msg, false, SIP_HDR_RECORD_ROUTE, add_route, set);
    *set->to = '\0';
    return true;
}

static bool read_contact(struct sip_addr *contact, const struct sip_parsed *p)
{
    const struct sip_hdr *hdr = sip_msg_hdr(p->msg, SIP_HDR_CONTACT);

    return hdr && sip_addr_decode(contact, &hdr->val) == 0;
}

/* The branch is the same for each copy of the reply: then so is the transaction. */
static char *start_of(const struct sip_parsed *p, const char *method, const char *sip, const char *routes)
{
    const struct pl *branch = &p->msg->via.branch;
    struct sip_addr contact;
    char *start = NULL;

    if (!read_contact(&contact, p) ||
        asprintf(&start, "%s %.*s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK-kamsync-%s-%.*s\r\n%s", method,
                 (int)contact.auri.l, contact.auri.p, sip, method, (int)branch->l, branch->p ? branch->p : "",
                 routes) < 0)
        return NULL;
    return start;
}

char *sip_of_caller(struct span answer, const char *method, const char *sip, bool *routed, size_t *len)
{
    struct route_set set = {0};
    struct sip_parsed p;
    char *start = NULL, *out = NULL;

    if (sip_parse(&p, answer) < 0)
        return NULL;
    if (read_routes(&set, &p, answer.n))
        start = start_of(&p, method, sip, set.text);
    *routed = set.to > set.text;
    if (start)
        out = made_of(start, method, answer, "", len);
    free(start);
    free(set.text);
    sip_parsed_free(&p);
    return out;
}
