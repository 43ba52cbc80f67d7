/* The X-Kamsync header that makes a handover: its target, its reason, where the network had delivered the message, and
 * the proof that a peer wrote it. proto/messages.md has the format. */
#ifndef KAMSYNC_HANDOVER_H
#define KAMSYNC_HANDOVER_H

#include "span.h"

struct handover {
    int to;          /* node id */
    const char *inc; /* its incarnation */
    const char *why;
    const char *src; /* address that the message came from */
    const char *dst; /* socket that it was received on */
    int from;        /* node id of the sender */
    const char *at;  /* sender's time in seconds since 1970, and what makes it unique: "<digits>.<digits>…"; further
                      * copies of one CANCEL have the first one's, and "-<digits>" */
};

/* The message with the header in front, as base64. The caller frees it; NULL when the message has no first line, or
 * when out of memory. */
char *handover_make(const struct handover *h, struct span msg, const char *secret);

/* Whether a message begins with an X-Kamsync header whose proof verifies: a peer wrote it. (The script checks the
 * target.) */
bool handover_proven(struct span text, const char *secret);

#endif
