/* A hostile or broken Redis: the store's own code and the real hiredis on a real socket, whose other end the input is.
 * Each question that the engine asks must get exactly one answer, whatever Redis says, also when the connection breaks
 * or the store is closed.
 *
 * Only the lookup of the name is left out: hiredis is given a unix socket in place of host and port.
 *
 * fuzz-redis_cluster is the same with a store of kind cluster, whose map and redirects are part of the input. */
#include <hiredis/async.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "io/store.h"
#include "key.h"

#define ASKED_MAX 64
#ifndef KIND
#define KIND STORE_REDIS
#define ENDS 2
#endif

enum question { PUT, GET, CLAIM, SCAN, WRITE, READ, ARCHIVE, LIST, QUESTIONS };

struct redis_world {
    struct store *store;
    int ends[ENDS]; /* the Redis' side, in the order of connecting, mostly; -1: not connected */
    size_t open[QUESTIONS];
    uint64_t token;
    bool up;
};

static uv_loop_t loop;
static int server = -1;
static struct sockaddr_un address;

redisAsyncContext *__wrap_redisAsyncConnect(const char *ip, int port);
int __wrap_redisEnableKeepAlive(redisContext *c);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);

redisAsyncContext *__wrap_redisAsyncConnect(const char *ip, int port)
{
    (void)ip;
    (void)port;
    return redisAsyncConnectUnix(address.sun_path);
}

/* No pause before the next attempt. */
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    return __real_uv_timer_start(timer, cb, repeat ? timeout : 0, repeat);
}

/* No name is looked up for real. */
int __wrap_uv_getaddrinfo(uv_loop_t *at, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, const char *node,
                          const char *service, const struct addrinfo *hints);

int __wrap_uv_getaddrinfo(uv_loop_t *at, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, const char *node,
                          const char *service, const struct addrinfo *hints)
{
    (void)at;
    (void)req;
    (void)cb;
    (void)node;
    (void)service;
    (void)hints;
    return UV_ENOMEM;
}

/* A unix socket has none. */
int __wrap_redisEnableKeepAlive(redisContext *c)
{
    (void)c;
    return REDIS_OK;
}

/* ---- what the store tells ---- */

static void answered(void *ctx, enum question q)
{
    must(((struct redis_world *)ctx)->open[q]-- > 0);
}

static void on_up(void *ctx)
{
    must(!((struct redis_world *)ctx)->up);
    ((struct redis_world *)ctx)->up = true;
}

static void on_down(void *ctx)
{
    must(((struct redis_world *)ctx)->up);
    ((struct redis_world *)ctx)->up = false;
}

/* Reads every byte, for the address sanitizer's eyes. */
static void touch(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        (void)*(const volatile char *)&s.p[i];
}

static void on_put(void *ctx, uint64_t token, enum put_status status, struct span record)
{
    must(token == 7 && (status == PUT_FENCED || !record.n));
    touch(record);
    answered(ctx, PUT);
}

static void on_got(void *ctx, uint64_t token, enum get_status status, struct span record)
{
    must(token && (status == GET_FOUND || !record.n));
    touch(record);
    answered(ctx, GET);
}

static void on_claimed(void *ctx, uint64_t token, enum claim_status status, struct span holder)
{
    must(token && (status == CLAIM_LOST || !holder.n));
    touch(holder);
    answered(ctx, CLAIM);
}

static void on_scan_key(void *ctx, const char *key)
{
    must(((struct redis_world *)ctx)->open[SCAN] && key);
    touch(span_of(key));
}

static void on_scanned(void *ctx, bool ok, uint64_t next)
{
    must(ok || !next);
    answered(ctx, SCAN);
}

static void on_node(void *ctx, struct span record)
{
    (void)ctx;
    touch(record);
}

static void on_nodes_read(void *ctx, bool ok)
{
    (void)ctx;
    (void)ok;
}

static void on_call_written(void *ctx, uint64_t token, enum call_result result)
{
    must(token && result <= CALL_REFUSED);
    answered(ctx, WRITE);
}

static void touch_pairs(const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        touch(pairs[i].name);
        touch(pairs[i].value);
    }
}

static void on_call_got(void *ctx, uint64_t token, enum get_status status, const struct pair *pairs, size_t count)
{
    must(token && (status == GET_FOUND) == (count > 0));
    touch_pairs(pairs, count);
    answered(ctx, READ);
}

static void on_call_key(void *ctx, uint64_t token, const char *key)
{
    must(token && ((struct redis_world *)ctx)->open[LIST] && key);
    touch(span_of(key));
}

static void on_call_keys(void *ctx, uint64_t token, bool ok, uint64_t next)
{
    must(token && (ok || !next));
    answered(ctx, LIST);
}

static void on_archived(void *ctx, uint64_t token, const char *id, const struct pair *pairs, size_t count,
                        enum archive_status status)
{
    must(token && (status == ARCHIVE_READ || !id));
    touch(span_of(id));
    touch_pairs(pairs, count);
    if (!id)
        answered(ctx, ARCHIVE);
}

static void on_forgot(void *ctx)
{
    (void)ctx;
}

static void on_told(void *ctx, struct span text)
{
    (void)ctx;
    touch(text);
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    must(is_printable(line));
}

static const struct store_events events = {NULL,         on_up,         on_down,         on_put,      on_got,
                                           on_got,       on_claimed,    on_scan_key,     on_scanned,  on_node,
                                           on_node,      on_nodes_read, on_call_written, on_call_got, on_call_key,
                                           on_call_keys, on_archived,   on_told,         on_forgot,   on_log};

/* ---- the socket ---- */

static void start(void)
{
    must(uv_loop_init(&loop) == 0);
    server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/kamsync-fuzz-redis-%d", (int)getpid());
    unlink(address.sun_path);
    must(server >= 0 && bind(server, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(server, 8) == 0);
}

static void remove_socket(void)
{
    unlink(address.sun_path);
}

static void hang_up(struct redis_world *w, size_t end)
{
    if (w->ends[end] >= 0)
        close(w->ends[end]);
    w->ends[end] = -1;
}

/* What the store sends is thrown away; has it hung up, the place is free for its next connection. */
static void drain(struct redis_world *w, size_t end)
{
    static char waste[65536];
    ssize_t n = sizeof(waste);

    while (w->ends[end] >= 0 && n == sizeof(waste))
        n = recv(w->ends[end], waste, sizeof(waste), 0);
    if (n == 0)
        hang_up(w, end);
}

/* One turn of the loop, before which new connections are taken. */
static void turn(struct redis_world *w)
{
    for (size_t k = 0; k < ENDS; k++) {
        drain(w, k);
        if (w->ends[k] < 0)
            w->ends[k] = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    w->store->ops->flush(w->store);
    uv_run(&loop, UV_RUN_NOWAIT);
}

/* As many as it takes from an end to the next connection. */
static void run(struct redis_world *w)
{
    for (int i = 0; i < 3; i++)
        turn(w);
}

static void reply(struct redis_world *w, size_t end, struct span s)
{
    if (w->ends[end] >= 0)
        send(w->ends[end], s.p, s.n, MSG_NOSIGNAL);
}

/* ---- what the engine would ask ---- */

static void ask_call(struct redis_world *w, bool write)
{
    struct pair pairs[] = {{span_of("node"), span_of("1")}, {span_of("state"), span_of("trying")}};
    struct call_write cw = {.key = "kamsync:call:{c}:a",
                            .mode = CALL_BEGIN,
                            .node = 1,
                            .pairs = pairs,
                            .count = COUNT(pairs),
                            .ttl_ms = 1000,
                            .tx = "t",
                            .known = (enum call_known)(w->open[WRITE] % 3)};

    if (write)
        w->store->ops->call_write(w->store, &cw, ++w->token);
    else
        w->store->ops->call_get(w->store, "kamsync:call:{c}:a", w->open[READ] & 1 ? "kamsync:call:{c}:b" : NULL,
                                ++w->token);
}

static void ask_question(struct redis_world *w, enum question q)
{
    struct store *s = w->store;

    w->open[q]++;
    if (q == PUT)
        s->ops->put(s, "kamsync:tx:{c}:1:b", "{}", 1000, 7);
    else if (q == GET)
        s->ops->get(s, "kamsync:tx:{c}:1:b", ++w->token);
    else if (q == CLAIM)
        s->ops->claim(s, "kamsync:claim:{c}:1:b:1", "1 1", 1000, ++w->token);
    else if (q == SCAN)
        s->ops->scan(s, 0);
    else if (q == ARCHIVE)
        s->ops->archive(s, w->open[q] & 1 ? "1-1" : NULL, 3, ++w->token);
    else if (q == LIST)
        s->ops->call_keys(s, span_of("c"), 0, ++w->token);
    else
        ask_call(w, q == WRITE);
}

static void ask(struct redis_world *w, unsigned what)
{
    struct store *s = w->store;

    if (what % 12 < QUESTIONS)
        ask_question(w, (enum question)(what % 12));
    else if (what % 12 < 9)
        s->ops->beat(s, 1 + what % 2, "{}", 1000, true);
    else if (what % 12 < 11)
        s->ops->read_nodes(s);
    else
        s->ops->tell(s, 2, "{}");
    turn(w);
}

/* Each step: a question, bytes of Redis on either connection, or its end. */
static void step(struct redis_world *w, struct input *in)
{
    unsigned kind = input_byte(in);
    struct span s;

    if (kind < 128) {
        ask(w, kind);
        return;
    }
    if (kind < 136) {
        hang_up(w, kind % ENDS);
    } else {
        s = input_chunk(in);
        reply(w, kind % ENDS, s);
    }
    run(w);
}

/* One master has all slots, and all connections are greeted. */
static void serve_all(struct redis_world *w)
{
    static const char map[] = "+PONG\r\n*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:2\r\n";

    reply(w, 0, span_of(map));
    run(w);
    for (size_t i = 0; i < ENDS; i++)
        reply(w, i, span_of("+PONG\r\n"));
    run(w);
}

static void talk(const uint8_t *data, size_t size)
{
    static const char pong[] = "+PONG\r\n";
    const struct redis_conf conf = {.name = {.kind = KIND, .hosts = {{"127.0.0.1", 1}}, .count = 1},
                                    .login = {"", ""},
                                    .sentinel_login = {"", ""},
                                    .timeout_ms = 1000};
    struct input in = {data, size};
    struct redis_world w = {0};
    struct store_events on = events;

    if (server < 0) {
        start();
        atexit(remove_socket);
    }
    for (size_t i = 0; i < ENDS; i++)
        w.ends[i] = -1;
    on.ctx = &w;
    w.store = store_redis(&loop, &conf, &on);
    must(w.store);
    run(&w);
    run(&w);
    for (size_t i = 0; i < 2 && !(input_byte(&in) & 1); i++)
        reply(&w, i, span_of(pong));
    run(&w);
    if (KIND == STORE_CLUSTER && !(input_byte(&in) & 1))
        serve_all(&w);
    for (int i = 0; i < ASKED_MAX && in.n; i++)
        step(&w, &in);
    w.store->ops->close(w.store);
    while (uv_run(&loop, UV_RUN_NOWAIT))
        ;
    for (size_t i = 0; i < QUESTIONS; i++)
        must(w.open[i] == 0);
    for (size_t i = 0; i < ENDS; i++)
        hang_up(&w, i);
}

/* With one archive, and with three that are merged. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned buckets = 0; buckets <= 3; buckets += 3) {
        key_buckets(buckets);
        talk(data, size);
    }
    return 0;
}
