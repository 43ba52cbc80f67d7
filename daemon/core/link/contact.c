/* Whether Kamailio still gets what it is told. It acknowledges frames in their order, so an ack for one tells that
 * those before it are done, or got lost: evapi drops a frame without a word where it has no memory, and the script one
 * that it cannot read.
 *
 *     nothing is acknowledged for a moment ▶ a ping, also while others are under way ▶ its ack shows what got lost
 *     got lost ▶ sent once more, and all nodes are told again, since of two words about one node the later one counts
 *     nothing is acknowledged for long ▶ the link is closed and opened again, more and more seldom
 *
 * (evapi's reader may have lost where frames begin, for good.) */
#include "link_impl.h"

#define STALL_MS 500        /* an ack comes within a few ms */
#define PINGS_MAX 2         /* since the last ack; the second one in case the first got lost, too */
#define REOPEN_HANGS 4      /* times hang_ms, and a moment: */
#define REOPEN_MORE_MS 1000 /* without an ack the link is closed, */
#define REOPEN_SHIFT 4      /* and twice as long each time, at most so often */

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
    e->acks.n = 0; /* it may be one of them */
    e->acks.due = true;
    return lost;
}

/* A script that answers nothing any more is as good as dead, though its connection stands. */
void contact_probe(struct engine *e, int64_t now)
{
    int64_t n, stalled = link_oldest(&e->link) < 0 ? STALL_MS : now - e->contact.progress_ms;

    if (!e->contact.hello || e->contact.pings >= PINGS_MAX ||
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
