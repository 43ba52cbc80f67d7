/* The third table of checks (finding.h): this host's sockets, as the kernel lists them. In another network namespace,
 * or without /proc, nothing is seen, and nothing is said. */
#include "doctor.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>
#include <uv.h>

#include "count.h"

#define LISTENS 0x0A /* TCP_LISTEN; a bound UDP socket has 0x07 */

struct bound {
    unsigned char ip[16];
    int family;
    unsigned port, state;
};

/* The kernel prints each word of the address as a number of this host's byte order. */
static bool read_ip(struct bound *b, const char *hex)
{
    size_t n = strlen(hex) / 8;
    uint32_t words[4] = {0};

    for (size_t i = 0; i < n && i < COUNT(words); i++)
        if (sscanf(hex + 8 * i, "%8" SCNx32, &words[i]) != 1)
            return false;
    b->family = n == 4 ? AF_INET6 : AF_INET;
    memcpy(b->ip, words, sizeof(words));
    return n == 1 || n == 4;
}

static bool read_line(struct bound *b, const char *line)
{
    char hex[33];

    return sscanf(line, " %*d: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x", hex, &b->port, &b->state) == 3 && read_ip(b, hex);
}

/* Whether a socket for which match() holds stands in one of these two lists. *seen: a list was there. */
static bool any(const char *proc, const char *const lists[2], const struct bound *like,
                bool (*match)(const struct bound *b, const struct bound *like), bool *seen)
{
    char path[128], line[512];
    struct bound b;
    bool found = false;
    FILE *file;

    *seen = false;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", proc, lists[i]);
        file = fopen(path, "re");
        *seen = *seen || file;
        while (file && fgets(line, sizeof(line), file))
            found = found || (read_line(&b, line) && match(&b, like));
        if (file)
            fclose(file);
    }
    return found;
}

static bool is_any_address(const struct bound *b)
{
    static const unsigned char none[16];

    return memcmp(b->ip, none, sizeof(none)) == 0;
}

/* Also ::ffff:127.0.0.1. */
static bool is_loopback(const struct bound *b)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct in6_addr ip;

    if (b->family == AF_INET)
        return b->ip[0] == 127;
    memcpy(&ip, b->ip, sizeof(ip));
    return IN6_IS_ADDR_LOOPBACK(&ip) || (memcmp(b->ip, mapped, sizeof(mapped)) == 0 && b->ip[12] == 127);
}

static bool listens_beyond(const struct bound *b, const struct bound *like)
{
    return b->state == LISTENS && b->port == like->port && !is_loopback(b);
}

static bool is_at(const struct bound *b, const struct bound *like)
{
    return b->port == like->port &&
           (is_any_address(b) || (b->family == like->family && memcmp(b->ip, like->ip, sizeof(b->ip)) == 0));
}

static void from_address(struct bound *b, const struct sockaddr_storage *at)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)at;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)at;

    *b = (struct bound){.family = at->ss_family};
    b->port = ntohs(at->ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
    if (at->ss_family == AF_INET)
        memcpy(b->ip, &v4->sin_addr, 4);
    else
        memcpy(b->ip, &v6->sin6_addr, 16);
}

/* "192.0.2.11:5060" or "[2001:db8::11]:5060"; false for a name. */
static bool from_sip(struct bound *b, const char *sip)
{
    struct sockaddr_storage at = {0};
    char ip[64];
    int port = 0;

    if (sscanf(sip, "[%63[^]]]:%d", ip, &port) == 2) {
        if (uv_ip6_addr(ip, port, (struct sockaddr_in6 *)&at) < 0)
            return false;
    } else if (sscanf(sip, "%63[0-9.]:%d", ip, &port) != 2 || uv_ip4_addr(ip, port, (struct sockaddr_in *)&at) < 0) {
        return false;
    }
    from_address(b, &at);
    return true;
}

/* ---- the table ---- */

static bool is_unprotected(const struct host *h, struct finding *f)
{
    static const char *const lists[] = {"tcp", "tcp6"};
    struct bound evapi;
    bool seen;

    from_address(&evapi, h->kamailio_at);
    FINDING(f,
            "evapi listens beyond this host, at port %u: who reaches it can fill its connections, and keep kamsyncd "
            "away from Kamailio",
            evapi.port);
    WRITE(f, "#!define KAMSYNC_EVAPI \"127.0.0.1:%u\" in kamailio.cfg, or a firewall", evapi.port);
    return any(h->proc, lists, &evapi, listens_beyond, &seen);
}

/* A loopback address is no better if somebody listens there: checks.c tells of it. */
static bool is_no_listen_address(const struct host *h, struct finding *f)
{
    static const char *const lists[] = {"udp", "udp6"};
    struct bound own, evapi;
    bool seen;

    FINDING(f, "KAMSYNC_SIP is %s, where nobody listens over UDP on this host: nothing can be handed over to this node",
            h->sip);
    WRITE(f, "listen=udp:%s in kamailio.cfg, or the KAMSYNC_SIP that it does listen at", h->sip);
    from_address(&evapi, h->kamailio_at);
    return is_loopback(&evapi) && from_sip(&own, h->sip) && !is_loopback(&own) &&
           !any(h->proc, lists, &own, is_at, &seen) && seen;
}

static const struct {
    const char *name;
    enum severity severity;
    bool (*wrong)(const struct host *h, struct finding *f);
} checks[] = {
    {"evapi_open", SEVERITY_WARNING, is_unprotected},
    {"listen", SEVERITY_ERROR, is_no_listen_address},
};

void host_checks(const struct host *h, int node, json_t *found)
{
    struct finding f;

    for (size_t i = 0; i < COUNT(checks); i++)
        if (checks[i].wrong(h, &f))
            json_array_append_new(found, finding_json(node, checks[i].name, checks[i].severity, &f));
}

void host_checks_names(json_t *names)
{
    for (size_t i = 0; i < COUNT(checks); i++)
        json_array_append_new(names, json_string(checks[i].name));
}
