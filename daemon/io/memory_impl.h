/* Shared by memory.c and memory_calls.c. */
#ifndef KAMSYNC_MEMORY_IMPL_H
#define KAMSYNC_MEMORY_IMPL_H

#include "answers.h"
#include "hash.h"
#include "memory_file.h"
#include "store.h"

struct memory {
    struct store store;
    uv_loop_t *loop;
    uv_timer_t sweep;
    struct answers answers;
    int closed; /* of these two */
    struct entry *entries;
    bool up;
    struct memory_file *file; /* NULL: none */
    /* memory_calls.c */
    struct call *calls;
    struct cdr *archive; /* oldest first */
    int64_t cdr_max, cdr_count;
    uint64_t last_id[2]; /* of the newest entry: the next id is greater, whatever the clock says */
};

void memory_call_write(struct store *s, const struct call_write *w, uint64_t token);
void memory_call_get(struct store *s, const char *key, const char *other, uint64_t token);
void memory_call_keys(struct store *s, struct span call_id, uint64_t cursor, uint64_t token);
void memory_archive(struct store *s, const char *after, int count, uint64_t token);
void memory_tell(struct store *s, int node, const char *text);

void memory_calls_scan(struct memory *m);
void memory_calls_sweep(struct memory *m);
void memory_calls_clear(struct memory *m);
/* Loads a line about calls from the file; adds all calls to the file. */
void memory_calls_load(struct memory *m, const struct memory_line *line);
void memory_calls_save(struct memory *m);

#endif
