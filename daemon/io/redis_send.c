/* The ways to Redis: each command goes through redis_send(), and its answer comes back without the connection. */
#include <stdarg.h>
#include <stdlib.h>

#include "redis_impl.h"

#define ASKED_FIRST 1024

/* ---- a connection ---- */

/* Makes room for one more. The ring begins at its first place then. */
static bool make_room(struct redis_conn *c)
{
    size_t size = c->asked_size ? 2 * c->asked_size : ASKED_FIRST;
    struct redis_asked *more;

    if (c->asked_count < c->asked_size)
        return true;
    more = malloc(size * sizeof(*more));
    for (size_t i = 0; more && i < c->asked_count; i++)
        more[i] = c->asked[(c->asked_first + i) & (c->asked_size - 1)];
    if (!more)
        return false;
    free(c->asked);
    c->asked = more;
    c->asked_size = size;
    c->asked_first = 0;
    return true;
}

static void on_answer(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis_conn *c = ac->data;
    const struct redis_asked a = c->asked[c->asked_first];

    (void)data;
    c->asked_first = (c->asked_first + 1) & (c->asked_size - 1);
    c->asked_count--;
    redis_conn_answered(c);
    a.fn(c->data, reply, a.data);
}

/* hiredis is told who waits for an answer, and the bytes wait in a buffer of ours: its own grows from nothing each
 * turn, and copies them each time. But not on a connection whose commands it is given whole, as order would be lost. */
static bool put_out(struct redis_conn *c, struct span command)
{
    bool apart = !(c->ac->c.flags & REDIS_SUBSCRIBED);
    size_t before = c->out.n;

    if (apart)
        buffer_put(&c->out, command.p, command.n);
    if (!c->out.failed &&
        redisAsyncFormattedCommand(c->ac, on_answer, NULL, command.p, apart ? 0 : command.n) == REDIS_OK)
        return true;
    c->out.n = before;
    c->out.failed = false;
    return false;
}

bool redis_conn_send(struct redis_conn *c, struct span command, redis_answer *fn, void *data)
{
    if (!c->is_ready || !make_room(c) || !put_out(c, command))
        return false;
    c->asked[(c->asked_first + c->asked_count++) & (c->asked_size - 1)] = (struct redis_asked){fn, data};
    redis_conn_sent(c);
    return true;
}

static void on_pong(struct redis *s, const redisReply *r, void *data)
{
    (void)s;
    (void)r;
    (void)data;
}

void redis_conn_ping(struct redis_conn *c)
{
    redis_conn_send(c, span_of("*1\r\n$4\r\nPING\r\n"), on_pong, NULL);
}

bool redis_conn_send_once(struct redis_conn *c, struct buffer *command, redis_answer *fn, void *data)
{
    bool sent = !command->failed && redis_conn_send(c, (struct span){command->p, command->n}, fn, data);

    free(command->p);
    *command = (struct buffer){0};
    return sent;
}

/* ---- the store ---- */

bool redis_send(struct redis *s, struct span key, struct buffer *command, redis_answer *fn, void *data)
{
    if (s->cluster)
        return route_send(s->cluster, key, command, fn, data);
    return redis_conn_send_once(&s->commands, command, fn, data);
}

/* hiredis allocates by malloc(). */
static bool format_command(struct buffer *command, const char *format, va_list ap)
{
    int n = redisvFormatCommand(&command->p, format, ap);

    command->n = command->size = n > 0 ? (size_t)n : 0;
    return n > 0;
}

bool redis_format(struct buffer *command, const char *format, ...)
{
    va_list ap;
    bool done;

    va_start(ap, format);
    done = format_command(command, format, ap);
    va_end(ap);
    return done;
}

bool redis_ask(struct redis *s, struct span key, redis_answer *fn, void *data, const char *format, ...)
{
    struct buffer command = {0};
    va_list ap;
    bool done;

    va_start(ap, format);
    done = format_command(&command, format, ap);
    va_end(ap);
    return done && redis_send(s, key, &command, fn, data);
}

bool redis_send_scan(struct redis *s, uint64_t cursor, const char *pattern, redis_answer *fn, void *data)
{
    if (s->cluster)
        return route_scan(s->cluster, cursor, pattern, fn, data);
    return redis_ask(s, NO_KEY, fn, data, SCAN_FORMAT, (unsigned long long)cursor, pattern, SCAN_COUNT);
}

bool redis_scanned(struct redis *s, uint64_t *cursor)
{
    return !s->cluster || route_scanned(s->cluster, cursor);
}
