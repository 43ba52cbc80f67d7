#include "histogram.h"

const int64_t histogram_bounds[HISTOGRAM_BOUNDS] = {100,   250,    500,    1000,   2500,    5000,    10000,   25000,
                                                    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

void histogram_add(struct histogram *h, int64_t us)
{
    int i = 0;

    while (i < HISTOGRAM_BOUNDS && us > histogram_bounds[i])
        i++;
    h->count[i]++;
    h->sum_us += us > 0 ? (uint64_t)us : 0;
}
