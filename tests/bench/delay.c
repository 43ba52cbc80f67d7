/* A TCP proxy that holds every byte back for a while, as a network would: for kernels without netem.
 *
 *     delay LISTEN_PORT TO_PORT FILE
 *
 * Both on 127.0.0.1 but the listening one, which is on all addresses. FILE holds the round trip's µs, half of which
 * each direction takes; it is read again on SIGHUP. Its CPU is nobody's: whoever measures leaves it out. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAIRS_MAX 64
#define CHUNK 65536

struct chunk {
    struct chunk *next;
    int64_t due;
    size_t len, sent;
    char bytes[];
};

struct pipe {
    int from, to;
    struct chunk *first, **last;
};

static struct pipe pipes[2 * PAIRS_MAX];
static int pairs;
static int64_t delay_us;
static volatile sig_atomic_t changed = 1;

static void on_hup(int number)
{
    (void)number;
    changed = 1;
}

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void read_delay(const char *path)
{
    FILE *f = fopen(path, "re");
    long long us = 0;

    if (f && fscanf(f, "%lld", &us) == 1)
        delay_us = us / 2;
    if (f)
        fclose(f);
    changed = 0;
}

static struct sockaddr_in address(uint32_t host, const char *port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(host)};
}

static int listen_on(const char *port)
{
    struct sockaddr_in addr = address(INADDR_ANY, port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void take_client(int listener, const char *port)
{
    struct sockaddr_in addr = address(INADDR_LOOPBACK, port);
    int a = accept(listener, NULL, NULL), b = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (a < 0 || pairs == PAIRS_MAX || connect(b, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(a);
        close(b);
        return;
    }
    setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    pipes[2 * pairs] = (struct pipe){a, b, NULL, NULL};
    pipes[2 * pairs + 1] = (struct pipe){b, a, NULL, NULL};
    pairs++;
}

static void close_pair(int p)
{
    close(pipes[2 * p].from);
    close(pipes[2 * p].to);
    for (int i = 2 * p; i < 2 * p + 2; i++) {
        for (struct chunk *c = pipes[i].first, *next; c; c = next) {
            next = c->next;
            free(c);
        }
    }
    pairs--;
    memmove(&pipes[2 * p], &pipes[2 * p + 2], (size_t)(pairs - p) * 2 * sizeof(pipes[0]));
}

/* False when the connection has ended. */
static bool fill(struct pipe *p)
{
    struct chunk *c = malloc(sizeof(*c) + CHUNK);
    ssize_t n = c ? recv(p->from, c->bytes, CHUNK, MSG_DONTWAIT) : -1;

    if (n <= 0) {
        bool wait = c && n < 0 && (errno == EAGAIN || errno == EINTR);

        free(c);
        return wait;
    }
    c = realloc(c, sizeof(*c) + (size_t)n);
    *c = (struct chunk){NULL, now_us() + delay_us, (size_t)n, 0};
    if (p->first)
        *p->last = c;
    else
        p->first = c;
    p->last = &c->next;
    return true;
}

static bool empty(struct pipe *p, int64_t now)
{
    struct chunk *c;

    while ((c = p->first) != NULL && c->due <= now) {
        ssize_t n = send(p->to, c->bytes + c->sent, c->len - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0)
            return errno == EAGAIN;
        c->sent += (size_t)n;
        if (c->sent < c->len)
            return true;
        p->first = c->next;
        free(c);
    }
    return true;
}

/* How long until the next chunk is due. */
static int64_t wait_us(int64_t now)
{
    int64_t wait = 1000000;

    for (int i = 0; i < 2 * pairs; i++) {
        if (!pipes[i].first)
            continue;
        int64_t left = pipes[i].first->due - now;

        wait = left < wait ? left : wait;
    }
    return wait > 0 ? wait : 50; /* due, but its receiver was full */
}

static void turn(int listener, const char *port)
{
    struct pollfd fds[2 * PAIRS_MAX + 1] = {{listener, POLLIN, 0}};
    int64_t wait = wait_us(now_us());
    const struct timespec timeout = {wait / 1000000, wait % 1000000 * 1000};
    int count = pairs;

    for (int i = 0; i < 2 * count; i++)
        fds[i + 1] = (struct pollfd){pipes[i].from, POLLIN, 0};
    ppoll(fds, (nfds_t)(2 * count + 1), &timeout, NULL);
    for (int p = count - 1; p >= 0; p--) {
        struct pipe *one = &pipes[2 * p], *other = one + 1;
        bool ok = (!fds[2 * p + 1].revents || fill(one)) && (!fds[2 * p + 2].revents || fill(other));

        if (!ok || !empty(one, now_us()) || !empty(other, now_us()))
            close_pair(p);
    }
    if (fds[0].revents)
        take_client(listener, port);
}

int main(int argc, char **argv)
{
    int listener;

    if (argc != 4)
        return 2;
    signal(SIGHUP, on_hup);
    listener = listen_on(argv[1]);
    for (;;) {
        if (changed)
            read_delay(argv[3]);
        turn(listener, argv[2]);
    }
}
