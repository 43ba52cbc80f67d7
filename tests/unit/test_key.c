/* Keys: two different Call-IDs never share one, and no byte of SIP can spoil one. */
#include "crc16.h"
#include "helper.h"
#include "key.h"

TestSuite(key, .fini = no_leaks);

static char *key_of_sender(struct span call_id, unsigned cseq, struct span branch, struct span sent_by)
{
    char *made = key_tx(scratch_exact(call_id), cseq, scratch_exact(branch), scratch_exact(sent_by)), *kept;

    cr_assert_not_null(made);
    kept = scratch("%s", made);
    free(made);
    return kept;
}

static char *key_of(struct span call_id, unsigned cseq, struct span branch)
{
    return key_of_sender(call_id, cseq, branch, span_of("h:5"));
}

Test(key, form)
{
    static const struct {
        struct span call_id;
        unsigned cseq;
        struct span branch;
        const char *key;
    } cases[] = {
        {BYTES("abc@host"), 1, BYTES("z9hG4bK-1"), "kamsync:tx:{abc@host}:1:z9hG4bK-1:h:5"},
        {BYTES(""), 0, BYTES(""), "kamsync:tx:{}:0::h:5"},
        {BYTES("a"), 4294967295u, BYTES("b"), "kamsync:tx:{a}:4294967295:b:h:5"},
        {BYTES("a{b}c"), 1, BYTES("x"), "kamsync:tx:{a%7Bb%7Dc}:1:x:h:5"},
        {BYTES("a:b"), 1, BYTES("x:y"), "kamsync:tx:{a%3Ab}:1:x%3Ay:h:5"},
        {BYTES("100%"), 1, BYTES("%41"), "kamsync:tx:{100%25}:1:%2541:h:5"},
        {BYTES("a\"b\\c d"), 1, BYTES("x"), "kamsync:tx:{a%22b%5Cc%20d}:1:x:h:5"},
        {BYTES("\0\xff\r\n"), 1, BYTES("\x80"), "kamsync:tx:{%00%FF%0D%0A}:1:%80:h:5"},
        {BYTES("@.-_~+!*;="), 1, BYTES("x"), "kamsync:tx:{@.-_~+!*;=}:1:x:h:5"},
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

/* Another sender's transaction is another one (RFC 3261 17.2.3): how he writes himself does not matter. */
Test(key, sent_by)
{
    static const struct {
        struct span sent_by;
        const char *end;
    } cases[] = {
        {BYTES("192.0.2.1:5062"), ":192.0.2.1:5062"},
        {BYTES("192.0.2.1"), ":192.0.2.1:5060"},
        {BYTES("PBX.Example"), ":pbx.example:5060"},
        {BYTES("pbx.example:05060"), ":pbx.example:5060"},
        {BYTES("[2001:DB8::1]:5062"), ":%5b2001%3adb8%3a%3a1%5d:5062"},
        {BYTES("[::1]"), ":%5b%3a%3a1%5d:5060"},
        {BYTES(""), "::5060"},
        {BYTES(":1"), ":%3a1:5060"},
        {BYTES("h:"), ":h%3a:5060"},
        {BYTES("h:1234567890"), ":h%3a1234567890:5060"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_str_eq(key_of_sender(BYTES("a"), 1, BYTES("b"), cases[i].sent_by),
                         scratch("kamsync:tx:{a}:1:b%s", cases[i].end));
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

/* The default name is what all the others here begin with. */
Test(key, another_cluster_has_names_of_its_own)
{
    char name[KEY_SHORT_MAX], *tx, *claim;

    tx = key_of(BYTES("a"), 1, BYTES("b"));
    cr_expect(key_is_tx(tx));
    key_cluster("edge-2.x");
    cr_expect(!key_is_tx(tx) && !key_claim(tx), "another cluster's");
    tx = key_of(BYTES("a"), 1, BYTES("b"));
    cr_expect_str_eq(tx, "edge-2.x:tx:{a}:1:b:h:5");
    cr_expect(key_is_tx(tx) && !key_is_call(tx));
    claim = key_claim(tx);
    cr_expect_str_eq(claim, "edge-2.x:claim:{a}:1:b:h:5:new");
    cr_expect(!key_is_tx(claim));
    free(claim);
    claim = key_call(BYTES("a"), BYTES("t"));
    cr_expect_str_eq(claim, "edge-2.x:call:{a}:t");
    cr_expect(key_is_call(claim) && !key_is_tx(claim));
    free(claim);
    cr_expect_str_eq(key_node(name, 2147483647), "edge-2.x:node:2147483647");
    cr_expect_str_eq(key_nodes(name), "edge-2.x:nodes");
    cr_expect_str_eq(key_short(name, KEY_ALL), "edge-2.x:*");
}

Test(key, the_longest_name_of_a_cluster)
{
    static const char longest[] = "12345678901234567890123456789012";
    char name[KEY_SHORT_MAX];

    cr_expect(key_is_cluster(longest) && !key_is_cluster(scratch("%s3", longest)));
    key_cluster(longest);
    cr_expect_str_eq(key_node(name, -2147483647 - 1), scratch("%s:node:-2147483648", longest));
    cr_expect_str_eq(key_of(BYTES("a"), 4294967295u, BYTES("b")), scratch("%s:tx:{a}:4294967295:b:h:5", longest));
}

static void expect_patterns(struct span call_id, const char *tx, const char *call)
{
    char *made[] = {key_tx_pattern(call_id), key_call_pattern(call_id)};

    cr_expect_str_eq(made[0], tx);
    cr_expect_str_eq(made[1], call);
    free(made[0]);
    free(made[1]);
}

Test(key, patterns)
{
    expect_patterns(BYTES("a@h"), "kamsync:tx:{a@h}:*", "kamsync:call:{a@h}:*");
    expect_patterns(BYTES("*?[x]\\*"), "kamsync:tx:{\\*%3F%5Bx%5D%5C\\*}:*", "kamsync:call:{\\*%3F%5Bx%5D%5C\\*}:*");
    key_buckets(KEY_BUCKETS);
    expect_patterns(BYTES("123456789"), "kamsync:{bc3}:tx:123456789:*", "kamsync:{bc3}:call:123456789:*");
}

/* ---- in a Redis Cluster ---- */

/* The standard's check value, and what "redis-cli cluster keyslot" says. */
Test(key, crc16)
{
    cr_expect(crc16(BYTES("123456789")) == 0x31c3 && crc16(BYTES("")) == 0);
    cr_expect(crc16(BYTES("somekey")) % 16384 == 11058 && crc16(BYTES("a\xff\x80")) % 16384 == 15916);
}

Test(key, in_buckets)
{
    char name[KEY_SHORT_MAX], *tx, *claim, *call;

    key_buckets(KEY_BUCKETS);
    tx = key_of(BYTES("123456789"), 1, BYTES("b"));
    cr_expect_str_eq(tx, "kamsync:{bc3}:tx:123456789:1:b:h:5");
    cr_expect(key_is_tx(tx) && !key_is_call(tx));
    claim = key_claim(tx);
    cr_expect_str_eq(claim, "kamsync:{bc3}:claim:123456789:1:b:h:5:new");
    cr_expect(!key_is_tx(claim) && !key_is_call(claim));
    call = key_call(BYTES("123456789"), BYTES("t:1"));
    cr_expect_str_eq(call, "kamsync:{bc3}:call:123456789:t%3A1");
    cr_expect(key_is_call(call) && !key_claim(call));
    cr_expect_str_eq(key_archive(name, call), "kamsync:{bc3}:cdr");
    cr_expect_str_eq(key_archive_of(name, 0xc3), "kamsync:{bc3}:cdr");
    cr_expect_str_eq(key_archive_of(name, 9), "kamsync:{b09}:cdr");
    cr_expect(key_archives() == 256);
    cr_expect(key_bucket(call) == 0xc3 && key_bucket("kamsync:{bc3}:tx:a:t") == 0 && key_bucket("other") == 0);
    cr_expect_str_eq(key_nodes(name), "kamsync:{nodes}");
    cr_expect_str_eq(key_node(name, 2), "kamsync:{nodes}:2");
    free(claim);
    free(call);
}

Test(key, archive_without_buckets)
{
    char name[KEY_SHORT_MAX];

    cr_expect(key_archives() == 1 && key_bucket("kamsync:call:{a}:t") == 0);
    cr_expect_str_eq(key_archive(name, "kamsync:call:{a}:t"), "kamsync:cdr");
    cr_expect_str_eq(key_archive_of(name, 0), "kamsync:cdr");
}

Test(key, of_another_layout)
{
    static const char *const others[] = {"kamsync:tx:{a}:1:b:h:5",
                                         "kamsync:{bff}:tx:a:1:b:h:5",
                                         "kamsync:{b0A}:tx:a",
                                         "kamsync:{b0",
                                         "kamsync:{b",
                                         "kamsync:{b08}:tx:a",
                                         "kamsync:{b07}tx:a",
                                         "kamsync:{b07:tx:a",
                                         "kamsync:{c07}:tx:a",
                                         "kamsync:{b07}:"};

    key_buckets(8);
    cr_expect(key_is_tx("kamsync:{b07}:tx:a"));
    for (size_t i = 0; i < COUNT(others); i++)
        cr_expect(!key_is_tx(others[i]) && !key_is_call(others[i]) && !key_claim(others[i]), "%s", others[i]);
    key_buckets(0);
    cr_expect(!key_is_tx("kamsync:{b07}:tx:a") && key_is_tx(others[0]));
}

/* As much as any master gets, with the slots divided in the usual way, in hundredths of its share. */
static int most_of(unsigned masters)
{
    char name[KEY_SHORT_MAX];
    int of[12] = {0}, most = 0;

    for (unsigned i = 0; i < KEY_BUCKETS; i++) {
        const char *tag = strchr(key_archive_of(name, i), '{') + 1;
        unsigned master = crc16((struct span){tag, 3}) % 16384u * masters / 16384u;

        of[master]++;
    }
    for (unsigned i = 0; i < masters; i++)
        most = of[i] > most ? of[i] : most;
    return most * (int)masters * 100 / KEY_BUCKETS;
}

/* docs/redis-keys.md says so. */
Test(key, buckets_are_spread_over_the_masters)
{
    key_buckets(KEY_BUCKETS);
    for (unsigned masters = 3; masters <= 12; masters++)
        cr_expect(most_of(masters) <= (masters <= 9 ? 112 : 127), "%u: %d", masters, most_of(masters));
}

/* Call-IDs as phones and SIPp make them: no bucket gets twice its share. */
Test(key, calls_are_spread_over_the_buckets)
{
    static const char *const forms[] = {"%d-4711@192.0.2.1", "a84b4c76e%08d@pc33.example.com", "%d"};
    enum { CALLS = 256 * 100 };

    for (size_t f = 0; f < COUNT(forms); f++) {
        int of[256] = {0};

        for (int i = 0; i < CALLS; i++) {
            char id[64];

            snprintf(id, sizeof(id), forms[f], i);
            of[crc16(span_of(id)) % KEY_BUCKETS]++;
        }
        for (int i = 0; i < 256; i++)
            cr_expect(of[i] > 50 && of[i] < 200, "%s: bucket %d has %d", forms[f], i, of[i]);
    }
}
