#include "key.h"

#include <stdio.h>

#define TX_PREFIX "kamsync:tx:{"

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
    char *key = malloc(sizeof(TX_PREFIX) + 3 * (call_id.n + branch.n) + 16), *end = key;

    if (!key)
        return NULL;
    end += sprintf(end, "%s", TX_PREFIX);
    end = encode(end, call_id);
    end += sprintf(end, "}:%u:", cseq);
    end = encode(end, branch);
    *end = '\0';
    return key;
}
