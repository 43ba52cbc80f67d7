/* kamsyncctl's filter for text from outside, its values and its tables. */
#include "helper.h"
#include "table.h"
#include "text.h"
#include "value.h"

static void in_utc(void)
{
    setenv("TZ", "UTC", 1);
    text_set_utf8(true);
}

TestSuite(ctl_text, .init = in_utc, .fini = no_leaks);

static void expect(struct buf *b, const char *text)
{
    cr_expect(span_eq((struct span){b->p, b->n}, span_of(text)), "'%.*s', not '%s'", (int)b->n, b->p, text);
    buf_free(b);
}

struct example {
    struct span in;
    const char *out;
    size_t width;
};

/* Versions of clang-format differ on a body in braces. */
/* clang-format off */
#define SAFE(in, out, width) {{in, sizeof(in) - 1}, out, width}
/* clang-format on */

static void expect_safe(const struct example *e)
{
    struct buf b = {0};

    buf_safe(&b, scratch_exact(e->in));
    cr_expect(b.width == e->width, "'%s': width %zu, not %zu", e->out, b.width, e->width);
    expect(&b, e->out);
}

Test(ctl_text, lets_letters_through)
{
    static const struct example examples[] = {
        SAFE("", "", 0),
        SAFE("sip:a@b;c=\"d\" ~", "sip:a@b;c=\"d\" ~", 15),
        SAFE("m\xc3\xbcller", "m\xc3\xbcller", 6),
        SAFE("\xd0\x96\xce\xa9\xe2\x82\xac", "\xd0\x96\xce\xa9\xe2\x82\xac", 3),
        SAFE("\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac", 4),
        SAFE("\xc2\xa1\xc2\xac\xc2\xae", "\xc2\xa1\xc2\xac\xc2\xae", 3),
    };

    for (size_t i = 0; i < COUNT(examples); i++)
        expect_safe(&examples[i]);
}

Test(ctl_text, writes_the_rest_as_bytes)
{
    static const struct example examples[] = {
        SAFE("a\x1b[2J", "a\\x1b[2J", 8),
        SAFE("\0\a\b\t\n\r\x1f\x7f", "\\x00\\x07\\x08\\x09\\x0a\\x0d\\x1f\\x7f", 32),
        SAFE("\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "\\xc2\\x80\\xc2\\x9b\\xc2\\x9f\\xc2\\xa0",
             32),                                                               /* C1, no-break blank */
        SAFE("\xc2\xad", "\\xc2\\xad", 8),                                      /* soft hyphen */
        SAFE("\xe2\x80\xae\xe2\x81\xa6", "\\xe2\\x80\\xae\\xe2\\x81\\xa6", 24), /* bidi */
        SAFE("\xe2\x80\x8b\xe2\x80\xa8", "\\xe2\\x80\\x8b\\xe2\\x80\\xa8", 24), /* no width, line */
        SAFE("\xd7\x90\xd8\xa7", "\\xd7\\x90\\xd8\\xa7", 16),                   /* right to left */
        SAFE("e\xcc\x81", "e\\xcc\\x81", 9),                                    /* combining */
        SAFE("\xef\xbb\xbf\xef\xb8\x8f", "\\xef\\xbb\\xbf\\xef\\xb8\\x8f", 24), /* byte order, variation */
        SAFE("\xf0\x9f\x98\x80", "\\xf0\\x9f\\x98\\x80", 16),
        SAFE("\xf3\xa0\x81\x81", "\\xf3\\xa0\\x81\\x81", 16), /* a tag, which hides */
    };

    for (size_t i = 0; i < COUNT(examples); i++)
        expect_safe(&examples[i]);
}

Test(ctl_text, writes_what_is_not_utf8_as_bytes)
{
    static const struct example examples[] = {
        SAFE("\xff\xfe", "\\xff\\xfe", 8),
        SAFE("\xc3", "\\xc3", 4),
        SAFE("\xc3z", "\\xc3z", 5),
        SAFE("\xe6\x97", "\\xe6\\x97", 8),
        SAFE("\x9b\x33m", "\\x9b3m", 6),
        SAFE("\xc0\xaf\xc1\x81", "\\xc0\\xaf\\xc1\\x81", 16), /* too long for what they say */
        SAFE("\xe0\x83\xbc\xf0\x80\x83\xbc", "\\xe0\\x83\\xbc\\xf0\\x80\\x83\\xbc", 28),
        SAFE("\xed\xa0\x80", "\\xed\\xa0\\x80", 12), /* surrogate */
        SAFE("\xf4\x90\x80\x80\xf5\x80\x80\x80", "\\xf4\\x90\\x80\\x80\\xf5\\x80\\x80\\x80", 32),
    };

    for (size_t i = 0; i < COUNT(examples); i++)
        expect_safe(&examples[i]);
}

Test(ctl_text, means_a_byte_by_each_escape)
{
    static const struct example examples[] = {
        SAFE("a\\x1b", "a\\x5cx1b", 8),
        SAFE("\\\"\\n\\", "\\\"\\n\\", 5),
        SAFE("\\\\x", "\\\\x5cx", 6),
    };

    for (size_t i = 0; i < COUNT(examples); i++)
        expect_safe(&examples[i]);
}

Test(ctl_text, is_ascii_where_utf8_is_not_read)
{
    static const struct example e = SAFE("m\xc3\xbc", "m\\xc3\\xbc", 9);

    text_set_utf8(false);
    expect_safe(&e);
}

/* Whatever bytes there are: what comes out is UTF-8 without control characters. */
Test(ctl_text, is_always_clean)
{
    unsigned seed = 7;

    for (int round = 0; round < 20000; round++) {
        char in[24];
        struct buf b = {0};
        json_t *text;

        for (size_t i = 0; i < sizeof(in); i++)
            in[i] = (char)(rand_r(&seed) >> 7);
        buf_safe(&b, (struct span){in, sizeof(in)});
        for (size_t i = 0; i < b.n; i++)
            cr_assert((unsigned char)b.p[i] >= 0x20 && b.p[i] != 0x7F);
        text = json_stringn(b.p, b.n);
        cr_assert_not_null(text, "no UTF-8 in round %d", round);
        json_decref(text);
        buf_free(&b);
    }
}

Test(ctl_text, prints_what_is_longer_than_its_guess)
{
    char *text = scratch("%0300d", 7);
    struct buf b = {0};

    buf_printf(&b, "%s", text);
    cr_expect(b.width == 300);
    expect(&b, text);
}

Test(ctl_text, durations)
{
    static const struct {
        int64_t ms;
        const char *text;
    } examples[] = {{-1, "-"},
                    {0, "0 ms"},
                    {999, "999 ms"},
                    {1000, "1.0 s"},
                    {3299, "3.2 s"},
                    {59999, "59.9 s"},
                    {60000, "0:01:00"},
                    {3723000, "1:02:03"},
                    {360000000, "100:00:00"},
                    {INT64_MIN, "-"},
                    {INT64_MAX, "2562047788015:12:55"}};

    for (size_t i = 0; i < COUNT(examples); i++) {
        struct buf b = {0};

        value_duration(&b, examples[i].ms);
        expect(&b, examples[i].text);
    }
}

Test(ctl_text, times)
{
    struct buf b = {0};

    value_clock(&b, 1795229237045);
    expect(&b, "02:47:17.045");
    value_date(&b, 1795229237045);
    expect(&b, "2026-11-21 02:47:17");
    value_zone(&b, 1795229237045);
    expect(&b, "+0000");
    value_date(&b, 253402300799999);
    expect(&b, "9999-12-31 23:59:59");
    value_date(&b, 253402300800000);
    expect(&b, "-");
    value_clock(&b, INT64_MAX);
    expect(&b, "-");
    value_clock(&b, -1);
    expect(&b, "-");
}

Test(ctl_text, values)
{
    static const struct {
        const char *json, *text;
    } examples[] = {{"\"a\\u0000b\"", "a\\x00b"},
                    {"\"\"", "\"\""},
                    {"null", "-"},
                    {"true", "yes"},
                    {"false", "no"},
                    {"-5", "-5"},
                    {"[1, {\"a\": \"\\u009b\"}]", "[1,{\"a\":\"\\xc2\\x9b\"}]"},
                    {"{\"base64\": \"YRtb/w==\"}", "a\\x1b[\\xff"},
                    {"{\"base64\": \"\"}", ""},
                    {"{\"base64\": \"no\\u001b\"}", "no\\x1b"},
                    {"{\"base64\": 5}", "{\"base64\":5}"}};

    for (size_t i = 0; i < COUNT(examples); i++) {
        json_t *value = json_loads(examples[i].json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        struct buf b = {0};

        cr_assert_not_null(value, "%s", examples[i].json);
        value_any(&b, value);
        expect(&b, examples[i].text);
        json_decref(value);
    }
}

Test(ctl_text, tables)
{
    static const struct column columns[] = {{"NAME", 0, false}, {"N", 3, true}, {"LAST", 0, false}};
    const char *names[] = {"a", "\xe6\x97\xa5", scratch("%060d", 0)};
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    struct table t;

    table_begin(&t, columns, COUNT(columns));
    for (size_t i = 0; i < COUNT(names); i++) {
        buf_safe(table_cell(&t), span_of(names[i]));
        buf_printf(table_cell(&t), "%zu", i * 1000);
        buf_printf(table_cell(&t), "%s", i == 1 ? "" : "z");
    }
    table_end(&t, 1, true, f);
    fclose(f);
    cr_expect_str_eq(out, scratch(" %-48s  %4s  LAST\n %-48s  %4d  z\n %-49s  %4d\n %s  %4d  z\n", "NAME", "N", "a", 0,
                                  "\xe6\x97\xa5", 1000, names[2], 2000));
    free(out);
}
