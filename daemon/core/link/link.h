/* What goes to Kamailio: frames that wait, and frames that are under way and not yet acknowledged.
 *
 *     link_push ▶ waiting ▶ under way ▶ acknowledged: freed
 *                    ▲__________│ the connection broke, or a later frame was acknowledged before: it got lost
 *
 * evapi's reader loses bytes without a word when a read of it ends at the wrong place (evapi_recv_client() in
 * evapi_dispatch.c), which cannot happen while all that it has not yet read fits its buffer. So at most LINK_WINDOW
 * bytes are under way, or one frame; the script acknowledges each, in their order. The last of that room is kept for
 * small frames that serve the connection itself: they go also when all that is under way got lost. The queue is
 * bounded: when it is full the oldest frame goes. */
#ifndef KAMSYNC_LINK_H
#define KAMSYNC_LINK_H

#include <stdint.h>

#include "span.h"

#define LINK_WINDOW 16384   /* bytes */
#define LINK_RESERVED 1024  /* of them, for pings and acks */
#define LINK_SMALL 128      /* bytes that such a frame has at most */
#define LINK_QUEUE_MAX 4096 /* frames */
#define LINK_KEEP_MS 2000   /* a frame older than this is of no use to a new connection */

struct link_frame;

struct link {
    struct link_frame *waiting, *under_way;
    size_t waiting_count;
    size_t under_way_bytes;
    int64_t last_n; /* number of the newest frame */
    bool open;      /* frames may be sent */
};

/* Number for the next frame to be pushed; each push uses one up. */
int64_t link_next_n(struct link *l);

/* Takes the payload (malloc'ed; NULL is counted as a frame that could not be made) with its number. False when this, or
 * the oldest frame that waited, had to be given up. */
bool link_push(struct link *l, int64_t n, char *payload, int64_t now);

/* The same for a frame that is of use to this connection only, and that is not given up while it lasts. */
bool link_push_once(struct link *l, int64_t n, char *payload, int64_t now);

/* The same for a frame that goes before all others. */
bool link_push_first(struct link *l, int64_t n, char *payload, int64_t now);

/* The next frame to send now, as a netstring that the caller frees; NULL when there is none, the window is full or the
 * connection is away. */
char *link_take(struct link *l, size_t *len);

/* The script has carried out frame n. Those that were sent before it, and not acknowledged, got lost: they go once
 * more, but for what is of use only once. Returns how many got lost. */
size_t link_acked(struct link *l, int64_t n);

/* The connection broke: what was under way waits again, without what is too old. Returns the number of frames given up.
 */
size_t link_close(struct link *l, int64_t now);
void link_open(struct link *l);

/* When the oldest frame under way was pushed, or -1. */
int64_t link_oldest(const struct link *l);

void link_free(struct link *l);

#endif
