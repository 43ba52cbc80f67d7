/* Borrowed bytes: a pointer and a length. Whoever holds a span does not own what it points to, and must not
 * keep it longer than the buffer that it came from. */
#ifndef KAMSYNC_SPAN_H
#define KAMSYNC_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *p;
    size_t n; /* bytes */
};

/* The bytes of a NUL-terminated text, without the NUL; NULL gives an empty span. */
static inline struct span span_of(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Equal, ASCII letter case ignored. */
static inline bool span_caseeq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

/* A NUL-terminated copy that the caller frees; NULL when memory is short. */
static inline char *span_dup(struct span s)
{
    char *copy = malloc(s.n + 1);

    if (copy) {
        if (s.n)
            memcpy(copy, s.p, s.n);
        copy[s.n] = '\0';
    }
    return copy;
}

/* NUL-terminated copies of them all in one block, which the caller frees: the spans are those of the copies then, and
 * the block begins with the first one. An empty one without bytes stays NULL. NULL when memory is short. */
static inline char *span_dup_all(struct span *s, size_t count)
{
    size_t size = 0;
    char *block, *end;

    for (size_t i = 0; i < count; i++)
        size += s[i].n + 1;
    block = end = malloc(size);
    for (size_t i = 0; block && i < count; i++) {
        if (!s[i].p)
            continue;
        memcpy(end, s[i].p, s[i].n);
        end[s[i].n] = '\0';
        s[i].p = end;
        end += s[i].n + 1;
    }
    return block;
}

#endif
