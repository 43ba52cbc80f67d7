#include "handover.h"

#include <stdio.h>

#include "base64.h"
#include "proof.h"
#include "sip.h"

static char *header(const struct handover *h, struct span msg, const char *secret)
{
    char body[512], *line = NULL, *mac;
    int n = snprintf(body, sizeof(body), "to=%d;inc=%s;why=%s;src=%s;dst=%s;from=%d;at=%s", h->to, h->inc, h->why,
                     h->src, h->dst, h->from, h->at);

    if (n < 0 || (size_t)n >= sizeof(body))
        return NULL;
    mac = proof_make(span_of(body), msg, secret);
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

/* The text without what stands from `from` to `to`. The caller frees it; NULL when out of memory. */
static char *without(struct span text, const char *from, const char *to, size_t *len)
{
    size_t before = (size_t)(from - text.p), after = (size_t)(text.p + text.n - to);
    char *rest = malloc(before + after + 1);

    if (!rest)
        return NULL;
    memcpy(rest, text.p, before);
    memcpy(rest + before, to, after);
    *len = before + after;
    return rest;
}

/* Splits the message into the X-Kamsync line's body without the proof, the proof, and the rest. False when that line is
 * not the first header, or when out of memory. */
static bool take_apart(struct span text, char *body, size_t size, char *mac, size_t mac_size, char **rest, size_t *len)
{
    static const char name[] = "X-Kamsync: ", proof_is[] = ";proof=";
    const char *line = text.n ? memchr(text.p, '\n', text.n) : NULL, *end = text.p + text.n, *lf, *at;

    line = line ? line + 1 : end;
    if ((size_t)(end - line) < sizeof(name) || memcmp(line, name, sizeof(name) - 1) != 0)
        return false;
    lf = memchr(line, '\n', (size_t)(end - line));
    line += sizeof(name) - 1;
    at = lf ? memmem(line, (size_t)(lf - line), proof_is, sizeof(proof_is) - 1) : NULL;
    if (!at || lf[-1] != '\r' || memchr(line, 0, (size_t)(lf - line)) || (size_t)(at - line) >= size ||
        (size_t)(lf - at) - sizeof(proof_is) >= mac_size)
        return false;
    snprintf(body, size, "%.*s", (int)(at - line), line);
    at += sizeof(proof_is) - 1;
    snprintf(mac, mac_size, "%.*s", (int)(lf - 1 - at), at);
    *rest = without(text, line - (sizeof(name) - 1), lf + 1, len);
    return *rest != NULL;
}

bool handover_proven(struct span text, const char *secret)
{
    char body[512], mac[PROOF_LEN + 1], *rest = NULL;
    size_t len = 0;
    bool good;

    if (!take_apart(text, body, sizeof(body), mac, sizeof(mac), &rest, &len))
        return false;
    good = proof_is(mac, span_of(body), (struct span){rest, len}, secret);
    free(rest);
    return good;
}
