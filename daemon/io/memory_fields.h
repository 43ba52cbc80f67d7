/* The pairs of a call's record in this process' memory. */
#ifndef KAMSYNC_MEMORY_FIELDS_H
#define KAMSYNC_MEMORY_FIELDS_H

#include "store.h"

/* Names and values are behind the list in the same block; a change makes a new block, so that all of it is written or
 * none. The receiver frees it with free(). */
struct fields {
    size_t count;
    struct pair list[];
};

/* The pair of that name, or NULL; f may be NULL. */
struct pair *fields_find(const struct fields *f, struct span name);
/* ms since 1970; -1 when the text is no time. */
int64_t fields_time(struct span text);
/* The same from a field; -1 when it is missing or no time. */
int64_t fields_ms(const struct fields *f, const char *name);
/* A copy of old (or of nothing) with these pairs added; NULL when out of memory. */
struct fields *fields_with(const struct fields *old, const struct pair *pairs, size_t count);
/* The same, without weak pairs that exist already. leg: another INVITE's state is removed. */
struct fields *fields_written(const struct fields *old, const struct call_write *w, bool leg);
/* Both free f. The same fields with all durations; and with the end of the last dialog as the call's. */
struct fields *fields_with_durations(struct fields *f);
struct fields *fields_with_latest(struct fields *f);

/* Whether the name has that prefix, and more behind it. */
bool name_starts(struct span name, const char *start);

#endif
