/* Calls that Kamailio relays but kamsync does not track: their INVITE cannot be parsed, is too long, or goes over
 * SCTP; or there are too many. Each gets an entry in the archive that says so, since its end is unknown. */
#include "call_impl.h"
#include "link_impl.h"

#include <inttypes.h>
#include <stdio.h>

#include "call.h"
#include "count.h"
#include "key.h"

/* SIP text without NULs, which would end it early; the caller frees it. NULL when out of memory. */
static char *text_of(struct span *s)
{
    char *copy = span_dup(*s);

    for (size_t i = 0; copy && i < s->n; i++)
        if (!copy[i])
            copy[i] = '?';
    s->p = copy;
    return copy;
}

/* Without a Call-ID each is a call of its own, with a name of its own. */
static struct span name_of(struct engine *e, struct span call_id, struct span from_tag, int64_t at)
{
    char own[64];

    if (call_id.n)
        return call_name(call_id, from_tag);
    snprintf(own, sizeof(own), "unknown.%d.%" PRId64 ".%" PRIu64, e->self.id, at, engine_token(e));
    return call_name(span_of(own), from_tag);
}

/* Its key, distinct from that of a kept transaction, which another node may have. */
static char *tx_of(const struct sip_id *id)
{
    char *key = key_tx(id->call_id, id->cseq, id->branch, id->sent_by), *tx = NULL;

    if (key && asprintf(&tx, "%s:untracked", key) < 0) /* there is no such record */
        tx = NULL;
    free(key);
    return tx;
}

static void begin(struct engine *e, const struct event *ev, const struct sip_id *id, const char *why, int64_t now)
{
    int64_t at = calls_time(e, ev);
    struct span name = name_of(e, id->call_id, id->from_tag, at);
    char *tx = tx_of(id);

    e->count.calls_untracked++;
    if (name.p && tx)
        calls_untracked(e, name, tx, ev->src, id, why, at, now);
    free((char *)name.p);
    free(tx);
}

void untracked_begin(struct engine *e, const struct event *ev, struct span invite, const char *why, int64_t now)
{
    struct sip_id id;
    struct span *const texts[] = {&id.call_id, &id.from_tag, &id.from_uri, &id.to_uri, &id.ruri};
    char *copies[COUNT(texts)];
    bool ok = true;

    sip_glean(&id, invite);
    if (id.to_tag.n)
        return; /* an in-dialog INVITE */
    for (size_t i = 0; i < COUNT(texts); i++)
        ok = (copies[i] = text_of(texts[i])) != NULL && ok;
    if (ok)
        begin(e, ev, &id, why, now);
    for (size_t i = 0; i < COUNT(texts); i++)
        free(copies[i]);
}

void untracked_told(struct engine *e, const struct event *ev, int64_t now)
{
    static const char *const reasons[] = {"large", "transport", "shed"};

    for (size_t i = 0; i < COUNT(reasons); i++)
        if (strcmp(ev->why, reasons[i]) == 0) {
            untracked_begin(e, ev, ev->msg, reasons[i], now);
            return;
        }
    e->count.frames_bad++;
    engine_log_call(e, LOG_LEVEL_WARN, about_msg(ev->msg), "a call that is not tracked for an unknown reason: %s",
                    ev->why);
}
