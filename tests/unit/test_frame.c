/* Netstring framing. The reader must give the same result however its input is cut. */
#include "frame.h"
#include "helper.h"

TestSuite(frame, .fini = no_leaks);

/* All payloads that came out, each followed by a '|', and what the reader said last. */
struct result {
    char *text;
    size_t n, frames;
    int rc;
};

static void collect(void *arg, struct span payload)
{
    struct result *r = arg;

    r->text = realloc(r->text, r->n + payload.n + 2);
    cr_assert_not_null(r->text);
    if (payload.n)
        memcpy(r->text + r->n, payload.p, payload.n);
    r->n += payload.n;
    r->text[r->n++] = '|';
    r->text[r->n] = '\0';
    r->frames++;
}

/* Feeds [from, to) in pieces of at most step bytes; an error ends it, as it ends the link. */
static void feed(struct frame_reader *reader, struct result *r, struct span in, size_t from, size_t to, size_t step)
{
    while (r->rc == 0 && from < to) {
        struct span piece = scratch_exact((struct span){in.p + from, to - from < step ? to - from : step});

        r->rc = frame_feed(reader, piece.p, piece.n, collect, r);
        from += piece.n;
    }
}

/* Input cut once at `cut`, each part fed in pieces of `step`. */
static struct result run(struct span in, size_t cut, size_t step)
{
    struct frame_reader reader = {0};
    struct result r = {0};

    feed(&reader, &r, in, 0, cut, step);
    feed(&reader, &r, in, cut, in.n, step);
    frame_reset(&reader);
    return r;
}

static void expect(struct result got, const char *in, const char *how, const char *payloads, int rc)
{
    cr_expect(got.rc == rc, "'%.40s' %s: %d, not %d", in, how, got.rc, rc);
    cr_expect_str_eq(got.text ? got.text : "", payloads, "'%.40s' %s: '%s', not '%s'", in, how,
                     got.text ? got.text : "", payloads);
    free(got.text);
}

static void expect_all_ways(const char *in, const char *payloads, int rc)
{
    struct span s = span_of(in);

    expect(run(s, s.n, s.n), in, "whole", payloads, rc);
    expect(run(s, 0, 1), in, "byte by byte", payloads, rc);
    for (size_t cut = 1; cut < s.n; cut++)
        expect(run(s, cut, s.n), in, scratch("cut at %zu", cut), payloads, rc);
}

Test(frame, result_does_not_depend_on_the_split)
{
    static const struct {
        const char *in, *payloads;
        int rc;
    } cases[] = {
        {"", "", 0},
        {"3:abc,", "abc|", 0},
        {"0:,", "|", 0},
        {"3:abc,2:de,", "abc|de|", 0},
        {"3:abc,12:0123456789ab,0:,1:x,", "abc|0123456789ab||x|", 0},
        {"5:3:ab,,", "3:ab,|", 0},
        {"3:abc,7:unfinis", "abc|", 0},
        {"3:abc,2", "abc|", 0},
        {"3:abc", "", 0},
        {"3:abcX", "", -EPROTO},
        {"3:abc,2:deX", "abc|", -EPROTO},
        {"3:abcd,", "", -EPROTO},
        {":abc,", "", -EPROTO},
        {"x", "", -EPROTO},
        {" 3:abc,", "", -EPROTO},
        {"3 :abc,", "", -EPROTO},
        {"+3:abc,", "", -EPROTO},
        {"-1:", "", -EPROTO},
        {"3;abc,", "", -EPROTO},
        {"03:abc,", "", -EPROTO},
        {"00:,", "", -EPROTO},
        {"\n3:abc,", "", -EPROTO},
        {"3:abc,\n", "abc|", -EPROTO},
        {"262145:", "", -EMSGSIZE},
        {"999999:", "", -EMSGSIZE},
        {"{\"t\":\"ack\"}", "", -EPROTO},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect_all_ways(cases[i].in, cases[i].payloads, cases[i].rc);
}

/* A length of seven and more digits is a netstring, only too long a one. */
Test(frame, a_length_of_many_digits_is_too_long_however_it_is_split)
{
    expect_all_ways("1000000:", "", -EMSGSIZE);
    expect_all_ways("2621450:", "", -EMSGSIZE);
    expect_all_ways("9999999:", "", -EMSGSIZE);
    expect_all_ways("99999999999999999999999999:", "", -EMSGSIZE);
}

static char *big_frame(size_t payload)
{
    char *text = scratch("%zu:%*s,", payload, (int)payload, "");

    return text;
}

Test(frame, longest_payload_passes_and_one_more_does_not)
{
    struct result r = run(span_of(big_frame(FRAME_MAX_IN)), 0, 4096);

    cr_expect(r.rc == 0 && r.frames == 1 && r.n == FRAME_MAX_IN + 1);
    free(r.text);
    r = run(span_of(big_frame(FRAME_MAX_IN + 1)), 0, 4096);
    cr_expect(r.rc == -EMSGSIZE && r.frames == 0);
    free(r.text);
}

Test(frame, twenty_thousand_frames_in_one_feed)
{
    size_t n = 0, size = 20000 * 16;
    char *in = malloc(size);
    struct frame_reader reader = {0};
    struct result r = {0};

    cr_assert_not_null(in);
    for (int i = 0; i < 20000; i++)
        n += (size_t)sprintf(in + n, "5:%05d,", i);
    cr_expect(frame_feed(&reader, in, n, collect, &r) == 0);
    cr_expect(r.frames == 20000);
    cr_expect(strncmp(r.text, "00000|00001|", 12) == 0);
    cr_expect_str_eq(r.text + r.n - 6, "19999|");
    free(in);
    free(r.text);
    frame_reset(&reader);
}

Test(frame, reader_can_be_used_again_after_a_reset)
{
    struct frame_reader reader = {0};
    struct result r = {0};

    cr_expect(frame_feed(&reader, "9:half", 6, collect, &r) == 0);
    frame_reset(&reader);
    cr_expect(frame_feed(&reader, "2:ok,", 5, collect, &r) == 0);
    cr_expect_str_eq(r.text, "ok|");
    frame_reset(&reader);
    free(r.text);
}

Test(frame, no_bytes_are_no_error)
{
    struct frame_reader reader = {0};
    struct result r = {0};

    cr_expect(frame_feed(&reader, NULL, 0, collect, &r) == 0);
    cr_expect(r.frames == 0);
    frame_reset(&reader);
}

/* What is made can be read, at the sizes where the length gets one more digit. */
Test(frame, made_frames_are_read_back)
{
    static const size_t sizes[] = {0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10000, FRAME_MAX_OUT};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t len = 0;
        char *frame = frame_make(span_of(scratch("%*s", (int)sizes[i], "")), &len);
        struct result r = run((struct span){frame, len}, len / 2, len);

        cr_expect(r.rc == 0 && r.frames == 1 && r.n == sizes[i] + 1, "%zu bytes", sizes[i]);
        free(r.text);
        free(frame);
    }
}
