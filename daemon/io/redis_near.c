/* A replica near by, from which records are only read: strays are looked up there first (core/ask/near.c). What it
 * lacks or how it fails concerns nobody else: then it is away, and all is asked of the store.
 *
 * How far it is behind, this node's own record there tells, with a right that it needs anyway. */
#include "ascii.h"
#include "nodes.h"
#include "redis_impl.h"

static bool send_near(struct redis *s, struct span key, struct buffer *command, redis_answer *fn, void *data)
{
    (void)key;
    return redis_conn_send_once(&s->near.conn, command, fn, data);
}

/* False, with a line in the log for the first: it is an error. */
static bool is_good(struct redis *s, const redisReply *r)
{
    struct near_facts *f = &s->store.facts.near;
    char line[300];

    if (!redis_is_error(r) || redis_is_none(r)) {
        *f->refused = '\0'; /* it was loading, or the right has come */
        return true;
    }
    if (r && !*f->refused) {
        snprintf(line, sizeof(line), "the near replica refuses: %s", r->str);
        ascii_clean(line);
        s->store.on.log(s->store.on.ctx, LOG_LEVEL_ERROR, line);
    }
    if (r)
        snprintf(f->refused, sizeof(f->refused), "%s", r->str);
    ascii_clean(f->refused);
    return false;
}

/* ---- records ---- */

static void on_get(struct redis *s, const redisReply *r, void *data)
{
    bool found = r && r->type == REDIS_REPLY_STRING;
    enum get_status status = !is_good(s, r) ? GET_FAILED : found ? GET_FOUND : GET_ABSENT;

    s->store.on.got_near(s->store.on.ctx, (uintptr_t)data, status,
                         found ? (struct span){r->str, (size_t)r->len} : (struct span){0});
}

bool redis_near_get(struct store *store, const char *key, uint64_t token)
{
    return redis_read((struct redis *)store, send_near, key, on_get, (void *)(uintptr_t)token);
}

/* ---- how far it is behind ---- */

static int64_t beat_in(struct span record)
{
    struct node n;

    return node_read(&n, record) == 0 ? n.beat : 0;
}

/* It is behind since the first beat that it lacks. That of this moment may be on its way. Anything may stand in the
 * record there. */
static int64_t lag_of(const struct redis_near *n, int64_t beat, int64_t now)
{
    bool known = beat > 0 && beat < n->beat && n->beat - beat < NEAR_BEATS;
    int64_t since_ms = known ? n->written_ms[(beat + 1) % NEAR_BEATS] : 0;

    if (beat == n->beat)
        return 0;
    return since_ms ? now - since_ms : -1;
}

static void on_own(struct redis *s, const redisReply *r, void *data)
{
    struct near_facts *f = &s->store.facts.near;
    struct span record = {0};

    (void)data;
    if (!is_good(s, r))
        return;
    if (r->type == REDIS_REPLY_STRING)
        record = (struct span){r->str, (size_t)r->len};
    f->looked = true;
    f->lag_ms = lag_of(&s->near, beat_in(record), (int64_t)uv_now(s->loop));
}

void redis_near_look(struct redis *s, const char *key, const char *record)
{
    struct redis_near *n = &s->near;

    if (!store_has_near(&s->conf))
        return;
    n->beat = beat_in(span_of(record));
    if (n->beat > 0)
        n->written_ms[n->beat % NEAR_BEATS] = (int64_t)uv_now(s->loop);
    redis_read(s, send_near, key, on_own, NULL);
}

/* ---- its connection ---- */

static void near_ready(struct redis_conn *c)
{
    struct redis *s = c->data;

    s->store.facts.near = (struct near_facts){.ready = true};
}

static void near_lost(struct redis_conn *c)
{
    struct redis *s = c->data;

    s->store.facts.near.ready = false;
}

void redis_near_start(struct redis *s, void (*closed)(struct redis_conn *c))
{
    const struct store_name *name = &s->conf.near;
    struct near_facts *f = &s->store.facts.near;

    if (!store_has_near(&s->conf))
        return;
    s->near.conn = (struct redis_conn){.loop = s->loop,
                                       .login = &s->conf.near_login,
                                       .tls = name->tls ? s->tls : NULL,
                                       .resolver = s->resolver,
                                       .timeout_ms = s->conf.timeout_ms,
                                       .db = s->conf.name.db,
                                       .host = name->hosts[0],
                                       .path = name->path,
                                       .on = &s->store.on,
                                       .role = "near replica",
                                       .ready = near_ready,
                                       .lost = near_lost,
                                       .pinged = true,
                                       .closed = closed,
                                       .trouble = f->trouble,
                                       .trouble_size = sizeof(f->trouble),
                                       .data = s};
    redis_conn_start(&s->near.conn);
    s->open++;
}

void redis_near_close(struct redis *s)
{
    if (store_has_near(&s->conf))
        redis_conn_close(&s->near.conn);
}

void redis_near_flush(struct redis *s)
{
    if (store_has_near(&s->conf))
        redis_conn_flush(&s->near.conn);
}
