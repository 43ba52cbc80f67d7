#include "redis_slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc16.h"

unsigned slot_of(struct span key)
{
    const char *open = key.n ? memchr(key.p, '{', key.n) : NULL;
    const char *close = open ? memchr(open + 1, '}', (size_t)(key.p + key.n - open - 1)) : NULL;

    if (close && close > open + 1)
        key = (struct span){open + 1, (size_t)(close - open - 1)};
    return crc16(key) % SLOTS;
}

void slots_clear(struct slot_map *m)
{
    m->count = 0;
    memset(m->of, NO_MASTER, sizeof(m->of));
}

uint8_t slots_master(struct slot_map *m, const struct store_host *host)
{
    size_t i = 0;

    while (i < m->count && !store_host_eq(&m->masters[i], host))
        i++;
    if (i == MASTERS_MAX)
        return NO_MASTER;
    if (i == m->count)
        m->masters[m->count++] = *host;
    return (uint8_t)i;
}

/* False: no host, or no port. "" and "?": the node does not know its own name. */
static bool set_host(struct store_host *out, struct span name, long long port, const struct store_host *asked)
{
    if (!name.n || (name.n == 1 && *name.p == '?'))
        name = span_of(asked->name);
    if (name.n >= sizeof(out->name) || port < 1 || port > 65535)
        return false;
    snprintf(out->name, sizeof(out->name), "%.*s", (int)name.n, name.p);
    out->port = (int)port;
    return true;
}

static bool is(const redisReply *r, size_t i, int type)
{
    return i < r->elements && r->element[i]->type == type;
}

/* A node: its address (nil: none), its port, and more. */
static bool read_node(struct store_host *out, const redisReply *r, const struct store_host *asked)
{
    struct span name = {0};

    if (r->type != REDIS_REPLY_ARRAY || !is(r, 1, REDIS_REPLY_INTEGER))
        return false;
    if (is(r, 0, REDIS_REPLY_STRING))
        name = (struct span){r->element[0]->str, (size_t)r->element[0]->len};
    return set_host(out, name, r->element[1]->integer, asked);
}

/* First slot, last slot, master, replicas. */
static bool read_range(struct slot_map *m, const redisReply *r, const struct store_host *asked)
{
    struct store_host host;
    long long first, last;

    if (r->type != REDIS_REPLY_ARRAY || !is(r, 0, REDIS_REPLY_INTEGER) || !is(r, 1, REDIS_REPLY_INTEGER) ||
        !is(r, 2, REDIS_REPLY_ARRAY) || !read_node(&host, r->element[2], asked))
        return false;
    first = r->element[0]->integer;
    last = r->element[1]->integer;
    if (first < 0 || first > last || last >= SLOTS)
        return false;
    memset(m->of + first, slots_master(m, &host), (size_t)(last - first + 1));
    return true;
}

bool slots_read(struct slot_map *m, const redisReply *r, const struct store_host *asked)
{
    slots_clear(m);
    if (!r || r->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i < r->elements; i++)
        if (!read_range(m, r->element[i], asked))
            return false;
    return true;
}

/* An IPv6 address has more colons, and no brackets. */
bool slots_redirect(struct redirect *to, const redisReply *r, const struct store_host *asked)
{
    bool moved = r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "MOVED ", 6) == 0;
    const char *slot, *host, *port;

    if (!moved && !(r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "ASK ", 4) == 0))
        return false;
    slot = strchr(r->str, ' ') + 1;
    host = strchr(slot, ' ');
    port = host ? strrchr(host, ':') : NULL;
    if (!port)
        return false;
    to->ask = !moved;
    to->slot = (unsigned)atoi(slot);
    return to->slot < SLOTS &&
           set_host(&to->host, (struct span){host + 1, (size_t)(port - host - 1)}, atoi(port + 1), asked);
}
