#include "key.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "decimal.h"

#define TX "tx:"
#define CALL "call:"
#define CLAIM "claim:"
#define NEW ":new"

/* A process is one node of one cluster, so this is effectively a constant. */
static char cluster[KEY_CLUSTER_MAX + 2] = KEY_CLUSTER ":";
static size_t cluster_len = sizeof(KEY_CLUSTER ":") - 1;

/* Letters, digits and the usual characters of Call-IDs are kept; all others, above all braces, colons, percent
 * signs, quotes and blanks, are encoded. */
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

static char *encode_sent_by(char *out, struct span sent_by)
{
    unsigned port;
    struct span host = sip_sent_by(sent_by, &port);
    char *start = out;

    out = encode(out, host);
    for (char *c = start; c < out; c++)
        *c = (char)tolower(*c);
    *out++ = ':';
    out += decimal(out, port);
    *out = '\0';
    return out;
}

bool key_is_cluster(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");

    return !name[n] && n > 0 && n <= KEY_CLUSTER_MAX;
}

void key_cluster(const char *name)
{
    cluster_len = (size_t)sprintf(cluster, "%.*s:", KEY_CLUSTER_MAX, name);
}

const char *key_short(char out[KEY_SHORT_MAX], const char *format, ...)
{
    va_list ap;

    memcpy(out, cluster, cluster_len);
    va_start(ap, format);
    vsnprintf(out + cluster_len, KEY_SHORT_MAX - cluster_len, format, ap);
    va_end(ap);
    return out;
}

/* Allocates n bytes behind "<cluster>:<kind>:", and writes that; *end is behind it. NULL when out of memory. */
static char *begin(const char *kind, size_t n, char **end)
{
    size_t kind_len = strlen(kind);
    char *key = malloc(cluster_len + kind_len + n);

    if (!key)
        return NULL;
    memcpy(key, cluster, cluster_len);
    memcpy(key + cluster_len, kind, kind_len);
    *end = key + cluster_len + kind_len;
    return key;
}

/* The text behind "<cluster>:<kind>:"; NULL when the key has another prefix. */
static const char *behind(const char *key, const char *kind)
{
    size_t n = strlen(kind);

    if (strncmp(key, cluster, cluster_len) != 0 || strncmp(key + cluster_len, kind, n) != 0)
        return NULL;
    return key + cluster_len + n;
}

char *key_tx(struct span call_id, uint32_t cseq, struct span branch, struct span sent_by)
{
    char *end, *key = begin(TX, 3 * (call_id.n + branch.n + sent_by.n) + 32, &end);

    if (!key)
        return NULL;
    *end++ = '{';
    end = encode(end, call_id);
    end = (char *)memcpy(end, "}:", 2) + 2;
    end += decimal(end, cseq);
    *end++ = ':';
    end = encode(end, branch);
    *end++ = ':';
    encode_sent_by(end, sent_by);
    return key;
}

char *key_call(struct span call_id, struct span from_tag)
{
    char *end, *key = begin(CALL, 3 * (call_id.n + from_tag.n) + sizeof("{}:"), &end);

    if (!key)
        return NULL;
    *end++ = '{';
    end = encode(end, call_id);
    end = (char *)memcpy(end, "}:", 2) + 2;
    end = encode(end, from_tag);
    *end = '\0';
    return key;
}

char *key_claim(const char *tx_key)
{
    const char *name = behind(tx_key, TX);
    char *end, *key = name ? begin(CLAIM, strlen(name) + sizeof(NEW), &end) : NULL;

    if (key)
        sprintf(end, "%s" NEW, name);
    return key;
}

bool key_is_tx(const char *key)
{
    return behind(key, TX) != NULL;
}

bool key_is_call(const char *key)
{
    return behind(key, CALL) != NULL;
}
