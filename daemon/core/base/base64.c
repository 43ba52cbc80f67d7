#include "base64.h"

#include <openssl/evp.h>
#include <stdint.h>

char *base64_text(struct span in)
{
    char *out = malloc((in.n + 2) / 3 * 4 + 1);

    if (out)
        EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)in.p, (int)in.n);
    return out;
}

/* Each letter's six bits, and 1 more; 0: no letter. */
/* clang-format off */
static const unsigned char values[256] = {
    ['A'] = 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, ['+'] = 63, ['/'] = 64};
/* clang-format on */

/* The 24 bits of four letters; more when one is none. */
static uint32_t four(unsigned char a, unsigned char b, unsigned char c, unsigned char d)
{
    return (values[a] - 1U) << 18 | (values[b] - 1U) << 12 | (values[c] - 1U) << 6 | (values[d] - 1U);
}

/* Returns the end of the three bytes; NULL when there is no such letter. */
static char *put(char *to, uint32_t bits)
{
    to[0] = (char)(bits >> 16);
    to[1] = (char)(bits >> 8);
    to[2] = (char)bits;
    return bits >> 24 ? NULL : to + 3;
}

/* Not by EVP_DecodeBlock(), which skips white space and "-" around the text, reads "=" as a letter, takes half again as
 * many instructions, and does not promise that the bytes may be where the text was. */
bool base64_decode(char *out, struct span text, size_t *len)
{
    const unsigned char *p = (const unsigned char *)text.p;
    size_t pad = 0, n = text.n;
    char *to = out;

    if (n % 4)
        return false;
    while (pad < 2 && pad < n && p[n - 1 - pad] == '=')
        pad++;
    for (n -= pad ? 4 : 0; to && n >= 4; n -= 4, p += 4)
        to = put(to, four(p[0], p[1], p[2], p[3]));
    if (to && pad)
        to = put(to, four(p[0], p[1], pad == 2 ? 'A' : p[2], 'A'));
    if (!to)
        return false;
    *len = (size_t)(to - out) - pad;
    out[*len] = '\0';
    return true;
}

char *base64_bytes(struct span text, size_t *len)
{
    char *out = malloc(text.n / 4 * 3 + 1);

    if (out && base64_decode(out, text, len))
        return out;
    free(out);
    return NULL;
}
