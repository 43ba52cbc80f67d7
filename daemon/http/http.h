/* HTTP for monitoring, off unless it is configured (http_listen): /metrics, /healthz, /readyz, and /v1/…, which says as
 * JSON what kamsyncctl --json says (proto/http.json). It only reads, and the core does not know of it.
 *
 * libmicrohttpd without threads: its epoll descriptor is watched by our loop. */
#ifndef KAMSYNC_HTTP_H
#define KAMSYNC_HTTP_H

#include <jansson.h>
#include <uv.h>

#include "buffer.h"

/* All clients here have this bit, and those of control.h do not. */
#define HTTP_CLIENT (UINT64_C(1) << 63)

struct http;

struct http_events {
    void *ctx;
    /* A question in the form of proto/control.md, valid during the call; http_answer() answers it, maybe before the
     * call returns. */
    void (*request)(void *ctx, uint64_t client, const json_t *request);
    /* Why this node should get no new calls; NULL: it should. */
    const char *(*unready)(void *ctx);
    /* Writes all metrics in Prometheus' text format. */
    void (*metrics)(void *ctx, struct buffer *out);
};

/* What it says about itself. */
struct http_figures {
    size_t connections;
    uint64_t requests, refused;
};

/* Listens there. 0 and *out, or a negative errno. */
int http_new(struct http **out, uv_loop_t *loop, const struct sockaddr *address, const struct http_events *on);
/* Takes ownership of the answer, and drops it if that client is gone. */
void http_answer(struct http *h, uint64_t client, json_t *answer);
struct http_figures http_figures(const struct http *h);
/* Whether only this host reaches it. */
bool http_is_local(const struct http *h);
/* Closes everything; frees itself when the last handle has closed. NULL is allowed. */
void http_close(struct http *h);

#endif
