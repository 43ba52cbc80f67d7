/* Objects of texts and numbers: what is plain is read in one pass, and jansson finds the same. */
#include "flat.h"
#include "helper.h"

TestSuite(flat, .fini = no_leaks);

static void expect_same_field(const struct flat_field *a, const struct flat_field *b)
{
    cr_expect(b && a->kind == b->kind && a->number == b->number && a->real == b->real && span_eq(a->text, b->text),
              "%s", a->name.p);
    cr_expect(a->name.p[a->name.n] == '\0' && (!a->text.p || a->text.p[a->text.n] == '\0'));
}

/* True when it is plain; then both ways must agree. */
static bool is_plain(struct span text)
{
    struct span whole = scratch_exact(text), rest = whole, again = scratch_exact(text), other = again;
    struct flat plain, any;
    char why[100];

    if (!flat_plain(&plain, &rest)) {
        cr_expect(rest.p == whole.p && span_eq(rest, text), "it stays as it was");
        return false;
    }
    cr_assert(flat_any(&any, &other, why, sizeof(why)) == 0, "%.*s: %s", (int)text.n, text.p, why);
    cr_expect(rest.p - whole.p == other.p - again.p && span_eq(rest, other) && plain.count == any.count);
    for (size_t i = 0; i < plain.count; i++)
        expect_same_field(&plain.fields[i], flat_find(&any, plain.fields[i].name));
    return true;
}

Test(flat, what_the_script_writes_is_plain)
{
    static const char *const texts[] = {
        "{\"t\":\"events\",\"n\":7}{\"t\":\"alive\",\"id\":2}",
        "{\"t\":\"reply\",\"via\":\"eA==\",\"code\":180,\"at\":1800000000.123456}",
        "{\"t\":\"bye\",\"call_id\":\"eA==\",\"code\":0,\"at\":1800000000.000001,\"from_tag\":\"\",\"to_tag\":\"\"}",
        "{\"t\":\"branch\",\"src\":\"udp:[2001:db8::7]:5060\",\"sent\":240}U0lQ",
        "{\"a\":\"\x7f\"}",
        "{\"\":0,\"a\":0.0,\"e\":0.000000000000000001,\"b\":0.5,\"c\":9007199254740991,\"d\":461168601842738790}",
    };

    for (size_t i = 0; i < COUNT(texts); i++)
        cr_expect(is_plain(span_of(texts[i])), "%s", texts[i]);
}

/* Which is not to say that it is wrong. */
Test(flat, what_is_not_plain_is_left_to_jansson)
{
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "[]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":\"",
        "{\"a\":01}",
        "{\"a\":00}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1.x}",
        "{\"a\":1e3}",
        "{\"a\":-1}",
        "{\"a\":1]",
        "{\"a\":1,}",
        "{\"a\":1,,}",
        "{\"a\" :1}",
        "{ \"a\":1}",
        " {\"a\":1}",
        "{\"a\": 1}",
        "{\"a\":null}",
        "{\"a\":true}",
        "{\"a\":[]}",
        "{\"a\":{}}",
        "{a:1}",
        "{\"a\":1\"}",
        "{\"a\":\"\\n\"}",
        "{\"a\":\"\n\"}",
        "{\"\\u0041\":1}",
        "{\"a\":\"\xc3\xa9\"}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":9223372036854775807}",
        "{\"a\":99999999999999999999}",
        "{\"a\":9007199254740993.5}",
        "{\"a\":0.0000000000000000001}",
        "{\"a\":1.00000000000000000001}",
    };

    for (size_t i = 0; i < COUNT(texts); i++)
        cr_expect(!is_plain(span_of(texts[i])), "%s", texts[i]);
    cr_expect(!is_plain(BYTES("{\"a\":\"\0\"}")));
}

/* A text is looked at eight bytes at a time. */
Test(flat, any_byte_at_any_place_of_a_text)
{
    for (int byte = 1; byte < 256; byte++)
        for (size_t at = 0; at < 9; at++) {
            char text[] = "{\"a\":\"~~~~~~~~~\"}";

            text[strlen("{\"a\":\"") + at] = (char)byte;
            cr_expect(is_plain(span_of(text)) == (byte >= ' ' && byte < 128 && byte != '"' && byte != '\\'),
                      "%d at %zu", byte, at);
        }
}

Test(flat, every_beginning_of_a_plain_object_is_none)
{
    static const char text[] = "{\"t\":\"reply\",\"via\":\"eA==\",\"code\":180,\"at\":1.5}";

    for (size_t n = 0; n < sizeof(text) - 1; n++)
        cr_expect(!is_plain((struct span){text, n}), "%zu", n);
}

Test(flat, jansson_reads_what_is_not_plain)
{
    struct span rest = scratch_exact(span_of(" {\"a\": -5, \"b\":\"\\u00e9\", \"c\":[1, {}]} x"));
    struct flat f;
    char why[100];

    cr_assert(flat_read(&f, &rest, why, sizeof(why)) == 0, "%s", why);
    cr_expect(f.count == 3 && f.fields[0].number == -5 && f.fields[0].kind == FLAT_INT);
    cr_expect_str_eq(f.fields[1].text.p, "\xc3\xa9");
    cr_expect(f.fields[2].kind == FLAT_OTHER && !f.fields[2].text.p);
    cr_expect(span_eq(rest, span_of(" x")));
    cr_expect_null(flat_find(&f, span_of("d")));
}

Test(flat, fields_have_a_limit)
{
    char text[400] = "{", why[100];
    struct flat f;

    for (int i = 0; i <= FLAT_MAX; i++) {
        struct span rest;

        sprintf(text + strlen(text), "%s\"f%d\":1}", i ? "," : "", i);
        rest = scratch_exact(span_of(text));
        cr_expect(flat_read(&f, &rest, why, sizeof(why)) == (i < FLAT_MAX ? 0 : -EBADMSG));
        text[strlen(text) - 1] = '\0';
    }
    cr_expect(strstr(why, "too many fields"));
}
