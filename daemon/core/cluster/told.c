/* What kamsyncds tell each other, past their Kamailios, over the store's channels. Nothing depends on its arrival.
 *
 *     {"t": "handover", "msg": base64}     a handover, when the way between the two Kamailios is cut
 *     {"t": "over", "call_id", "from_tag": texts}  that call has ended; to all, if it has moved
 *     {"t": "taken", "node", "call_id", "from_tag", "tx": texts}  that node has taken this INVITE transaction of it
 * over, and the call with it
 *     {"t": "dialog", "call_id", "from_tag", "tx", "to_tag": texts, "at"}  a 2xx to its INVITE, which no Kamailio had
 * any more, has gone to the caller
 *     {"t": "second", "node", "via": text}     that node has sent this branch too, to another far end, and cancels it
 *     {"t": "answered", "via", "to_tag": texts, "code", "at"}  the 2xx on that branch came to another node's Kamailio
 *     {"t": "failed", "via": text, "code", "at", "cancelled"}  the caller of that transaction, which was taken over,
 * has had this final reply from the node that had it before
 *     {"t": "unwritten"}                   the store refuses a node's records: what is not there may yet be somebody's
 *     {"t": "left"}                        records of a dead Kamailio, which the store did not have, are there now
 *     {"t": "roll", "from", "n", "keys"}   whose kamsyncd sees its Kamailio, or has one of these records? and
 *     {"t": "here", "node", "inc", "n", "has"}  this one's does, and has written those (rollcall.c)
 *     {"t": "acted", "node", "all"}        the sender's Kamailio has acted upon a CANCEL that all were given
 * (perhaps.c)
 *     {"t": "ask", "from", "token", "q"}   a question of kamsyncctl's, and
 *     {"t": "answer", "node", "token", "a"} what this node knows about it (admin.c) */
#include "cluster_impl.h"
#include "ask_impl.h"
#include "call_impl.h"
#include "link_impl.h"
#include "own_impl.h"

#include "base64.h"
#include "call.h"
#include "handover.h"
#include "siptext.h"

/* Takes the message. */
void told_send(struct engine *e, int node, json_t *message)
{
    char *text = message && e->store.up ? json_dumps(message, JSON_COMPACT) : NULL;

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

/* What concerns the call of that name. */
static json_t *of_call(const char *t, struct span name)
{
    size_t n = strlen(name.p) + 1;
    json_t *call_id = sip_text(span_of(name.p)), *from_tag = sip_text((struct span){name.p + n, name.n - n});

    return json_pack("{s:s,s:o,s:o}", "t", t, "call_id", call_id, "from_tag", from_tag);
}

void told_over(struct engine *e, int node, struct span name)
{
    if (node >= 0 && node != e->self.id)
        told_send(e, node, of_call("over", name));
}

void told_taken(struct engine *e, struct span name, const char *tx)
{
    json_t *message = of_call("taken", name);

    json_object_set_new(message, "node", json_integer(e->self.id));
    json_object_set_new(message, "tx", json_string(tx));
    told_send(e, 0, message);
}

void told_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at)
{
    json_t *message = of_call("dialog", name);

    json_object_set_new(message, "tx", json_string(tx));
    json_object_set_new(message, "to_tag", sip_text(to_tag));
    json_object_set_new(message, "at", json_integer(at));
    told_send(e, 0, message);
}

void told_unwritten(struct engine *e)
{
    told_send(e, 0, json_pack("{s:s}", "t", "unwritten"));
}

void told_left(struct engine *e)
{
    told_send(e, 0, json_pack("{s:s}", "t", "left"));
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

/* The caller frees it. */
static struct span name_in(const json_t *message)
{
    size_t n = 0, m = 0;
    char *call_id = sip_bytes(json_object_get(message, "call_id"), &n);
    char *from_tag = sip_bytes(json_object_get(message, "from_tag"), &m);
    struct span name = {0};

    if (call_id && from_tag)
        name = call_name((struct span){call_id, n}, (struct span){from_tag, m});
    free(call_id);
    free(from_tag);
    return name;
}

static void on_call(struct engine *e, const json_t *message, const char *t)
{
    const char *tx = json_string_value(json_object_get(message, "tx"));
    struct span name = name_in(message);
    size_t n = 0;
    char *to_tag = sip_bytes(json_object_get(message, "to_tag"), &n);

    if (name.p && strcmp(t, "over") == 0)
        calls_over(e, name);
    else if (name.p && strcmp(t, "taken") == 0)
        calls_taken(e, name, tx);
    else if (name.p && tx && to_tag)
        calls_dialog(e, name, tx, (struct span){to_tag, n}, json_integer_value(json_object_get(message, "at")));
    free(to_tag);
    free((char *)name.p);
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
    } else if (t && (strcmp(t, "over") == 0 || strcmp(t, "dialog") == 0)) {
        on_call(e, message, t);
    } else if (t && strcmp(t, "taken") == 0) {
        if (!is_own(e, message))
            on_call(e, message, t);
    } else if (t && strcmp(t, "second") == 0) {
        second_told(e, message, now);
    } else if (t && strcmp(t, "answered") == 0) {
        second_told_answer(e, message, now);
    } else if (t && strcmp(t, "failed") == 0) {
        second_told_failure(e, message, now);
    } else if (t && strcmp(t, "unwritten") == 0) {
        /* It may have lost all, too: as one that was made a replica for a moment, when this node wrote nothing. */
        rewrite_doubt(e, now);
    } else if (t && strcmp(t, "left") == 0) {
        search_begin(e, false);
    } else if (t && strcmp(t, "roll") == 0) {
        roll_asked(e, message, now);
    } else if (t && strcmp(t, "here") == 0) {
        roll_answered(e, message, now);
    } else if (t && strcmp(t, "acted") == 0) {
        acted_told(e, message, now);
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
