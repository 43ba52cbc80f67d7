#include "key.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "crc16.h"
#include "decimal.h"

#define BUCKET_LEN (sizeof("{bNN}:") - 1)
#define TX "tx:"
#define CALL "call:"
#define CLAIM "claim:"
#define NEW ":new"
#define ARCHIVE "cdr"

/* A process is one node of one cluster, with one store, so these are effectively constants. */
static char cluster[KEY_CLUSTER_MAX + 2] = KEY_CLUSTER ":";
static size_t cluster_len = sizeof(KEY_CLUSTER ":") - 1;
static unsigned buckets;

static const char hex[] = "0123456789abcdef";

/* Letters, digits and the usual characters of Call-IDs are kept; all others, above all braces, colons, percent
 * signs, quotes and blanks, are encoded. */
static bool plain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c && strchr("@.-_~+!*;=", c));
}

static char *encode(char *out, struct span in)
{
    static const char upper[] = "0123456789ABCDEF";

    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];

        if (plain(c)) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = upper[c >> 4];
            *out++ = upper[c & 15];
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

void key_buckets(unsigned count)
{
    buckets = count < KEY_BUCKETS ? count : KEY_BUCKETS;
}

const char *key_layout(void)
{
    return buckets ? "2" : "1";
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

/* "{bNN}:", without a NUL; returns its end. */
static char *put_bucket(char *out, unsigned bucket)
{
    *out++ = '{';
    *out++ = 'b';
    *out++ = hex[bucket >> 4 & 15];
    *out++ = hex[bucket & 15];
    *out++ = '}';
    *out++ = ':';
    return out;
}

/* The names of the Call-ID's begin with this, behind which are n more bytes; *end is there. NULL when out of memory. */
static char *begin(const char *kind, struct span call_id, size_t n, char **end)
{
    size_t kind_len = strlen(kind);
    char *key = malloc(cluster_len + BUCKET_LEN + kind_len + 3 * call_id.n + sizeof("{}:") + n), *to = key;

    if (!key)
        return NULL;
    to = (char *)memcpy(to, cluster, cluster_len) + cluster_len;
    if (buckets)
        to = put_bucket(to, crc16(call_id) % buckets);
    to = (char *)memcpy(to, kind, kind_len) + kind_len;
    if (!buckets)
        *to++ = '{';
    to = encode(to, call_id);
    if (!buckets)
        *to++ = '}';
    *to++ = ':';
    *end = to;
    return key;
}

/* Behind "{bNN}:"; NULL when that is none of ours. */
static const char *behind_bucket(const char *p)
{
    const char *high = *p == '{' && p[1] == 'b' && p[2] ? strchr(hex, p[2]) : NULL;
    const char *low = high && p[3] ? strchr(hex, p[3]) : NULL;

    if (!low || (unsigned)((high - hex) * 16 + (low - hex)) >= buckets || p[4] != '}' || p[5] != ':')
        return NULL;
    return p + BUCKET_LEN;
}

/* What is behind the kind; NULL when the key is of another one, or not this cluster's. */
static const char *behind(const char *key, const char *kind)
{
    size_t n = strlen(kind);

    if (strncmp(key, cluster, cluster_len) != 0)
        return NULL;
    key += cluster_len;
    if (buckets)
        key = behind_bucket(key);
    return key && strncmp(key, kind, n) == 0 ? key + n : NULL;
}

char *key_tx(struct span call_id, uint32_t cseq, struct span branch, struct span sent_by)
{
    char *end, *key = begin(TX, call_id, 3 * (branch.n + sent_by.n) + 32, &end);

    if (!key)
        return NULL;
    end += decimal(end, cseq);
    *end++ = ':';
    end = encode(end, branch);
    *end++ = ':';
    encode_sent_by(end, sent_by);
    return key;
}

char *key_call(struct span call_id, struct span from_tag)
{
    char *end, *key = begin(CALL, call_id, 3 * from_tag.n + 1, &end);

    if (key)
        *encode(end, from_tag) = '\0';
    return key;
}

/* An asterisk is the only byte of a key that means something in a pattern. */
static char *pattern_of(const char *kind, struct span call_id)
{
    char *end, *key = begin(kind, call_id, 1, &end), *pattern, *to;

    if (!key)
        return NULL;
    *end = '\0';
    to = pattern = malloc(2 * strlen(key) + sizeof("*"));
    for (const char *p = key; pattern && *p; p++) {
        if (*p == '*')
            *to++ = '\\';
        *to++ = *p;
    }
    if (pattern)
        memcpy(to, "*", sizeof("*"));
    free(key);
    return pattern;
}

char *key_tx_pattern(struct span call_id)
{
    return pattern_of(TX, call_id);
}

char *key_call_pattern(struct span call_id)
{
    return pattern_of(CALL, call_id);
}

char *key_claim(const char *tx_key)
{
    const char *name = behind(tx_key, TX);
    size_t before = name ? (size_t)(name - tx_key) - strlen(TX) : 0, n = strlen(tx_key) + sizeof(CLAIM NEW);
    char *key = name ? malloc(n) : NULL;

    if (key)
        snprintf(key, n, "%.*s" CLAIM "%s" NEW, (int)before, tx_key, name);
    return key;
}

const char *key_archive(char out[KEY_SHORT_MAX], const char *call_key)
{
    const char *name = behind(call_key, CALL);
    size_t before = name ? (size_t)(name - call_key) - strlen(CALL) : cluster_len;

    memcpy(out, name ? call_key : cluster, before);
    memcpy(out + before, ARCHIVE, sizeof(ARCHIVE));
    return out;
}

const char *key_archive_of(char out[KEY_SHORT_MAX], unsigned bucket)
{
    char *end = (char *)memcpy(out, cluster, cluster_len) + cluster_len;

    if (buckets)
        end = put_bucket(end, bucket);
    memcpy(end, ARCHIVE, sizeof(ARCHIVE));
    return out;
}

unsigned key_archives(void)
{
    return buckets ? buckets : 1;
}

unsigned key_bucket(const char *call_key)
{
    const char *name = buckets ? behind(call_key, CALL) : NULL, *digits = name ? call_key + cluster_len + 2 : NULL;

    return digits ? (unsigned)((strchr(hex, digits[0]) - hex) * 16 + (strchr(hex, digits[1]) - hex)) : 0;
}

const char *key_nodes(char out[KEY_SHORT_MAX])
{
    return key_short(out, buckets ? "{nodes}" : KEY_NODES);
}

const char *key_node(char out[KEY_SHORT_MAX], int id)
{
    return key_short(out, buckets ? "{nodes}:%d" : "node:%d", id);
}

bool key_is_tx(const char *key)
{
    return behind(key, TX) != NULL;
}

bool key_is_call(const char *key)
{
    return behind(key, CALL) != NULL;
}
