/* All metrics as text for Prometheus (exposition format 0.0.4). A counter or a histogram of the core is there by
 * itself, once it has its row in counters.h or histogram.h; any other is one line in metrics.c.
 *
 * No label holds what a caller writes: the few there are come from the configuration. */
#ifndef KAMSYNC_METRICS_H
#define KAMSYNC_METRICS_H

#include "buffer.h"
#include "engine.h"
#include "http.h"

/* What is shown, all borrowed. */
struct metrics {
    const char *version, *name, *cluster, *site;
    const struct engine_status *status;
    const struct counters *counters;
    const struct histograms *took;
    const struct histogram *round_trips;
    bool ready, drained, near_up;
    int64_t near_lag_ms;
    uint64_t repeated; /* commands */
    int64_t txns_max;
    struct http_figures http;
    /* the process */
    size_t memory; /* bytes */
    int64_t cpu_us;
    int64_t started_ms; /* since 1970 */
};

void metrics_write(struct buffer *out, const struct metrics *m);

#endif
