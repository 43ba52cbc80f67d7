/* The messages of proto/messages.md: JSON to typed structs and back, one table row per field. Whole SIP messages stand
 * behind their JSON object, which has their lengths: jansson takes 70 instructions for each byte of a string. */
#ifndef KAMSYNC_MSG_H
#define KAMSYNC_MSG_H

#include <stdint.h>

#include "span.h"

enum msg_type { MSG_HELLO, MSG_ACK, MSG_EVENTS, MSG_STRAY };
enum event_type {
    EVENT_BRANCH,
    EVENT_REPLY,
    EVENT_GAVE_UP,
    EVENT_TAKEN,
    EVENT_ALIVE,
    EVENT_CANCEL,
    EVENT_BYE,
    EVENT_SET,
    EVENT_STRAY,
    EVENT_MARK,
    EVENT_SHED,
    EVENT_STATE,
    EVENT_UNTRACKED
};

/* All texts are NUL-terminated, and point into the payload. */
struct event {
    enum event_type type;
    char *own;                         /* owned: a copy of all texts, see event_own(); else NULL */
    const char *src, *dst, *to, *sock; /* addresses */
    struct span sent, req, msg;        /* whole SIP messages; req may be empty, and msg of a reply */
    struct span via;                   /* branch parameter */
    int64_t code;
    int64_t stateless; /* of a branch: 1: tm does not have it */
    int64_t i;         /* tm's branch index */
    int64_t consumed;  /* of a branch: which of the caller's credentials the script removed: enum sip_credentials */
    int64_t step;      /* failure_route has sent this branch */
    int64_t as_sent;   /* of a branch: a takeover sends the INVITE as this branch was sent, not as it was received */
    struct span kept;  /* of a branch: the script's own, which a takeover hands back to it */
    int64_t token, ok; /* of a takeover, and whether it worked */
    int64_t id;        /* node that answered a probe, or that sent the BYE of a stray reply; number of a mark */
    int64_t count;     /* events lost */
    int64_t at;        /* when the script saw it, ms since 1970; 0: unknown */
    struct span call_id, from_tag, to_tag;
    int64_t cseq;
    struct span branch, sent_by; /* the caller's Via, which names the transaction */
    const char *by;              /* who ended the call, if not the sender of a BYE; NULL */
    const char *name;            /* of a variable */
    struct span value;
    const char *all; /* of a stray CANCEL that all other nodes already have: the "at" of its handovers; of a CANCEL that
                      * came that way and was acted upon: "<sender>.<at>"; NULL */
    const char *why; /* why a call is not tracked */
    size_t size;     /* its bytes in the frame */
    int64_t early_ms; /* since when it has waited for its transaction or call, 0: not at all */
};

/* The same. */
struct msg {
    enum msg_type type;
    int64_t node, n, k;        /* node id, frame number, stray number */
    int64_t id, alive;         /* of the ack for a probe: the node's id (else 0); it had answered the probe before */
    const char *inc, *sip;     /* incarnation, SIP address */
    const char *nonce, *proof; /* of a hello: Kamailio's fresh value, and the proof of its identity */
    const char *src, *dst;     /* addresses */
    struct span msg;           /* a whole SIP message */
    const char *ask;           /* of an in-dialog request: what the script asks; NULL for other strays */
    struct span rest;          /* borrowed: the events of `events` not yet read */
};

/* Reads one payload in place, so that nothing is copied: its texts are decoded where they stand, and what has been read
 * points there. 0; or -EBADMSG with why (what is wrong in which field, at most why_size bytes). Bad base64 and a failed
 * allocation are reported alike. */
int msg_read(struct msg *m, struct span payload, char *why, size_t why_size);

/* Reads the next event of an `events` message: 1, 0 when there are no more, or -EBADMSG with why: then only this event
 * is lost. */
int msg_event(struct event *ev, struct msg *m, char *why, size_t why_size);

/* Copies the texts of an event that is to outlive its payload; the caller ends with event_clear(). False when out of
 * memory. */
bool event_own(struct event *ev);
void event_clear(struct event *ev);

/* Whether the text is exactly an address, "udp:192.0.2.7:5060". */
bool msg_is_address(const char *text);
/* Whether it is one of a connection (TCP, TLS, WebSocket), which ends with its node. */
bool msg_is_connection(const char *address);
/* The same without "udp:"; and whether it is a valid incarnation or name. */
bool msg_is_sip_address(const char *text);
bool msg_is_word(const char *text);

/* Payloads to Kamailio: JSON text that the caller frees; NULL when out of memory. */
char *msg_hello(const char *tag);
/* `after` is the tag of the last connection on which events were read, and events_read the last frame's number; "", 0.
 */
char *msg_proof(const char *proof, const char *after, int64_t events_read);
char *msg_keys(int64_t n);
char *msg_ack(int64_t n, int64_t events, int64_t strays);
char *msg_node(int64_t n, int id, const char *sip, const char *inc, bool up);
char *msg_ping(int64_t n);
char *msg_mark(int64_t n, int64_t mark);
/* All fields but cseq in base64. */
char *msg_lost(int64_t n, const char *call_id, uint32_t cseq, const char *branch, const char *sent_by);
char *msg_second(int64_t n, const char *via_base64, int node);
/* A message too long for one frame: its first parts, counted from 0, then the rest with their number. */
char *msg_part(int64_t n, int k, struct span base64);
char *msg_send(int64_t n, const char *to, const char *sock, const char *base64, int parts);

#endif
