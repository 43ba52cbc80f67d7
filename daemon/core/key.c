#include "key.h"

#include <stdio.h>

#define CLAIM_PREFIX "kamsync:claim:"

/* Letters, digits and what Call-IDs commonly hold stand as they are; the rest, above all braces, colons, percent
 * signs, quotes and blanks, is encoded. */
static bool plain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c && strchr("@.-_~+!*;=", c));
}

static char *encode(char *out, struct span in)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];

        if (plain(c)) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = hex[c >> 4];
            *out++ = hex[c & 15];
        }
    }
    return out;
}

char *key_tx(struct span call_id, uint32_t cseq, struct span branch)
{
    char *key = malloc(sizeof(KEY_TX_PREFIX) + 3 * (call_id.n + branch.n) + 20), *end = key;

    if (!key)
        return NULL;
    end += sprintf(end, KEY_TX_PREFIX "{");
    end = encode(end, call_id);
    end += sprintf(end, "}:%u:", cseq);
    end = encode(end, branch);
    *end = '\0';
    return key;
}

char *key_call(struct span call_id)
{
    char *key = malloc(sizeof(KEY_CALL_PREFIX "{}") + 3 * call_id.n), *end = key;

    if (!key)
        return NULL;
    end += sprintf(end, KEY_CALL_PREFIX "{");
    end = encode(end, call_id);
    memcpy(end, "}", 2);
    return key;
}

char *key_claim(const char *tx_key, const char *inc)
{
    size_t prefix = strlen(KEY_TX_PREFIX);
    char *key;

    if (strncmp(tx_key, KEY_TX_PREFIX, prefix) != 0)
        return NULL;
    key = malloc(sizeof(CLAIM_PREFIX) + strlen(tx_key) + strlen(inc) + 1);
    if (key)
        sprintf(key, CLAIM_PREFIX "%s:%s", tx_key + prefix, inc);
    return key;
}
