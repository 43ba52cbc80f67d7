/* A HEP3 packet ("HEP3 Network Protocol Specification"): "HEP3", the length, and chunks of vendor, type, length, value.
 */
#ifndef KAMSYNC_HEP_PACKET_H
#define KAMSYNC_HEP_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "engine.h"

/* The most that fits into a UDP datagram over IPv4. */
#define HEP_PACKET_MAX 65507

/* What is the same in all packets of a node. */
struct hep_agent {
    uint32_t id;
    const char *name;     /* "": none */
    const char *password; /* "": none */
};

/* Writes the packet; its length, or 0 if it does not fit. us: when, since 1970. */
size_t hep_packet(unsigned char out[HEP_PACKET_MAX], const struct hep_agent *agent, const struct sighting *s,
                  int64_t us);

#endif
