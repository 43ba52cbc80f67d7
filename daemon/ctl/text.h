/* Text for a terminal: a growing buffer, and the filter that all text from outside goes through.
 *
 * SIP is written by strangers. What buf_safe() adds holds printable ASCII, and in a UTF-8 terminal also letters that
 * go from left to right with a width of their own. Every other byte (controls, escapes, invalid UTF-8, whatever turns
 * or hides text) stands as \xNN, so bash's $'…' makes the same bytes of what was shown. */
#ifndef KAMSYNCCTL_TEXT_H
#define KAMSYNCCTL_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "span.h"

/* Starts as {0}; p is not NUL-terminated. When memory is short the program ends with status 1. */
struct buf {
    char *p;
    size_t n, size;
    size_t width; /* columns of a terminal */
};

/* Whether the terminal reads UTF-8; false at the start, then only ASCII is let through. */
void text_set_utf8(bool utf8);

void buf_safe(struct buf *b, struct span s);
/* For this program's own ASCII text; what comes from outside goes to buf_safe(). */
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *fmt, ...);
/* Text that went through the filter before, and its width. */
void buf_own(struct buf *b, struct span s, size_t width);
/* n blanks. */
void buf_pad(struct buf *b, size_t n);

/* Writes it out and frees it. Whether that worked tells ferror(). */
void buf_put(struct buf *b, FILE *out);
void buf_free(struct buf *b);

/* realloc(), or the end of the program. */
void *grow(void *p, size_t size);

#endif
