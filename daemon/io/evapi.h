/* The TCP connection to Kamailio's evapi: connects, comes back for ever, reads always. */
#ifndef KAMSYNC_EVAPI_H
#define KAMSYNC_EVAPI_H

#include <uv.h>

#include "span.h"

struct evapi_events {
    void *ctx;
    void (*up)(void *ctx);
    void (*down)(void *ctx);
    /* Bytes that arrived; negative: close the connection. */
    int (*data)(void *ctx, const char *p, size_t n);
    /* The first failure of a row; the rest is silence. */
    void (*failed)(void *ctx, const char *why);
};

struct evapi;

/* Starts at once; nothing is called from within the call. NULL when memory is short. */
struct evapi *evapi_new(uv_loop_t *loop, const struct sockaddr *addr, const struct evapi_events *on);

/* Sends all bytes in one write as far as the kernel lets it; dropped when not connected. */
void evapi_write(struct evapi *ev, struct span bytes);

/* Ends the connection, whose down() comes later, and connects anew. */
void evapi_reopen(struct evapi *ev);

#define EVAPI_TAG_MAX 64
/* A name for this connection, which nobody can foresee, and this end's address and port:
 * "kamsync-<16 hexadecimal digits>-127.0.0.1-43210"; IPv6, which evapi cannot tell, is left out. */
void evapi_tag(const struct evapi *ev, char out[EVAPI_TAG_MAX]);

/* Ends for good, without calling down(); frees itself when the last handle has closed. */
void evapi_close(struct evapi *ev);

#endif
