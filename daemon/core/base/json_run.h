/* How many bytes at the front stand in a JSON string as they are: printable ASCII but for the quote and the backslash
 * (and DEL, which JSON does not escape either). Eight bytes at a time: texts of a call's events and records have some
 * thousands. */
#ifndef KAMSYNC_JSON_RUN_H
#define KAMSYNC_JSON_RUN_H

#include <endian.h>
#include <stdint.h>

#include "span.h"

/* Of eight bytes, the highest bit of each that is a control character, a quote, a backslash or beyond ASCII: only then
 * a subtraction (or the byte itself) sets it. A borrow may set it in bytes above such a one, so the lowest is right. */
static inline uint64_t json_specials(uint64_t x)
{
    const uint64_t each = 0x0101010101010101;

    return ((x - each * ' ') | ((x ^ each * '"') - each) | ((x ^ each * '\\') - each) | x) & each * 0x80;
}

static inline size_t json_run(struct span s)
{
    size_t i = 0;
    uint64_t eight, found;

    for (; i + sizeof(eight) <= s.n; i += sizeof(eight)) {
        memcpy(&eight, s.p + i, sizeof(eight));
        found = json_specials(le64toh(eight));
        if (found)
            return i + (size_t)__builtin_ctzll(found) / 8;
    }
    while (i < s.n && s.p[i] >= ' ' && s.p[i] != '"' && s.p[i] != '\\')
        i++;
    return i;
}

#endif
