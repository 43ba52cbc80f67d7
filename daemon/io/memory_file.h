/* The memory store's state in a file, so that it outlives kamsyncd: one line for each change, written at once, so that
 * a kill -9 loses nothing; there is no fsync against the loss of the whole host. The file is rewritten at the start,
 * and when it has grown to twice the live data.
 *
 *     <kind> <ends> <id> <id> <key> <name> <value> <name> <value>…
 *
 *     s   a record or a claim: one value with an empty name
 *     c   a call with all its fields
 *     a   an entry of the archive
 *     e   both: an ended call and its entry
 *
 * `ends` is in ms since 1970, the two numbers of the id are the archive's. Bytes that would break a line are
 * percent-encoded, and an empty word is "%". A line without its end is ignored. */
#ifndef KAMSYNC_MEMORY_FILE_H
#define KAMSYNC_MEMORY_FILE_H

#include "store.h"

struct memory_file;

/* One parsed line. */
struct memory_line {
    char kind;
    int64_t ends;    /* ms until it expires; 0 or less: expired */
    uint64_t id[2];  /* of a and e */
    const char *key; /* not of a */
    const struct pair *pairs;
    size_t count;
};

/* NULL when out of memory. A file that cannot be read or written is logged, and tried again. */
struct memory_file *memory_file_new(const char *path, const struct store_events *on);
void memory_file_free(struct memory_file *f);

/* Passes on each complete line that can be parsed. */
void memory_file_read(struct memory_file *f, void *ctx, void (*on_line)(void *ctx, const struct memory_line *line));

/* Adds a line. Does nothing when f is NULL. */
void memory_file_add(struct memory_file *f, const struct memory_line *line);

/* Whether all live data should be rewritten: memory_file_begin(), a line for each, memory_file_end(). */
bool memory_file_wants(const struct memory_file *f);
void memory_file_begin(struct memory_file *f);
void memory_file_end(struct memory_file *f);

#endif
