/* Whether Kamailio still gets the frames sent to it. It acknowledges frames in order, so an ack for one shows that all
 * earlier ones are done, or got lost: evapi silently drops a frame if it has no memory, and so does the script with a
 * frame that it cannot read.
 *
 *     no ack for a moment ▶ a ping, even if others are under way ▶ its ack shows what got lost
 *     frames got lost ▶ sent once more, and all nodes are reported again, since the latest report on a node counts
 *     no ack for long ▶ the link is closed and reopened, less and less often
 *
 * (evapi's reader may have lost the frame boundaries for good.) */
#include "link_impl.h"

#define STALL_MS 500        /* an ack comes within a few ms */
#define PINGS_MAX 2         /* since the last ack; the second in case the first got lost, too */
#define REOPEN_HANGS 4      /* times hang_ms, plus */
#define REOPEN_MORE_MS 1000 /* this: without an ack for so long the link is closed; */
#define REOPEN_SHIFT 4      /* doubled each time, at most this often */

size_t contact_acked(struct engine *e, int64_t n, int64_t now)
{
    size_t lost = link_acked(&e->link, n);

    e->contact.progress_ms = now;
    e->contact.pings = e->contact.reopened = 0;
    if (n == e->acks.n)
        e->acks.n = 0;
    if (!lost)
        return 0;
    e->count.frames_again += lost;
    e->acks.n = 0; /* the ack may be among the lost frames */
    e->acks.due = true;
    return lost;
}

/* A script that no longer answers is as good as dead, even if its connection is open. Any frame that is about to be
 * sent shows that as well as a ping. */
void contact_probe(struct engine *e, int64_t now)
{
    bool idle = link_oldest(&e->link) < 0;
    int64_t n, stalled = idle ? STALL_MS : now - e->contact.progress_ms;

    if (!e->contact.hello || (idle && e->link.waiting) || e->contact.pings >= PINGS_MAX ||
        stalled < (e->contact.pings ? e->conf.hang_ms / 2 : STALL_MS))
        return;
    n = link_next_n(&e->link);
    if (link_push_first(&e->link, n, msg_ping(n), now))
        e->contact.pings++;
}

int64_t contact_due(const struct engine *e)
{
    return e->link.open && link_oldest(&e->link) >= 0
               ? e->contact.progress_ms + ((REOPEN_HANGS * e->conf.hang_ms + REOPEN_MORE_MS) << e->contact.reopened)
               : INT64_MAX;
}

void contact_reopen(struct engine *e, int64_t now)
{
    e->count.link_reopens++;
    e->contact.reopened += e->contact.reopened < REOPEN_SHIFT;
    e->contact.progress_ms = now;
    e->io.link_close(e->io.ctx);
}

void contact_tick(struct engine *e, int64_t now)
{
    if (now < contact_due(e))
        return;
    engine_log(e, LOG_LEVEL_WARN, "Kamailio has acknowledged nothing for %lld s: the link is closed, and opened again",
               (long long)(now - e->contact.progress_ms) / 1000);
    contact_reopen(e, now);
}
