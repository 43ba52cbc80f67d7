/* A caller on a connection (TCP, TLS, WebSocket), which has ended with its node: nothing can be sent to him, as no
 * other node may connect to the port that he had sent from. He may come back on another connection:
 *
 *     his INVITE, again ▶ the node that gets it routes it, and goes over the record (fence.c)
 *     his CANCEL        ▶ the node that gets it takes the transaction over, with that connection as the caller's
 *     neither           ▶ after caller_wait_ms a survivor makes the record its own, cancels what rings, and ends the
 *                         call; a 2xx that comes all the same is acknowledged, and its dialog ended
 *
 * No tm is needed for the last: there is nobody to send a reply to. */
#include "own_impl.h"
#include "call_impl.h"
#include "link_impl.h"
#include "takeover_life.h"

#include "base64.h"

/* A connection to this node's living Kamailio, as after a restart of kamsyncd in the middle of a takeover. */
static bool is_here(const struct engine *e, const struct holder *from)
{
    return from->owner == e->self.id && strcmp(from->inc, e->self.inc) == 0;
}

bool gone_is(const struct engine *e, const struct takeover *t)
{
    return msg_is_connection(t->txn->src) && !t->src && !is_here(e, &t->from);
}

/* The record keeps that nobody hears: a reply may come to any node, for long. */
void gone_finish(struct engine *e, struct takeover *t, int64_t now)
{
    struct txn *txn = t->txn;

    t->txn = NULL;
    e->count.callers_lost++;
    engine_decided(e, span_of(txn->call_id), 0, "its caller has not come back: its branches are cancelled");
    txn->gone = true;
    txn->final = 487;
    txn->last = calls_time(e, NULL);
    txn->end = END_NO_TM;
    owner_hold(txn, &t->from, t->epoch, t->doubt);
    finish_look(e, txn, now);
    calls_take(e, txn, now);
    calls_failed(e, txn, now);
    owner_adopt(e, txn);
    engine_post(e, (struct notice){.type = NOTICE_TAKEN_OVER, .key = t->key}, now);
}

/* With a Route set it goes the caller's way, through this node's own script; else to the far end. */
static void say(struct engine *e, const struct txn *t, int index, struct span reply, const char *method, int64_t now)
{
    size_t len = 0;
    bool routed = false;
    char *msg = sip_of_caller(reply, method, e->self.sip, &routed, &len);
    char *text = msg ? base64_text((struct span){msg, len}) : NULL;

    for (size_t i = 0; !routed && text && i < t->branch_count; i++)
        if (t->branches[i].index == index)
            engine_send(e, strchr(t->branches[i].to, ':') + 1, t->branches[i].sock, text, now);
    if (routed)
        engine_send(e, e->self.sip, NULL, text, now);
    free(text);
    free(msg);
}

void gone_replied(struct engine *e, struct txn *t, int index, struct span reply, int64_t now)
{
    struct sip_id id;

    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].index == index)
            t->branches[i].ended = true;
    if (sip_read_id(&id, reply) < 0)
        return;
    if (id.code >= 300) {
        adopt_ack(e, t, index, reply, now);
        return;
    }
    engine_decided(e, span_of(t->call_id), 0, "a 2xx, and its caller is gone: acknowledged, and ended by a BYE");
    say(e, t, index, reply, "ACK", now);
    say(e, t, index, reply, "BYE", now);
}
