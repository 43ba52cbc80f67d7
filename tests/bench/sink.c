/* The least that a daemon between evapi and Redis can do, to be measured as the floor under kamsyncd. It keeps nothing.
 *
 *     sink EVAPI-PORT REDIS-ADDRESS REDIS-PORT
 *
 * A frame of floor.cfg is a number: for each event Redis gets a SET of a record's size. A frame of floor_records.cfg
 * has kamsync's events, which are told apart and not read; for each, Redis gets the least commands by which a
 * transaction's record, a call's and its entry in the archive can be written, without a look at what is there, and with
 * some more bytes than from kamsyncd. What a frame makes goes in one pipeline. Each 16th frame is acknowledged; and
 * each second there is a beat in Redis and a probe by Kamailio. */
#include <arpa/inet.h>
#include <hiredis.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD 1159 /* bytes, as ingest.py's */
#define CALL_MS 46800000
#define ACK_EVERY 16
#define BEAT_MS 1000

struct sink {
    redisContext *redis;
    int fd, asked; /* commands whose answers have not been read */
    unsigned number, frames;
    char text[1 << 18];
    size_t kept;
};

static char fill[RECORD];

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

/* Kamailio may still be starting. */
static int connected(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
    int fd;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int tries = 0; tries < 100; tries++) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        must(fd >= 0, "socket");
        if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
            return fd;
        close(fd);
        usleep(100000);
    }
    must(0, "connect");
    return -1;
}

static void ask(struct sink *s, const char *format, ...)
{
    va_list more;

    va_start(more, format);
    must(redisvAppendCommand(s->redis, format, more) == REDIS_OK, "Redis");
    va_end(more);
    s->asked++;
}

static void answers(struct sink *s)
{
    redisReply *reply;

    for (; s->asked; s->asked--) {
        must(redisGetReply(s->redis, (void **)&reply) == REDIS_OK && reply->type != REDIS_REPLY_ERROR, "Redis");
        freeReplyObject(reply);
    }
}

static void record(struct sink *s)
{
    ask(s, "SET floor:tx:%u %b PX 300000", s->number, fill, (size_t)RECORD);
}

static void call(struct sink *s, size_t size, int alive_ms)
{
    ask(s, "SET floor:call:%u %b PX %d", s->number, fill, size, alive_ms);
}

static int is_answer(const char *event)
{
    const char *code = memmem(event, 400, "\"code\":", 7); /* its own: each reply and BYE has one */

    return code && code[7] == '2';
}

/* Names are taken in turns: whose they are makes no difference to Redis. */
static void write_event(struct sink *s, const char *event)
{
    s->number = (s->number + 1) % 10000;
    if (strncmp(event, "branch", 6) == 0 || strncmp(event, "reply", 5) == 0) {
        record(s);
        call(s, 128, CALL_MS);
    } else if (is_answer(event)) {
        ask(s, "XADD floor:cdr MAXLEN ~ 100000 * call %b", fill, (size_t)700);
        call(s, 100, 300000);
    }
}

static void frame(struct sink *s, char *text, size_t n)
{
    static const char mark[] = "\"t\":\"";
    char *end = text + n, *at = text;

    if (*text >= '0' && *text <= '9')
        for (int i = atoi(text); i > 0; i--) {
            s->number = (s->number + 1) % 10000;
            record(s);
        }
    for (; (at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1)) != NULL; at += sizeof(mark) - 1)
        write_event(s, at + sizeof(mark) - 1);
    answers(s);
    if (++s->frames % ACK_EVERY == 0 && *text == '{')
        must(dprintf(s->fd, "8:ack,%04u,", s->frames % 10000) > 0, "ack");
}

/* "<length>:<frame>," one after the other; what is cut off waits for the next read. */
static void take(struct sink *s)
{
    char *at = s->text, *end = s->text + s->kept, *body;
    size_t n;

    while (at < end && memchr(at, ':', (size_t)(end - at)) && (n = strtoul(at, &body, 10), body + n + 2 <= end)) {
        frame(s, body + 1, n);
        at = body + n + 2;
    }
    s->kept = (size_t)(end - at);
    memmove(s->text, at, s->kept);
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void beat(struct sink *s)
{
    ask(s, "SET floor:node %b PX 3000", fill, (size_t)150);
    answers(s);
    must(dprintf(s->fd, "5:probe,") > 0, "probe");
}

static void live(struct sink *s)
{
    int64_t due = now_ms() + BEAT_MS, now;
    struct pollfd poll_for = {.fd = s->fd, .events = POLLIN};
    ssize_t n;

    for (;; due += BEAT_MS, beat(s))
        while ((now = now_ms()) < due)
            if (poll(&poll_for, 1, (int)(due - now)) > 0) {
                n = read(s->fd, s->text + s->kept, sizeof(s->text) - s->kept);
                if (n <= 0)
                    return;
                s->kept += (size_t)n;
                take(s);
            }
}

int main(int argc, char **argv)
{
    static struct sink s;

    must(argc == 4, "sink EVAPI-PORT REDIS-ADDRESS REDIS-PORT");
    memset(fill, 'x', sizeof(fill));
    s.fd = connected(atoi(argv[1]));
    s.redis = redisConnect(argv[2], atoi(argv[3]));
    must(s.redis && !s.redis->err, "Redis");
    live(&s);
    redisFree(s.redis);
    close(s.fd);
    return 0;
}
