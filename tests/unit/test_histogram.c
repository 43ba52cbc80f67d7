/* Buckets: each bound belongs to the bucket below it. */
#include <criterion/criterion.h>

#include "histogram.h"

Test(histogram, each_bound_is_in_its_own_bucket)
{
    struct histogram h = {0};

    for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        cr_expect(i == 0 || histogram_bounds[i] > histogram_bounds[i - 1]);
        histogram_add(&h, histogram_bounds[i]);
        cr_expect(h.count[i] == 1 && h.count[i + 1] == 0, "bound %d", i);
    }
}

Test(histogram, one_more_is_in_the_next)
{
    struct histogram h = {0};

    for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
        histogram_add(&h, histogram_bounds[i] + 1);
    cr_expect(h.count[0] == 0);
    for (int i = 1; i <= HISTOGRAM_BOUNDS; i++)
        cr_expect(h.count[i] == 1, "bucket %d", i);
}

Test(histogram, sum)
{
    struct histogram h = {0};

    histogram_add(&h, 7);
    histogram_add(&h, 20000000);
    histogram_add(&h, -5);
    cr_expect(h.sum_us == 20000007 && h.count[0] == 2 && h.count[HISTOGRAM_BOUNDS] == 1);
}
