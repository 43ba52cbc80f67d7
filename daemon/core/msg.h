/* The messages of proto/messages.md: JSON to typed structs and back. One table row per field. Whole SIP messages stand
 * behind their JSON object, which has their lengths: jansson needs 70 instructions for each byte of a text. */
#ifndef KAMSYNC_MSG_H
#define KAMSYNC_MSG_H

#include <stdint.h>

#include "span.h"

enum msg_type { MSG_HELLO, MSG_ACK, MSG_EVENTS, MSG_STRAY };
enum event_type {
    EVENT_BRANCH,
    EVENT_REPLY,
    EVENT_TAKEN,
    EVENT_ALIVE,
    EVENT_CANCEL,
    EVENT_BYE,
    EVENT_SET,
    EVENT_STRAY
};

/* Texts are those of the JSON; spans that come from base64 are owned by the struct. */
struct event {
    enum event_type type;
    char *bytes;                       /* owned: the texts point into them */
    const char *src, *dst, *to, *sock; /* addresses */
    struct span sent, req, msg;        /* whole SIP messages; req may be empty */
    struct span via;                   /* branch parameter */
    int64_t code;
    int64_t token, ok; /* which takeover, and whether it worked */
    int64_t id;        /* node that answered a probe */
    int64_t at;        /* when the script saw it, ms since 1970; 0: it did not say */
    struct span call_id, from_tag, to_tag;
    const char *by;   /* who ended the call, if not the sender of a BYE; NULL */
    const char *name; /* of a variable */
    struct span value;
    const char *all; /* of a CANCEL that all other nodes have already: its handovers' "at" */
};

struct msg {
    enum msg_type type;
    char *bytes;           /* owned: the texts below point into them */
    int64_t node, n, k;    /* node id, frame number, stray number */
    const char *inc, *sip; /* incarnation, SIP address */
    const char *src, *dst; /* addresses */
    struct span msg;       /* a whole SIP message */
    const char *ask;       /* of an in-dialog request: what the script wants to know; NULL for another stray */
    struct span rest;      /* borrowed: of `events`, those that have not been read yet */
};

/* Reads one payload, which must outlive the struct. 0, or -EBADMSG with why (what is wrong and in which field, at most
 * why_size bytes). On 0 the caller ends with msg_clear(). Bad base64 and short memory are reported alike. */
int msg_read(struct msg *m, struct span payload, char *why, size_t why_size);
void msg_clear(struct msg *m);

/* Reads the next event of an `events` message: 1, 0 when there are no more, or -EBADMSG with why: that costs
 * no other event. */
int msg_event(struct event *ev, struct msg *m, char *why, size_t why_size);
void event_clear(struct event *ev);

/* Whether the text is an address, "udp:192.0.2.7:5060", and nothing else. */
bool msg_is_address(const char *text);
/* The same without "udp:"; and whether it is what an incarnation or a name can be. */
bool msg_is_sip_address(const char *text);
bool msg_is_word(const char *text);

/* Payloads to Kamailio: JSON text that the caller frees; NULL when memory is short. */
char *msg_hello(int64_t n, const char *tag, const char *key, const char *old_key);
char *msg_ack(int64_t n, int64_t events, int64_t strays);
char *msg_node(int64_t n, int id, const char *sip, const char *inc, bool up);
char *msg_ping(int64_t n);
char *msg_lost(int64_t n, const char *call_id_base64, uint32_t cseq);
char *msg_send(int64_t n, const char *to, const char *sock, const char *base64);

#endif
