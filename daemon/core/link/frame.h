/* Netstring framing of the evapi link: "<length>:<payload>,".
 *
 * The reader accepts bytes in any split, and calls back once per whole payload. Once frame boundaries are lost they
 * cannot be found again, so the caller closes the link on an error. */
#ifndef KAMSYNC_FRAME_H
#define KAMSYNC_FRAME_H

#include "span.h"

/* Largest payload accepted from Kamailio, in bytes: two base64 copies of the largest UDP datagram and more. */
#define FRAME_MAX_IN 262144
/* Largest payload sent to Kamailio: evapi's reader has 32,768 bytes for all data in flight
 * (CLIENT_BUFFER_SIZE in evapi_dispatch.c) and silently loses data beyond that. */
#define FRAME_MAX_OUT 24000
#define FRAME_REST 256 /* bytes of a frame around the message that it sends */

struct frame_reader {
    char *buf;  /* owned; starts at a frame's first byte */
    size_t len; /* bytes held */
    size_t cap;
};

/* Called with each payload, whose bytes it may change, and which is valid only during the call. */
typedef void frame_cb(void *arg, struct span payload);

/* Feeds n more bytes. 0, or -EPROTO (not a netstring), -EMSGSIZE (longer than FRAME_MAX_IN), -ENOMEM. */
int frame_feed(struct frame_reader *r, const char *p, size_t n, frame_cb *cb, void *arg);

/* Drops a partly read frame and frees the buffer; the reader can be used again. */
void frame_reset(struct frame_reader *r);

/* The payload as one netstring that the caller frees, its length in *len; NULL when out of memory. */
char *frame_make(struct span payload, size_t *len);

#endif
