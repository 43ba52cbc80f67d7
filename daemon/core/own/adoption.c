/* Adoption: a survivor acts for an orphan as a stateless proxy would, with the owner's Via branches. The far end
 * matches its transaction by these; its replies return to any node, which pops that Via, and reach the caller. A side
 * that lacks an answer retransmits, so no state is kept here.
 *
 * Used where no takeover is possible: no request in the record, a 2xx already, or Kamailio refused it. */
#include "own_impl.h"
#include "link_impl.h"

#include "base64.h"

/* Whether the branch needs a CANCEL (it rings) or an ACK (it has failed). */
static bool concerns(const struct txn_branch *b, bool ack)
{
    return ack ? b->code >= 300 && !b->over : b->code < 200;
}

/* The request as the far end gets it. The caller frees it; NULL when out of memory: rather none than one that shows
 * what the script has hidden. */
static char *for_branch(const struct txn *t, const struct txn_branch *b, struct span request, size_t *len)
{
    const char *from = b->apart ? b->as.from : t->far_from, *to = b->apart ? b->as.to : t->far_to;
    bool changed = from || to;
    size_t n = request.n;
    char *far = changed ? sip_readdressed(request, from, to, &n) : NULL, *msg = NULL;

    if (far || !changed)
        msg = sip_adopted((struct span){far ? far : request.p, n}, b->ruri, b->via, b->route, len);
    free(far);
    return msg;
}

static void send_branch(struct engine *e, const struct txn *t, const struct txn_branch *b, struct span request,
                        int64_t now)
{
    size_t len = 0;
    char *msg = for_branch(t, b, request, &len), *text = msg ? base64_text((struct span){msg, len}) : NULL;

    if (msg && !txn_is_pending(t)) {
        engine_show(e, span_of(t->call_id), b->sock, b->to, (struct span){msg, len});
        engine_send(e, strchr(b->to, ':') + 1, b->sock, text, now);
    }
    free(msg);
    free(text);
}

size_t adopt(struct engine *e, const struct txn *t, struct span request, bool ack, int64_t now)
{
    size_t count = 0;

    for (size_t i = 0; i < t->branch_count; i++) {
        if (concerns(&t->branches[i], ack)) {
            send_branch(e, t, &t->branches[i], request, now);
            count++;
        }
    }
    e->count.adoptions += count > 0;
    return count;
}

void adopt_ack(struct engine *e, const struct txn *t, int index, struct span reply, int64_t now)
{
    size_t len = 0;
    char *ack = sip_ack(reply, &len);

    for (size_t i = 0; ack && i < t->branch_count; i++)
        if (t->branches[i].index == index)
            send_branch(e, t, &t->branches[i], (struct span){ack, len}, now);
    free(ack);
}

void adopt_invite(struct engine *e, const struct txn *t, const struct txn_branch *b, int64_t now)
{
    if (!txn_is_withheld(b))
        send_branch(e, t, b, b->apart ? b->as.req : t->req, now);
}

void adopt_cancel_branch(struct engine *e, const struct txn *t, const struct txn_branch *b, int64_t now)
{
    size_t len = 0;
    char *cancel = sip_cancel(t->req, &len);

    if (cancel)
        send_branch(e, t, b, (struct span){cancel, len}, now);
    free(cancel);
}

void adopt_cancel(struct engine *e, const struct txn *t, int64_t now)
{
    size_t len = 0;
    char *cancel = sip_cancel(t->req, &len);

    if (cancel)
        adopt(e, t, (struct span){cancel, len}, false, now);
    free(cancel);
}
