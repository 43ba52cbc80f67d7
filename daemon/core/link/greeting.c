/* The handshake on a connection to Kamailio. Any user of the host may listen in Kamailio's place, or connect to it:
 *
 *     hello: tag ▶            the tag is new each time, and ends with this end's own address and port
 *     ◀ hello: nonce, proof   of tag, nonce and Kamailio's identity: Kamailio has read the keys file
 *     proof ▶                 of tag and nonce: so has this end; and what it has read after the proof before. Only now
 *                             the rest follows
 *
 * Each proof holds for one connection: it covers a fresh value of the other side, and a man in the middle has
 * another port than the one in the tag. */
#include "link_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "proof.h"

#define ANSWER_MS 10000 /* a peer silent for so long is not our Kamailio, or hangs */

/* Bypasses the queue, as the frame is for this connection only. */
static void say(struct engine *e, char *payload)
{
    size_t len = 0;
    char *bytes = payload ? frame_make(span_of(payload), &len) : NULL;

    if (bytes)
        e->io.link_write(e->io.ctx, (struct span){bytes, len});
    else
        e->count.frames_shed++;
    free(bytes);
    free(payload);
}

void greeting_begin(struct engine *e, int64_t now)
{
    e->contact.greet_ms = now + ((int64_t)ANSWER_MS << e->contact.reopened);
    e->contact.refused = false;
    say(e, msg_hello(e->contact.tag));
}

static bool is_ours(const struct engine *e, const struct msg *m)
{
    char text[512];

    snprintf(text, sizeof(text), "%s %s %" PRId64 " %s %s", e->contact.tag, m->nonce, m->node, m->inc, m->sip);
    return proof_is(m->proof, span_of("hello kamailio"), span_of(text), e->conf.secret);
}

int greeting_answered(struct engine *e, const struct msg *m)
{
    char text[256], *proof = NULL;
    bool ours = is_ours(e, m);

    if (ours) {
        snprintf(text, sizeof(text), "%s %s", e->contact.tag, m->nonce);
        proof = proof_make(span_of("hello kamsyncd"), span_of(text), e->conf.secret);
    } else {
        e->count.hellos_refused++;
    }
    e->contact.refused = !proof;
    if (!proof)
        return ours ? -ENOMEM : -EPERM;
    e->contact.greet_ms = 0;
    say(e, msg_proof(proof, e->acks.tag, e->acks.events_read));
    free(proof);
    link_open(&e->link);
    return 0;
}

void greeting_tick(struct engine *e, int64_t now)
{
    if (!e->contact.greet_ms || now < e->contact.greet_ms)
        return;
    e->contact.greet_ms = 0;
    engine_log(e, LOG_LEVEL_WARN, "what listens where Kamailio should does not answer: connecting anew");
    contact_reopen(e, now);
}

int64_t greeting_due(const struct engine *e)
{
    return e->contact.greet_ms ? e->contact.greet_ms : INT64_MAX;
}
