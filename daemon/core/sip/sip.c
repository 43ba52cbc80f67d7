#include "sip.h"

#include <errno.h>
#include <stdio.h>

#include "sip_head.h"
#include "sip_value.h"

/* Text that is used as a C string or in a key. SIP text has no NUL there. */
static bool has_nul(struct span s)
{
    return s.n && memchr(s.p, 0, s.n);
}

/* A missing header is no error: uri and tag stay empty. */
static bool read_address(struct span *uri, struct span *tag, struct span value)
{
    struct sip_party party = {0};

    if (value.n && !sip_read_party(&party, value))
        return false;
    *uri = party.uri;
    *tag = party.tag;
    return true;
}

static int read_id(struct sip_id *id, const struct sip_head *h)
{
    struct sip_hop top, hop;
    struct sip_sequence seq;

    *id = (struct sip_id){.code = h->code, .ruri = h->ruri, .call_id = h->call_id};
    if (!sip_read_hop(&top, h->via) || !sip_read_sequence(&seq, h->cseq) ||
        !read_address(&id->from_uri, &id->from_tag, h->from) || !read_address(&id->to_uri, &id->to_tag, h->to))
        return -EBADMSG;
    hop = top;
    if (h->code && !sip_read_hop(&hop, h->second_via))
        return -EBADMSG;
    id->method = seq.method;
    id->cseq = seq.number;
    id->via = top.branch;
    id->branch = hop.branch;
    id->sent_by = hop.sent_by;
    if (has_nul(id->call_id) || has_nul(id->branch) || has_nul(id->sent_by) || has_nul(id->via) || has_nul(id->method))
        return -EBADMSG;
    return id->call_id.n && id->branch.n && id->method.n ? 0 : -EBADMSG;
}

int sip_read_id(struct sip_id *id, struct span msg)
{
    struct sip_head h;
    int rc = sip_head_read(&h, msg);

    return rc == 0 ? read_id(id, &h) : rc;
}

struct span sip_sent_by(struct span sent_by, unsigned *port)
{
    size_t n = sent_by.n;
    unsigned value = 0, digit = 1;

    while (n > 0 && sent_by.p[n - 1] >= '0' && sent_by.p[n - 1] <= '9' && sent_by.n - n < 9) {
        value += (unsigned)(sent_by.p[--n] - '0') * digit;
        digit *= 10;
    }
    *port = 5060;
    if (n < 2 || n == sent_by.n || sent_by.p[n - 1] != ':')
        return sent_by;
    *port = value;
    return (struct span){sent_by.p, n - 1};
}

static bool take_route(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
    struct sip_sent *sent = arg;

    (void)msg;
    if (sent->routes == SIP_ROUTES_MAX || has_nul(sip_span(&hdr->val)))
        return true; /* stops the walk: libre then returns this header */
    sent->route[sent->routes++] = sip_span(&hdr->val);
    return false;
}

static int read_sent(struct sip_sent *sent, const struct sip_msg *msg)
{
    const struct sip_hdr *via = sip_msg_hdr(msg, SIP_HDR_VIA);

    *sent = (struct sip_sent){0};
    if (!msg->req || !via || !msg->via.branch.l)
        return -EBADMSG;
    sent->via = sip_span(&via->val);
    sent->branch = sip_span(&msg->via.branch);
    sent->ruri = sip_span(&msg->ruri);
    if (has_nul(sent->via) || has_nul(sent->ruri))
        return -EBADMSG;
    if (!sip_msg_hdr_apply(msg, true, SIP_HDR_ROUTE, take_route, sent))
        return 0;
    return sent->routes == SIP_ROUTES_MAX ? -E2BIG : -EBADMSG;
}

/* What the script reports of most branches: the first line, tm's own Via, and an empty line. Parsing that by libre
 * would cost ten times as much. False: another form, which is no error. */
static bool read_short(struct sip_sent *sent, struct span msg)
{
    static const char name[] = "Via: ";
    struct span first, via, empty;
    struct sip_hop hop;

    if (!sip_cut_line(&first, &msg) || !sip_cut_line(&via, &msg) || !sip_cut_line(&empty, &msg) || empty.n || msg.n ||
        via.n <= strlen(name) || memcmp(via.p, name, strlen(name)) != 0)
        return false;
    *sent = (struct sip_sent){.via = {via.p + strlen(name), via.n - strlen(name)}};
    if (!sip_plain_hop(&hop, sent->via) || memchr(sent->via.p, ',', sent->via.n))
        return false;
    sent->branch = hop.branch;
    return sip_read_request_line(&sent->ruri, first);
}

int sip_read_sent(struct sip_sent *sent, struct span msg)
{
    struct sip_parsed p;
    int rc;

    if (read_short(sent, msg))
        return 0;
    rc = sip_parse(&p, msg);
    if (rc == 0) {
        rc = read_sent(sent, p.msg);
        sip_parsed_free(&p);
    }
    return rc;
}
