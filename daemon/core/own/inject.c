/* Sends the INVITE of an orphan into this node's Kamailio. */
#include "own_impl.h"
#include "link_impl.h"
#include <stdio.h>

#include "call.h"
#include "takeover_life.h"

/* With the call's variables and the replies of its branches, or without. */
static char *injection(struct engine *e, const struct takeover *t, bool all)
{
    struct handover h = {
        .to = e->self.id, .inc = e->self.inc, .why = "takeover", .src = t->txn->src, .dst = t->txn->dst};
    char *header = txn_branches(t->txn, t->token, all), *msg = NULL, *text = NULL, *both = NULL;
    /* also without variables: the INVITE may have brought such a header from the network */
    char *call = call_header(json_pack("{s:s}", "state", txn_state_name(txn_state(t->txn))),
                             all && t->txn->vars ? json_deep_copy(t->txn->vars) : json_object());
    size_t len = 0;

    if (header && call && asprintf(&both, "%s\r\n%s", header, call) > 0)
        msg = sip_with_header(t->txn->req, both, &len);
    if (msg)
        text = engine_handover(e, h, (struct span){msg, len});
    free(header);
    free(call);
    free(both);
    free(msg);
    return text;
}

void takeover_inject(struct engine *e, struct takeover *t, int64_t now)
{
    char *text = injection(e, t, true);

    if (!text || !engine_fits(text)) { /* better without these than not at all */
        free(text);
        text = injection(e, t, false);
    }
    e->count.takeovers += t->tries == 0 && !t->txn->final;
    engine_decided(e, span_of(t->txn->call_id), 0, "%s: the INVITE goes back into this node's Kamailio%s",
                   t->txn->hold == HOLD_GIVEN ? "its node gives it away" : "its node is gone",
                   t->txn->final ? ", with its final reply" : "");
    engine_show(e, span_of(t->txn->call_id), t->txn->src, e->self.sip, t->txn->req);
    t->tries++;
    t->sent_ms = now;
    t->due_ms = now + CONFIRM_MS;
    engine_send(e, e->self.sip, NULL, text, now);
    free(text);
}
