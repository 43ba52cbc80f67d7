/* The X-Kamsync header: its proof as others compute it, its place, and the message behind it untouched. */
#include "base64.h"
#include "handover.h"
#include "helper.h"
#include "proof.h"

TestSuite(handover, .fini = no_leaks);

#define CANCEL_LINE "CANCEL sip:b@x SIP/2.0\r\n"
#define CANCEL_REST "Call-ID: c@x\r\n\r\n"

static const struct handover plain = {.to = 2,
                                      .inc = "1763690712.000001",
                                      .why = "owner",
                                      .src = "udp:198.51.100.9:5060",
                                      .dst = "udp:192.0.2.10:5060",
                                      .from = 3,
                                      .at = "1763690712.123.4"};

static void expect_made(const struct handover *h, struct span msg, const char *secret, struct span want)
{
    char *text = handover_make(h, scratch_exact(msg), secret), *bytes;
    size_t n = 0;

    cr_assert_not_null(text);
    bytes = base64_bytes(span_of(text), &n);
    cr_expect(bytes && span_eq((struct span){bytes, n}, want), "'%.*s'", (int)n, bytes);
    free(bytes);
    free(text);
}

/* printf
 * 'to=2;inc=1763690712.000001;why=owner;src=udp:198.51.100.9:5060;dst=udp:192.0.2.10:5060;from=3;at=1763690712.123.4 '\
 * 'CANCEL sip:b@x SIP/2.0\r\nCall-ID: c@x\r\n\r\n' | openssl dgst -sha256 -hmac 0123456789abcdef */
Test(handover, proof_is_what_openssl_computes)
{
    expect_made(&plain, BYTES(CANCEL_LINE CANCEL_REST), "0123456789abcdef",
                BYTES(CANCEL_LINE "X-Kamsync: to=2;inc=1763690712.000001;why=owner;src=udp:198.51.100.9:5060;"
                                  "dst=udp:192.0.2.10:5060;from=3;at=1763690712.123.4;proof=e0ee0d3642d3800e6a730569"
                                  "6517203ffaf90a2b666b0830148da4d2b1cd9358\r\n" CANCEL_REST));
}

/* A single node needs no secret, and a message is bytes.
 * printf 'to=1;inc=0;why=unknown;src=udp:[2001:db8::9]:5060;dst=udp:[2001:db8::1]:5060;from=1;at=0.0 ACK\n\000\377' |
 * openssl dgst -sha256 -hmac '' */
Test(handover, empty_secret_and_binary_message)
{
    static const struct handover h = {.to = 1,
                                      .inc = "0",
                                      .why = "unknown",
                                      .src = "udp:[2001:db8::9]:5060",
                                      .dst = "udp:[2001:db8::1]:5060",
                                      .from = 1,
                                      .at = "0.0"};

    expect_made(&h, BYTES("ACK\n\0\377"), "",
                BYTES("ACK\nX-Kamsync: to=1;inc=0;why=unknown;src=udp:[2001:db8::9]:5060;dst=udp:[2001:db8::1]:5060;"
                      "from=1;at=0.0;proof=a896b35c469892fd29a0c9c9cf30a95b"
                      "c5b17d9c816f87fd8a6ee983560c7f5d\r\n\0\377"));
}

static char *proof_of(struct handover h, const char *msg, const char *secret)
{
    char *text = handover_make(&h, span_of(msg), secret), *bytes, *proof;
    size_t n;

    cr_assert_not_null(text);
    bytes = base64_bytes(span_of(text), &n);
    proof = scratch("%.64s", strstr(bytes, ";proof=") + 7);
    cr_expect(strspn(proof, "0123456789abcdef") == PROOF_LEN, "'%s'", proof);
    cr_expect(strncmp(strstr(bytes, ";proof=") + 7 + PROOF_LEN, "\r\n", 2) == 0);
    free(bytes);
    free(text);
    return proof;
}

Test(handover, proof_covers_every_part)
{
    const char *msg = CANCEL_LINE CANCEL_REST, *base = proof_of(plain, msg, "secret");
    struct handover to = plain, inc = plain, why = plain, src = plain, dst = plain, from = plain, at = plain;

    to.to = 3;
    inc.inc = "1763690712.000002";
    why.why = "perhaps";
    src.src = "udp:198.51.100.8:5060";
    dst.dst = "udp:192.0.2.11:5060";
    from.from = 4;
    at.at = "1763690712.123.5";
    cr_expect_str_eq(proof_of(plain, msg, "secret"), base);
    cr_expect_str_neq(proof_of(to, msg, "secret"), base);
    cr_expect_str_neq(proof_of(inc, msg, "secret"), base);
    cr_expect_str_neq(proof_of(why, msg, "secret"), base);
    cr_expect_str_neq(proof_of(src, msg, "secret"), base);
    cr_expect_str_neq(proof_of(dst, msg, "secret"), base);
    cr_expect_str_neq(proof_of(from, msg, "secret"), base);
    cr_expect_str_neq(proof_of(at, msg, "secret"), base);
    cr_expect_str_neq(proof_of(plain, msg, "secres"), base);
    cr_expect_str_neq(proof_of(plain, CANCEL_LINE "Call-ID: d@x\r\n\r\n", "secret"), base);
}

Test(handover, longest_fields_fit)
{
    const char *addr = scratch("udp:%079d", 1), *inc = scratch("%079d", 2);
    struct handover h = {.to = 2147483647,
                         .inc = inc,
                         .why = "unavailable",
                         .src = addr,
                         .dst = addr,
                         .from = 2147483647,
                         .at = "99999999999.999.18446744073709551615"};

    proof_of(h, CANCEL_LINE CANCEL_REST, "secret");
}

Test(handover, nothing_is_made_of_no_message_or_of_too_long_fields)
{
    struct handover h = plain;

    cr_expect_null(handover_make(&plain, BYTES(""), "secret"));
    cr_expect_null(handover_make(&plain, BYTES("no line end"), "secret"));
    h.src = scratch("%0600d", 1);
    cr_expect_null(handover_make(&h, BYTES(CANCEL_LINE), "secret"));
}
