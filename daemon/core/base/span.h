/* Borrowed bytes: a pointer and a length. The holder of a span does not own the bytes, and must not keep the span
 * longer than the buffer that it points into. */
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

/* A literal's, as an initializer. Versions of clang-format differ on a body in braces. */
/* clang-format off */
#define SPAN(text) {text, sizeof(text) - 1}
/* clang-format on */

/* The bytes of a NUL-terminated text, without the NUL; NULL gives an empty span. */
static inline struct span span_of(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Equal except for ASCII letter case. */
static inline bool span_caseeq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

/* A NUL-terminated copy that the caller frees; NULL when out of memory. */
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

/* Copies all spans, NUL-terminated, into one block, and points them there. Returns the block, which the caller frees
 * and which begins with the first copy; NULL when out of memory. An empty span without bytes stays NULL. */
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
