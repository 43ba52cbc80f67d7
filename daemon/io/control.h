/* The unix socket for kamsyncctl (proto/control.md): one JSON object in a line, one back, then it is closed. */
#ifndef KAMSYNC_CONTROL_H
#define KAMSYNC_CONTROL_H

#include <jansson.h>
#include <stdint.h>
#include <stdbool.h>
#include <uv.h>

struct control;

struct control_events {
    void *ctx;
    /* A request, valid during the call; control_answer() answers it, maybe before the call returns. */
    void (*request)(void *ctx, uint64_t client, const json_t *request);
    /* That client is gone: no answer is needed. */
    void (*gone)(void *ctx, uint64_t client);
};

/* Listens at path, with mode 0660; replaces a socket on which no process listens. 0 and *out, or a negative
 * errno: -EADDRINUSE when a process listens there. */
int control_new(struct control **out, uv_loop_t *loop, const char *path, const struct control_events *on);
/* Takes ownership of the answer, and drops it if that client is gone. */
void control_answer(struct control *c, uint64_t client, json_t *answer);
/* Closes everything and removes the socket; frees itself when the last handle has closed. NULL is allowed. */
void control_close(struct control *c);

#endif
