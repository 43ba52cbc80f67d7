#include "base64.h"

#include <ctype.h>
#include <openssl/evp.h>

char *base64_text(struct span in)
{
    char *out = malloc((in.n + 2) / 3 * 4 + 1);

    if (out)
        EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)in.p, (int)in.n);
    return out;
}

static bool is_letter(char c)
{
    return isalnum((unsigned char)c) || c == '+' || c == '/';
}

/* EVP_DecodeBlock() rejects bytes outside the alphabet, but skips white space and "-" around the text, and reads "=" as
 * a letter: so these are checked here. */
static bool is_base64(struct span text)
{
    size_t n = text.n;

    while (n && text.p[n - 1] == '=' && text.n - n < 2)
        n--;
    return text.n % 4 == 0 && (!n || (is_letter(text.p[0]) && is_letter(text.p[n - 1]) && !memchr(text.p, '=', n)));
}

char *base64_bytes(struct span text, size_t *len)
{
    char *out = is_base64(text) ? malloc(text.n / 4 * 3 + 1) : NULL;
    int n;

    if (!out)
        return NULL;
    n = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text.p, (int)text.n);
    if (n < 0) {
        free(out);
        return NULL;
    }
    *len = (size_t)n;
    if (text.n && text.p[text.n - 1] == '=')
        *len -= text.p[text.n - 2] == '=' ? 2 : 1;
    out[*len] = '\0';
    return out;
}
