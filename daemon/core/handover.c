#include "handover.h"

#include <stdio.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base64.h"
#include "sip.h"

/* HMAC-SHA256 over the header's body, a line feed and the message; base64url. */
static char *proof(const char *body, struct span msg, const char *secret)
{
    size_t n = strlen(body);
    char *text = malloc(n + 1 + msg.n), *result = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    if (!text)
        return NULL;
    memcpy(text, body, n);
    text[n] = '\n';
    memcpy(text + n + 1, msg.p, msg.n);
    if (HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)text, n + 1 + msg.n, digest, &len))
        result = base64url_text((struct span){(char *)digest, len});
    free(text);
    return result;
}

static char *header(const struct handover *h, struct span msg, const char *secret)
{
    char body[512], *line = NULL, *mac;
    int n = snprintf(body, sizeof(body), "to=%d;inc=%s;why=%s;src=%s;dst=%s", h->to, h->inc, h->why, h->src, h->dst);

    if (n < 0 || (size_t)n >= sizeof(body))
        return NULL;
    mac = proof(body, msg, secret);
    if (mac)
        line = malloc((size_t)n + strlen(mac) + sizeof("X-Kamsync: ;proof="));
    if (line)
        sprintf(line, "X-Kamsync: %s;proof=%s", body, mac);
    free(mac);
    return line;
}

char *handover_make(const struct handover *h, struct span msg, const char *secret)
{
    size_t len = 0;
    char *line = header(h, msg, secret);
    char *with = line ? sip_with_header(msg, line, &len) : NULL;
    char *text = with ? base64_text((struct span){with, len}) : NULL;

    free(line);
    free(with);
    return text;
}
