#include "hep.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* So many packets a second, so that whoever sends strays at will cannot flood the server by us. */
#define PACKETS_MAX 1000

struct hep {
    int fd;
    struct hep_agent agent; /* its texts are the two below */
    char name[64], password[257];
    int64_t second; /* the second that is counted in sent */
    int sent;
    unsigned char packet[HEP_PACKET_MAX];
};

int hep_new(struct hep **out, const struct sockaddr *to, const struct hep_agent *agent)
{
    struct hep *h = calloc(1, sizeof(*h));
    socklen_t n = to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int rc;

    if (!h)
        return -ENOMEM;
    snprintf(h->name, sizeof(h->name), "%s", agent->name);
    snprintf(h->password, sizeof(h->password), "%s", agent->password);
    h->agent = (struct hep_agent){agent->id, h->name, h->password};
    h->fd = socket(to->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (h->fd >= 0 && connect(h->fd, to, n) == 0) {
        *out = h;
        return 0;
    }
    rc = -errno;
    hep_free(h);
    return rc;
}

static bool may_send(struct hep *h, int64_t now)
{
    if (now / 1000 != h->second)
        h->sent = 0;
    h->second = now / 1000;
    return h->sent++ < PACKETS_MAX;
}

/* One that the server refused by ICMP makes the next send fail, with nothing sent: so that is tried once more. */
bool hep_send(struct hep *h, const struct sighting *s, int64_t now, int64_t us)
{
    struct hep_agent agent = h->agent;
    ssize_t done = -1;
    size_t n;

    if (!may_send(h, now))
        return false;
    agent.id = agent.id ? agent.id : (uint32_t)s->node;
    n = hep_packet(h->packet, &agent, s, us);
    for (int tries = 0; n && done < 0 && tries < 2; tries++)
        done = send(h->fd, h->packet, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    return done >= 0;
}

void hep_free(struct hep *h)
{
    if (h && h->fd >= 0)
        close(h->fd);
    free(h);
}
