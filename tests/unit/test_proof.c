/* Proofs: HMAC-SHA256 by its own test vectors, and the key from which the script makes the same. */
#include "helper.h"
#include "proof.h"

TestSuite(proof, .fini = no_leaks);

/* RFC 4231 section 4.3: its data is "what do ya want for nothing?", which we give in two parts. */
Test(proof, is_hmac_sha256)
{
    char *proof = proof_make(BYTES("what do"), BYTES("ya want for nothing?"), "Jefe");

    cr_expect_str_eq(proof, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    free(proof);
}

/* RFC 4231 section 4.7: a key longer than a block is hashed first. Ours are texts, so the vector is openssl's:
 * printf ' ' | openssl dgst -sha256 -hmac $(printf '0%.0s' $(seq 65)) */
Test(proof, of_nothing_with_a_long_secret)
{
    char *proof = proof_make(BYTES(""), BYTES(""), scratch("%065d", 0));

    cr_expect_str_eq(proof, "ffbb719c3ad691cdfbb30e9ce874cee0abca7bced4b2db53ee365b630e514472");
    free(proof);
}

static void expect_key(const char *secret, const char *inner, const char *outer)
{
    char *key = proof_key(secret);

    cr_expect_str_eq(key, scratch("%s%s", inner, outer), "'%s'", key);
    free(key);
}

/* printf 0123456789abcdef | xxd -p, padded with zeros to 64 bytes, each xor 0x36 and 0x5c. */
Test(proof, key_is_the_secret_with_both_pads)
{
    expect_key("0123456789abcdef",
               "06070405020300010e0f57545552535036363636363636363636363636363636"
               "3636363636363636363636363636363636363636363636363636363636363636",
               "6c6d6e6f68696a6b64653d3e3f38393a5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c"
               "5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c");
    expect_key("", "", "");
}

/* 64 bytes are a block, 65 are hashed: sha256sum of them, each byte xor 0x36. */
Test(proof, long_secret_is_hashed)
{
    const char *block = "1111111111111111111111111111111111111111111111111111111111111111";
    char *key = proof_key(block);

    cr_expect(strspn(key, "07") == 128 && strspn(key + 128, "6d") == 128, "'%s'", key);
    free(key);
    key = proof_key(scratch("%065d", 0));
    cr_expect_str_eq(scratch("%.68s", key), "d307d939a0123f213f219dcfe804b199da15eb2a74ffd7c8905a69dc8fa8b94a3636");
    free(key);
}
