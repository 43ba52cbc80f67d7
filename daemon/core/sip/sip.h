/* What kamsync reads in SIP messages, and the one thing that it writes into them. libre does the parsing;
 * spans point into the message that was given. */
#ifndef KAMSYNC_SIP_H
#define KAMSYNC_SIP_H

#include <stdint.h>

#include "span.h"

#define SIP_ROUTES_MAX 16

/* What names the transaction that the caller began, in an INVITE, CANCEL or ACK (RFC 3261 17.2.3), or in a reply that
 * comes from the far end: there it is the second Via that is the caller's, below Kamailio's own. */
struct sip_id {
    int code;           /* of a reply, else 0 */
    struct span method; /* from CSeq */
    struct span call_id;
    struct span branch;  /* of the caller's Via */
    struct span sent_by; /* of the same, host and port as written */
    struct span via;     /* branch of the top Via */
    struct span from_uri, from_tag, to_uri, to_tag;
    struct span ruri; /* of a request */
    uint32_t cseq;
};

/* A request as Kamailio sent it on one branch. */
struct sip_sent {
    struct span via;    /* the whole top Via value, Kamailio's own */
    struct span branch; /* its branch parameter */
    struct span ruri;
    struct span route[SIP_ROUTES_MAX];
    size_t routes;
};

/* 0, -EBADMSG when it is not SIP or lacks Call-ID, CSeq or the branch of the caller's Via, -ENOMEM. */
int sip_read_id(struct sip_id *id, struct span msg);

/* The same from whatever there is, be it no SIP at all or the beginning of it: what is not found stays empty. The
 * method and the top Via's branch are not looked for. */
void sip_glean(struct sip_id *id, struct span msg);

/* The host of a sent-by, as written, and its port, which is 5060 if it does not say. */
struct span sip_sent_by(struct span sent_by, unsigned *port);

/* 0, -EBADMSG, -ENOMEM; -E2BIG with more than SIP_ROUTES_MAX Route values. */
int sip_read_sent(struct sip_sent *sent, struct span msg);

/* The message with one more header line (without CRLF) before its first header. The caller frees it; its
 * length goes to *len. NULL when there is no first line or memory is short. */
char *sip_with_header(struct span msg, const char *header, size_t *len);

/* What a stateless proxy would send on (RFC 3261 16.11): the request with another R-URI, one more Via on top and
 * another Route set (NULL for none). The caller frees it; NULL when it is no request or memory is short. */
char *sip_adopted(struct span request, const char *ruri, const char *via, const char *route, size_t *len);

/* A CANCEL for the INVITE as a proxy makes one of its own (RFC 3261 9.1), yet without Via and R-URI: sip_adopted() adds
 * those. The caller frees it; NULL when it is not SIP, lacks From, To or Call-ID, or memory is short. */
char *sip_cancel(struct span invite, size_t *len);
/* The CANCEL that the caller would send for his INVITE. The caller frees it; NULL as above. */
char *sip_cancel_of_caller(struct span invite, size_t *len);
/* What finds the same transaction as the caller's INVITE in Kamailio, and is short, for a question about the one that
 * tm names so: that is the R-URI's user. The caller frees it; NULL as above. */
char *sip_question(struct span invite, const char *tm_id, size_t *len);
/* The same as sip_cancel(): the ACK to a negative reply. */
char *sip_ack(struct span reply, size_t *len);
/* The 100 to an INVITE that was sent with that Via alone: it goes no further than who sent it. The caller frees it;
 * NULL as above. */
char *sip_trying(struct span invite, const char *via, size_t *len);
/* A negative reply to the INVITE that was sent with that Via on top. The caller frees it; NULL as above. */
char *sip_refusal(struct span invite, const char *via, int code, size_t *len);
/* Of a negative reply the headers that tell the caller how to go on (Contact, challenges and the like), each with its
 * end of line. The caller frees them; NULL when there are none, they are too long, or memory is short. */
char *sip_reply_head(struct span reply);
/* Whether it is such text: whole lines of such headers, none of them empty. */
bool sip_is_head(const char *text);

enum sip_credentials { SIP_PROXY_AUTHORIZATION = 1, SIP_AUTHORIZATION = 2 };

/* A copy of a request without its headers of that name, where it is spelled as RFC 3261 has it. The caller frees it;
 * NULL when memory is short. */
char *sip_without(struct span request, enum sip_credentials name, size_t *len);

/* All Via headers of a message, each with its end of line. The caller frees them; NULL when memory is short. */
char *sip_vias(struct span msg, size_t *len);

#endif
