/* Integers as decimal text. printf() takes over 500 instructions for one, and a call's records hold dozens. */
#ifndef KAMSYNC_DECIMAL_H
#define KAMSYNC_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_SIZE 24 /* bytes: any number with its sign and a NUL */

/* Writes the number and a NUL; returns the number of bytes without the NUL. */
static inline size_t decimal(char out[DECIMAL_SIZE], int64_t number)
{
    uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;
    size_t n = 1 + (number < 0), at;

    for (uint64_t more = left; more >= 10; more /= 10)
        n++;
    out[0] = '-';
    out[at = n] = '\0';
    do
        out[--at] = (char)('0' + left % 10);
    while (left /= 10);
    return n;
}

#endif
