/* The memory store's state in a file, so that it outlives kamsyncd: a line for each change, written at once, so that a
 * kill -9 loses nothing; against the loss of the whole host there is no fsync. At the start, and when it has grown to
 * twice what lives, the file is written anew.
 *
 *     <kind> <ends> <id> <id> <key> <name> <value> <name> <value>…
 *
 *     s   a record or a claim: one value, whose name is empty
 *     c   a call, with all its fields
 *     a   an entry of the archive
 *     e   both: a call that has ended, and its entry
 *
 * `ends` is in ms since 1970, the two numbers of the id are the archive's. What would spoil a line is percent-encoded,
 * and nothing stands as "%". A line without its end is none. */
#ifndef KAMSYNC_MEMORY_FILE_H
#define KAMSYNC_MEMORY_FILE_H

#include "store.h"

struct memory_file;

/* One line, taken apart. */
struct memory_line {
    char kind;
    int64_t ends;    /* ms from now that it has left; 0 or less: over */
    uint64_t id[2];  /* of a and e */
    const char *key; /* not of a */
    const struct pair *pairs;
    size_t count;
};

/* NULL when memory is short. A file that cannot be read or written is complained of, and tried again. */
struct memory_file *memory_file_new(const char *path, const struct store_events *on);
void memory_file_free(struct memory_file *f);

/* Hands out each line that is whole and can be understood. */
void memory_file_read(struct memory_file *f, void *ctx, void (*on_line)(void *ctx, const struct memory_line *line));

/* Each adds a line. Nothing is done when f is NULL. */
void memory_file_add(struct memory_file *f, const struct memory_line *line);

/* Whether all that lives should be written anew: memory_file_begin(), a line for each, memory_file_end(). */
bool memory_file_wants(const struct memory_file *f);
void memory_file_begin(struct memory_file *f);
void memory_file_end(struct memory_file *f);

#endif
