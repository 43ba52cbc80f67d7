/* The state machine of a takeover: what each event does in each state.
 *
 * The record in the store says who owns the transaction (record.h), and each write is the check: so a node cannot win
 * it without knowing. If the answer gets lost, the record is read again.
 *
 * A node that looks dead here may be back, with its heartbeat under way, and need not write that record again for long.
 * But it writes a heartbeat before anything else: so that is read from the store after the record. */
#include "takeover_life.h"

#include "count.h"

/* Ordered by state. */
static const struct takeover_step steps[] = {
    {WANTED, EV_TURN, READING, takeover_read},
    {WANTED, EV_FREE, TAKING, takeover_take}, /* a stray has brought the record */
    {WANTED, EV_ORPHAN, ASKING, takeover_ask},
    {WANTED, EV_GONE, AWAITING, takeover_await},
    {WANTED, EV_OWN, TAKEOVER_ENDED, NULL},
    {WANTED, EV_OTHER, TAKEOVER_ENDED, NULL},

    {READING, EV_FREE, TAKING, takeover_take},
    {READING, EV_ORPHAN, ASKING, takeover_ask},
    {READING, EV_GONE, AWAITING, takeover_await},
    {READING, EV_OWN, TAKEOVER_ENDED, NULL}, /* owner.c has it now */
    {READING, EV_OTHER, TAKEOVER_ENDED, NULL},
    {READING, EV_WON, INJECTED, takeover_inject}, /* the earlier write had come through */
    {READING, EV_OVER, TAKEOVER_ENDED, takeover_finish},
    {READING, EV_BACK, LEAVING, takeover_release},
    {READING, EV_UNKNOWN, READING, takeover_again},
    {READING, EV_TIME, READING, takeover_read},

    {ASKING, EV_DEAD, TAKING, takeover_take},
    {ASKING, EV_ALIVE, TAKEOVER_ENDED, NULL},
    {ASKING, EV_BACK, LEAVING, takeover_release}, /* an earlier write may still come through */
    {ASKING, EV_UNKNOWN, READING, takeover_again},

    {TAKING, EV_WON, INJECTED, takeover_inject},
    {TAKING, EV_OVER, TAKEOVER_ENDED, takeover_finish},
    {TAKING, EV_BACK, LEAVING, takeover_release},
    {TAKING, EV_FREE, TAKING, takeover_take},  /* another node was faster, and has released it */
    {TAKING, EV_ORPHAN, ASKING, takeover_ask}, /* or has died since */
    {TAKING, EV_LOST, TAKEOVER_ENDED, takeover_lost},
    {TAKING, EV_UNKNOWN, READING, takeover_again},
    {TAKING, EV_TIME, TAKING, takeover_take}, /* out of memory */

    {INJECTED, EV_TAKEN, TAKEN, takeover_done},
    {INJECTED, EV_REFUSED, FAILED, takeover_give_up},
    {INJECTED, EV_TIME, INJECTED, takeover_inject},
    {INJECTED, EV_LAST_TIME, FAILED, takeover_give_up},

    {TAKEN, EV_TIME, TAKEOVER_ENDED, takeover_unanswered},

    {FAILED, EV_TAKEN, TAKEN, takeover_done}, /* an INVITE had waited in Kamailio's socket */
    {FAILED, EV_REFUSED, FAILED, NULL},       /* the refusal of another INVITE that it got */
    {FAILED, EV_TIME, CHECKING, takeover_read},

    /* What the store has lost may be of a call that has ended since: nobody is to find it again. */
    {CHECKING, EV_WON, LEAVING, takeover_release},
    {CHECKING, EV_OVER, LEAVING, takeover_release},
    {CHECKING, EV_BACK, LEAVING, takeover_release},
    {CHECKING, EV_FREE, TAKEOVER_ENDED, NULL},
    {CHECKING, EV_ORPHAN, TAKEOVER_ENDED, NULL},
    {CHECKING, EV_OWN, TAKEOVER_ENDED, NULL},
    {CHECKING, EV_OTHER, TAKEOVER_ENDED, NULL},
    {CHECKING, EV_UNKNOWN, CHECKING, takeover_again},
    {CHECKING, EV_TIME, CHECKING, takeover_read},

    {LEAVING, EV_WON, TAKEOVER_ENDED, NULL},
    {LEAVING, EV_OVER, TAKEOVER_ENDED, NULL},
    {LEAVING, EV_BACK, TAKEOVER_ENDED, NULL},
    {LEAVING, EV_LOST, TAKEOVER_ENDED, NULL},
    {LEAVING, EV_UNKNOWN, CHECKING, takeover_again},
    {LEAVING, EV_TIME, LEAVING, takeover_release},

    {AWAITING, EV_FREE, TAKING, takeover_take}, /* he is back: his CANCEL or INVITE has brought the record */
    {AWAITING, EV_ORPHAN, ASKING, takeover_ask},
    {AWAITING, EV_GONE, AWAITING, NULL},         /* another stray has */
    {AWAITING, EV_OWN, TAKEOVER_ENDED, NULL},    /* his INVITE was routed here as a new one */
    {AWAITING, EV_OTHER, TAKEOVER_ENDED, NULL},  /* or at another node */
    {AWAITING, EV_TIME, WANTED, takeover_alone}, /* it takes its turn, as there may be many */
};

/* What cannot happen in each state: an answer without a question, or an event that its source filters out
 * (takeover.c). */
#define BIT(event) (1u << (event))
#define STORE (BIT(EV_WON) | BIT(EV_OVER) | BIT(EV_BACK) | BIT(EV_LOST) | BIT(EV_UNKNOWN))
#define HOLDER (BIT(EV_FREE) | BIT(EV_ORPHAN))
#define NODE (BIT(EV_DEAD) | BIT(EV_ALIVE))
#define RECORD (HOLDER | BIT(EV_GONE) | NODE | BIT(EV_OWN) | BIT(EV_OTHER))
#define KAMAILIO (BIT(EV_TAKEN) | BIT(EV_REFUSED))
static const unsigned never[TAKEOVER_STATES] = {
    [WANTED] = STORE | NODE | KAMAILIO | BIT(EV_TIME) | BIT(EV_LAST_TIME),
    [READING] = BIT(EV_TURN) | NODE | BIT(EV_LOST) | KAMAILIO | BIT(EV_LAST_TIME),
    [ASKING] = BIT(EV_TURN) | HOLDER | BIT(EV_GONE) | BIT(EV_OWN) | BIT(EV_OTHER) |
               (STORE & ~(BIT(EV_UNKNOWN) | BIT(EV_BACK))) | KAMAILIO | BIT(EV_TIME) | BIT(EV_LAST_TIME),
    [TAKING] = BIT(EV_TURN) | (RECORD & ~HOLDER) | KAMAILIO | BIT(EV_LAST_TIME),
    [INJECTED] = BIT(EV_TURN) | RECORD | STORE,
    [TAKEN] = BIT(EV_TURN) | RECORD | STORE | KAMAILIO | BIT(EV_LAST_TIME),
    [FAILED] = BIT(EV_TURN) | RECORD | STORE | BIT(EV_LAST_TIME),
    [CHECKING] = BIT(EV_TURN) | BIT(EV_GONE) | NODE | BIT(EV_LOST) | KAMAILIO | BIT(EV_LAST_TIME),
    [LEAVING] = BIT(EV_TURN) | RECORD | KAMAILIO | BIT(EV_LAST_TIME),
    [AWAITING] = BIT(EV_TURN) | NODE | STORE | KAMAILIO | BIT(EV_LAST_TIME),
};

bool takeover_never(enum takeover_state state, enum takeover_event event)
{
    return never[state] & BIT(event);
}

const struct takeover_step *takeover_step(enum takeover_state state, enum takeover_event event)
{
    for (size_t i = 0; i < COUNT(steps); i++)
        if (steps[i].state == state && steps[i].event == event)
            return &steps[i];
    return NULL;
}

const char *takeover_state_name(enum takeover_state state)
{
    static const char *const names[] = {"WANTED", "READING",  "ASKING",  "TAKING",   "INJECTED", "TAKEN",
                                        "FAILED", "CHECKING", "LEAVING", "AWAITING", "-"};

    return names[state];
}

const char *takeover_event_name(enum takeover_event event)
{
    static const char *const names[] = {"turn",    "free",  "orphan",  "gone", "dead",     "alive",
                                        "own",     "other", "won",     "over", "back",     "lost",
                                        "unknown", "taken", "refused", "time", "last time"};

    return names[event];
}
