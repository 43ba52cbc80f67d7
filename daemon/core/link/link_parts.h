/* What the room link keeps in struct engine. */
#ifndef KAMSYNC_LINK_PARTS_H
#define KAMSYNC_LINK_PARTS_H

#include "frame.h"
#include "link.h"
#include "trace.h"

/* Lines of the log that anybody can cause: in the second that began then so many were said, and so many not. */
struct gate {
    int64_t since_ms;
    unsigned said, held;
};

/* What goes out (out.c). */
struct out {
    struct gate gate;
    uint64_t handovers; /* made; makes each one unique */
};

/* The connection to Kamailio (greeting.c, contact.c). */
struct contact {
    char tag[64];        /* names this connection */
    bool hello;          /* this connection's Kamailio has said hello, and proven that it is ours */
    int64_t greet_ms;    /* until when it is waited for; 0: it is not */
    bool refused;        /* the link is to be closed: it is not ours */
    int64_t down_ms;     /* the link broke by our own doing: Kamailio is thought dead only then; 0: it did not */
    int64_t progress_ms; /* when Kamailio last acknowledged a frame, or the first was sent after all were */
    unsigned pings;      /* sent since then */
    unsigned reopened;   /* so often the link was, since then; more of them do not count */
};

/* What this node has read, and says so, for the script's credit. */
struct acks {
    int64_t events_read, strays_read;   /* since hello */
    int64_t events_acked, strays_acked; /* what the last ack said */
    int64_t late_ms;                    /* when an ack is due at the latest; 0: there is nothing to acknowledge */
    bool due;
    int64_t n; /* number of the ack frame under way, 0 for none */
};

#endif
