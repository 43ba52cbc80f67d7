/* Integers as decimal text. printf() takes over 500 instructions for one, and a call's records hold dozens. */
#ifndef KAMSYNC_DECIMAL_H
#define KAMSYNC_DECIMAL_H

#include <stdint.h>
#include <string.h>

#define DECIMAL_SIZE 24 /* bytes: any number with its sign and a NUL */

/* Writes the number and a NUL; returns the number of bytes without the NUL. */
static inline size_t decimal(char out[DECIMAL_SIZE], int64_t number)
{
    uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;
    char text[DECIMAL_SIZE], *p = text + sizeof(text);

    *--p = '\0';
    do
        *--p = (char)('0' + left % 10);
    while (left /= 10);
    if (number < 0)
        *--p = '-';
    memcpy(out, p, (size_t)(text + sizeof(text) - p));
    return (size_t)(text + sizeof(text) - p) - 1;
}

#endif
