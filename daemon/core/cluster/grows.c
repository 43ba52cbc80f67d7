/* Counters that should not grow: what it means when one has, for kamsyncctl doctor. One that grew long ago is no news.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cluster_impl.h"

/* clang-format off */
#define ROW(name, write) {#name, offsetof(struct counters, name), write}
/* clang-format on */

static const struct {
    const char *name;
    size_t at;
    const char *write;
} rows[] = {
    ROW(events_shed, "find out why kamsyncd was away or slow; raise KAMSYNC_QUEUE_MAX in kamailio.cfg"),
    ROW(txns_shed, "raise txns_max in kamsyncd.conf if memory allows"),
    ROW(calls_shed, "more calls than one kamsyncd keeps: more nodes, or call_max_s lower"),
    ROW(early_shed, "more calls than planned, or a flood: kamsyncctl calls"),
    ROW(byes_shed, "a flood of BYEs: whom do the logs name?"),
    ROW(strays_shed, "Redis slow (redis-cli --latency), or a flood of CANCELs: whom do the logs name?"),
    ROW(strays_dropped, "a flood of CANCELs: whom do the logs name?"),
    ROW(puts_failed, "see 'redis ' in kamsyncd's log: memory full, read-only, away? The records are written later"),
    ROW(frames_lost, "raise Kamailio's shared memory (-m)"),
    ROW(hangs, "find out what blocks Kamailio: DNS, a database, want of CPU"),
    ROW(messages_bad, "give all nodes the same packages; does another program publish on kamsync's channels?"),
    ROW(takeovers_failed, "kamsyncctl trace, and Kamailio's log"),
};

_Static_assert(sizeof(rows) / sizeof(*rows) == GROWS, "struct grows has an entry for each row");

static uint64_t value(const struct engine *e, size_t row)
{
    return *(const uint64_t *)((const char *)&e->count + rows[row].at);
}

void grows_tick(struct engine *e, int64_t now)
{
    for (size_t i = 0; i < GROWS; i++) {
        if (value(e, i) == e->grows.seen[i])
            continue;
        e->grows.seen[i] = value(e, i);
        e->grows.at_ms[i] = now;
    }
}

void grows_run(const struct engine *e, int64_t now, json_t *found)
{
    struct finding f;

    for (size_t i = 0; i < GROWS; i++) {
        bool unseen = value(e, i) != e->grows.seen[i];

        if (!unseen && (!e->grows.at_ms[i] || now - e->grows.at_ms[i] > NEWS_MS))
            continue;
        FINDING(&f, "the counter %s has grown within the last ten minutes, to %" PRIu64, rows[i].name, value(e, i));
        WRITE(&f, "%s", rows[i].write);
        json_array_append_new(found, finding_json(e->self.id, rows[i].name, SEVERITY_WARNING, &f));
    }
}
