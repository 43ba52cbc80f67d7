/* Names in the store: two different transactions or calls never share one, and no byte can spoil one. */
#include "fuzz.h"
#include "key.h"

/* Two spellings of one: another case of the host, or its port left out. */
static bool same_sent_by(struct span a, struct span b)
{
    unsigned port_a, port_b;

    a = sip_sent_by(a, &port_a);
    b = sip_sent_by(b, &port_b);
    return a.n == b.n && port_a == port_b && (!a.n || strncasecmp(a.p, b.p, a.n) == 0);
}

static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@.-_~+!*;=%";

/* So many parts, and colons between them. */
static void check_parts(const char *key, size_t colons)
{
    for (; colons > 0; colons--) {
        key += strspn(key, allowed);
        must(*key++ == ':');
    }
    must(!key[strspn(key, allowed)]);
}

/* The Call-ID stands in the braces; or the bucket does, before the kind. */
static void check(const char *key, unsigned buckets, const char *kind, size_t colons)
{
    const char *close = key ? strchr(key, '}') : NULL;

    must(close && strchr(key, '{') == strrchr(key, '{') && close == strrchr(key, '}'));
    must(strncmp(key, "kamsync:", 8) == 0);
    if (buckets) {
        must(strncmp(key + 8, "{b", 2) == 0 && strtoul(key + 10, NULL, 16) < buckets && close == key + 12);
        must(close[1] == ':' && strncmp(close + 2, kind, strlen(kind)) == 0);
        check_parts(close + 2 + strlen(kind), colons);
    } else {
        must(strncmp(key + 8, kind, strlen(kind)) == 0);
        key += 8 + strlen(kind);
        must(*key == '{' && key + 1 + strspn(key + 1, allowed) == close && close[1] == ':');
        check_parts(close + 2, colons - 1);
    }
}

static void check_claims(const char *a, const char *b, unsigned buckets)
{
    char *first = key_claim(a), *second = key_claim(b);

    check(first, buckets, "claim:", 5);
    must(second);
    must((strcmp(a, b) == 0) == (strcmp(first, second) == 0));
    free(first);
    free(second);
}

/* All names of a call lie in one slot, its archive too. */
static void check_archive(const char *tx, const char *call, unsigned buckets)
{
    char name[KEY_SHORT_MAX];
    size_t n = buckets ? sizeof("kamsync:{bNN}:") - 1 : sizeof("kamsync:") - 1;

    must(key_is_call(call) && key_is_tx(tx) && !key_is_call(tx) && !key_is_tx(call) && !key_claim(call));
    must(strcmp(key_archive(name, call) + n, "cdr") == 0);
    must(strncmp(name, call, n) == 0 && strncmp(name, tx, n) == 0);
}

static void check_all(const uint8_t *data, size_t size, unsigned buckets)
{
    struct input in = {data, size};
    uint32_t cseq[2] = {input_byte(&in) * 0x01010101u, input_byte(&in) * 0x01010101u};
    struct span call_id[2] = {input_chunk(&in), input_chunk(&in)}, branch[2] = {input_chunk(&in), input_chunk(&in)};
    struct span sent_by[2] = {input_chunk(&in), input_chunk(&in)};
    char *tx[2], *call[2];

    for (size_t i = 0; i < 2; i++) {
        tx[i] = key_tx(call_id[i], cseq[i], branch[i], sent_by[i]);
        call[i] = key_call(call_id[i], branch[i]);
        check(tx[i], buckets, "tx:", 4);
        check(call[i], buckets, "call:", 1);
        check_archive(tx[i], call[i], buckets);
    }
    must((strcmp(call[0], call[1]) == 0) == (span_eq(call_id[0], call_id[1]) && span_eq(branch[0], branch[1])));
    must((strcmp(tx[0], tx[1]) == 0) == (span_eq(call_id[0], call_id[1]) && span_eq(branch[0], branch[1]) &&
                                         cseq[0] == cseq[1] && same_sent_by(sent_by[0], sent_by[1])));
    check_claims(tx[0], tx[1], buckets);
    for (size_t i = 0; i < 2; i++) {
        free(tx[i]);
        free(call[i]);
    }
}

/* As text from the store, in any layout. */
static void check_read(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    char *text = input_text(&in), *key = text_of("kamsync:%s", text), name[KEY_SHORT_MAX];

    free(key_claim(key));
    must(strcmp(strrchr(key_archive(name, key), ':'), ":cdr") == 0 && !(key_is_call(key) && key_is_tx(key)));
    free(key);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned layouts[] = {0, 1, 200, KEY_BUCKETS};

    for (size_t i = 0; i < COUNT(layouts); i++) {
        key_buckets(layouts[i]);
        check_all(data, size, layouts[i]);
        check_read(data, size);
    }
    return 0;
}
