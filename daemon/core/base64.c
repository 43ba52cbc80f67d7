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

char *base64url_text(struct span in)
{
    char *out = base64_text(in);

    for (char *p = out; p && *p; p++) {
        if (*p == '+')
            *p = '-';
        else if (*p == '/')
            *p = '_';
        else if (*p == '=')
            *p = '\0';
    }
    return out;
}

/* EVP_DecodeBlock passes over white space around the text, so the alphabet is checked here. */
static bool is_base64(struct span text)
{
    size_t n = text.n;

    while (n && text.p[n - 1] == '=' && text.n - n < 2)
        n--;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text.p[i]) && text.p[i] != '+' && text.p[i] != '/')
            return false;
    return text.n % 4 == 0;
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
