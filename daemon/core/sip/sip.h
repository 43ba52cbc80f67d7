/* What kamsync reads in SIP messages, and what it writes. libre does the parsing; spans point into the given message.
 */
#ifndef KAMSYNC_SIP_H
#define KAMSYNC_SIP_H

#include <stdint.h>

#include "span.h"

#define SIP_ROUTES_MAX 16

/* Identifies the caller's transaction, in an INVITE, CANCEL or ACK (RFC 3261 17.2.3), or in a reply from the far end:
 * in that one the caller's Via is the second, below Kamailio's own. */
struct sip_id {
    int code;           /* of a reply, else 0 */
    struct span method; /* from CSeq */
    struct span call_id;
    struct span branch;  /* of the caller's Via */
    struct span sent_by; /* of the same, host and port as written */
    struct span via;     /* branch of the top Via */
    struct span from_uri, from_tag, to_uri, to_tag;
    struct span ruri; /* requests only */
    uint32_t cseq;
};

/* A request as Kamailio sent it on one branch. */
struct sip_sent {
    struct span via;    /* the whole top Via value, Kamailio's own */
    struct span branch; /* the Via's branch parameter */
    struct span ruri;
    struct span route[SIP_ROUTES_MAX];
    size_t routes;
};

/* 0, -EBADMSG when it is not SIP or lacks Call-ID, CSeq or the branch of the caller's Via, -ENOMEM. */
int sip_read_id(struct sip_id *id, struct span msg);

/* The same for any bytes, even if they are no SIP message or only its beginning: what is not found stays empty. The
 * method and the top Via's branch are not read. */
void sip_glean(struct sip_id *id, struct span msg);

/* The host of a sent-by, as written, and its port, 5060 by default. */
struct span sip_sent_by(struct span sent_by, unsigned *port);

/* 0, -EBADMSG, -ENOMEM; -E2BIG with more than SIP_ROUTES_MAX Route values. */
int sip_read_sent(struct sip_sent *sent, struct span msg);

/* The message with one more header line (without CRLF) before its first header. The caller frees it; *len is its
 * length. NULL when there is no first line, or when out of memory. */
char *sip_with_header(struct span msg, const char *header, size_t *len);

/* What a stateless proxy would forward (RFC 3261 16.11): the request with another R-URI, one more Via on top and
 * another Route set (NULL for none). The caller frees it; NULL when it is no request, or when out of memory. */
char *sip_adopted(struct span request, const char *ruri, const char *via, const char *route, size_t *len);

/* A CANCEL for the INVITE as a proxy generates its own (RFC 3261 9.1), but without Via and R-URI, which sip_adopted()
 * adds. The caller frees it; NULL when the INVITE is not SIP, lacks From, To or Call-ID, or when out of memory. */
char *sip_cancel(struct span invite, size_t *len);
/* The CANCEL that the caller would send for his INVITE. The caller frees it; NULL as above. */
char *sip_cancel_of_caller(struct span invite, size_t *len);
/* A short request that matches the transaction of the caller's INVITE in Kamailio, to ask about that transaction; the
 * R-URI's user is tm's name of it. The caller frees it; NULL as above. */
char *sip_question(struct span invite, const char *tm_id, size_t *len);
/* An INVITE of which nothing is left but what names its transaction (RFC 3261 17.2.3), for sip_question(). The caller
 * frees it; NULL when out of memory. */
char *sip_named(const char *call_id, uint32_t cseq, const char *branch, const char *sent_by);
/* The same as sip_cancel(): the ACK to a negative reply. */
char *sip_ack(struct span reply, size_t *len);
/* The 100 to an INVITE that was sent with that Via alone: it goes only to the INVITE's sender. The caller frees it;
 * NULL as above. */
char *sip_trying(struct span invite, const char *via, size_t *len);
/* A negative reply to the INVITE that was sent with that Via on top. The caller frees it; NULL as above. */
char *sip_refusal(struct span invite, const char *via, int code, size_t *len);
/* The caller's ACK or BYE in the dialog that a 2xx has begun (12.2.1.1), sent from that address; *routed: it has a
 * Route set. The caller frees it; NULL when the 2xx has no Contact, too. */
char *sip_of_caller(struct span answer, const char *method, const char *sip, bool *routed, size_t *len);
/* The headers of a negative reply that tell the caller how to continue (Contact, challenges and the like), each with
 * its end of line. The caller frees them; NULL when there are none, they are too long, or when out of memory. */
char *sip_reply_head(struct span reply);
/* Whether the text is of that form: whole lines of such headers, none of them empty. */
bool sip_is_head(const char *text);

enum sip_credentials { SIP_PROXY_AUTHORIZATION = 1, SIP_AUTHORIZATION = 2 };

/* A copy of a request without its headers of that name, in RFC 3261's spelling. The caller frees it; NULL when out of
 * memory. */
char *sip_without(struct span request, enum sip_credentials name, size_t *len);

/* An INVITE that a takeover sends as the script had changed it: what tm makes its Via branch of (R-URI, Via, From, To,
 * Call-ID, CSeq) is as received, all else as sent, but for the proxy's own Record-Route and the Route set. */
struct sip_as_sent {
    struct span req;
    char *from, *to; /* the values that were sent, where they differ from those received; else NULL */
};

/* 0, and the caller ends with sip_as_sent_clear(); -EBADMSG when one of the two is not whole, -ENOMEM. */
int sip_read_as_sent(struct sip_as_sent *as, struct span received, struct span sent);
void sip_as_sent_clear(struct sip_as_sent *as);

/* What a script has to do to make the second INVITE of the first: r: remove all headers of that name; add headers, b:
 * at the beginning, e: at the end, f, t, i, c: behind From, To, Call-ID, CSeq; d: the body. */
typedef void sip_apart_fn(void *ctx, char what, struct span text);
/* Tells that one after the other. The two are alike in what tm makes its Via branch of. False when a script cannot do
 * it: too many headers, or only one has a body. */
bool sip_apart(struct span was, struct span is, sip_apart_fn *tell, void *ctx);

/* A copy of a request with another From, and another To if its own has no tag (NULL: as it is). The caller frees it;
 * NULL when out of memory. */
char *sip_readdressed(struct span request, const char *from, const char *to, size_t *len);

/* All Via headers of a message, each with its end of line. The caller frees them; NULL when out of memory. */
char *sip_vias(struct span msg, size_t *len);

#endif
