/* The frame reader: however the bytes are split, the frames are the same; and what frame_make() writes can be read. */
#include "frame.h"
#include "fuzz.h"

struct frames {
    struct span list[4096];
    size_t count;
};

static void keep(void *arg, struct span payload)
{
    struct frames *f = arg;

    must(payload.n <= FRAME_MAX_IN);
    if (f->count < COUNT(f->list))
        f->list[f->count++] = exact(payload);
}

static void forget(struct frames *f)
{
    while (f->count > 0)
        exact_free(f->list[--f->count]);
}

/* Feeds the bytes in parts of up to `most`; what the reader said in the end. */
static int feed(struct frames *f, struct span all, size_t most, unsigned seed, size_t *left)
{
    struct frame_reader r = {0};
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < all.n;) {
        size_t rest = all.n - at, n = most > rest ? rest : 1 + (seed = seed * 1103515245 + 12345) / 65536 % most;
        struct span part = exact((struct span){all.p + at, n < rest ? n : rest});

        rc = frame_feed(&r, part.p, part.n, keep, f);
        exact_free(part);
        at += part.n;
    }
    *left = r.len;
    frame_reset(&r);
    return rc;
}

static void expect_same(const struct frames *a, const struct frames *b)
{
    must(a->count == b->count);
    for (size_t i = 0; i < a->count; i++)
        must(span_eq(a->list[i], b->list[i]));
}

static void expect_made(const struct frames *f)
{
    static struct frames back;

    for (size_t i = 0; i < f->count; i++) {
        size_t n, left;
        char *made = frame_make(f->list[i], &n);

        must(made && feed(&back, (struct span){made, n}, n, 0, &left) == 0);
        must(left == 0 && back.count == 1 && span_eq(back.list[0], f->list[i]));
        free(made);
        forget(&back);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct frames whole, parts;
    struct input in = {data, size};
    unsigned seed = input_byte(&in);
    size_t steps[] = {1, 7, 100}, left, parts_left;
    struct span all = {(const char *)in.p, in.n};
    int rc = feed(&whole, all, SIZE_MAX, 0, &left);

    for (size_t i = 0; i < COUNT(steps); i++) {
        must(feed(&parts, all, steps[i], seed, &parts_left) == rc);
        must(rc < 0 || left == parts_left);
        expect_same(&whole, &parts);
        forget(&parts);
    }
    expect_made(&whole);
    forget(&whole);
    return 0;
}
