/* Text for a terminal: a growing buffer, and the filter for all text from outside.
 *
 * Anybody can write SIP. buf_safe() outputs printable ASCII, and in a UTF-8 terminal also left-to-right letters
 * with a width of their own. Every other byte (controls, escapes, invalid UTF-8, anything that turns or hides text)
 * is shown as \xNN, so that bash's $'…' restores the bytes. */
#ifndef KAMSYNCCTL_TEXT_H
#define KAMSYNCCTL_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "span.h"

/* Starts as {0}; p is not NUL-terminated. If out of memory, the program ends with status 1. */
struct buf {
    char *p;
    size_t n, size;
    size_t width; /* columns of a terminal */
};

/* Whether the terminal reads UTF-8; initially false: only ASCII is let through. */
void text_set_utf8(bool utf8);

void buf_safe(struct buf *b, struct span s);
/* For this program's own ASCII text; text from outside goes to buf_safe(). */
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *fmt, ...);
/* Text that was filtered before, and its width. */
void buf_own(struct buf *b, struct span s, size_t width);
/* n blanks. */
void buf_pad(struct buf *b, size_t n);

/* Writes it out and frees it. Check ferror() for success. */
void buf_put(struct buf *b, FILE *out);
void buf_free(struct buf *b);

/* realloc(), or ends the program. */
void *grow(void *p, size_t size);

#endif
