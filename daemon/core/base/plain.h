/* Plain bytes: printable ASCII but for the quote and the backslash (and with DEL). They stand in a JSON string as they
 * are, and in a SIP header they need no rules for quoted strings and folded lines. */
#ifndef KAMSYNC_PLAIN_H
#define KAMSYNC_PLAIN_H

#include <endian.h>
#include <stdint.h>

#include "span.h"

/* Of eight bytes, the highest bit of each that is not plain: only of these a subtraction (or the byte itself) sets it.
 * A borrow may set it in bytes above such a one, too, so only the lowest bit is right. */
static inline uint64_t plain_ends(uint64_t x)
{
    const uint64_t each = 0x0101010101010101;

    return ((x - each * ' ') | ((x ^ each * '"') - each) | ((x ^ each * '\\') - each) | x) & each * 0x80;
}

/* How many bytes at the front are plain. Eight at a time: the texts of a call have some thousands. */
static inline size_t plain_run(struct span s)
{
    size_t i = 0;
    uint64_t eight, found;

    for (; i + sizeof(eight) <= s.n; i += sizeof(eight)) {
        memcpy(&eight, s.p + i, sizeof(eight));
        found = plain_ends(le64toh(eight));
        if (found)
            return i + (size_t)__builtin_ctzll(found) / 8;
    }
    eight = 0; /* fewer are left: a NUL, which is not plain, stands behind them */
    if (i < s.n)
        memcpy(&eight, s.p + i, s.n - i);
    return i + (size_t)__builtin_ctzll(plain_ends(le64toh(eight))) / 8;
}

static inline bool plain_all(struct span s)
{
    return plain_run(s) == s.n;
}

#endif
