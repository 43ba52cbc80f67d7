/* What is kept of decisions, for kamsyncctl trace. */
#include "helper.h"
#include "trace.h"

TestSuite(trace, .fini = no_leaks);

static size_t lines_of(const struct trace *t, const char *call_id)
{
    json_t *list = json_array();
    size_t n;

    trace_list(t, span_of(call_id), 1, list);
    n = json_array_size(list);
    json_decref(list);
    return n;
}

Test(trace, newest_ones_are_kept)
{
    struct trace t = {0};

    for (int i = 0; i < TRACE_MAX + 10; i++)
        trace_add(&t, span_of(i < 20 ? "old" : "new"), i, 0, "text");
    cr_expect(t.count == TRACE_MAX && lines_of(&t, "old") == 10 && lines_of(&t, "new") == TRACE_MAX - 10);
    trace_clear(&t);
    cr_expect(t.count == 0 && t.bytes == 0 && !t.lines);
}

/* 4,200 CANCELs with Call-IDs of 48 kB took 187 MB. */
Test(trace, bounded_in_bytes)
{
    struct trace t = {0};
    char *id = scratch("%0*d", 48000, 7);

    for (int i = 0; i < 4200; i++)
        trace_add(&t, span_of(id), i, 0, "text");
    cr_expect(t.bytes <= TRACE_BYTES && t.bytes > TRACE_BYTES / 2 && t.count > 40);
    trace_add(&t, span_of("short"), 1, 0, "text");
    cr_expect(lines_of(&t, "short") == 1 && lines_of(&t, id) == t.count - 1);
    trace_clear(&t);
    cr_expect(t.bytes == 0);
}
