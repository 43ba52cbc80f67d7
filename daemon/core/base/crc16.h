/* CRC-16 as Redis Cluster has it (XMODEM: polynomial 0x1021, from 0): the slot of a key is the last 14 bits of its hash
 * tag's. It is no secret and has no seed, so all nodes have the same. */
#ifndef KAMSYNC_CRC16_H
#define KAMSYNC_CRC16_H

#include <stdint.h>

#include "span.h"

uint16_t crc16(struct span s);

#endif
