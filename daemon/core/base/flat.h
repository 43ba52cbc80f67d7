/* One JSON object whose fields are texts and numbers, at the front of some bytes.
 *
 * What the script writes is read here, in one pass. Whatever is written in another way (blanks, escapes, bytes beyond
 * ASCII, negative numbers, other values) is given to jansson, which needs 200 instructions for each byte; so jansson
 * says what is JSON, and both find the same in what is plain. */
#ifndef KAMSYNC_FLAT_H
#define KAMSYNC_FLAT_H

#include <stdint.h>

#include "span.h"

#define FLAT_MAX 16 /* fields of an object */

enum flat_kind { FLAT_TEXT, FLAT_INT, FLAT_REAL, FLAT_OTHER };

struct flat_field {
    struct span name, text; /* NUL-terminated both; the text is of FLAT_TEXT only */
    int64_t number;         /* of FLAT_INT */
    double real;            /* of FLAT_INT and FLAT_REAL */
    enum flat_kind kind;
};

struct flat {
    char *bytes; /* owned: what the fields point into */
    size_t count;
    struct flat_field fields[FLAT_MAX];
};

/* Reads the object and moves *rest behind it. 0, and the caller frees f->bytes; -EBADMSG with why (at most why_size
 * bytes), also when memory is short: then *rest stays where it was. */
int flat_read(struct flat *f, struct span *rest, char *why, size_t why_size);

/* The two ways, for tests. flat_plain() is false when the object is not plain, or memory is short. */
bool flat_plain(struct flat *f, struct span *rest);
int flat_any(struct flat *f, struct span *rest, char *why, size_t why_size);

/* NULL when there is none of that name. */
const struct flat_field *flat_find(const struct flat *f, struct span name);

#endif
