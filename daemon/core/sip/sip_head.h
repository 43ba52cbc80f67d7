/* The headers of a SIP message that kamsync uses, undecoded; sip.c decodes them. */
#ifndef KAMSYNC_SIP_HEAD_H
#define KAMSYNC_SIP_HEAD_H

#include <re.h>

#include "span.h"

/* Header values without surrounding blanks; empty: no such header. Spans point into the message. */
struct sip_head {
    int code;               /* of a reply, 0: it is a request */
    struct span ruri;       /* of a request */
    struct span via;        /* the top one */
    struct span second_via; /* of a reply: the one below Kamailio's own */
    struct span from, to, call_id, cseq;
};

/* 0, -EBADMSG when it is not SIP, or has one of the last four twice; -ENOMEM. */
int sip_head_read(struct sip_head *h, struct span msg);

/* A message parsed by libre; it borrows the bytes. 0, -EBADMSG, -ENOMEM. */
struct sip_parsed {
    struct mbuf *mb;
    struct sip_msg *msg;
};
int sip_parse(struct sip_parsed *p, struct span msg);
void sip_parsed_free(struct sip_parsed *p);

/* Cuts off a line that ends in CR LF; false when there is none, or when it has a CR, LF or NUL inside. */
bool sip_cut_line(struct span *line, struct span *rest);

/* The field for a header of that name, or of its compact form; NULL: that header is not used. */
struct span *sip_head_value(struct sip_head *h, struct span name);

/* Cuts off the next header (or the first line), with its folded lines and its end of line; false at the end of the
 * head. Goes by LFs alone. */
bool sip_cut_header(struct span *header, struct span *rest);
/* Whether a header has that name, in any case of letters. */
bool sip_is_header(struct span header, const char *name);

/* Appends these bytes; returns their end. */
static inline char *sip_put(char *to, struct span s)
{
    return (char *)memcpy(to, s.p, s.n) + s.n;
}

/* The R-URI in "<method> <R-URI> SIP/2.0"; false when the line is of another form. */
bool sip_read_request_line(struct span *ruri, struct span line);

static inline struct span sip_span(const struct pl *pl)
{
    return (struct span){pl->p, pl->p ? pl->l : 0};
}

#endif
