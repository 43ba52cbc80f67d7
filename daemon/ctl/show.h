/* Prints kamsyncd's answers (proto/control.md) for people. Pure functions: from JSON to a file, with no clock and no
 * terminal. All text passes through buf_safe(). A missing or malformed value is shown as "-". */
#ifndef KAMSYNCCTL_SHOW_H
#define KAMSYNCCTL_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* show_node.c */
void show_status(const json_t *answer, FILE *out);
void show_nodes(const json_t *answer, FILE *out);
void show_evacuation(const json_t *answer, FILE *out);
void show_key(const json_t *answer, FILE *out);

/* show_calls.c: one line per call. now: ms since 1970, for the time that a call is in its state. */
void show_calls(const json_t *answer, int64_t now, FILE *out);
void show_cdr(const json_t *list, bool heads, FILE *out);

/* show_call.c: one call. trace: the answer to `trace`, whose lines are merged into the call's timeline, or NULL. */
void show_call(const json_t *call, const json_t *trace, FILE *out);
void show_trace(const json_t *answer, FILE *out);

/* show_tx.c */
void show_tx(const json_t *answer, FILE *out);

/* show_doctor.c */
void show_doctor(const json_t *answer, FILE *out);
/* The exit status: 0, or 1 if there are warnings, 2 if there are errors. */
int doctor_worst(const json_t *answer);

/* show_json.c: any value as JSON, in ASCII and without control characters; compact is one line. */
void show_json(const json_t *value, bool compact, FILE *out);
/* One line about the nodes in "silent"; nothing when there are none. */
void show_silent(const json_t *answer, FILE *out);

#endif
