#include "sip.h"

#include <ctype.h>
#include <errno.h>
#include <re.h>
#include <stdio.h>

#include "count.h"

/* libre works on an mbuf; this one borrows the caller's bytes, so that nothing is copied. */
struct parsed {
    struct mbuf *mb;
    struct sip_msg *msg;
};

static void parsed_free(struct parsed *p)
{
    mem_deref(p->msg);
    if (p->mb)
        p->mb->buf = NULL; /* borrowed: libre must not free it */
    mem_deref(p->mb);
}

/* Of two headers libre takes the last one, Kamailio the first, and the parameters may be either's: refused. */
static bool is_ambiguous(const struct sip_msg *msg)
{
    static const enum sip_hdrid once[] = {SIP_HDR_CALL_ID, SIP_HDR_CSEQ, SIP_HDR_FROM, SIP_HDR_TO};

    for (size_t i = 0; i < COUNT(once); i++)
        if (sip_msg_hdr_count(msg, once[i]) > 1)
            return true;
    return false;
}

/* Whether libre's lines are those of whoever goes by LFs, in a head of n bytes: it reads over a CR that stands alone,
 * and a first header that begins with a blank or after an empty line, which would go on with any header put before it.
 */
static bool has_odd_lines(const char *head, size_t n)
{
    const char *lf = memchr(head, '\n', n), *end = head + n;

    if (lf && lf + 1 < end && isspace((unsigned char)lf[1]))
        return true;
    for (const char *cr = memchr(head, '\r', n); cr; cr = memchr(cr + 1, '\r', (size_t)(end - cr - 1)))
        if (cr + 1 < end && cr[1] != '\n')
            return true;
    return false;
}

static int parse(struct parsed *p, struct span raw)
{
    int err;

    *p = (struct parsed){0};
    p->mb = mbuf_alloc(0);
    if (!p->mb)
        return -ENOMEM;
    mem_deref(p->mb->buf);
    p->mb->buf = (uint8_t *)(uintptr_t)raw.p;
    p->mb->size = p->mb->end = raw.n;
    err = sip_msg_decode(&p->msg, p->mb);
    if (!err && (is_ambiguous(p->msg) || has_odd_lines(raw.p, p->mb->pos)))
        err = EBADMSG;
    if (err)
        parsed_free(p);
    return err == ENOMEM ? -ENOMEM : err ? -EBADMSG : 0;
}

static struct span span_pl(const struct pl *pl)
{
    return (struct span){pl->p, pl->p ? pl->l : 0};
}

static bool second(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
    (void)hdr;
    (void)msg;
    return ++*(int *)arg == 2;
}

/* What goes on as C text, or into a name. SIP knows no NUL there. */
static bool has_nul(struct span s)
{
    return s.n && memchr(s.p, 0, s.n);
}

/* The Via that the caller wrote. */
static int read_caller_via(struct sip_via *via, const struct sip_msg *msg)
{
    const struct sip_hdr *hdr;
    int count = 0;

    *via = msg->via;
    if (msg->req)
        return 0;
    hdr = sip_msg_hdr_apply(msg, true, SIP_HDR_VIA, second, &count);
    return hdr && sip_via_decode(via, &hdr->val) == 0 ? 0 : -EBADMSG;
}

static int read_id(struct sip_id *id, const struct sip_msg *msg)
{
    struct sip_via via;

    *id = (struct sip_id){0};
    if (read_caller_via(&via, msg) < 0 || (!msg->req && (msg->scode < 100 || msg->scode > 699)))
        return -EBADMSG;
    id->code = msg->req ? 0 : msg->scode;
    id->method = span_pl(&msg->cseq.met);
    id->call_id = span_pl(&msg->callid);
    id->branch = span_pl(&via.branch);
    id->sent_by = span_pl(&via.sentby);
    id->via = span_pl(&msg->via.branch);
    id->from_uri = span_pl(&msg->from.auri);
    id->from_tag = span_pl(&msg->from.tag);
    id->to_uri = span_pl(&msg->to.auri);
    id->to_tag = span_pl(&msg->to.tag);
    id->cseq = msg->cseq.num;
    if (has_nul(id->call_id) || has_nul(id->branch) || has_nul(id->sent_by) || has_nul(id->via) ||
        has_nul(id->method) || (msg->req && has_nul(span_pl(&msg->met))))
        return -EBADMSG;
    return id->call_id.n && id->branch.n && id->method.n ? 0 : -EBADMSG;
}

int sip_read_id(struct sip_id *id, struct span msg)
{
    struct parsed p;
    int rc = parse(&p, msg);

    if (rc == 0) {
        rc = read_id(id, p.msg);
        parsed_free(&p);
    }
    return rc;
}

static bool take_route(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
    struct sip_sent *sent = arg;

    (void)msg;
    if (sent->routes == SIP_ROUTES_MAX || has_nul(span_pl(&hdr->val)))
        return true; /* stops the walk: libre then returns this header */
    sent->route[sent->routes++] = span_pl(&hdr->val);
    return false;
}

static int read_sent(struct sip_sent *sent, const struct sip_msg *msg)
{
    const struct sip_hdr *via = sip_msg_hdr(msg, SIP_HDR_VIA);

    *sent = (struct sip_sent){0};
    if (!msg->req || !via || !msg->via.branch.l)
        return -EBADMSG;
    sent->via = span_pl(&via->val);
    sent->branch = span_pl(&msg->via.branch);
    sent->ruri = span_pl(&msg->ruri);
    if (has_nul(sent->via) || has_nul(sent->ruri))
        return -EBADMSG;
    if (!sip_msg_hdr_apply(msg, true, SIP_HDR_ROUTE, take_route, sent))
        return 0;
    return sent->routes == SIP_ROUTES_MAX ? -E2BIG : -EBADMSG;
}

/* Cuts a line off, which ends in CR LF; false when none does, or a CR stands in it alone. */
static bool cut_line(struct span *line, struct span *rest)
{
    const char *cr = rest->n ? memchr(rest->p, '\r', rest->n) : NULL;

    if (!cr || cr + 1 == rest->p + rest->n || cr[1] != '\n')
        return false;
    *line = (struct span){rest->p, (size_t)(cr - rest->p)};
    *rest = (struct span){cr + 2, rest->n - line->n - 2};
    return !memchr(line->p, '\n', line->n) && !memchr(line->p, 0, line->n);
}

/* The R-URI in "INVITE <R-URI> SIP/2.0". */
static bool read_request_line(struct span *ruri, struct span line)
{
    static const char method[] = "INVITE ", version[] = " SIP/2.0";
    const size_t more = strlen(method) + strlen(version);

    if (line.n <= more || memcmp(line.p, method, strlen(method)) != 0 ||
        memcmp(line.p + line.n - strlen(version), version, strlen(version)) != 0)
        return false;
    *ruri = (struct span){line.p + strlen(method), line.n - more};
    return !memchr(ruri->p, ' ', ruri->n) && !memchr(ruri->p, '\t', ruri->n);
}

/* What the script tells of most branches: the first line, tm's own Via, and an empty line. Were that given to libre as
 * a message, it would cost five times as much. False: it is of another form, which is no fault. */
static bool read_short(struct sip_sent *sent, struct span msg)
{
    static const char name[] = "Via: ";
    struct span first, via, empty;
    struct sip_via decoded;
    struct pl value;

    if (!cut_line(&first, &msg) || !cut_line(&via, &msg) || !cut_line(&empty, &msg) || empty.n || msg.n ||
        via.n <= strlen(name) || memcmp(via.p, name, strlen(name)) != 0)
        return false;
    value = (struct pl){via.p + strlen(name), via.n - strlen(name)};
    *sent = (struct sip_sent){.via = {value.p, value.l}};
    if (!read_request_line(&sent->ruri, first) || memchr(value.p, ',', value.l) || isspace((unsigned char)*value.p) ||
        isspace((unsigned char)value.p[value.l - 1]) || sip_via_decode(&decoded, &value))
        return false;
    sent->branch = span_pl(&decoded.branch);
    return sent->branch.n > 0;
}

int sip_read_sent(struct sip_sent *sent, struct span msg)
{
    struct parsed p;
    int rc;

    if (read_short(sent, msg))
        return 0;
    rc = parse(&p, msg);
    if (rc == 0) {
        rc = read_sent(sent, p.msg);
        parsed_free(&p);
    }
    return rc;
}

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
static char *add_line(char *to, const char *name, const struct pl *value)
{
    to += sprintf(to, "%s: ", name);
    if (value->l)
        to = (char *)memcpy(to, value->p, value->l) + value->l;
    return (char *)memcpy(to, "\r\n", 2) + 2;
}

/* A message with the identity of the model: From, To, Call-ID and CSeq number. `start` is all that stands above them.
 */
static char *made_of(const char *start, const char *method, struct span model, size_t *len)
{
    struct parsed p;
    const struct sip_msg *msg;
    char *out, *to;
    bool whole;

    if (parse(&p, model) < 0)
        return NULL;
    msg = p.msg;
    whole = msg->from.val.l && msg->to.val.l && msg->callid.l;
    out = to = !whole ? NULL : malloc(msg->from.val.l + msg->to.val.l + msg->callid.l + strlen(start) + 160);
    if (out) {
        to += sprintf(to, "%s", start);
        to = add_line(to, "From", &msg->from.val);
        to = add_line(to, "To", &msg->to.val);
        to = add_line(to, "Call-ID", &msg->callid);
        to += sprintf(to, "CSeq: %u %s\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", msg->cseq.num, method);
        *len = (size_t)(to - out);
    }
    parsed_free(&p);
    return out;
}

char *sip_cancel(struct span invite, size_t *len)
{
    return made_of("CANCEL sip:x SIP/2.0\r\n", "CANCEL", invite, len);
}

char *sip_ack(struct span reply, size_t *len)
{
    return made_of("ACK sip:x SIP/2.0\r\n", "ACK", reply, len);
}

char *sip_trying(struct span invite, const char *via, size_t *len)
{
    static const char status[] = "SIP/2.0 100 Trying\r\nVia: ";
    size_t size = sizeof(status) + strlen(via) + 2;
    char *start = malloc(size), *out = NULL;

    if (start) {
        snprintf(start, size, "%s%s\r\n", status, via);
        out = made_of(start, "INVITE", invite, len);
    }
    free(start);
    return out;
}
