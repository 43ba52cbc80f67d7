/* Finds the few headers that kamsync uses.
 *
 * libre parses the whole message: it keeps every header, and decodes several that are not needed here, which is most of
 * the cost of reading an INVITE. So an ordinary request is split into lines here, and sip_value.c reads only the values
 * needed. Anything unusual (a reply, a folded line, a repeated header, several Vias in a line, invalid bytes) is left
 * to libre. */
#include "sip_head.h"

#include <ctype.h>
#include <errno.h>

#include "count.h"

/* ---- parsed by libre ---- */

void sip_parsed_free(struct sip_parsed *p)
{
    mem_deref(p->msg);
    if (p->mb)
        p->mb->buf = NULL; /* borrowed: libre must not free it */
    mem_deref(p->mb);
}

/* Of two headers libre takes the last, Kamailio the first, and the parameters may be from either: refused. */
static bool is_ambiguous(const struct sip_msg *msg)
{
    static const enum sip_hdrid once[] = {SIP_HDR_CALL_ID, SIP_HDR_CSEQ, SIP_HDR_FROM, SIP_HDR_TO};

    for (size_t i = 0; i < COUNT(once); i++)
        if (sip_msg_hdr_count(msg, once[i]) > 1)
            return true;
    return false;
}

/* Whether libre splits a head of n bytes into the same lines as a parser that goes by LFs: libre skips a CR that stands
 * alone, and a first header that begins with a blank or after an empty line, which would continue any header put
 * before.
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

int sip_parse(struct sip_parsed *p, struct span msg)
{
    int err;

    *p = (struct sip_parsed){0};
    p->mb = mbuf_alloc(0);
    if (!p->mb)
        return -ENOMEM;
    mem_deref(p->mb->buf);
    p->mb->buf = (uint8_t *)(uintptr_t)msg.p;
    p->mb->size = p->mb->end = msg.n;
    err = sip_msg_decode(&p->msg, p->mb);
    if (!err && (is_ambiguous(p->msg) || has_odd_lines(msg.p, p->mb->pos)))
        err = EBADMSG;
    if (err)
        sip_parsed_free(p);
    return err == ENOMEM ? -ENOMEM : err ? -EBADMSG : 0;
}

static bool second(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
    (void)hdr;
    (void)msg;
    return ++*(int *)arg == 2;
}

static struct span value_of(const struct sip_hdr *hdr)
{
    return hdr ? sip_span(&hdr->val) : (struct span){0};
}

static int read_by_libre(struct sip_head *h, struct span raw)
{
    struct sip_parsed p;
    const struct sip_msg *msg;
    int rc = sip_parse(&p, raw), count = 0;

    if (rc < 0)
        return rc;
    msg = p.msg;
    *h = (struct sip_head){.code = msg->req ? 0 : msg->scode,
                           .ruri = msg->req ? sip_span(&msg->ruri) : (struct span){0},
                           .via = value_of(sip_msg_hdr(msg, SIP_HDR_VIA)),
                           .from = sip_span(&msg->from.val),
                           .to = sip_span(&msg->to.val),
                           .call_id = sip_span(&msg->callid),
                           .cseq = value_of(sip_msg_hdr(msg, SIP_HDR_CSEQ))};
    if (h->code)
        h->second_via = value_of(sip_msg_hdr_apply(msg, true, SIP_HDR_VIA, second, &count));
    if ((!msg->req && (h->code < 100 || h->code > 699)) || (msg->req && memchr(msg->met.p, 0, msg->met.l)))
        rc = -EBADMSG;
    sip_parsed_free(&p);
    return rc;
}

/* ---- line by line ---- */

bool sip_cut_line(struct span *line, struct span *rest)
{
    const char *cr = rest->n ? memchr(rest->p, '\r', rest->n) : NULL;

    if (!cr || cr + 1 == rest->p + rest->n || cr[1] != '\n')
        return false;
    *line = (struct span){rest->p, (size_t)(cr - rest->p)};
    *rest = (struct span){cr + 2, rest->n - line->n - 2};
    return !memchr(line->p, '\n', line->n) && !memchr(line->p, 0, line->n);
}

bool sip_cut_header(struct span *header, struct span *rest)
{
    const char *p = rest->p, *end, *lf;

    if (!rest->n || *p == '\r' || *p == '\n')
        return false;
    end = p + rest->n;
    do {
        lf = memchr(p, '\n', (size_t)(end - p));
        p = lf ? lf + 1 : end;
    } while (p < end && (*p == ' ' || *p == '\t'));
    *header = (struct span){rest->p, (size_t)(p - rest->p)};
    *rest = (struct span){p, (size_t)(end - p)};
    return true;
}

bool sip_is_header(struct span header, const char *name)
{
    const char *p = header.p, *end = header.p + header.n;
    size_t n = strlen(name);

    if (header.n <= n || strncasecmp(p, name, n) != 0)
        return false;
    for (p += n; p < end && (*p == ' ' || *p == '\t'); p++)
        ;
    return p < end && *p == ':';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trimmed(struct span s)
{
    for (; s.n && is_blank(*s.p); s.n--)
        s.p++;
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool sip_read_request_line(struct span *ruri, struct span line)
{
    static const char version[] = " SIP/2.0";
    const size_t n = strlen(version);
    const char *space = line.n > n ? memchr(line.p, ' ', line.n) : NULL, *end;

    if (!space || space == line.p || memchr(line.p, '/', (size_t)(space - line.p)))
        return false; /* no method: a reply, with any reason phrase */
    end = line.p + line.n - n;
    if (end <= space + 1 || memcmp(end, version, n) != 0 || memchr(line.p, '\t', line.n))
        return false;
    *ruri = (struct span){space + 1, (size_t)(end - space - 1)};
    return !memchr(ruri->p, ' ', ruri->n);
}

struct span *sip_head_value(struct sip_head *h, struct span name)
{
    static const struct {
        struct span name, compact;
        size_t at; /* offset in the head */
    } headers[] = {{SPAN("Via"), SPAN("v"), offsetof(struct sip_head, via)},
                   {SPAN("From"), SPAN("f"), offsetof(struct sip_head, from)},
                   {SPAN("To"), SPAN("t"), offsetof(struct sip_head, to)},
                   {SPAN("Call-ID"), SPAN("i"), offsetof(struct sip_head, call_id)},
                   {SPAN("CSeq"), SPAN(""), offsetof(struct sip_head, cseq)}};

    for (size_t i = 0; i < COUNT(headers); i++)
        if (span_caseeq(name, headers[i].name) || span_caseeq(name, headers[i].compact))
            return (struct span *)((char *)h + headers[i].at);
    return NULL;
}

/* False: the line is not ordinary. */
static bool take_line(struct sip_head *h, struct span line)
{
    const char *colon = memchr(line.p, ':', line.n);
    struct span name, value, *to;

    if (!colon || colon == line.p || is_blank(*line.p) || is_blank(colon[-1]))
        return false;
    name = (struct span){line.p, (size_t)(colon - line.p)};
    to = sip_head_value(h, name);
    if (!to || (to == &h->via && to->n))
        return true; /* only the top Via counts */
    value = trimmed((struct span){colon + 1, line.n - name.n - 1});
    if (to->n || !value.n || (to == &h->via && memchr(value.p, ',', value.n)))
        return false;
    *to = value;
    return true;
}

static bool read_lines(struct sip_head *h, struct span msg)
{
    struct span line;

    *h = (struct sip_head){0};
    if (!sip_cut_line(&line, &msg) || !sip_read_request_line(&h->ruri, line))
        return false;
    while (sip_cut_line(&line, &msg)) {
        if (!line.n)
            return h->via.n && h->from.n && h->to.n && h->call_id.n && h->cseq.n;
        if (!take_line(h, line))
            return false;
    }
    return false;
}

int sip_head_read(struct sip_head *h, struct span msg)
{
    return read_lines(h, msg) ? 0 : read_by_libre(h, msg);
}
