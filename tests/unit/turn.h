/* What the worlds around one engine do alike, those of tests/fuzz, too: turns of the loop, time that passes, nodes. */
#ifndef KAMSYNC_TEST_TURN_H
#define KAMSYNC_TEST_TURN_H

#include <stdio.h>

#include "engine.h"
#include "nodes.h"

#define NODE_TEXT_MAX 256

/* As the daemon does it: the tick when it is due, then the flush. */
static inline void turn_once(struct engine *e, int64_t now)
{
    if (engine_wait(e, now) <= 0)
        engine_tick(e, now);
    engine_flush(e, now);
}

/* Lets ms pass. The clock stops wherever the engine wants to be called, and there the world has a turn. */
static inline void turn_pass(struct engine *e, int64_t *now, int64_t ms, void (*turn)(void *world), void *world)
{
    int64_t end = *now + ms;

    turn(world);
    while (*now < end) {
        int64_t wait = engine_wait(e, *now);

        *now += wait < end - *now ? wait : end - *now;
        turn(world);
    }
}

/* Another node's record arrives, then the reading ends. */
static inline void turn_node(struct engine *e, int64_t now, int id, int64_t beat, const char *inc, bool up)
{
    char text[NODE_TEXT_MAX];

    snprintf(
        text, sizeof(text),
        "{\"id\":%d,\"name\":\"node%d\",\"sip\":\"192.0.2.%d:5060\",\"inc\":\"%s\",\"beat\":%lld,\"up\":%s,\"v\":%d}",
        id, id, id, inc, (long long)beat, up ? "true" : "false", NODE_VERSION);
    engine_node(e, span_of(text), now);
    engine_nodes_read(e, true, now);
}

#endif
