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
/* The same: the ACK to a negative reply. */
char *sip_ack(struct span reply, size_t *len);
/* The 100 to an INVITE that was sent with that Via alone: it goes no further than who sent it. The caller frees it;
 * NULL as above. */
char *sip_trying(struct span invite, const char *via, size_t *len);

#endif
