/* The decisions about the strays of each call and their reasons, for kamsyncctl trace: the last TRACE_MAX, or fewer if
 * their Call-IDs are long. */
#ifndef KAMSYNC_TRACE_H
#define KAMSYNC_TRACE_H

#include <jansson.h>
#include <stdint.h>

#include "span.h"

#define TRACE_MAX 4096
#define TRACE_BYTES 2097152

struct trace_line;

struct trace {
    struct trace_line *lines; /* oldest first */
    size_t count, bytes;
};

/* Adds a line, and drops the oldest. If out of memory, nothing is kept. Times are ms since 1970: of the decision, and
 * of the message that it is about (0: the same). */
void trace_add(struct trace *t, struct span call_id, int64_t at, int64_t came, const char *text);
/* Appends the lines of that call to an array, oldest first. */
void trace_list(const struct trace *t, struct span call_id, int node, json_t *out);
void trace_clear(struct trace *t);

#endif
