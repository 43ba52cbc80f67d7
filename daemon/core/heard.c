/* Messages from other kamsyncds (messages.c): hands each to the rooms that need it. */
#include "ask_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"
#include "own_impl.h"

#include "base64.h"
#include "call.h"
#include "siptext.h"

/* Sends it into this node's Kamailio like one from the network, if its proof is a peer's. */
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
        e->count.messages_bad++;
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

void engine_message(struct engine *e, struct span text, int64_t now)
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
        first_message(e, message, now);
    } else if (t && strcmp(t, "answered") == 0) {
        first_message_answer(e, message, now);
    } else if (t && strcmp(t, "failed") == 0) {
        first_message_failure(e, message, now);
    } else if (t && strcmp(t, "unwritten") == 0) {
        /* It may also have lost everything, e.g. as a replica for a moment while this node wrote nothing. */
        resync_doubt(e, now);
    } else if (t && strcmp(t, "left") == 0) {
        search_begin(e, false);
    } else if (t && strcmp(t, "barrier") == 0) {
        barrier_asked(e, message, now);
    } else if (t && strcmp(t, "here") == 0) {
        barrier_answered(e, message, now);
    } else if (t && strcmp(t, "acted") == 0) {
        acted_message(e, message, now);
    } else if (t && strcmp(t, "ask") == 0) {
        admin_asked(e, message, now);
    } else if (t && strcmp(t, "answer") == 0) {
        admin_answered(e, message, now);
    } else {
        e->count.messages_bad++;
        engine_log(e, LOG_LEVEL_WARN, "a message of another kamsyncd is not understood");
    }
    json_decref(message);
}
