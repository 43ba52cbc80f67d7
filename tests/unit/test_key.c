/* Keys: two different Call-IDs never share one, and no byte of SIP can spoil one. */
#include "helper.h"
#include "key.h"

TestSuite(key, .fini = no_leaks);

static char *key_of(struct span call_id, unsigned cseq, struct span branch)
{
    char *made = key_tx(scratch_exact(call_id), cseq, scratch_exact(branch)), *kept;

    cr_assert_not_null(made);
    kept = scratch("%s", made);
    free(made);
    return kept;
}

Test(key, form)
{
    static const struct {
        struct span call_id;
        unsigned cseq;
        struct span branch;
        const char *key;
    } cases[] = {
        {BYTES("abc@host"), 1, BYTES("z9hG4bK-1"), "kamsync:tx:{abc@host}:1:z9hG4bK-1"},
        {BYTES(""), 0, BYTES(""), "kamsync:tx:{}:0:"},
        {BYTES("a"), 4294967295u, BYTES("b"), "kamsync:tx:{a}:4294967295:b"},
        {BYTES("a{b}c"), 1, BYTES("x"), "kamsync:tx:{a%7Bb%7Dc}:1:x"},
        {BYTES("a:b"), 1, BYTES("x:y"), "kamsync:tx:{a%3Ab}:1:x%3Ay"},
        {BYTES("100%"), 1, BYTES("%41"), "kamsync:tx:{100%25}:1:%2541"},
        {BYTES("a\"b\\c d"), 1, BYTES("x"), "kamsync:tx:{a%22b%5Cc%20d}:1:x"},
        {BYTES("\0\xff\r\n"), 1, BYTES("\x80"), "kamsync:tx:{%00%FF%0D%0A}:1:%80"},
        {BYTES("@.-_~+!*;="), 1, BYTES("x"), "kamsync:tx:{@.-_~+!*;=}:1:x"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_str_eq(key_of(cases[i].call_id, cases[i].cseq, cases[i].branch), cases[i].key);
}

Test(key, different_texts_have_different_keys)
{
    static const struct span ids[] = {
        BYTES("a{b"),
        BYTES("a%7Bb"),
        BYTES("a%7bb"),
        BYTES("a%257Bb"),
        BYTES("a}b"),
        BYTES("a%7Db"),
        BYTES("ab"),
        BYTES("AB"),
        BYTES("a b"),
        BYTES("a%20b"),
        BYTES("a\0b"),
        BYTES("a%00b"),
        BYTES("a:b"),
        BYTES("a%3Ab"),
        BYTES("a\x80"
              "b"),
        BYTES("a%80b"),
        BYTES(""),
        BYTES("a"),
        BYTES("a}:1:b"),
        BYTES("a%"),
        BYTES("a%25"),
        BYTES("\xc3\xa4"),
        BYTES("\xe4"),
        BYTES("a\0"),
    };

    for (size_t i = 0; i < COUNT(ids); i++)
        for (size_t k = 0; k < i; k++)
            cr_expect_str_neq(key_of(ids[i], 1, BYTES("x")), key_of(ids[k], 1, BYTES("x")), "%zu and %zu", i, k);
}

/* What stands before a colon in one part can never look like the part after it. */
Test(key, parts_cannot_be_shifted)
{
    cr_expect_str_neq(key_of(BYTES("a"), 1, BYTES("1:b")), key_of(BYTES("a}:1"), 1, BYTES("b")));
    cr_expect_str_neq(key_of(BYTES("a}:1:b"), 2, BYTES("c")), key_of(BYTES("a"), 1, BYTES("b}:2:c")));
    cr_expect_str_neq(key_of(BYTES("a"), 11, BYTES("b")), key_of(BYTES("a"), 1, BYTES("1b")));
}

Test(key, every_byte_is_encoded_in_its_own_way)
{
    char *keys[256];

    for (int i = 0; i < 256; i++) {
        char c = (char)i;

        keys[i] = key_of((struct span){&c, 1}, 1, BYTES("x"));
        cr_expect(strcspn(keys[i] + 12, " \"\\'{\r\n\t\x7f") == strlen(keys[i] + 12), "byte %d: %s", i, keys[i]);
        cr_expect(strchr(keys[i], '}') == strrchr(keys[i], '}'), "byte %d: %s", i, keys[i]);
        for (int k = 0; k < i; k++)
            cr_expect_str_neq(keys[i], keys[k], "bytes %d and %d", i, k);
    }
}
