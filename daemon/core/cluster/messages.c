/* Messages between kamsyncds, over the store's channels and not by way of Kamailio. Nothing depends on their arrival.
 *
 *     {"t": "handover", "msg": base64}     a handover, when the path between the two Kamailios is cut
 *     {"t": "over", "call_id", "from_tag": texts}  that call has ended; to all, if it has moved
 *     {"t": "taken", "node", "call_id", "from_tag", "tx": texts}  that node has taken over this INVITE transaction of
 * the call, and the call with it
 *     {"t": "given", "key": text}          a record that its owner gives to the receiver (evacuate.c), or an orphan of
 * the receiver's site
 *     {"t": "dialog", "call_id", "from_tag", "tx", "to_tag": texts, "at"}  a 2xx to the call's INVITE, which no
 * Kamailio had any more, has gone to the caller
 *     {"t": "second", "node", "via": text}     that node has also sent this branch, to another far end, and cancels it
 *     {"t": "answered", "via", "to_tag": texts, "code", "at"}  the 2xx on that branch came to another node's Kamailio
 *     {"t": "failed", "via": text, "code", "at", "cancelled"}  the caller of that taken-over transaction has got this
 * final reply from its previous node
 *     {"t": "unwritten"}                   the store refuses a node's records: an absent record proves nothing
 *     {"t": "left"}                        a dead Kamailio's records, which the store lacked, have been written
 *     {"t": "barrier", "from", "n", "keys"}   which kamsyncds see their Kamailio, or have one of these records? and
 *     {"t": "here", "node", "inc", "n", "has"}  this one does, and has written those (barrier.c)
 *     {"t": "acted", "node", "all"}        the sender's Kamailio has acted upon a CANCEL that all nodes got
 * (perhaps.c)
 *     {"t": "ask", "from", "token", "q"}   a question of kamsyncctl's, and
 *     {"t": "answer", "node", "token", "a"} what this node knows about it (admin.c) */
#include "cluster_impl.h"

#include "siptext.h"

/* Takes ownership of the message. */
void message_send(struct engine *e, int node, json_t *message)
{
    char *text = message && e->store.up ? json_dumps(message, JSON_COMPACT) : NULL;

    json_decref(message);
    if (text)
        e->io.tell(e->io.ctx, node, text);
    free(text);
}

void message_handover(struct engine *e, int node, const char *base64)
{
    if (base64)
        message_send(e, node, json_pack("{s:s,s:s}", "t", "handover", "msg", base64));
}

/* A message about the call of that name. */
static json_t *of_call(const char *t, struct span name)
{
    size_t n = strlen(name.p) + 1;
    json_t *call_id = sip_text(span_of(name.p)), *from_tag = sip_text((struct span){name.p + n, name.n - n});

    return json_pack("{s:s,s:o,s:o}", "t", t, "call_id", call_id, "from_tag", from_tag);
}

void message_over(struct engine *e, int node, struct span name)
{
    if (node >= 0 && node != e->self.id)
        message_send(e, node, of_call("over", name));
}

void message_taken(struct engine *e, struct span name, const char *tx)
{
    json_t *message = of_call("taken", name);

    json_object_set_new(message, "node", json_integer(e->self.id));
    json_object_set_new(message, "tx", json_string(tx));
    message_send(e, 0, message);
}

void message_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at)
{
    json_t *message = of_call("dialog", name);

    json_object_set_new(message, "tx", json_string(tx));
    json_object_set_new(message, "to_tag", sip_text(to_tag));
    json_object_set_new(message, "at", json_integer(at));
    message_send(e, 0, message);
}

void message_given(struct engine *e, int node, const char *key)
{
    message_send(e, node, json_pack("{s:s,s:s}", "t", "given", "key", key));
}

void message_unwritten(struct engine *e)
{
    message_send(e, 0, json_pack("{s:s}", "t", "unwritten"));
}

void message_left(struct engine *e)
{
    message_send(e, 0, json_pack("{s:s}", "t", "left"));
}
