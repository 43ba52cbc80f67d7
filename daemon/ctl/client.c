#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 3000
#define ANSWER_MAX ((size_t)64 << 20)
#define REQUEST_MAX 4096
#define READ_MIN 4096 /* least room in bytes at each read */

/* "kamsyncd at PATH", the beginning of most sentences. */
static void say_who(struct buf *why, const char *path)
{
    buf_printf(why, "kamsyncd at ");
    buf_safe(why, span_of(path));
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Status of the socket, or of the nearest directory above that is accessible. */
static bool stat_nearest(const char *path, struct stat *st)
{
    char *part = span_dup(span_of(path)), *slash;
    bool found = part && stat(part, st) == 0;

    while (part && !found && (slash = strrchr(part, '/'))) {
        slash[slash == part] = '\0'; /* keeps the root's slash */
        found = stat(part, st) == 0;
        if (slash == part)
            break;
    }
    free(part);
    return found;
}

static void say_denied(struct buf *why, const char *path)
{
    struct stat st;
    struct passwd *user;
    struct group *group;

    buf_printf(why, "no permission for ");
    say_who(why, path);
    if (!stat_nearest(path, &st))
        return;
    user = getpwuid(st.st_uid);
    group = getgrgid(st.st_gid);
    buf_printf(why, ": be user ");
    if (user)
        buf_safe(why, span_of(user->pw_name));
    else
        buf_printf(why, "%u", (unsigned)st.st_uid);
    buf_printf(why, ", or in group ");
    if (group)
        buf_safe(why, span_of(group->gr_name));
    else
        buf_printf(why, "%u", (unsigned)st.st_gid);
}

static void say_unconnected(struct buf *why, const char *path, int error)
{
    if (error == EACCES || error == EPERM) {
        say_denied(why, path);
        return;
    }
    if (error == EAGAIN) {
        say_who(why, path);
        buf_printf(why, " takes no connection: does it hang?");
        return;
    }
    buf_printf(why, "no ");
    say_who(why, path);
    if (error == ENOENT || error == ECONNREFUSED)
        buf_printf(why, ": is it running, and is 'control' set in its configuration? (--socket PATH for another one)");
    else
        buf_printf(why, ": %s", strerror(error));
}

/* The connected socket, or -1. SO_SNDTIMEO bounds a connect() that waits in a full backlog. */
static int dial(const char *path, struct buf *why)
{
    const struct timeval patience = {PATIENCE_MS / 1000, 0};
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

    memcpy(to.sun_path, path, strnlen(path, CLIENT_PATH_MAX));
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
        connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    error = errno;
    if (fd >= 0)
        close(fd);
    say_unconnected(why, path, error);
    return -1;
}

/* Errors are found when the answer is read: a peer that closes at once may have said why. */
static void send_request(int fd, const char *line, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, line, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        line += sent;
        n -= (size_t)sent;
    }
}

/* Waits for bytes and adds them to the answer; returns how many, 0 at the end, or a negative errno. */
static ssize_t read_some(int fd, struct buf *answer, int64_t until)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left = until - now_ms();
    ssize_t n;

    if (left <= 0 || poll(&p, 1, (int)left) == 0)
        return -ETIMEDOUT;
    if (answer->size - answer->n < READ_MIN) {
        answer->size = 2 * answer->size + READ_MIN;
        answer->p = grow(answer->p, answer->size);
    }
    n = recv(fd, answer->p + answer->n, answer->size - answer->n, MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    answer->n += (size_t)n;
    return n;
}

/* Reads the line, without its end; 0 or a negative errno. */
static int read_line(int fd, struct buf *answer)
{
    int64_t until = now_ms() + PATIENCE_MS;

    for (;;) {
        ssize_t n = read_some(fd, answer, until);
        const char *end = n > 0 ? memchr(answer->p + answer->n - n, '\n', (size_t)n) : NULL;

        if (end) {
            answer->n = (size_t)(end - answer->p);
            return answer->n > ANSWER_MAX ? -EFBIG : 0;
        }
        if (answer->n > ANSWER_MAX)
            return -EFBIG;
        if (n == 0)
            return -ECONNRESET;
        if (n < 0 && n != -EAGAIN && n != -EINTR)
            return (int)n;
    }
}

static void say_unread(struct buf *why, const char *path, int error)
{
    if (error == -EFBIG) {
        buf_printf(why, "the answer is over 64 MB: ask for less (calls --limit N, cdr -n COUNT)");
        return;
    }
    say_who(why, path);
    if (error == -ETIMEDOUT)
        buf_printf(why, " gave no answer within %d s: does it hang?", PATIENCE_MS / 1000);
    else if (error == -ECONNRESET || error == -EPIPE)
        buf_printf(why, " closed the connection before its answer was complete: its log may say why");
    else
        buf_printf(why, ": %s", strerror(-error));
}

static json_t *read_answer(const char *path, struct span line, struct buf *why)
{
    json_t *answer = json_loadb(line.p, line.n, JSON_ALLOW_NUL, NULL);

    if (json_is_boolean(json_object_get(answer, "ok")))
        return answer;
    json_decref(answer);
    buf_printf(why, "what answers at ");
    buf_safe(why, span_of(path));
    buf_printf(why, " is no kamsyncd: its answer is not of the protocol (--socket PATH for another one)");
    return NULL;
}

static json_t *converse(int fd, const char *path, const char *request, struct buf *why)
{
    struct buf line = {0};
    json_t *answer = NULL;
    int rc;

    send_request(fd, request, strlen(request));
    rc = read_line(fd, &line);
    if (rc < 0)
        say_unread(why, path, rc);
    else
        answer = read_answer(path, (struct span){line.p, line.n}, why);
    buf_free(&line);
    return answer;
}

/* In one line; the caller frees it. */
static char *request_line(const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;

    text = grow(text, n + 2);
    memcpy(text + n, "\n", 2);
    return text;
}

bool client_fits(const json_t *request)
{
    return json_dumpb(request, NULL, 0, JSON_COMPACT) < REQUEST_MAX;
}

json_t *client_ask(const char *path, const json_t *request, struct buf *why)
{
    char *line = request_line(request);
    int fd = dial(path, why);
    json_t *answer = fd >= 0 ? converse(fd, path, line, why) : NULL;

    if (fd >= 0)
        close(fd);
    free(line);
    return answer;
}
