/* Messages from other kamsyncds (messages.c): hands each to the rooms that need it. */
#include "ask_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"
#include "own_impl.h"

#include "base64.h"
#include "call.h"
#include "count.h"
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

static void on_over(struct engine *e, const json_t *message, int64_t now)
{
    struct span name = name_in(message);

    (void)now;
    if (name.p)
        calls_over(e, name);
    free((char *)name.p);
}

static void on_taken(struct engine *e, const json_t *message, int64_t now)
{
    const char *tx = json_string_value(json_object_get(message, "tx"));
    bool own = json_integer_value(json_object_get(message, "node")) == e->self.id;
    struct span name = own ? (struct span){0} : name_in(message);

    (void)now;
    if (name.p)
        calls_taken(e, name, tx);
    if (!own && tx)
        evacuate_taken(e, tx);
    free((char *)name.p);
}

static void on_dialog(struct engine *e, const json_t *message, int64_t now)
{
    const char *tx = json_string_value(json_object_get(message, "tx"));
    struct span name = name_in(message);
    size_t n = 0;
    char *to_tag = sip_bytes(json_object_get(message, "to_tag"), &n);

    (void)now;
    if (name.p && tx && to_tag)
        calls_dialog(e, name, tx, (struct span){to_tag, n}, json_integer_value(json_object_get(message, "at")));
    free(to_tag);
    free((char *)name.p);
}

/* It may also have lost everything, e.g. as a replica for a moment while this node wrote nothing. */
static void on_unwritten(struct engine *e, const json_t *message, int64_t now)
{
    (void)message;
    resync_doubt(e, now);
}

static void on_left(struct engine *e, const json_t *message, int64_t now)
{
    (void)message, (void)now;
    search_begin(e, false);
}

static const struct {
    const char *t;
    void (*take)(struct engine *e, const json_t *message, int64_t now);
} kinds[] = {
    {"handover", on_handover},
    {"over", on_over},
    {"taken", on_taken},
    {"given", evacuate_offered},
    {"dialog", on_dialog},
    {"second", first_message},
    {"answered", first_message_answer},
    {"failed", first_message_failure},
    {"unwritten", on_unwritten},
    {"left", on_left},
    {"barrier", barrier_asked},
    {"here", barrier_answered},
    {"acted", acted_message},
    {"ask", admin_asked},
    {"answer", admin_answered},
};

void engine_message(struct engine *e, struct span text, int64_t now)
{
    json_t *message = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    const char *t = json_string_value(json_object_get(message, "t"));
    size_t i = 0;

    while (t && i < COUNT(kinds) && strcmp(t, kinds[i].t) != 0)
        i++;
    if (t && i < COUNT(kinds)) {
        kinds[i].take(e, message, now);
    } else {
        e->count.messages_bad++;
        engine_log(e, LOG_LEVEL_WARN, "a message of another kamsyncd is not understood");
    }
    json_decref(message);
}
