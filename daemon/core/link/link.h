/* The queue to Kamailio: frames that wait, and frames under way that are not yet acknowledged.
 *
 *     link_push ▶ waiting ▶ under way ▶ acknowledged: freed
 *                    ▲__________│ the connection broke, or a later frame was acknowledged first: the frame got lost
 *
 * evapi's reader silently loses bytes when one of its reads ends at the wrong place (evapi_recv_client() in
 * evapi_dispatch.c), which cannot happen while all that it has not read fits into its buffer. So at most LINK_WINDOW
 * bytes are under way, or one frame; the script acknowledges frames in order. The end of that window is reserved for
 * small frames that serve the connection itself: these are sent even if all that is under way got lost. The queue is
 * bounded: when it is full, the oldest frame is dropped. */
#ifndef KAMSYNC_LINK_H
#define KAMSYNC_LINK_H

#include <stdint.h>

#include "span.h"

#define LINK_WINDOW 16384   /* bytes */
#define LINK_RESERVED 1024  /* of these, reserved for pings and acks */
#define LINK_SMALL 128      /* largest such frame, bytes */
#define LINK_QUEUE_MAX 4096 /* frames */
#define LINK_KEEP_MS 2000   /* an older frame is useless on a new connection */

struct link_frame;

struct link {
    struct link_frame *waiting, *under_way;
    size_t waiting_count, waiting_bytes;
    size_t under_way_bytes;
    int64_t last_n; /* number of the newest frame */
    bool open;      /* frames may be sent */
};

/* The number for the next frame; each push uses one up. */
int64_t link_next_n(struct link *l);

/* Queues the payload (malloc'ed, now owned; NULL is counted as a frame that could not be made) with its number. False
 * when this frame, or the oldest waiting one, was dropped. */
bool link_push(struct link *l, int64_t n, char *payload, int64_t now);

/* The same for a frame that is useful only on this connection, and is not dropped while that lasts. */
bool link_push_once(struct link *l, int64_t n, char *payload, int64_t now);

/* The same for a frame that is sent before all others. */
bool link_push_first(struct link *l, int64_t n, char *payload, int64_t now);

/* The next frame to send, as a netstring that the caller frees; NULL when there is none, the window is full, or there
 * is no connection. */
char *link_take(struct link *l, size_t *len);

/* The script has carried out frame n. Frames sent before it and not acknowledged got lost: they are queued once more,
 * except those for one connection only. Returns how many got lost. */
size_t link_acked(struct link *l, int64_t n);

/* The connection broke: frames under way are queued again, except those too old. Returns the number of dropped frames.
 */
size_t link_close(struct link *l, int64_t now);
void link_open(struct link *l);

/* When the oldest frame under way was pushed, or -1. */
int64_t link_oldest(const struct link *l);

void link_free(struct link *l);

#endif
