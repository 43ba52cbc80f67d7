/* Frames to Kamailio: order, the window, and what becomes of them when the connection breaks. */
#include "frame.h"
#include "helper.h"
#include "link.h"

TestSuite(link, .fini = no_leaks);

static int64_t push(struct link *l, const char *payload, int64_t now)
{
    int64_t n = link_next_n(l);

    cr_expect(link_push(l, n, strdup(payload), now), "push %s", payload);
    return n;
}

static char *big(size_t n)
{
    return scratch("%0*d", (int)n, 7);
}

/* All that can be taken now, joined. */
static char *take_all(struct link *l)
{
    char *all = scratch("%s", ""), *bytes;
    size_t len;

    while ((bytes = link_take(l, &len)) != NULL) {
        all = scratch("%s%.*s", all, (int)len, bytes);
        free(bytes);
    }
    return all;
}

static size_t take_count(struct link *l)
{
    char *bytes;
    size_t len, n = 0;

    for (; (bytes = link_take(l, &len)) != NULL; n++)
        free(bytes);
    return n;
}

Test(link, numbers_count_from_one)
{
    struct link l = {0};

    cr_expect(link_next_n(&l) == 1);
    cr_expect(link_next_n(&l) == 2);
    link_free(&l);
}

Test(link, nothing_goes_out_while_closed)
{
    struct link l = {0};

    push(&l, "a", 0);
    cr_expect_str_eq(take_all(&l), "");
    link_open(&l);
    cr_expect_str_eq(take_all(&l), "1:a,");
    cr_expect_str_eq(take_all(&l), "");
    link_free(&l);
}

Test(link, order)
{
    struct link l = {0};

    push(&l, "one", 0);
    push(&l, "two", 0);
    link_open(&l);
    push(&l, "three", 0);
    cr_expect_str_eq(take_all(&l), "3:one,3:two,5:three,");
    link_free(&l);
}

Test(link, window_is_kept)
{
    struct link l = {0};
    int64_t first, second;

    link_open(&l);
    first = push(&l, big(LINK_WINDOW - LINK_RESERVED - 100), 0);
    second = push(&l, big(100), 0);
    push(&l, "x", 0);
    cr_expect(take_count(&l) == 2, "exactly full");
    cr_expect(l.under_way_bytes == LINK_WINDOW - LINK_RESERVED);
    cr_expect(link_acked(&l, first) == 0);
    cr_expect_str_eq(take_all(&l), "1:x,", "room again");
    cr_expect(link_acked(&l, second) == 0);
    cr_expect(l.under_way_bytes == 1);
    link_free(&l);
}

/* A frame larger than the window goes alone; a small one does not overtake it. */
Test(link, large_frame_goes_alone_and_in_order)
{
    struct link l = {0};
    int64_t small, large;

    link_open(&l);
    small = push(&l, "s", 0);
    large = push(&l, big(LINK_WINDOW + 1), 0);
    push(&l, "t", 0);
    cr_expect_str_eq(take_all(&l), "1:s,");
    link_acked(&l, small);
    cr_expect(take_count(&l) == 1, "the large one");
    cr_expect(take_count(&l) == 0);
    link_acked(&l, large);
    cr_expect_str_eq(take_all(&l), "1:t,");
    link_free(&l);
}

Test(link, only_acks_of_frames_under_way_count)
{
    struct link l = {0};
    int64_t n;

    link_open(&l);
    n = push(&l, "a", 0);
    link_acked(&l, n);
    cr_expect(take_count(&l) == 1, "it waited still");
    link_acked(&l, n + 1);
    link_acked(&l, -1);
    link_acked(&l, INT64_MAX);
    cr_expect(l.under_way_bytes == 1);
    link_acked(&l, n);
    link_acked(&l, n);
    cr_expect(l.under_way_bytes == 0 && l.under_way == NULL);
    link_free(&l);
}

/* The script acknowledges in order, so what it passed over did not arrive. */
Test(link, what_got_lost_goes_once_more)
{
    struct link l = {0};
    int64_t last;

    link_open(&l);
    push(&l, "a", 0);
    push(&l, "b", 0);
    link_push_once(&l, link_next_n(&l), strdup("ping"), 0);
    last = push(&l, "c", 0);
    cr_expect(take_count(&l) == 4);
    push(&l, "d", 0);
    cr_expect(link_acked(&l, last) == 3);
    cr_expect(l.under_way == NULL && l.under_way_bytes == 0);
    last = push(&l, "e", 0);
    cr_expect_str_eq(take_all(&l), "1:a,1:b,1:d,1:e,", "in order, before what waited; the ping is of no use any more");
    cr_expect(link_acked(&l, last) == 3);
    cr_expect_str_eq(take_all(&l), "1:d,", "what got lost twice is given up");
    link_free(&l);
}

/* All that is under way got lost: something must be able to find that out. */
Test(link, ping_passes_a_full_window)
{
    struct link l = {0};
    int64_t n;

    link_open(&l);
    for (int i = 0; i < 100; i++)
        push(&l, big(1000), 0);
    cr_expect(take_count(&l) == 15);
    n = link_next_n(&l);
    cr_expect(link_push_first(&l, n, strdup("ping"), 0));
    cr_expect_str_eq(take_all(&l), "4:ping,");
    cr_expect(link_acked(&l, n) == 15);
    cr_expect(l.waiting_bytes == 100UL * 1000);
    cr_expect(take_count(&l) == 15, "they go once more");
    cr_expect(l.waiting_bytes == 85UL * 1000);
    cr_expect(link_push_first(&l, link_next_n(&l), strdup(big(LINK_SMALL + 400)), 0));
    cr_expect(take_count(&l) == 0, "not what is large");
    link_free(&l);
}

Test(link, longest_frame)
{
    struct link l = {0};

    link_open(&l);
    push(&l, big(FRAME_MAX_OUT), 0);
    cr_expect(!link_push(&l, link_next_n(&l), strdup(big(FRAME_MAX_OUT + 1)), 0));
    cr_expect(!link_push(&l, link_next_n(&l), NULL, 0), "a frame that could not be made");
    cr_expect(take_count(&l) == 1 && l.waiting_count == 0 && l.waiting_bytes == 0);
    link_free(&l);
}

Test(link, close_keeps_young_frames_in_order)
{
    struct link l = {0};

    link_open(&l);
    push(&l, "old", 0);
    push(&l, "young1", 1000);
    cr_expect(take_count(&l) == 2);
    push(&l, "young2", 2000);
    cr_expect(link_close(&l, 1000 + LINK_KEEP_MS) == 1);
    cr_expect(l.waiting_count == 2 && l.under_way == NULL && l.under_way_bytes == 0);
    cr_expect(l.waiting_bytes == strlen("young1") + strlen("young2"));
    cr_expect_str_eq(take_all(&l), "", "closed");
    link_open(&l);
    cr_expect_str_eq(take_all(&l), "6:young1,6:young2,");
    link_free(&l);
}

Test(link, close_and_open_with_nothing)
{
    struct link l = {0};

    cr_expect(link_close(&l, 5) == 0);
    link_open(&l);
    cr_expect(link_close(&l, 9999) == 0);
    cr_expect(link_oldest(&l) == -1);
    link_free(&l);
}

Test(link, queue_is_bounded_and_drops_the_oldest)
{
    struct link l = {0};
    char *bytes;
    size_t len = 0;

    for (int i = 0; i < LINK_QUEUE_MAX; i++)
        push(&l, scratch("%d", i % 10), 0);
    cr_expect(!link_push(&l, link_next_n(&l), strdup("last"), 0));
    cr_expect(l.waiting_count == LINK_QUEUE_MAX && l.waiting_bytes == LINK_QUEUE_MAX - 1 + strlen("last"));
    link_open(&l);
    bytes = link_take(&l, &len);
    cr_expect(bytes && strncmp(bytes, "1:1,", len) == 0, "0 went");
    free(bytes);
    link_free(&l);
}

Test(link, oldest_under_way)
{
    struct link l = {0};
    int64_t n;

    link_open(&l);
    n = push(&l, "a", 100);
    cr_expect(link_oldest(&l) == -1, "it waits still");
    take_count(&l);
    push(&l, "b", 200);
    take_count(&l);
    cr_expect(link_oldest(&l) == 100);
    link_acked(&l, n);
    cr_expect(link_oldest(&l) == 200);
    link_free(&l);
}
