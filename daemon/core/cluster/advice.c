/* Logs what is wrong (checks.c) when it is seen: once, not with each call or heartbeat. */
#include <stdio.h>

#include "cluster_impl.h"
#include "link_impl.h"

#define AGAIN_MS 600000 /* a lasting fault is logged again at this interval */

static void advise(struct engine *e, enum check c, const struct node *other, int64_t now)
{
    int64_t *said_ms = &e->advice.said_ms[c];

    if (*said_ms && now - *said_ms < AGAIN_MS)
        return;
    if (check_log(e, c, other, now))
        *said_ms = now;
}

void advice_address(struct engine *e, int64_t now)
{
    advise(e, CHECK_ADDRESS, NULL, now);
}

/* What left over a connection is answered where it came from, too: others may take that over (docs/transports.md). */
bool advice_is_own(const struct engine *e, const char *sock)
{
    return !msg_is_connection(sock) && strcmp(sock + strlen("udp:"), e->self.sip) == 0;
}

void advice_leg(struct engine *e, const char *sock, int64_t now)
{
    if (!advice_is_own(e, sock))
        return;
    e->advice.own_leg_ms = now;
    advise(e, CHECK_LEGS, NULL, now);
}

void advice_twice(struct engine *e, const struct node *other, int64_t now)
{
    bool another = strcmp(other->sip, e->self.sip) != 0 ||
                   (strcmp(other->inc, e->self.inc) != 0 && strcmp(other->name, e->self.name) != 0);

    if (!another)
        return;
    e->advice.twin = *other;
    e->advice.twin_ms = now;
    advise(e, CHECK_TWICE, NULL, now);
}

void advice_version(struct engine *e, const struct node *other, int64_t now)
{
    advise(e, CHECK_VERSION, other, now);
}

void advice_foreign(struct engine *e, const struct node *other, int64_t now)
{
    advise(e, CHECK_SECRET, other, now);
}

void advice_proof(struct engine *e, const char *proof, int64_t now)
{
    bool unread = strcmp(proof, "none") == 0;

    *(unread ? &e->advice.unread_ms : &e->advice.stranger_ms) = now;
    advise(e, unread ? CHECK_KEYS : CHECK_STRANGER, NULL, now);
}

void advice_frame(struct engine *e, const char *why, int64_t now)
{
    if (strncmp(why, "'hello'", 7) == 0) {
        snprintf(e->advice.hello, sizeof(e->advice.hello), "%s", why);
        check_log(e, CHECK_HELLO, NULL, now);
        return;
    }
    snprintf(e->advice.frame, sizeof(e->advice.frame), "%s", why);
    e->advice.frame_ms = now;
    advise(e, CHECK_FRAMES, NULL, now);
}
