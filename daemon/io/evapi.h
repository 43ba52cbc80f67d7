/* The TCP connection to Kamailio's evapi: connects, reconnects for ever, always reads. */
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
    /* The first failure in a row; later ones are not reported. */
    void (*failed)(void *ctx, const char *why);
};

struct evapi;

/* Starts at once; calls nothing before it returns. NULL when out of memory. */
struct evapi *evapi_new(uv_loop_t *loop, const struct sockaddr *addr, const struct evapi_events *on);

/* Sends all bytes in one write as far as the kernel accepts them; dropped when not connected. */
void evapi_write(struct evapi *ev, struct span bytes);

/* Closes the connection, whose down() comes later, and reconnects. */
void evapi_reopen(struct evapi *ev);

#define EVAPI_TAG_MAX 64
/* An unpredictable name for this connection, with this end's address and port:
 * "kamsync-<16 hexadecimal digits>-127.0.0.1-43210"; an IPv6 address, which evapi cannot report, is left out. */
void evapi_tag(const struct evapi *ev, char out[EVAPI_TAG_MAX]);

/* Closes for good, without calling down(); frees itself when the last handle has closed. */
void evapi_close(struct evapi *ev);

#endif
