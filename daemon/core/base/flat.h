/* Reads one JSON object, whose fields are strings and numbers, at the start of a buffer: in place, so that nothing is
 * copied. What the fields point into is the buffer; the object's text is used up, as each string gets its NUL there.
 *
 * What the script writes is parsed here in one pass. Anything else (blanks, escapes, non-ASCII bytes, negative numbers,
 * other types) goes to jansson, which takes 200 instructions for each byte. So jansson decides what is valid JSON, and
 * both give the same result for a plain object. */
#ifndef KAMSYNC_FLAT_H
#define KAMSYNC_FLAT_H

#include <stdint.h>

#include "span.h"

#define FLAT_MAX 16 /* fields of an object */

enum flat_kind { FLAT_TEXT, FLAT_INT, FLAT_REAL, FLAT_OTHER };

struct flat_field {
    struct span name, text; /* both NUL-terminated; text: only of FLAT_TEXT */
    int64_t number;         /* of FLAT_INT */
    double real;            /* of FLAT_INT and FLAT_REAL */
    enum flat_kind kind;
};

struct flat {
    size_t count;
    struct flat_field fields[FLAT_MAX];
};

/* Reads the object and moves *rest behind it. 0; or -EBADMSG with the reason in why (at most why_size bytes), also when
 * out of memory: then *rest and its bytes are unchanged. */
int flat_read(struct flat *f, struct span *rest, char *why, size_t why_size);

/* Both parsers, for tests. flat_plain() is false when the object is not plain. */
bool flat_plain(struct flat *f, struct span *rest);
int flat_any(struct flat *f, struct span *rest, char *why, size_t why_size);

/* NULL when no field has that name. */
const struct flat_field *flat_find(const struct flat *f, struct span name);

#endif
