/* What the values of the headers say that name a transaction and its two sides.
 *
 * What nearly all user agents write is read here by looking for a few characters. Anything else (blanks or quotes where
 * most have none, a URI without angle brackets, bytes beyond ASCII) goes to libre, which tries a regular expression for
 * each part: 7,000 instructions for a Via. So libre decides what is valid, and both give the same for a plain value. */
#ifndef KAMSYNC_SIP_VALUE_H
#define KAMSYNC_SIP_VALUE_H

#include <stdint.h>

#include "span.h"

/* A Via's value. */
struct sip_hop {
    struct span sent_by, branch;
};

/* The value of From or To; the tag may be empty. */
struct sip_party {
    struct span uri, tag;
};

/* The value of CSeq. */
struct sip_sequence {
    uint32_t number;
    struct span method;
};

/* False when the value is not valid. A Via without branch is not. */
bool sip_read_hop(struct sip_hop *hop, struct span value);
bool sip_read_party(struct sip_party *party, struct span value);
bool sip_read_sequence(struct sip_sequence *seq, struct span value);

/* Both ways, for tests. False: the value is not plain, or not valid. */
bool sip_plain_hop(struct sip_hop *hop, struct span value);
bool sip_any_hop(struct sip_hop *hop, struct span value);
bool sip_plain_party(struct sip_party *party, struct span value);
bool sip_any_party(struct sip_party *party, struct span value);
bool sip_plain_sequence(struct sip_sequence *seq, struct span value);
bool sip_any_sequence(struct sip_sequence *seq, struct span value);

#endif
