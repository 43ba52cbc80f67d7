/* A request's URL taken apart: path, and arguments behind "?", percent-decoded (RFC 3986).
 *
 * "+" is a plus: of a form it would be a blank, but no URI of SIP has blanks, and telephone numbers begin with a plus.
 */
#ifndef KAMSYNC_URL_H
#define KAMSYNC_URL_H

#include "span.h"

#define URL_MAX 4096 /* bytes */
#define URL_ARGUMENTS 8

struct url_argument {
    struct span name, value;
};

struct url {
    char text[URL_MAX]; /* what the spans point into */
    struct span path;
    struct url_argument arguments[URL_ARGUMENTS];
    size_t count;
};

/* 0; -ENAMETOOLONG; or -EINVAL: no path, a bad "%xx", a NUL, or too many arguments. */
int url_read(struct url *u, const char *text);

#endif
