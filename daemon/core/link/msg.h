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

/* Texts are those of the JSON; spans that come from base64 are owned by the struct. */
struct event {
    enum event_type type;
    char *bytes;                       /* owned: the texts point into them */
    const char *src, *dst, *to, *sock; /* addresses */
    struct span sent, req, msg;        /* whole SIP messages; req may be empty, and msg of a reply */
    struct span via;                   /* branch parameter */
    int64_t code;
    int64_t stateless; /* of a branch: 1, no tm has it */
    int64_t i;         /* tm's branch index */
    int64_t consumed;  /* of a branch: the script took the caller's credentials out: enum sip_credentials */
    int64_t step;      /* failure_route has sent this branch */
    int64_t token, ok; /* which takeover, and whether it worked */
    int64_t id;        /* node that answered a probe, or that sent the BYE of a stray reply; number of a mark */
    int64_t count;     /* how many events were lost */
    int64_t at;        /* when the script saw it, ms since 1970; 0: it did not say */
    struct span call_id, from_tag, to_tag;
    int64_t cseq;
    struct span branch, sent_by; /* the caller's Via, which names the transaction */
    const char *by;              /* who ended the call, if not the sender of a BYE; NULL */
    const char *name;            /* of a variable */
    struct span value;
    const char *all;  /* of a stray CANCEL that all other nodes have already: its handovers' "at"; of one that was acted
                       * upon, and came so: "<sender>.<at>"; NULL */
    const char *why;  /* a call is not tracked */
    size_t size;      /* bytes that it had in its frame */
    int64_t early_ms; /* since when it has been waiting for what it is about, 0: it is fresh */
};

struct msg {
    enum msg_type type;
    char *bytes;               /* owned: the texts below point into them */
    int64_t node, n, k;        /* node id, frame number, stray number */
    const char *inc, *sip;     /* incarnation, SIP address */
    const char *nonce, *proof; /* of a hello: what is to be proven with, and that it is our Kamailio's */
    const char *src, *dst;     /* addresses */
    struct span msg;           /* a whole SIP message */
    const char *ask;           /* of an in-dialog request: what the script wants to know; NULL for another stray */
    struct span rest;          /* borrowed: of `events`, those that have not been read yet */
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
char *msg_hello(const char *tag);
char *msg_proof(const char *proof);
char *msg_keys(int64_t n);
char *msg_ack(int64_t n, int64_t events, int64_t strays);
char *msg_node(int64_t n, int id, const char *sip, const char *inc, bool up);
char *msg_ping(int64_t n);
char *msg_mark(int64_t n, int64_t mark);
/* All but cseq base64. */
char *msg_lost(int64_t n, const char *call_id, uint32_t cseq, const char *branch, const char *sent_by);
char *msg_second(int64_t n, const char *via_base64, int node);
/* A message too long for one frame: its first parts, from 0 on, and then the rest, with their number. */
char *msg_part(int64_t n, int k, struct span base64);
char *msg_send(int64_t n, const char *to, const char *sock, const char *base64, int parts);

#endif
