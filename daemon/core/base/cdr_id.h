/* The id of an entry in the archive of ended calls: "<ms since 1970>-<n>", as Redis gives it. Where there are several
 * archives (key.h), two entries may have the same one: so it is "<ms>-<n>-<bucket>" there, in this order. */
#ifndef KAMSYNC_CDR_ID_H
#define KAMSYNC_CDR_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"

#define CDR_ID_SIZE 64 /* bytes of one as text, with its NUL */

struct cdr_id {
    uint64_t ms, n;
    int bucket; /* -1: none; comes before all others */
};

/* False when the text is none. */
bool cdr_id_read(struct cdr_id *id, struct span text);
/* Returns out. */
const char *cdr_id_write(char out[CDR_ID_SIZE], struct cdr_id id);
/* As strcmp(). */
int cdr_id_compare(struct cdr_id a, struct cdr_id b);
/* The greatest id below this one. */
struct cdr_id cdr_id_before(struct cdr_id id);

#endif
