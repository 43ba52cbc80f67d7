/* A replica of the store beside the node is asked about a CANCEL first, since the store itself may be far away.
 *
 *     CANCEL ▶ near replica ──its owner lives──▶ the owner gets it ──▶ says that it has acted ▶ done
 *                   │                                                      │ it does not, in the store's patience
 *                   └ anything else, or nothing within NEAR_MS ▶ the store ◀┘
 *
 * A replica may be behind, so what it says is a guess: who has the transaction by now may be another. So the CANCEL
 * goes to that owner alone, but as one that goes to all would (perhaps): if it has the transaction, it acts and says
 * so; if not, it drops the CANCEL, where it would have answered 481 to one of whose owner we were sure. All further
 * copies bear the same name, and no Kamailio acts upon two of these. "Absent", "done", an owner who is dead or giving
 * the transaction away, and failures prove nothing.
 *
 * Only a CANCEL: nobody says what became of an ACK or a reply, which would be lost; an ACK has time, and most INVITEs
 * that the script asks about have no record, so that each would wait for two answers. */
#include "stray.h"

#include "record.h"

#define NEAR_MS 10 /* it answers in one, and the store waits meanwhile */

bool near_ask(struct engine *e, struct stray *s, int64_t now)
{
    if (s->kind != STRAY_CANCEL || !e->io.get_near)
        return false;
    e->count.near_lookups++;
    if (!e->io.get_near(e->io.ctx, s->key, s->id)) {
        e->count.near_failed++;
        return false;
    }
    s->near = NEAR_ASKED;
    s->again_ms = now + NEAR_MS;
    return true;
}

static void end(struct stray *s, int64_t now)
{
    s->near = NEAR_OVER;
    s->begun_ms = s->again_ms = now;
}

/* The node that the record names, if that lives, can be reached and has the transaction for good; else NULL. */
static const struct node *owner_in(const struct engine *e, struct span text, int64_t now)
{
    const struct node *n;
    struct record r;

    if (record_read(&r, text) < 0 || r.done || r.state != HEAD_HELD || engine_judge(e, &r, now) != VERDICT_OWNER)
        return NULL;
    n = nodes_find(&e->nodes, r.owner);
    return n->reached ? n : NULL;
}

static bool give(struct engine *e, struct stray *s, const struct node *to, int64_t now)
{
    if (!stray_give(e, s, to, now))
        return false;
    e->count.near_found++;
    stray_note(e, s, "handed over to whom the near replica names", to->id);
    return true;
}

void near_got(struct engine *e, struct stray *s, enum get_status status, struct span text, int64_t now)
{
    const struct node *owner = status == GET_FOUND ? owner_in(e, text, now) : NULL;

    e->count.near_failed += status == GET_FAILED;
    if (!owner || !give(e, s, owner, now)) {
        end(s, now);
        return;
    }
    s->near = NEAR_GIVEN;
    s->again_ms = now + e->conf.store_wait_ms;
}

bool near_goes_on(struct engine *e, struct stray *s, int64_t now)
{
    if (!s->near || now < s->again_ms)
        return s->near;
    e->count.near_failed += s->near == NEAR_ASKED;
    e->count.near_vain += s->near == NEAR_GIVEN;
    end(s, now);
    return false;
}
