/* The pairs of a call's record, in this process' memory. */
#ifndef KAMSYNC_MEMORY_FIELDS_H
#define KAMSYNC_MEMORY_FIELDS_H

#include "store.h"

/* Names and values stand behind the list in the same block, so a change makes a new one: all of it is written or
 * nothing. Whoever gets one frees it, with free(). */
struct fields {
    size_t count;
    struct pair list[];
};

/* The pair of that name, or NULL; f may be NULL. */
struct pair *fields_find(const struct fields *f, struct span name);
/* ms since 1970; -1 when that is no time. */
int64_t fields_time(struct span text);
/* The same out of a field; -1 when it is not there, or holds something else. */
int64_t fields_ms(const struct fields *f, const char *name);
/* A copy of old (or nothing) with these as well; NULL when memory is short. */
struct fields *fields_with(const struct fields *old, const struct pair *pairs, size_t count);
/* The same, without the weak ones that are there already. leg: what another INVITE had come to goes. */
struct fields *fields_written(const struct fields *old, const struct call_write *w, bool leg);
/* Both free f. The same fields, and how long it all took; and with the end of the last dialog as the call's. */
struct fields *fields_with_durations(struct fields *f);
struct fields *fields_with_latest(struct fields *f);

/* Whether there is more behind that start of a name. */
bool name_starts(struct span name, const char *start);

#endif
