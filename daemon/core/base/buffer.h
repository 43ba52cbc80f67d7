/* A byte buffer that grows at its end and is always NUL-terminated. */
#ifndef KAMSYNC_BUFFER_H
#define KAMSYNC_BUFFER_H

#include <string.h>

#include "decimal.h"
#include "span.h"

#define BUFFER_FIRST 2048 /* bytes: most records and commands fit */

struct buffer {
    char *p; /* owned by the holder of the struct; NULL: still empty */
    size_t n, size;
    bool failed; /* out of memory: the content is incomplete */
};

/* Makes room for n more bytes and a NUL; false when out of memory. */
static inline bool buffer_grow(struct buffer *b, size_t n)
{
    size_t size = b->size ? b->size : BUFFER_FIRST;
    char *more;

    while (size < b->n + n + 1)
        size *= 2;
    more = realloc(b->p, size);
    b->failed = b->failed || !more;
    if (!more)
        return false;
    b->p = more;
    b->size = size;
    return true;
}

/* Empty, but with its memory. */
static inline void buffer_clear(struct buffer *b)
{
    b->n = 0;
    b->failed = false;
}

static inline void buffer_free(struct buffer *b)
{
    free(b->p);
    *b = (struct buffer){0};
}

static inline void buffer_put(struct buffer *b, const char *p, size_t n)
{
    if (b->size <= b->n + n && !buffer_grow(b, n))
        return;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

/* With a constant text, the compiler knows its length. */
static inline void buffer_text(struct buffer *b, const char *s)
{
    buffer_put(b, s, strlen(s));
}

static inline void buffer_number(struct buffer *b, int64_t number)
{
    char digits[DECIMAL_SIZE];

    buffer_put(b, digits, decimal(digits, number));
}

#endif
