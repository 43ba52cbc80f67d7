#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#define CLIENTS_MAX 64
#define REQUEST_MAX 4096
#define PATIENCE_MS 5000 /* for a request, and for the answer to be read */

struct client {
    struct client *prev, *next;
    struct control *control;
    uint64_t id;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_write_t write;
    char *answer;
    char request[REQUEST_MAX + 1]; /* never filled: libuv would read on at once */
    size_t len;
    bool asked, closing;
    int open; /* handles */
};

struct control {
    uv_loop_t *loop;
    struct control_events on;
    uv_pipe_t pipe;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct client *clients;
    size_t count;
    uint64_t last;
    bool closing, closed;
};

static void maybe_free(struct control *c)
{
    if (c->closed && !c->clients)
        free(c);
}

static void on_client_closed(uv_handle_t *handle)
{
    struct client *x = handle->data;
    struct control *c = x->control;

    if (--x->open > 0)
        return;
    DL_DELETE(c->clients, x);
    c->count--;
    free(x->answer);
    free(x);
    maybe_free(c);
}

static void client_close(struct client *x)
{
    if (x->closing)
        return;
    x->closing = true;
    if (x->asked && !x->answer)
        x->control->on.gone(x->control->on.ctx, x->id);
    uv_close((uv_handle_t *)&x->pipe, on_client_closed);
    uv_close((uv_handle_t *)&x->timer, on_client_closed);
}

static void on_patience(uv_timer_t *timer)
{
    client_close(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    client_close(write->data);
}

static void client_answer(struct client *x, json_t *answer)
{
    size_t n = 0;
    uv_buf_t buf;

    x->answer = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    json_decref(answer);
    if (x->answer) {
        n = strlen(x->answer);
        x->answer[n++] = '\n'; /* in place of the NUL */
    }
    buf = uv_buf_init(x->answer, (unsigned)n);
    x->write.data = x;
    if (!x->answer || uv_write(&x->write, (uv_stream_t *)&x->pipe, &buf, 1, on_written) < 0)
        client_close(x);
    else
        uv_timer_start(&x->timer, on_patience, PATIENCE_MS, 0);
}

static void take_request(struct client *x)
{
    json_t *request = json_loadb(x->request, x->len, JSON_REJECT_DUPLICATES, NULL);

    x->asked = true;
    uv_timer_stop(&x->timer);
    if (json_is_object(request))
        x->control->on.request(x->control->on.ctx, x->id, request);
    else
        client_answer(x, json_pack("{s:b,s:s}", "ok", 0, "error", "the request is not one JSON object in one line"));
    json_decref(request);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct client *x = handle->data;

    (void)size;
    *buf = uv_buf_init(x->request + x->len, (unsigned)(sizeof(x->request) - x->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *x = stream->data;

    if (n < 0 || x->asked) { /* it is gone, or sends more than one request */
        client_close(x);
        return;
    }
    x->len += (size_t)n;
    if (x->len > REQUEST_MAX)
        client_close(x);
    else if (n > 0 && memchr(buf->base, '\n', (size_t)n))
        take_request(x);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct control *c = server->data;
    struct client *x = status < 0 ? NULL : calloc(1, sizeof(*x));

    if (!x)
        return;
    *x = (struct client){.control = c, .id = ++c->last, .open = 2};
    uv_pipe_init(c->loop, &x->pipe, 0);
    uv_timer_init(c->loop, &x->timer);
    x->pipe.data = x->timer.data = x;
    DL_APPEND(c->clients, x);
    c->count++;
    if (uv_accept(server, (uv_stream_t *)&x->pipe) < 0 || c->count > CLIENTS_MAX ||
        uv_read_start((uv_stream_t *)&x->pipe, on_alloc, on_read) < 0)
        client_close(x);
    else
        uv_timer_start(&x->timer, on_patience, PATIENCE_MS, 0);
}

/* A socket left by a dead process would prevent binding. */
static int clear_path(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;
    int fd, rc;

    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    rc = fd < 0 ? -errno : connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 ? -EADDRINUSE : 0;
    if (fd >= 0)
        close(fd);
    return rc ? rc : unlink(path) < 0 ? -errno : 0;
}

/* /run/kamsync does not survive a reboot. */
static void make_folder(const char *path)
{
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char *slash;

    snprintf(folder, sizeof(folder), "%s", path);
    slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return;
    *slash = '\0';
    mkdir(folder, 0755); /* if that fails, so does the binding, with the reason */
}

static int listen_at(struct control *c)
{
    mode_t before;
    int rc = clear_path(c->path);

    if (rc < 0)
        return rc;
    make_folder(c->path);
    before = umask(0117);
    rc = uv_pipe_bind(&c->pipe, c->path);
    umask(before);
    return rc < 0 ? rc : uv_listen((uv_stream_t *)&c->pipe, 16, on_connection);
}

static void on_closed(uv_handle_t *handle)
{
    struct control *c = handle->data;

    c->closed = true;
    maybe_free(c);
}

int control_new(struct control **out, uv_loop_t *loop, const char *path, const struct control_events *on)
{
    struct control *c = strlen(path) < sizeof(c->path) ? calloc(1, sizeof(*c)) : NULL;
    int rc;

    if (!c)
        return strlen(path) < sizeof(c->path) ? -ENOMEM : -ENAMETOOLONG;
    c->loop = loop;
    c->on = *on;
    snprintf(c->path, sizeof(c->path), "%s", path);
    uv_pipe_init(loop, &c->pipe, 0);
    c->pipe.data = c;
    rc = listen_at(c);
    if (rc < 0)
        uv_close((uv_handle_t *)&c->pipe, on_closed);
    else
        *out = c;
    return rc;
}

void control_answer(struct control *c, uint64_t client, json_t *answer)
{
    struct client *x = NULL;

    if (c)
        DL_SEARCH_SCALAR(c->clients, x, id, client);
    if (x && x->asked && !x->closing && !x->answer)
        client_answer(x, answer);
    else
        json_decref(answer);
}

void control_close(struct control *c)
{
    struct client *x;

    if (!c || c->closing)
        return;
    c->closing = true;
    DL_FOREACH(c->clients, x)
    {
        client_close(x);
    }
    uv_close((uv_handle_t *)&c->pipe, on_closed); /* removes the socket as well */
}
