/* Acknowledges what this node has read of Kamailio's frames: the script sends only so many unacknowledged ones (its
 * credit). */
#include "link_impl.h"

#include <stdio.h>

#define ACK_FRAMES 16    /* of events, and as many strays; the script waits after 32, and 64 */
#define ACK_MS 1000      /* fewer block nothing, and an ack costs Kamailio as much as two events */
#define ACK_STRAY_MS 100 /* the script gives nothing to a kamsyncd that leaves strays unacknowledged for a second */

void acks_connected(struct engine *e)
{
    e->acks.n = 0;
    e->acks.due = false;
    e->acks.late_ms = 0;
}

void acks_hello(struct engine *e)
{
    snprintf(e->acks.tag, sizeof(e->acks.tag), "%s", e->contact.tag);
    e->acks.events_read = e->acks.events_acked = e->acks.strays_read = e->acks.strays_acked = 0;
    e->acks.late_ms = 0;
}

/* An ack is due at once for many frames, in a moment for a few. A stray's ack would only delay the frames that the
 * stray causes. */
static void owe(struct engine *e, int64_t unacknowledged, int64_t at_last_ms)
{
    if (unacknowledged >= ACK_FRAMES)
        e->acks.due = true;
    else if (!e->acks.late_ms || at_last_ms < e->acks.late_ms)
        e->acks.late_ms = at_last_ms;
}

void acks_events(struct engine *e, int64_t n, bool kept, int64_t now)
{
    if (n - e->acks.events_read > 1)
        e->count.frames_lost += (uint64_t)(n - e->acks.events_read - 1);
    e->acks.events_read = n;
    owe(e, n - e->acks.events_acked, kept ? now + ACK_MS : INT64_MAX);
}

void acks_stray(struct engine *e, int64_t k, int64_t now)
{
    e->acks.strays_read = k > e->acks.strays_read ? k : e->acks.strays_read;
    owe(e, e->acks.strays_read - e->acks.strays_acked, now + ACK_STRAY_MS);
}

/* At most one ack is under way, so that acks cannot fill the window. */
static bool may_send(const struct engine *e)
{
    return !e->acks.n && e->contact.hello;
}

void acks_send(struct engine *e, int64_t now)
{
    int64_t until = now + (e->link.waiting ? ALONG_MS : 0);
    bool late = e->acks.late_ms && until >= e->acks.late_ms;
    int64_t n;

    if ((!e->acks.due && !late) || !may_send(e))
        return;
    if (late)
        e->acks.late_ms = now + ACK_MS; /* if out of memory */
    n = link_next_n(&e->link);
    if (!link_push_once(&e->link, n, msg_ack(n, e->acks.events_read, e->acks.strays_read), now))
        return;
    e->acks.n = n;
    e->acks.due = false;
    e->acks.late_ms = 0;
    e->acks.events_acked = e->acks.events_read;
    e->acks.strays_acked = e->acks.strays_read;
}

int64_t acks_due(const struct engine *e)
{
    return e->acks.late_ms && may_send(e) ? e->acks.late_ms : INT64_MAX;
}
