#include "crc16.h"

/* Four bits at a time: a table of all bytes would be dearer in the cache than it saves. */
uint16_t crc16(struct span s)
{
    static const uint16_t of[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    unsigned crc = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned c = (unsigned char)s.p[i];

        crc = (crc << 4 ^ of[(crc >> 12 ^ c >> 4) & 15]) & 0xffff;
        crc = (crc << 4 ^ of[(crc >> 12 ^ c) & 15]) & 0xffff;
    }
    return (uint16_t)crc;
}
