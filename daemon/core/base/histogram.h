/* How long things took, counted in fixed buckets: what Prometheus calls a histogram. A new one is one row below. */
#ifndef KAMSYNC_HISTOGRAM_H
#define KAMSYNC_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BOUNDS 16

/* Upper bounds of the buckets in µs, each included; above the last one is one more bucket. */
extern const int64_t histogram_bounds[HISTOGRAM_BOUNDS];

struct histogram {
    uint64_t count[HISTOGRAM_BOUNDS + 1]; /* in that bucket alone */
    uint64_t sum_us;
};

/* A negative time counts as 0. */
void histogram_add(struct histogram *h, int64_t us);

/* Those of the core; it knows times in whole ms. */
#define HISTOGRAMS(X)                                                                                                  \
    X(handover, "from a stray's coming to kamsyncd until it was handed over to its owner")                             \
    X(takeover, "from the search or the stray that found an orphan until this node's Kamailio had its transaction")

struct histograms {
#define HISTOGRAM_FIELD(name, help) struct histogram name;
    HISTOGRAMS(HISTOGRAM_FIELD)
#undef HISTOGRAM_FIELD
};

#endif
