/* An INVITE that two nodes have routed (second.c), at the first node: what the second node tells it. */
#include "own_impl.h"
#include "call_impl.h"
#include "link_impl.h"

#include "base64.h"
#include "siptext.h"

void first_message(struct engine *e, const json_t *message, int64_t now)
{
    size_t len = 0;
    char *via = sip_bytes(json_object_get(message, "via"), &len),
         *text = via ? base64_text((struct span){via, len}) : NULL;
    int node = (int)json_integer_value(json_object_get(message, "node"));
    int64_t n = link_next_n(&e->link);

    if (text && len && nodes_find(&e->nodes, node))
        engine_push(e, n, msg_second(n, text, node), now);
    free(text);
    free(via);
}

/* Otherwise Kamailio here would wait until its timer, and then try another gateway, or answer 408. */
static void take_answer(struct engine *e, const json_t *message, struct span via, struct span to_tag, int64_t now)
{
    int code = (int)json_integer_value(json_object_get(message, "code")), index = 0;
    struct txn *t = code / 100 == 2 ? txns_by_branch(&e->txns, via, &index) : NULL;

    if (!t || txn_is_done(t) || t->hold == HOLD_PROVING)
        return;
    if (json_is_true(json_object_get(message, "elsewhere"))) {
        adopt_cancel(e, t, now); /* the far ends that this node has asked still ring */
        index = t->branches[0].index;
    }
    owner_replied(e, t, index, code, to_tag, json_integer_value(json_object_get(message, "at")), now);
    if (txn_is_done(t))
        t->end = END_NO_TM;
    owner_release(e, t, now);
    adopt_cancel(e, t, now);
}

/* Kamailio here must not continue with it: its previous node has sent the caller a final reply. */
static void take_failure(struct engine *e, const json_t *message, struct txn *t, int64_t now)
{
    int code = (int)json_integer_value(json_object_get(message, "code"));

    if (txn_is_done(t) || t->hold == HOLD_PROVING || code < 300 || code > 699)
        return;
    t->cancelled = t->cancelled || json_is_true(json_object_get(message, "cancelled"));
    t->final = (short)code;
    t->last = json_integer_value(json_object_get(message, "at"));
    t->end = END_DONE;
    txns_mark(&e->txns, t);
    calls_failed(e, t, now);
    owner_release(e, t, now);
}

void first_message_failure(struct engine *e, const json_t *message, int64_t now)
{
    size_t n = 0;
    int index;
    char *via = sip_bytes(json_object_get(message, "via"), &n);
    struct txn *t = via ? txns_by_branch(&e->txns, (struct span){via, n}, &index) : NULL;

    if (t)
        take_failure(e, message, t, now);
    free(via);
}

void first_message_answer(struct engine *e, const json_t *message, int64_t now)
{
    size_t via_n = 0, tag_n = 0;
    char *via = sip_bytes(json_object_get(message, "via"), &via_n);
    char *tag = sip_bytes(json_object_get(message, "to_tag"), &tag_n);

    if (via && tag)
        take_answer(e, message, (struct span){via, via_n}, (struct span){tag, tag_n}, now);
    free(via);
    free(tag);
}
