#include <ctype.h>

#include "base64.h"
#include "helper.h"

TestSuite(base64, .fini = no_leaks);

Test(base64, rfc4648_vectors)
{
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t n = 99;
        char *text = base64_text(span_of(cases[i][0])), *bytes = base64_bytes(span_of(cases[i][1]), &n);

        cr_expect_str_eq(text, cases[i][1]);
        cr_expect(bytes && n == strlen(cases[i][0]) && bytes[n] == '\0');
        cr_expect_str_eq(bytes ? bytes : "NULL", cases[i][0]);
        free(text);
        free(bytes);
    }
}

Test(base64, every_byte_survives_at_every_length)
{
    char all[256];

    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    for (size_t n = 0; n <= sizeof(all); n++) {
        size_t len = 0;
        char *text = base64_text(scratch_exact((struct span){all, n})), *back = base64_bytes(span_of(text), &len);

        cr_expect(back && len == n && memcmp(back, all, n) == 0, "%zu bytes", n);
        free(text);
        free(back);
    }
}

Test(base64, what_is_not_base64_is_refused)
{
    static const char *const bad[] = {"A",      "AA",       "AAA",         "A===",      "====",  "AA=A",
                                      "=AAA",   "AAAA=",    "AA==AA==",    "Zg= =",     " Zg==", "Zg== ",
                                      "Zg==\n", "\tZg==",   "Zm9\nv",      "Zm9v\r\n",  "Zm-_",  "Zm9v!",
                                      "Zm9*",   "Zg==Zg==", "Z\xc3\xa9==", "AAAAAAAAA", "-",     "="};

    for (size_t i = 0; i < COUNT(bad); i++) {
        size_t n = 0;
        char *bytes = base64_bytes(span_of(bad[i]), &n);

        cr_expect_null(bytes, "'%s' was taken", bad[i]);
        free(bytes);
    }
}

Test(base64, what_stands_in_its_own_place)
{
    char text[] = "Zm9vYmFyCg==";
    size_t n = 0;

    cr_expect(base64_decode(text, span_of(text), &n) && n == 7);
    cr_expect_str_eq(text, "foobar\n");
}

static bool is_letter(int byte)
{
    return isalnum(byte) || byte == '+' || byte == '/';
}

Test(base64, any_byte_at_any_place)
{
    for (size_t at = 0; at < 8; at++)
        for (int byte = 0; byte < 256; byte++) {
            char text[] = "Zm9vYmFy", out[sizeof(text)];
            size_t n = 0;

            text[at] = (char)byte;
            cr_expect(base64_decode(out, (struct span){text, 8}, &n) == (is_letter(byte) || (at == 7 && byte == '=')),
                      "%d at %zu", byte, at);
        }
}
