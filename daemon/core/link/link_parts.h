/* State of the link room in struct engine. */
#ifndef KAMSYNC_LINK_PARTS_H
#define KAMSYNC_LINK_PARTS_H

#include "frame.h"
#include "link.h"
#include "trace.h"

/* Rate limit of log lines that anybody can cause: the current second, its lines, and the suppressed ones. */
struct gate {
    int64_t since_ms;
    unsigned said, held;
};

/* Output (out.c). */
struct out {
    struct gate gate;
    uint64_t handovers; /* number of those made, which makes each unique */
};

/* The connection to Kamailio (greeting.c, contact.c). */
struct contact {
    char tag[64];        /* names this connection */
    bool hello;          /* Kamailio has said hello on this connection, and proven its identity */
    int64_t greet_ms;    /* deadline of that hello; 0: none */
    bool refused;        /* the peer is not our Kamailio: the link is to be closed */
    int64_t down_ms;     /* this end closed the link: Kamailio counts as dead only from then on; 0: it did not */
    int64_t progress_ms; /* when Kamailio last acknowledged a frame, or the first was sent after all were */
    unsigned pings;      /* pings sent since then */
    unsigned reopened;   /* reopenings of the link since then, up to a limit */
};

/* What this node has read and acknowledged, for the script's credit. */
struct acks {
    char tag[64];                       /* of the connection with that hello, until the next one's */
    int64_t events_read, strays_read;   /* since hello */
    int64_t events_acked, strays_acked; /* what the last ack said */
    int64_t late_ms;                    /* latest time for an ack; 0: nothing to acknowledge */
    bool due;
    int64_t n; /* number of the ack frame under way, 0 for none */
};

#endif
