#include "evapi.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

#define BACKOFF_FIRST_MS 20
#define BACKOFF_MAX_MS 500
#define CONNECT_MS 1000 /* a hanging Kamailio accepts only so many connections, and then none for long */

/* One attempt to connect and its connection; it outlives its evapi until its handle has closed. */
struct conn {
    uv_tcp_t tcp;
    uv_connect_t req;
    struct evapi *ev; /* NULL once given up */
};

struct evapi {
    uv_loop_t *loop;
    struct sockaddr_storage addr;
    struct evapi_events on;
    struct conn *conn;
    uv_timer_t retry;
    unsigned attempt;
    bool up;
    char buf[65536];
};

struct write {
    uv_write_t req;
    char bytes[];
};

static void attempt(struct evapi *ev);
static void gone(struct evapi *ev, const char *why);

/* Also when an attempt has timed out, or the connection is to be given up. */
static void on_retry(uv_timer_t *timer)
{
    struct evapi *ev = timer->data;

    if (ev->conn)
        gone(ev, ev->up ? "given up" : "no answer to connect");
    else
        attempt(ev);
}

static void retry_later(struct evapi *ev)
{
    uint64_t wait = BACKOFF_FIRST_MS;

    for (unsigned i = 0; i < ev->attempt && wait < BACKOFF_MAX_MS; i++)
        wait *= 2;
    ev->attempt++;
    uv_timer_start(&ev->retry, on_retry, wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS, 0);
}

static void on_conn_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void drop_conn(struct evapi *ev)
{
    struct conn *c = ev->conn;

    if (c) {
        c->ev = NULL;
        uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
    }
    ev->conn = NULL;
}

/* Every connection ends here. */
static void gone(struct evapi *ev, const char *why)
{
    bool was_up = ev->up;

    drop_conn(ev);
    ev->up = false;
    if (was_up)
        ev->on.down(ev->on.ctx);
    if (ev->attempt == 0)
        ev->on.failed(ev->on.ctx, why);
    retry_later(ev);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;

    (void)suggested;
    *buf = uv_buf_init(c->ev ? c->ev->buf : NULL, c->ev ? sizeof(c->ev->buf) : 0);
}

/* evapi leaves Nagle's algorithm on, so it delays a small frame until the previous one is acknowledged: without this,
 * up to 40 ms for each stray. The option does not last, so it is set after every read. */
static void acknowledge_now(uv_tcp_t *tcp)
{
    uv_os_fd_t fd;
    int on = 1;

    if (uv_fileno((uv_handle_t *)tcp, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;

    if (!c->ev || n == 0)
        return;
    acknowledge_now(&c->tcp);
    if (n < 0)
        gone(c->ev, uv_strerror((int)n));
    else if (c->ev->on.data(c->ev->on.ctx, buf->base, (size_t)n) < 0)
        gone(c->ev, "not understood, or not believed");
    else
        c->ev->attempt = 0; /* it sends data: no earlier, or a peer that only accepts would be retried without pause */
}

static void on_connect(uv_connect_t *req, int status)
{
    struct conn *c = req->data;
    struct evapi *ev = c->ev;

    if (!ev)
        return;
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    if (status < 0) {
        gone(ev, uv_strerror(status));
        return;
    }
    uv_timer_stop(&ev->retry);
    uv_tcp_nodelay(&c->tcp, 1); /* evapi wants whole frames */
    ev->up = true;
    ev->on.up(ev->on.ctx);
}

static void attempt(struct evapi *ev)
{
    struct conn *c = calloc(1, sizeof(*c));
    int rc;

    if (!c) {
        retry_later(ev);
        return;
    }
    c->ev = ev;
    c->req.data = c->tcp.data = c;
    uv_tcp_init(ev->loop, &c->tcp);
    ev->conn = c;
    uv_timer_start(&ev->retry, on_retry, CONNECT_MS, 0);
    rc = uv_tcp_connect(&c->req, &c->tcp, (const struct sockaddr *)&ev->addr, on_connect);
    if (rc < 0)
        gone(ev, uv_strerror(rc));
}

struct evapi *evapi_new(uv_loop_t *loop, const struct sockaddr *addr, const struct evapi_events *on)
{
    struct evapi *ev = calloc(1, sizeof(*ev));

    if (!ev)
        return NULL;
    ev->loop = loop;
    ev->on = *on;
    memcpy(&ev->addr, addr, addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    uv_timer_init(loop, &ev->retry);
    ev->retry.data = ev;
    uv_timer_start(&ev->retry, on_retry, 0, 0);
    return ev;
}

static void on_written(uv_write_t *req, int status)
{
    (void)status; /* a failed write shows in the next read */
    free(req->data);
}

static void write_later(struct evapi *ev, struct span bytes)
{
    struct write *w = malloc(sizeof(*w) + bytes.n);
    uv_buf_t buf;

    if (!w)
        return;
    memcpy(w->bytes, bytes.p, bytes.n);
    w->req.data = w;
    buf = uv_buf_init(w->bytes, (unsigned)bytes.n);
    if (uv_write(&w->req, (uv_stream_t *)&ev->conn->tcp, &buf, 1, on_written) < 0)
        free(w);
}

/* Written at once, as far as the socket accepts it: a libuv request costs another turn of the loop for its end. */
void evapi_write(struct evapi *ev, struct span bytes)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.n);
    int n = ev->up ? uv_try_write((uv_stream_t *)&ev->conn->tcp, &buf, 1) : 0;
    size_t done = n > 0 ? (size_t)n : 0; /* an error shows in the next read */

    if (ev->up && done < bytes.n)
        write_later(ev, (struct span){bytes.p + done, bytes.n - done});
}

/* Data that Kamailio has not read by now must not be carried out: it is sent again, or is too old. */
void evapi_reopen(struct evapi *ev)
{
    const struct linger forget = {.l_onoff = 1};
    uv_os_fd_t fd;

    if (!ev->up)
        return;
    if (uv_fileno((uv_handle_t *)&ev->conn->tcp, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &forget, sizeof(forget));
    uv_timer_start(&ev->retry, on_retry, 0, 0);
}

static void write_local(const struct evapi *ev, char *out, size_t size)
{
    struct sockaddr_storage addr = {0};
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&addr;
    char ip[INET_ADDRSTRLEN] = "";
    int len = sizeof(addr);

    if (!ev->conn || uv_tcp_getsockname(&ev->conn->tcp, (struct sockaddr *)&addr, &len) < 0)
        return;
    if (addr.ss_family != AF_INET)
        snprintf(out, size, "%d", ntohs(((const struct sockaddr_in6 *)&addr)->sin6_port));
    else if (uv_ip4_name(v4, ip, sizeof(ip)) == 0)
        snprintf(out, size, "%s-%d", ip, ntohs(v4->sin_port));
}

void evapi_tag(const struct evapi *ev, char out[EVAPI_TAG_MAX])
{
    unsigned char r[8] = {0};
    char local[32] = "";

    uv_random(NULL, NULL, r, sizeof(r), 0, NULL);
    write_local(ev, local, sizeof(local));
    snprintf(out, EVAPI_TAG_MAX, "kamsync-%02x%02x%02x%02x%02x%02x%02x%02x-%s", r[0], r[1], r[2], r[3], r[4], r[5],
             r[6], r[7], local);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void evapi_close(struct evapi *ev)
{
    drop_conn(ev);
    uv_close((uv_handle_t *)&ev->retry, on_closed);
}
