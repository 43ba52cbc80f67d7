/* Kamailio's events: hands each to the rooms that need it. */
#include "hall_impl.h"
#include "ask_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"
#include "own_impl.h"

#include <inttypes.h>

static void on_cancel(struct engine *e, struct event *ev, int64_t now)
{
    if (ev->all && !ev->early_ms)
        acted_tell(e, ev->all, now);
    owner_cancel(e, ev, now);
}

/* A variable reported before it may wait. */
static void on_bye(struct engine *e, struct event *ev, int64_t now)
{
    if (!e->learning || !early_keep(e, ev, ev->call_id, now))
        ending_bye(e, ev, now);
}

static void on_set(struct engine *e, struct event *ev, int64_t now)
{
    if (calls_of_event(e, ev) || !e->learning || !early_keep(e, ev, ev->call_id, now))
        calls_set(e, ev, now);
}

static void on_shed(struct engine *e, const struct event *ev)
{
    e->count.events_shed += (uint64_t)ev->count;
    engine_log(e, LOG_LEVEL_WARN, "%" PRId64 " events were lost: too many waited in Kamailio's queue", ev->count);
    state_missed(e);
}

void event_take(struct engine *e, struct event *ev, int64_t now)
{
    switch (ev->type) {
    case EVENT_BRANCH:
        owner_branch(e, ev, now);
        break;
    case EVENT_REPLY:
        owner_reply(e, ev, now);
        break;
    case EVENT_GAVE_UP:
        owner_gave_up(e, ev, now);
        break;
    case EVENT_TAKEN:
        takeover_taken(e, ev, now);
        break;
    case EVENT_ALIVE:
        peers_alive(e, (int)ev->id, now);
        break;
    case EVENT_CANCEL:
        on_cancel(e, ev, now);
        break;
    case EVENT_BYE:
        on_bye(e, ev, now);
        break;
    case EVENT_SET:
        on_set(e, ev, now);
        break;
    case EVENT_STRAY:
        strays_take(e, &(struct arrived){ev->msg, ev->src, ev->dst, ev->all}, now);
        break;
    case EVENT_MARK:
        barrier_marked(e, ev->id, now);
        break;
    case EVENT_SHED:
        on_shed(e, ev);
        break;
    case EVENT_UNTRACKED:
        untracked_told(e, ev, now);
        break;
    case EVENT_STATE:
        state_told(e, ev, now);
        break;
    }
}
