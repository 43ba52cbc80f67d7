/* INVITEs with the same Call-ID and From tag: a caller's further attempts, the legs of a fork upstream, a spiral. They
 * are one call.
 *
 *     the call's transaction continues ▶ another INVITE is a leg, which is remembered
 *     it fails                         ▶ the call follows a leg that continues, if there is one; else it ends
 *     a leg is answered                ▶ the call follows it; or (already answered) gets another dialog
 *
 * Two phones of a fork that answer one INVITE also make two dialogs. */
#include "call_impl.h"
#include "cluster_impl.h"
#include "calls_list.h"

/* Limit of remembered legs, by number and key length, which callers choose. Of others only an answer counts. */
#define LEGS_MAX 16
#define LEG_NAME_MAX 256

/* The transaction that the call follows, if this node has it. */
static struct txn *txn_of(const struct engine *e, const struct call *c)
{
    return c->role != CALL_GUEST && c->tx ? txns_by_key(&e->txns, c->tx) : NULL;
}

bool leg_goes_on(const struct engine *e, const struct call *c)
{
    const struct txn *t = txn_of(e, c);

    return c->role != CALL_GUEST && c->tx && !call_is_refused(c) && !c->how &&
           (c->answered || c->role == CALL_HEIR || c->role == CALL_AWAY || (t && !txn_is_done(t)));
}

bool leg_rings(const struct engine *e, const struct call *c)
{
    const struct txn *t = txn_of(e, c);

    return t && !txn_is_done(t) && !c->how && !c->answered;
}

bool leg_may_return(const struct engine *e, const struct call *c)
{
    return c->role != CALL_GUEST && c->tx && !c->answered && !c->how && c->inc && strcmp(c->inc, e->self.inc) != 0 &&
           !txns_by_key(&e->txns, c->tx);
}

/* The transaction of that key, if it is not over. */
static struct txn *alive(const struct engine *e, const char *key)
{
    struct txn *t = txns_by_key(&e->txns, key);

    return t && !txn_is_done(t) && !t->cancelled ? t : NULL;
}

/* Legs that have ended are no longer needed. */
static void drop_legs(const struct engine *e, struct call *c)
{
    const char *key;
    json_t *value;
    void *next;

    json_object_foreach_safe(c->legs, next, key, value)
    {
        if (!alive(e, key))
            json_object_del(c->legs, key);
    }
}

void leg_add(const struct engine *e, struct call *c, const struct txn *t)
{
    if (call_follows(c, t->key) || strlen(t->key) > LEG_NAME_MAX)
        return;
    if (json_object_size(c->legs) >= LEGS_MAX)
        drop_legs(e, c);
    if (!c->legs)
        c->legs = json_object();
    if (json_object_size(c->legs) < LEGS_MAX)
        json_object_set_new(c->legs, t->key, json_integer(0));
}

void leg_rang(const struct engine *e, const struct txn *t, int64_t at)
{
    const struct call *c = calls_known(e, t->call);
    json_t *leg = c ? json_object_get(c->legs, t->key) : NULL;

    if (leg && !json_integer_value(leg))
        json_integer_set(leg, at);
}

bool leg_read(const struct txn *t, struct sip_id *id)
{
    return sip_read_id(id, t->req) == 0 && !id->to_tag.n;
}

bool leg_follow(struct engine *e, struct call *c, const struct txn *t, const struct sip_id *id)
{
    if (!calls_follow(e, c, t->key, t->src, id, t->at ? t->at : calls_time(e, NULL)))
        return false;
    c->ringing = json_integer_value(json_object_get(c->legs, t->key));
    return true;
}

void leg_catch_up(struct call *c, const struct txn *t, int64_t at)
{
    if (txn_state(t) != TXN_RINGING && txn_state(t) != TXN_ANSWERED)
        return;
    c->ringing = c->ringing ? c->ringing : at;
    c->code = txn_code(t);
    c->answered = txn_state(t) == TXN_ANSWERED && t->end != END_NO_TM ? at : 0;
}

bool leg_next(struct engine *e, struct call *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(c->legs, key, value) /* c->legs may be NULL */
    {
        struct txn *t = alive(e, key);
        struct sip_id id;

        if (!t || !leg_read(t, &id) || !leg_follow(e, c, t, &id))
            continue;
        leg_catch_up(c, t, calls_time(e, NULL));
        calls_mark(e, c);
        return true;
    }
    return false;
}

void calls_end(struct engine *e, struct call *c)
{
    calls_part(e, c);
    if (!leg_next(e, c))
        calls_drop(e, c);
}

struct call *leg_answered(struct engine *e, struct txn *t, int64_t at)
{
    struct call *c = calls_known(e, t->call);
    struct sip_id id;

    if (c && c->role != CALL_GUEST && c->answered && !c->how)
        return c;
    if (t->call_told == TOLD_OVER || !leg_read(t, &id)) /* it has ended since */
        return NULL;
    c = calls_find_or_add(e, t->call, at, e->turn_ms);
    return c && leg_follow(e, c, t, &id) ? c : NULL;
}

void leg_dialog(struct engine *e, struct call *c, const struct txn *t, struct span to_tag, int64_t at)
{
    struct sip_id id;

    if (!c->to_tag || call_has_dialog(c, to_tag) || (!call_follows(c, t->key) && !leg_read(t, &id)))
        return;
    if (call_dialog(c, CALL_DIALOG, to_tag, at))
        calls_mark(e, c);
}

bool calls_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at)
{
    struct call *c = calls_known(e, name);

    if (!c || c->role == CALL_GUEST || !call_follows(c, tx))
        return false;
    if (c->answered && !c->how && !call_has_dialog(c, to_tag) && call_dialog(c, CALL_DIALOG, to_tag, at))
        calls_mark(e, c);
    return true;
}

void calls_dialog_over(struct engine *e, struct span name, struct span tag, int64_t at)
{
    struct call *c = calls_known(e, name);

    if (c && c->role)
        call_dialog(c, CALL_DIALOG_OVER, tag, at);
}

void calls_passed(struct engine *e, const char *tx, struct span reply)
{
    int64_t at = calls_time(e, NULL);
    struct span name = {0};
    struct sip_id id;

    if (sip_read_id(&id, reply) == 0 && id.to_tag.n)
        name = call_name(id.call_id, id.from_tag);
    if (name.p && !calls_dialog(e, name, tx, id.to_tag, at))
        message_dialog(e, name, tx, id.to_tag, at);
    free((char *)name.p);
}
