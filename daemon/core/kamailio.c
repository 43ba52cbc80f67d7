/* This node's Kamailio connects, disconnects, hangs or restarts: what that means for all its transactions. */
#include "hall_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"
#include "own_impl.h"

#include <errno.h>
#include <stdio.h>

void engine_link_up(struct engine *e, const char *tag, int64_t now)
{
    snprintf(e->contact.tag, sizeof(e->contact.tag), "%s", tag);
    e->contact.hello = false;
    *e->advice.hello = '\0';
    acks_connected(e);
    e->contact.pings = 0;
    e->contact.down_ms = 0;
    frame_reset(&e->reader);
    e->count.frames_shed += link_close(&e->link, now); /* after a long absence waiting frames may be too old */
    greeting_begin(e, now);
}

static void down(struct engine *e, const char *why, int64_t now)
{
    if (!e->self.up)
        return;
    hall_write(e, now); /* a survivor will need the latest state */
    e->self.up = false;
    e->left.dead_ms = now;
    engine_log(e, LOG_LEVEL_WARN, "%s: telling all nodes", why);
    peers_beat(e, true);
}

void engine_link_down(struct engine *e, int64_t now)
{
    e->count.frames_shed += link_close(&e->link, now);
    e->contact.hello = false;
    e->contact.greet_ms = 0;
    if (!e->contact.down_ms)
        down(e, "Kamailio is away", now);
}

int64_t kamailio_due(const struct engine *e)
{
    if (e->self.up && e->contact.down_ms)
        return e->contact.down_ms;
    return e->self.up && link_oldest(&e->link) >= 0 ? e->contact.progress_ms + e->conf.hang_ms : INT64_MAX;
}

void kamailio_tick(struct engine *e, int64_t now)
{
    if (now < kamailio_due(e))
        return;
    e->count.hangs++;
    down(e, "Kamailio does not answer", now);
}

void kamailio_up(struct engine *e, bool same_incarnation, int64_t now)
{
    bool was_down = !e->self.up;

    e->self.up = true;
    if (was_down && same_incarnation) {
        left_alive(e);
        owner_doubt(e, true);
    }
    if (was_down || !same_incarnation)
        peers_appear(e, now);
}

/* Transactions of the previous incarnation are orphans now; their records stay in the store. */
static void leave_behind(struct engine *e)
{
    bool calls = e->search.calls || e->search.learn; /* that search continues: it also finds this node's own */

    txns_clear(&e->txns);
    takeover_clear(e);
    revoked_clear(e);
    calls_restarted(e);
    search_begin(e, calls);
}

static void take_identity(struct engine *e, const struct msg *m, bool restarted)
{
    e->self.id = (int)m->node;
    snprintf(e->self.sip, sizeof(e->self.sip), "%s", m->sip);
    snprintf(e->self.inc, sizeof(e->self.inc), "%s", m->inc);
    engine_log(e, LOG_LEVEL_INFO, "Kamailio is node %d at %s, incarnation %s%s", e->self.id, e->self.sip, e->self.inc,
               restarted ? ": restarted" : "");
}

static void on_hello(struct engine *e, const struct msg *m, int64_t now)
{
    bool known = e->self.id != 0, restarted = known && strcmp(e->self.inc, m->inc) != 0;

    e->count.link_ups++;
    e->contact.hello = true;
    acks_hello(e);
    if (restarted)
        left_restarted(e);
    take_identity(e, m, restarted);
    barrier_reset(e);
    nodes_forget(&e->nodes, e->self.id); /* read before this node's id was known */
    if (restarted)
        leave_behind(e);
    if (!known) { /* this kamsyncd is new, Kamailio may not be */
        e->search = (struct search){.wanted = true, .calls = true, .learn = true};
        e->learning = true;
    }
    revoked_again(e, now);
    advice_address(e, now);
    kamailio_up(e, known && !restarted, now);
    for (size_t i = 0; i < e->nodes.count; i++)
        peers_tell(e, &e->nodes.list[i], now);
}

void kamailio_hello(struct engine *e, const struct msg *m, int64_t now)
{
    int rc = greeting_answered(e, m);

    if (rc == 0)
        on_hello(e, m, now);
    else if (rc == -EPERM)
        advice_proof(e, m->proof, now);
}
