/* Delivers notices to the rooms that act upon them. */
#include "hall_impl.h"
#include "ask_impl.h"
#include "call_impl.h"
#include "own_impl.h"

void hall_notice(struct engine *e, const struct notice *n, int64_t now)
{
    switch (n->type) {
    case NOTICE_EVENT:
        event_take(e, n->event, now);
        break;
    case NOTICE_DEATH:
        search_begin(e, n->whole);
        strays_death(e, now);
        break;
    case NOTICE_DOUBTED:
        owner_doubt(e, true);
        break;
    case NOTICE_ASKED:
        hall_write(e, now);
        calls_flush(e);
        break;
    case NOTICE_HAS:
        strays_look(e, n->key, now);
        break;
    case NOTICE_ALL_HERE:
        strays_look(e, NULL, now);
        break;
    case NOTICE_STORE_REFUSES:
        resync_refused(e, now);
        break;
    case NOTICE_STORE_TAKES:
        resync_taken(e, now);
        break;
    case NOTICE_TAKEN_OVER:
        strays_wake(e, n->key, now);
        break;
    case NOTICE_UNANSWERED:
        owner_unanswered(e, n->key, now);
        break;
    case NOTICE_GIVEN_UP:
        strays_despair(e, n->key);
        break;
    case NOTICE_ACTED:
        strays_acted(e, n->key, n->node, now);
        break;
    }
}
