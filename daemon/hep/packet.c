#include "packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "address.h"
#include "core/base/count.h"

#define HEAD 6       /* "HEP3" and the length */
#define CHUNK_HEAD 6 /* vendor, type, length */

/* Chunks of vendor 0. */
enum chunk {
    CHUNK_FAMILY = 1,
    CHUNK_TRANSPORT = 2,
    CHUNK_IP4_FROM = 3,
    CHUNK_IP4_TO = 4,
    CHUNK_IP6_FROM = 5,
    CHUNK_IP6_TO = 6,
    CHUNK_PORT_FROM = 7,
    CHUNK_PORT_TO = 8,
    CHUNK_SECONDS = 9,
    CHUNK_MICROSECONDS = 10,
    CHUNK_PAYLOAD_TYPE = 11,
    CHUNK_AGENT = 12,
    CHUNK_PASSWORD = 14,
    CHUNK_PAYLOAD = 15,
    CHUNK_CORRELATION = 17,
    CHUNK_NAME = 19,
};

enum { PAYLOAD_SIP = 1, PAYLOAD_LOG = 100 };
enum { FAMILY_IP4 = 2, FAMILY_IP6 = 10 };

struct packet {
    unsigned char *p;
    size_t n;
    bool full;
};

static void put_number(unsigned char *p, uint32_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(value >> 8 * (bytes - 1 - i));
}

static void add(struct packet *out, enum chunk type, const void *value, size_t n)
{
    size_t size = CHUNK_HEAD + n;

    if (out->full || n > HEP_PACKET_MAX || size > HEP_PACKET_MAX - out->n) {
        out->full = true;
        return;
    }
    put_number(out->p + out->n, 0, 2);
    put_number(out->p + out->n + 2, type, 2);
    put_number(out->p + out->n + 4, (uint32_t)size, 2);
    if (n)
        memcpy(out->p + out->n + CHUNK_HEAD, value, n);
    out->n += size;
}

static void add_number(struct packet *out, enum chunk type, uint32_t value, size_t bytes)
{
    unsigned char number[4];

    put_number(number, value, bytes);
    add(out, type, number, bytes);
}

/* One end of the way: of "udp:192.0.2.1:5060", or without the transport; unreadable: 0.0.0.0:0. */
static struct sockaddr_storage end_of(const char *text)
{
    const char *colon = strchr(text, ':');
    struct sockaddr_storage end = {.ss_family = AF_INET};

    if (*text != '[' && colon && !memchr(text, '.', (size_t)(colon - text)))
        text = colon + 1;
    if (!address_read(&end, text))
        end = (struct sockaddr_storage){.ss_family = AF_INET};
    return end;
}

static uint32_t transport_of(const char *text)
{
    static const char *const streams[] = {"tcp:", "tls:", "ws:", "wss:"};

    for (size_t i = 0; i < COUNT(streams); i++)
        if (strncmp(text, streams[i], strlen(streams[i])) == 0)
            return IPPROTO_TCP;
    return strncmp(text, "sctp:", 5) == 0 ? IPPROTO_SCTP : IPPROTO_UDP;
}

/* An end of the packet's family; one of the other family (a far end seen over IPv4, a node reached over IPv6) is
 * written as an IPv4-mapped address, since a packet has only one. */
static void as_ip6(struct sockaddr_storage *end)
{
    const struct sockaddr_in v4 = *(const struct sockaddr_in *)end;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)end;

    if (end->ss_family == AF_INET6)
        return;
    *end = (struct sockaddr_storage){.ss_family = AF_INET6};
    v6->sin6_port = v4.sin_port;
    v6->sin6_addr.s6_addr[10] = v6->sin6_addr.s6_addr[11] = 0xFF;
    memcpy(v6->sin6_addr.s6_addr + 12, &v4.sin_addr, sizeof(v4.sin_addr));
}

static void add_end(struct packet *out, const struct sockaddr_storage *end, bool from)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)end;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)end;

    if (end->ss_family == AF_INET)
        add(out, from ? CHUNK_IP4_FROM : CHUNK_IP4_TO, &v4->sin_addr, sizeof(v4->sin_addr));
    else
        add(out, from ? CHUNK_IP6_FROM : CHUNK_IP6_TO, &v6->sin6_addr, sizeof(v6->sin6_addr));
    add_number(out, from ? CHUNK_PORT_FROM : CHUNK_PORT_TO, ntohs(v4->sin_port), 2); /* both have it there */
}

static void add_way(struct packet *out, const struct sighting *s)
{
    struct sockaddr_storage from = end_of(s->from), to = end_of(s->to);
    bool ip6 = from.ss_family == AF_INET6 || to.ss_family == AF_INET6;

    if (ip6) {
        as_ip6(&from);
        as_ip6(&to);
    }
    add_number(out, CHUNK_FAMILY, ip6 ? FAMILY_IP6 : FAMILY_IP4, 1);
    add_number(out, CHUNK_TRANSPORT, transport_of(s->from), 1);
    add_end(out, &from, true);
    add_end(out, &to, false);
}

size_t hep_packet(unsigned char out[HEP_PACKET_MAX], const struct hep_agent *agent, const struct sighting *s,
                  int64_t us)
{
    struct packet p = {out, HEAD, false};

    memcpy(out, "HEP3", 4);
    add_way(&p, s);
    add_number(&p, CHUNK_SECONDS, (uint32_t)(us / 1000000), 4);
    add_number(&p, CHUNK_MICROSECONDS, (uint32_t)(us % 1000000), 4);
    add_number(&p, CHUNK_PAYLOAD_TYPE, s->decision ? PAYLOAD_LOG : PAYLOAD_SIP, 1);
    add_number(&p, CHUNK_AGENT, agent->id, 4);
    if (*agent->password)
        add(&p, CHUNK_PASSWORD, agent->password, strlen(agent->password));
    if (*agent->name)
        add(&p, CHUNK_NAME, agent->name, strlen(agent->name));
    add(&p, CHUNK_CORRELATION, s->call_id.p, s->call_id.n);
    add(&p, CHUNK_PAYLOAD, s->bytes.p, s->bytes.n);
    put_number(out + 4, (uint32_t)p.n, 2);
    return p.full ? 0 : p.n;
}
