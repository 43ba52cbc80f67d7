#include "proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define BLOCK 64 /* of SHA-256, bytes */
#define IPAD 0x36
#define OPAD 0x5c

static char *hex_of(const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(2 * n + 1);

    if (!text)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * n] = '\0';
    return text;
}

char *proof_make(struct span head, struct span text, const char *secret)
{
    size_t n = head.n + 1 + text.n;
    char *all = malloc(n), *proof = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    if (!all)
        return NULL;
    memcpy(all, head.p, head.n);
    all[head.n] = ' ';
    if (text.n)
        memcpy(all + head.n + 1, text.p, text.n);
    if (HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)all, n, digest, &len))
        proof = hex_of(digest, len);
    free(all);
    return proof;
}

bool proof_is(const char *proof, struct span head, struct span text, const char *secret)
{
    char *want = proof_make(head, text, secret);
    bool same = want && strlen(proof) == PROOF_LEN && CRYPTO_memcmp(want, proof, PROOF_LEN) == 0;

    free(want);
    return same;
}

char *proof_key(const char *secret)
{
    unsigned char key[BLOCK] = {0}, pads[2 * BLOCK];
    size_t n = strlen(secret);

    if (n == 0)
        return span_dup(span_of(""));
    if (n <= BLOCK)
        memcpy(key, secret, n);
    else if (!EVP_Digest(secret, n, key, NULL, EVP_sha256(), NULL))
        return NULL;
    for (size_t i = 0; i < BLOCK; i++) {
        pads[i] = key[i] ^ IPAD;
        pads[BLOCK + i] = key[i] ^ OPAD;
    }
    return hex_of(pads, sizeof(pads));
}
