/* The calls that this node knows: begun here, taken over, or given a variable here.
 *
 *     INVITE, replies (owner.c) ▶ call changes ▶ dirty ▶ (once per loop turn) calls_write.c ▶ the store
 *     variable (script)         ▶
 *
 * A call is named by its INVITE (Call-ID, From tag) and follows one transaction, the first. Another transaction with
 * that name is a leg of the call: the caller's next attempt, a fork upstream, a spiral. The call follows the leg that
 * is answered, or one that continues when its own has failed. A caller who was challenged or redirected tries again
 * with the same Call-ID; so such an end is delayed for a moment.
 *
 * Every node keeps what it has added until the call is over, so that it can write it again if the store loses it. */
#include "call_impl.h"
#include "link_impl.h"
#include "calls_list.h"

#include <errno.h>
#include <utlist.h>

#define AGAIN_MS 10000    /* by then a challenged or redirected caller has tried again */
#define CHECK_MS 60000    /* interval of checks of each call */
#define REFRESH_MS 600000 /* and of writing it again, which reveals a missed end */

/* ---- changes by the INVITE's transaction ---- */

/* Of a spiral: the inner leg's Via is the outer one's. Both may have begun in the same ms. */
static bool is_sent_on_by(const struct txn *inner, const struct txn *outer)
{
    size_t n = strlen(outer->id);

    return inner && strncmp(inner->branch, outer->id, n) == 0 && inner->branch[n] == '.';
}

/* leg: the one that the call follows; NULL: this node has it no more. */
static bool came_first(const struct txn *t, const struct call *c, const struct txn *leg)
{
    return !c->answered && (is_sent_on_by(leg, t) || (t->at && t->at < c->trying));
}

/* Events may overtake each other: the first one that is reported need not be the first of the call's INVITEs. */
void calls_begin(struct engine *e, const struct txn *t, const struct sip_id *id, int64_t at, int64_t now)
{
    struct call *c = id->to_tag.n ? NULL : calls_find_or_add(e, t->call, at, now); /* with a tag: within a call */
    const struct txn *leg = c && leg_rings(e, c) ? txns_by_key(&e->txns, c->tx) : NULL;

    if (!c)
        return;
    if (leg_goes_on(e, c) && !(leg && came_first(t, c, leg))) {
        leg_add(e, c, t);
    } else if (calls_follow(e, c, t->key, t->src, id, at)) {
        if (leg)
            leg_add(e, c, leg);
        calls_mark(e, c);
    } else {
        calls_drop(e, c);
    }
}

static void take(struct engine *e, struct call *c, struct txn *t, int64_t at)
{
    const char *name;
    json_t *value;

    leg_catch_up(c, t, at);
    if (c->answered)
        t->call_told = TOLD_OVER;
    json_object_foreach(t->vars, name, value)
        call_set(c, name, (struct span){json_string_value(value), json_string_length(value)}, false);
    c->role = CALL_TAKER;
    c->write_as = WRITE_TAKE;
    calls_mark(e, c);
}

/* Whether the call's record follows that transaction, not the one that this node does. Of a call's INVITEs the first
 * has the record (CALL_BEGIN), of which the store tells whoever is reported later: so a node whose leg was reported
 * before has heard nothing. */
static bool has_record(const struct txn *t, const struct call *c, const struct txn *leg)
{
    bool told = c->role == CALL_OWNER && c->write_as == WRITE_NEW && c->tries;

    return (told && !c->answered) || came_first(t, c, leg);
}

void calls_take(struct engine *e, struct txn *t, int64_t now)
{
    int64_t at = calls_time(e, NULL);
    struct txn *leg = NULL;
    struct sip_id id;
    struct call *c;

    if (!leg_read(t, &id))
        return;
    c = t->call_told ? calls_known(e, t->call) : calls_find_or_add(e, t->call, at, now);
    if (c && !t->call_told)
        t->call_told = TOLD_TAKEN;
    if (!c || call_is_told(c, t->key))
        return;
    if ((leg_goes_on(e, c) || leg_may_return(e, c)) && !call_follows(c, t->key)) {
        leg = txns_by_key(&e->txns, c->tx);
        if (!has_record(t, c, leg)) {
            leg_add(e, c, t);
            return;
        }
    }
    if (!leg_follow(e, c, t, &id))
        return;
    if (leg)
        leg_add(e, c, leg);
    take(e, c, t, at);
}

static struct call *of_txn(const struct engine *e, const struct txn *t)
{
    struct call *c = calls_known(e, t->call);

    return c && c->role != CALL_GUEST && !c->how && call_follows(c, t->key) ? c : NULL;
}

/* Whether the record becomes free to take, since the caller's next INVITE may reach another node; or is so no longer,
 * since the script has tried another branch. */
static bool is_turn(const struct call *c, int code)
{
    return call_asks_for_more(code) ? !call_is_refused(c) : call_is_refused(c) && code < 200;
}

/* A reply to the INVITE of a call that was not answered. False if it changes nothing. */
static bool progress(struct call *c, int code, struct span to_tag, int64_t at)
{
    if (code / 100 == 2) {
        c->answered = at;
        if (to_tag.n)
            call_set_text(&c->to_tag, to_tag);
    } else if (code >= 180 && code < 200 && !c->ringing) {
        c->ringing = at;
    } else if (!is_turn(c, code)) {
        return false;
    }
    c->code = code;
    return true;
}

void calls_reply(struct engine *e, struct txn *t, int code, struct span to_tag, int64_t at)
{
    struct call *c = of_txn(e, t);
    bool answer = code / 100 == 2;

    if (!c && answer)
        c = leg_answered(e, t, at);
    if (answer)
        t->call_told = TOLD_OVER;
    if (!c && code >= 180 && code < 200)
        leg_rang(e, t, at);
    else if (c && c->answered && answer)
        leg_dialog(e, c, t, to_tag, at);
    else if (c && !c->answered && progress(c, code, to_tag, at)) /* else another branch of a fork has ended */
        calls_mark(e, c);
}

/* The far end never sent this code: it is inferred. */
static bool is_concluded(const struct txn *t)
{
    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].concluded)
            return true;
    return false;
}

void calls_lose(struct engine *e, const struct txn *t)
{
    struct call *c = of_txn(e, t);

    if (c && !leg_next(e, c))
        calls_drop(e, c);
}

void calls_failed(struct engine *e, const struct txn *t, int64_t now)
{
    struct call *c = of_txn(e, t);
    int code = txn_code(t);
    bool timed_out = !t->cancelled && !t->gone && (code == 408 || code == 487 || code < 300);

    if (!c || c->answered || (c->role != CALL_AWAY && leg_next(e, c)))
        return;
    c->code = code;
    calls_conclude(e, c,
                   t->cancelled ? "cancelled"
                   : t->gone    ? "caller lost"
                   : timed_out  ? "timed out"
                                : "rejected",
                   t->cancelled           ? "caller"
                   : timed_out || t->gone ? "kamsync"
                                          : "callee",
                   t->last && !is_concluded(t) ? t->last : calls_time(e, NULL));
    if (!call_is_refused(c))
        return;
    c->back_ms = now + AGAIN_MS;
    if (c->place != CALL_WRITING)
        calls_hold(e, c, c->back_ms);
}

/* Its end is delayed for a moment: the caller may try again, or another branch be tracked. */
void calls_untracked(struct engine *e, struct span name, const char *tx, const char *src, const struct sip_id *id,
                     const char *why, int64_t at, int64_t now)
{
    struct call *c = calls_find_or_add(e, name, at, now);

    if (!c || leg_goes_on(e, c) || call_follows(c, tx))
        return;
    if (!calls_follow(e, c, tx, src, id, at)) {
        calls_drop(e, c);
        return;
    }
    c->untracked = why;
    c->back_ms = now + AGAIN_MS;
    calls_conclude(e, c, "untracked", NULL, at);
}

/* ---- variables ---- */

const struct call *calls_of_event(const struct engine *e, const struct event *ev)
{
    const struct call *c = NULL;

    for (int turned = 0; !c && turned <= (ev->to_tag.n > 0); turned++) {
        struct span name = call_name(ev->call_id, turned ? ev->to_tag : ev->from_tag);

        c = calls_known(e, name);
        free((char *)name.p);
    }
    return c;
}

/* An in-dialog request may come from either side: the store will tell whose tag is in From. */
static struct call *add_other(struct engine *e, const struct event *ev, int64_t now)
{
    struct span name = call_name(ev->call_id, ev->from_tag);
    struct call *c = calls_add(e, name, calls_time(e, ev), now);

    free((char *)name.p);
    if (!c || !ev->to_tag.n || call_set_text(&c->other_tag, ev->to_tag) == 0)
        return c;
    calls_drop(e, c);
    return NULL;
}

void calls_set(struct engine *e, const struct event *ev, int64_t now)
{
    struct call *c = (struct call *)calls_of_event(e, ev);
    int rc;

    c = c ? c : add_other(e, ev, now);
    rc = c ? call_set(c, ev->name, ev->value, true) : -ENOMEM;

    if (rc == 0) {
        calls_mark(e, c);
        return;
    }
    if (c && c->role == CALL_GUEST && !json_object_size(c->vars))
        calls_drop(e, c); /* it has nothing to be written */
    e->count.frames_bad++;
    engine_log_call(e, LOG_LEVEL_WARN, (struct about){.call_id = ev->call_id}, "variable %s not kept (%s)", ev->name,
                    rc == -EINVAL ? "its value is no UTF-8 text of at most 1024 bytes"
                                  : "too many, or memory is short");
}

json_t *calls_vars(const struct engine *e, const struct txn *t)
{
    const struct call *c = calls_known(e, t->call);
    struct call_pairs p;
    json_t *vars;

    if (!c || !json_object_size(c->vars))
        return NULL;
    call_pairs(&p, c, &e->self, false);
    vars = pairs_vars(p.list, p.count);
    if (json_object_size(vars))
        return vars;
    json_decref(vars);
    return NULL;
}

void calls_over(struct engine *e, struct span name)
{
    struct call *c = calls_known(e, name);

    if (c)
        calls_end(e, c);
}

/* Its node may not know: if only its Kamailio was restarted, that one's calls stay with the node. If the store lost
 * all, the node would write the call as its own again, and it would never end, or end twice. While Kamailio may still
 * have the transaction, its owner is undecided: the fence decides, or the next hello. */
void calls_taken(struct engine *e, struct span name, const char *tx)
{
    struct call *c = calls_known(e, name);

    if (!c || c->role == CALL_GUEST || !c->tx || (tx && strcmp(tx, c->tx) != 0))
        return;
    if (!txns_by_key(&e->txns, c->tx)) {
        if (c->answered || c->how || !leg_next(e, c)) /* else that leg leaves its mark in the other node's record */
            calls_leave(e, c);
    } else if (!e->self.up && e->conf.takeover) {
        c->role = CALL_AWAY;
        txns_by_key(&e->txns, c->tx)->away = true;
        if (c->place != CALL_WRITING)
            calls_move(e, c, CALL_IDLE);
    }
}

void calls_keep(struct engine *e, const struct txn *t)
{
    struct call *c = of_txn(e, t);

    if (!c || c->role != CALL_AWAY)
        return;
    c->role = t->taken_ms || t->end == END_NO_TM ? CALL_TAKER : CALL_OWNER;
    calls_mark(e, c);
}

void calls_restarted(struct engine *e)
{
    struct call *c, *next;

    HASH_ITER(hh, e->calls.by_name, c, next)
    {
        if (c->role == CALL_AWAY)
            calls_leave(e, c);
    }
}

/* ---- reading ---- */

bool calls_read(struct engine *e, struct span name, const struct pair *pairs, size_t count, bool take, int64_t now)
{
    struct call *c = calls_known(e, name) ? NULL : calls_add(e, name, calls_time(e, NULL), now);

    if (!c)
        return false;
    if (call_read(c, pairs, count) < 0) {
        calls_drop(e, c);
        return false;
    }
    calls_measure(e, c);
    c->role = take ? CALL_HEIR : CALL_OWNER;
    c->write_as = take ? WRITE_TAKE : WRITE_OURS;
    c->node = e->self.id;
    if (c->trying > 0 && c->trying < c->joined)
        c->begun_ms = now - (c->joined - c->trying); /* its real age */
    c->joined = pairs_joined(pairs, count, e->self.id, c->joined);
    if (take)
        calls_mark(e, c);
    return true;
}

/* ---- time ---- */

/* Before the record of an ended call expires: otherwise the call would begin anew. */
static int64_t refresh_ms(const struct engine *e)
{
    return e->conf.ended_ttl_ms * 2 / 3 < REFRESH_MS ? e->conf.ended_ttl_ms * 2 / 3 : REFRESH_MS;
}

static int64_t check_ms(const struct engine *e)
{
    int64_t soonest = e->conf.call_max_ms / 10 < refresh_ms(e) / 4 ? e->conf.call_max_ms / 10 : refresh_ms(e) / 4;

    return soonest < CHECK_MS ? soonest : CHECK_MS;
}

static void check(struct engine *e, struct call *c, int64_t now)
{
    if (!c->how && now - c->begun_ms > e->conf.call_max_ms) {
        if (c->role != CALL_GUEST && c->role != CALL_AWAY)
            calls_conclude(e, c, "unknown", "kamsync", calls_time(e, NULL));
        else
            calls_drop(e, c);
        return;
    }
    if (now - c->refreshed_ms >= refresh_ms(e)) {
        c->refreshed_ms = now;
        calls_mark(e, c);
    }
    expiry_look(e, c, now);
}

void calls_janitor(struct engine *e, int64_t now)
{
    int64_t every = check_ms(e);
    struct call *c, *next;

    DL_FOREACH_SAFE(e->calls.held, c, next)
    {
        if (now < c->hold_ms)
            continue;
        c->back_ms = 0;
        calls_mark(e, c);
    }
    /* all intervals are equal, so the list is in order */
    while ((c = e->calls.oldest) != NULL && now - c->checked_ms >= every) {
        DL_DELETE2(e->calls.oldest, c, older, newer);
        DL_APPEND2(e->calls.oldest, c, older, newer);
        c->checked_ms = now;
        check(e, c, now);
    }
}
