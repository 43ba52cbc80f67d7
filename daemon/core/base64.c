#include "base64.h"

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
static bool is_base64(const char *text, size_t n)
{
    size_t i = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    size_t padding = strspn(text + i, "=");

    return i + padding == n && padding <= 2 && n % 4 == 0;
}

char *base64_bytes(const char *text, size_t *len)
{
    size_t size = strlen(text);
    char *out = is_base64(text, size) ? malloc(size / 4 * 3 + 1) : NULL;
    int n;

    if (!out)
        return NULL;
    n = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)size);
    if (n < 0) {
        free(out);
        return NULL;
    }
    *len = (size_t)n;
    if (size && text[size - 1] == '=')
        *len -= text[size - 2] == '=' ? 2 : 1;
    out[*len] = '\0';
    return out;
}
