/* The unix socket on which kamsyncctl asks (proto/control.md): one JSON object in a line, one back, and the end. */
#ifndef KAMSYNC_CONTROL_H
#define KAMSYNC_CONTROL_H

#include <jansson.h>
#include <stdint.h>
#include <stdbool.h>
#include <uv.h>

struct control;

struct control_events {
    void *ctx;
    /* A request, valid during the call; it is answered by control_answer(), maybe before the call returns. */
    void (*request)(void *ctx, uint64_t client, const json_t *request);
    /* That client is gone: no answer, please. */
    void (*gone)(void *ctx, uint64_t client);
};

/* Listens at path, with mode 0660; a socket that nobody listens on any more is replaced. 0 and *out, or a negative
 * errno: -EADDRINUSE when somebody listens there. */
int control_new(struct control **out, uv_loop_t *loop, const char *path, const struct control_events *on);
/* Takes the answer; it goes nowhere when that client has gone. */
void control_answer(struct control *c, uint64_t client, json_t *answer);
/* Closes all and removes the socket; frees itself when the last handle has closed. NULL is allowed. */
void control_close(struct control *c);

#endif
