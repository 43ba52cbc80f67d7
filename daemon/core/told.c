/* What kamsyncds tell each other, past their Kamailios, over the store's channels. Nothing depends on its arrival.
 *
 *     {"t": "handover", "msg": base64}     a handover, when the way between the two Kamailios is cut
 *     {"t": "over", "call_id": text}       that call has ended; to all, if it has moved
 *     {"t": "taken", "node", "call_id": text}  that node has taken its INVITE's transaction over, and the call with it
 *     {"t": "unwritten"}                   the store refuses a node's records: what is not there may yet be somebody's
 *     {"t": "roll", "from", "n"}           whose kamsyncd sees its Kamailio? and
 *     {"t": "here", "node", "inc", "n"}    this one's does (rollcall.c)
 *     {"t": "ask", "from", "token", "q"}   a question of kamsyncctl's, and
 *     {"t": "answer", "node", "token", "a"} what this node knows about it (admin.c) */
#include "engine_impl.h"

#include "base64.h"
#include "handover.h"
#include "siptext.h"

/* Takes the message. */
void told_send(struct engine *e, int node, json_t *message)
{
    char *text = message && e->store_up ? json_dumps(message, JSON_COMPACT) : NULL;

    json_decref(message);
    if (text)
        e->io.tell(e->io.ctx, node, text);
    free(text);
}

void told_handover(struct engine *e, int node, const char *base64)
{
    if (base64)
        told_send(e, node, json_pack("{s:s,s:s}", "t", "handover", "msg", base64));
}

void told_over(struct engine *e, int node, const char *call_id)
{
    if (node >= 0 && node != e->self.id)
        told_send(e, node, json_pack("{s:s,s:o}", "t", "over", "call_id", sip_text(span_of(call_id))));
}

void told_taken(struct engine *e, const char *call_id)
{
    json_t *text = sip_text(span_of(call_id));

    told_send(e, 0, json_pack("{s:s,s:i,s:o}", "t", "taken", "node", e->self.id, "call_id", text));
}

void told_unwritten(struct engine *e)
{
    told_send(e, 0, json_pack("{s:s}", "t", "unwritten"));
}

/* It goes into this node's Kamailio like one that came over the network, if it is a peer's. */
static void on_handover(struct engine *e, const json_t *message, int64_t now)
{
    const char *base64 = json_string_value(json_object_get(message, "msg"));
    size_t len = 0;
    char *msg = base64 ? base64_bytes(span_of(base64), &len) : NULL;
    struct span text = {msg, len};

    if (msg &&
        (handover_proven(text, e->conf.secret) || (*e->conf.old_secret && handover_proven(text, e->conf.old_secret)))) {
        e->count.relayed_in++;
        engine_send(e, e->self.sip, NULL, base64, now);
    } else {
        e->count.told_bad++;
        engine_log(e, LOG_LEVEL_WARN, "a handover in the store is not proven: dropped");
    }
    free(msg);
}

/* What concerns one call. */
static void on_call(struct engine *e, const json_t *message, void (*act)(struct engine *e, struct span call_id))
{
    size_t len = 0;
    char *call_id = sip_bytes(json_object_get(message, "call_id"), &len);

    if (call_id)
        act(e, (struct span){call_id, len});
    free(call_id);
}

static bool is_own(const struct engine *e, const json_t *message)
{
    return json_integer_value(json_object_get(message, "node")) == e->self.id;
}

void engine_told(struct engine *e, struct span text, int64_t now)
{
    json_t *message = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    const char *t = json_string_value(json_object_get(message, "t"));

    if (t && strcmp(t, "handover") == 0) {
        on_handover(e, message, now);
    } else if (t && strcmp(t, "over") == 0) {
        on_call(e, message, calls_over);
    } else if (t && strcmp(t, "taken") == 0) {
        if (!is_own(e, message))
            on_call(e, message, calls_taken);
    } else if (t && strcmp(t, "unwritten") == 0) {
        /* It may have lost all, too: as one that was made a replica for a moment, when this node wrote nothing. */
        rewrite_doubt(e, now);
    } else if (t && strcmp(t, "roll") == 0) {
        roll_asked(e, message, now);
    } else if (t && strcmp(t, "here") == 0) {
        roll_answered(e, message);
    } else if (t && strcmp(t, "ask") == 0) {
        admin_asked(e, message, now);
    } else if (t && strcmp(t, "answer") == 0) {
        admin_answered(e, message, now);
    } else {
        e->count.told_bad++;
        engine_log(e, LOG_LEVEL_WARN, "a message of another kamsyncd is not understood");
    }
    json_decref(message);
}
