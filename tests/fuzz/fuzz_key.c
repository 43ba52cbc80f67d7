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

static void check(const char *key, const char *prefix, size_t colons)
{
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@.-_~+!*;=%";
    const char *open, *close;

    must(key && strncmp(key, prefix, strlen(prefix)) == 0);
    open = key + strlen(prefix);
    close = strchr(open, '}');
    must(*open == '{' && close && open + 1 + strspn(open + 1, allowed) == close);
    for (key = close + 1; colons > 0; colons--) {
        must(*key == ':');
        key += 1 + strspn(key + 1, allowed);
    }
    must(!*key);
}

static void check_claims(const char *a, const char *b)
{
    char *first = key_claim(a), *second = key_claim(b);

    check(first, "kamsync:claim:", 5);
    must(second);
    must((strcmp(a, b) == 0) == (strcmp(first, second) == 0));
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint32_t cseq[2] = {input_byte(&in) * 0x01010101u, input_byte(&in) * 0x01010101u};
    struct span call_id[2] = {input_chunk(&in), input_chunk(&in)}, branch[2] = {input_chunk(&in), input_chunk(&in)};
    struct span sent_by[2] = {input_chunk(&in), input_chunk(&in)};
    char *tx[2], *call[2];

    for (size_t i = 0; i < 2; i++) {
        tx[i] = key_tx(call_id[i], cseq[i], branch[i], sent_by[i]);
        call[i] = key_call(call_id[i], branch[i]);
        check(tx[i], "kamsync:tx:", 4);
        check(call[i], "kamsync:call:", 1);
    }
    must((strcmp(call[0], call[1]) == 0) == (span_eq(call_id[0], call_id[1]) && span_eq(branch[0], branch[1])));
    must((strcmp(tx[0], tx[1]) == 0) == (span_eq(call_id[0], call_id[1]) && span_eq(branch[0], branch[1]) &&
                                         cseq[0] == cseq[1] && same_sent_by(sent_by[0], sent_by[1])));
    check_claims(tx[0], tx[1]);
    must(!key_claim((const char *)call[0]));
    for (size_t i = 0; i < 2; i++) {
        free(tx[i]);
        free(call[i]);
    }
    return 0;
}
