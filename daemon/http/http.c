/* The loop: libmicrohttpd works when its epoll descriptor is readable, and then rests, so that HTTP takes at most a
 * share of the time, whatever its clients do. */
#include "http_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#define CONNECTIONS_MAX 64
#define PER_ADDRESS_MAX 32
#define MEMORY_MAX 16384  /* bytes, of each connection: request line and headers */
#define IDLE_S 5          /* a connection on which nothing moves is closed, */
#define EXCHANGE_MS 10000 /* and one whose request or answer takes longer */
#define LOOK_MS 1000      /* how often that is checked */
#define REST 4            /* it rests so many times as long as it has worked */
#define BACKLOG 64
#define SEND_BUFFER 65536 /* bytes; the kernel would keep megabytes for a slow reader */
#define NS_PER_MS 1000000

/* ---- the loop ---- */

static void on_event(uv_poll_t *poll, int status, int events);

/* A slow reader, or a request that comes byte by byte. libmicrohttpd closes what was shut down. */
static void cut_slow(struct http *h)
{
    struct visit *v;

    DL_FOREACH(h->visits, v)
    {
        const union MHD_ConnectionInfo *fd =
            uv_now(h->loop) - v->since_ms < EXCHANGE_MS
                ? NULL
                : MHD_get_connection_info(v->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        if (fd)
            shutdown(fd->connect_fd, SHUT_RDWR);
    }
}

static void on_rested(uv_timer_t *timer);

static void work(struct http *h)
{
    uint64_t begun = uv_hrtime(), took;

    h->woken = false;
    cut_slow(h);
    MHD_run(h->mhd);
    took = uv_hrtime() - begun;
    uv_poll_stop(&h->poll);
    uv_timer_start(&h->timer, on_rested, (REST + 1) * took / NS_PER_MS + 1, 0);
}

static void on_time(uv_timer_t *timer)
{
    work(timer->data);
}

/* The timer is for timeouts of connections: without any it does not run. */
static void on_rested(uv_timer_t *timer)
{
    struct http *h = timer->data;
    MHD_UNSIGNED_LONG_LONG due = LOOK_MS;

    if (h->woken) {
        work(h);
        return;
    }
    if (h->visits)
        uv_timer_start(timer, on_time, MHD_get_timeout(h->mhd, &due) == MHD_YES && due < LOOK_MS ? due : LOOK_MS, 0);
    uv_poll_start(&h->poll, UV_READABLE, on_event);
}

void http_wake(struct http *h)
{
    h->woken = true;
    if (uv_is_active((uv_handle_t *)&h->poll)) /* else it rests, and looks after that */
        uv_timer_start(&h->timer, on_time, 0, 0);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    work(poll->data);
}

/* ---- connections ---- */

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *h = cls;
    struct visit *v = code == MHD_CONNECTION_NOTIFY_STARTED ? calloc(1, sizeof(*v)) : *context;

    if (!v)
        return;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *v = (struct visit){.connection = connection, .since_ms = uv_now(h->loop)};
        DL_APPEND(h->visits, v);
        h->figures.connections++;
        *context = v;
    } else {
        DL_DELETE(h->visits, v);
        h->figures.connections--;
        free(v);
        *context = NULL;
    }
}

struct http_figures http_figures(const struct http *h)
{
    return h ? h->figures : (struct http_figures){0};
}

bool http_is_local(const struct http *h)
{
    return h->local;
}

/* ---- life ---- */

static int listen_at(const struct sockaddr *a)
{
    const int one = 1, bytes = SEND_BUFFER;
    socklen_t n = a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)); /* also of its connections */
    if (bind(fd, a, n) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    rc = -errno;
    close(fd);
    return rc;
}

static bool is_local(const struct sockaddr *a)
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;

    return a->sa_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static struct MHD_Daemon *start(struct http *h, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, exchange_go_on, h,
                            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                            MHD_OPTION_PER_IP_CONNECTION_LIMIT, PER_ADDRESS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)MEMORY_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_URI_LOG_CALLBACK, exchange_begin,
                            h, MHD_OPTION_NOTIFY_COMPLETED, exchange_end, h, MHD_OPTION_END);
}

static void watch(struct http *h)
{
    const union MHD_DaemonInfo *epoll = MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);

    uv_poll_init(h->loop, &h->poll, epoll->epoll_fd);
    uv_timer_init(h->loop, &h->timer);
    h->poll.data = h->timer.data = h;
    h->open = 2;
    uv_poll_start(&h->poll, UV_READABLE, on_event);
}

int http_new(struct http **out, uv_loop_t *loop, const struct sockaddr *address, const struct http_events *on)
{
    struct http *h = calloc(1, sizeof(*h));
    int fd = h ? listen_at(address) : -ENOMEM;

    if (fd < 0) {
        free(h);
        return fd;
    }
    *h = (struct http){.loop = loop, .on = *on, .local = is_local(address)};
    h->mhd = start(h, fd);
    if (!h->mhd) {
        close(fd);
        free(h);
        return -ENOMEM;
    }
    watch(h);
    *out = h;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct http *h = handle->data;

    if (--h->open == 0)
        free(h);
}

void http_close(struct http *h)
{
    struct exchange *x;

    if (!h || h->closing)
        return;
    h->closing = true;
    uv_close((uv_handle_t *)&h->poll, on_closed); /* before its descriptor goes */
    uv_close((uv_handle_t *)&h->timer, on_closed);
    DL_FOREACH(h->waiting, x)
    {
        MHD_resume_connection(x->connection);
    }
    MHD_stop_daemon(h->mhd); /* ends all exchanges */
}
