#include "stores.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pairs.h"

#define PATIENCE_MS 10000

/* ---- redis-server ---- */

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static redisContext *connect_to(const struct redis_server *r)
{
    redisContext *c = redisConnect("127.0.0.1", r->port);

    if (c && !c->err)
        return c;
    redisFree(c);
    return NULL;
}

static void run_server(const struct redis_server *r, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && freopen("/dev/null", "w", stdout))
        execl(REDIS_SERVER, "redis-server", "--port", scratch("%d", r->port), "--bind", "127.0.0.1", "--save", "",
              "--appendonly", "no", "--dir", "/tmp", "--dbfilename", scratch("kamsync-%d.rdb", r->port), NULL);
    _exit(1);
}

struct redis_server redis_server_start(void)
{
    struct redis_server r = {.port = free_port()};
    pid_t parent = getpid();
    redisContext *c = NULL;

    r.pid = fork();
    cr_assert(r.pid >= 0);
    if (r.pid == 0)
        run_server(&r, parent);
    for (int i = 0; !c && i < PATIENCE_MS / 5; i++) {
        usleep(5000);
        c = connect_to(&r);
    }
    cr_assert_not_null(c, "no redis-server");
    redisFree(c);
    return r;
}

void redis_server_stop(struct redis_server *r)
{
    if (r->pid > 0) {
        kill(r->pid, SIGKILL);
        waitpid(r->pid, NULL, 0);
    }
    r->pid = 0;
}

static char *text_of(const redisReply *r)
{
    char *text = scratch("%s", "");

    if (r->type == REDIS_REPLY_INTEGER)
        return scratch("%lld", r->integer);
    if (r->type == REDIS_REPLY_NIL)
        return text;
    if (r->type != REDIS_REPLY_ARRAY)
        return scratch("%.*s", (int)r->len, r->str);
    for (size_t i = 0; i < r->elements; i++)
        text = scratch("%s%s%s", text, i ? "," : "", text_of(r->element[i]));
    return text;
}

char *redis_do(const struct redis_server *r, const char *fmt, ...)
{
    redisContext *c = connect_to(r);
    redisReply *reply;
    va_list ap;
    char *text;

    cr_assert_not_null(c);
    va_start(ap, fmt);
    reply = redisvCommand(c, fmt, ap);
    va_end(ap);
    cr_assert_not_null(reply);
    text = text_of(reply);
    freeReplyObject(reply);
    redisFree(c);
    return text;
}

/* ---- what a store tells ---- */

static void on_up(void *ctx)
{
    ((struct client *)ctx)->up = true;
}

static void on_down(void *ctx)
{
    ((struct client *)ctx)->up = false;
}

static void on_scan_key(void *ctx, const char *key)
{
    if (strcmp(key, "kamsync:layout") != 0) /* which Redis has, and memory does not need */
        json_array_append_new(((struct client *)ctx)->keys, json_string(key));
}

static void on_scanned(void *ctx, bool ok, uint64_t next)
{
    ((struct client *)ctx)->scanned = ok && !next;
}

static void on_node(void *ctx, struct span record)
{
    (void)record;
    ((struct client *)ctx)->nodes++;
}

static void on_nodes_read(void *ctx, bool ok)
{
    ((struct client *)ctx)->nodes_read += ok;
}

static void on_written(void *ctx, uint64_t token, enum call_result result)
{
    struct client *c = ctx;

    c->answers[token]++;
    c->results[token] = result;
}

static void on_got(void *ctx, uint64_t token, enum get_status status, const struct pair *pairs, size_t count)
{
    struct client *c = ctx;

    c->answers[token]++;
    c->results[token] = status;
    json_decref(c->record);
    c->record = status == GET_FOUND ? json_of_pairs(pairs, count) : NULL;
    cr_expect((count > 0) == (status == GET_FOUND));
}

static void keep_text(struct client *c, uint64_t token, int status, struct span text)
{
    c->answers[token]++;
    c->results[token] = status;
    c->text = scratch("%.*s", (int)text.n, text.n ? text.p : "");
}

static void on_put(void *ctx, uint64_t token, enum put_status status, struct span record)
{
    struct client *c = ctx;

    cr_expect(status == PUT_FENCED || !record.n);
    keep_text(c, token, (int)status, record);
    if (c->on_put)
        c->on_put(c, token);
}

static void on_claimed(void *ctx, uint64_t token, enum claim_status status, struct span holder)
{
    cr_expect(status == CLAIM_LOST || !holder.n);
    keep_text(ctx, token, (int)status, holder);
}

static void on_read(void *ctx, uint64_t token, enum get_status status, struct span record)
{
    keep_text(ctx, token, (int)status, record);
}

static void on_call_key(void *ctx, uint64_t token, const char *key)
{
    (void)token;
    json_array_append_new(((struct client *)ctx)->keys, json_string(key));
}

static void on_call_keys(void *ctx, uint64_t token, bool ok, uint64_t next)
{
    struct client *c = ctx;

    c->answers[token]++;
    c->results[token] = ok;
    c->next = next;
}

static void on_archived(void *ctx, uint64_t token, const char *id, const struct pair *pairs, size_t count,
                        enum archive_status status)
{
    struct client *c = ctx;

    cr_expect(c->answers[token] == 0, "an entry behind the end");
    if (id)
        json_array_append_new(c->archive, json_pack("[s,o]", id, json_of_pairs(pairs, count)));
    else
        c->answers[token]++;
    c->results[token] = (int)status;
}

static void on_forgot(void *ctx)
{
    ((struct client *)ctx)->forgot++;
}

static void on_told(void *ctx, struct span text)
{
    json_array_append_new(((struct client *)ctx)->told, json_stringn_nocheck(text.p, text.n));
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    struct client *c = ctx;

    c->logs = scratch("%s%d %s\n", c->logs, level, line);
}

/* ---- the loop ---- */

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* only so that the loop comes back */
}

static void on_timer_closed(uv_handle_t *timer)
{
    *(bool *)timer->data = true;
}

bool wait_until(uv_loop_t *loop, bool (*condition)(void *arg), void *arg)
{
    uint64_t end = uv_now(loop) + PATIENCE_MS;
    uv_timer_t timer;
    bool met, closed = false;

    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, on_timer, 5, 5);
    while (!(met = condition(arg)) && uv_now(loop) < end)
        uv_run(loop, UV_RUN_ONCE);
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, on_timer_closed);
    while (!closed)
        uv_run(loop, UV_RUN_NOWAIT);
    return met;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct client *c = prepare->data;

    c->store->ops->flush(c->store);
}

static bool is_up(void *arg)
{
    return ((struct client *)arg)->up;
}

const char *memory_state_file = "";
int near_port;

struct client *client_new(uv_loop_t *loop, const struct redis_server *r, int64_t cdr_max, const char *user)
{
    struct client *c = calloc(1, sizeof(*c));
    struct store_events on = {.ctx = c,
                              .up = on_up,
                              .down = on_down,
                              .scan_key = on_scan_key,
                              .scanned = on_scanned,
                              .node = on_node,
                              .announced = on_node,
                              .nodes_read = on_nodes_read,
                              .put_done = on_put,
                              .claimed = on_claimed,
                              .got = on_read,
                              .got_near = on_read,
                              .call_written = on_written,
                              .call_got = on_got,
                              .call_key = on_call_key,
                              .call_keys = on_call_keys,
                              .archived = on_archived,
                              .told = on_told,
                              .forgot = on_forgot,
                              .log = on_log};
    struct redis_conf conf = {.name = {.hosts = {{"127.0.0.1", r ? r->port : 0}}},
                              .login = {user, *user ? "p" : ""},
                              .sentinel_login = {"", ""},
                              .near = {.count = near_port > 0, .hosts = {{"127.0.0.1", near_port}}},
                              .near_login = {"", ""},
                              .timeout_ms = 2000,
                              .cdr_max = cdr_max};

    *c = (struct client){.loop = loop, .logs = scratch("%s", ""), .told = json_array(), .keys = json_array()};
    c->store = r ? store_redis(loop, &conf, &on) : store_memory(loop, cdr_max, memory_state_file, &on);
    uv_prepare_init(loop, &c->prepare);
    c->prepare.data = c;
    uv_prepare_start(&c->prepare, on_prepare);
    cr_assert(c->store && wait_until(loop, is_up, c), "the store is not up");
    return c;
}

void clients_free(uv_loop_t *loop, struct client **list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uv_close((uv_handle_t *)&list[i]->prepare, NULL);
        list[i]->store->ops->close(list[i]->store);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    cr_expect(uv_loop_close(loop) == 0, "something is open");
    for (size_t i = 0; i < count; i++) {
        json_decref(list[i]->record);
        json_decref(list[i]->archive);
        json_decref(list[i]->told);
        json_decref(list[i]->keys);
        free(list[i]);
    }
}

/* ---- questions ---- */

static bool is_answered(void *arg)
{
    struct client *c = arg;

    return c->answers[c->token] > 0;
}

void client_wait(struct client *c)
{
    cr_assert(c->token < TOKENS);
    cr_assert(wait_until(c->loop, is_answered, c), "no answer to question %d", (int)c->token);
    cr_expect(c->answers[c->token] == 1, "answered %u times", c->answers[c->token]);
}

void client_ask_write(struct client *c, const char *key, enum call_mode mode, int node, const char *pairs,
                      int64_t ttl_ms)
{
    json_t *json = json_loads(pairs, JSON_ALLOW_NUL, NULL);
    size_t count;
    struct pair *list = pairs_of_json(json, &count);
    struct call_write w = {.key = key, .mode = mode, .node = node, .pairs = list, .count = count, .ttl_ms = ttl_ms};
    const char *of = json_string_value(json_object_get(json, "node"));

    if (of && atoi(of) == node)
        w.tx = json_string_value(json_object_get(json, "tx"));
    w.known = w.tx && mode == CALL_BEGIN ? c->known : KNOWN_NOTHING;
    cr_assert(json && c->token < TOKENS - 1, "'%s'", pairs);
    c->store->ops->call_write(c->store, &w, ++c->token);
    free(list);
    json_decref(json); /* the store has made its copies */
}

enum call_result client_write(struct client *c, const char *key, enum call_mode mode, int node, const char *pairs)
{
    client_ask_write(c, key, mode, node, pairs, 60000);
    client_wait(c);
    return (enum call_result)c->results[c->token];
}

enum get_status client_get(struct client *c, const char *key)
{
    c->store->ops->call_get(c->store, key, NULL, ++c->token);
    client_wait(c);
    return (enum get_status)c->results[c->token];
}

enum put_status client_put(struct client *c, const char *key, const char *record)
{
    cr_assert(c->token < TOKENS - 1);
    c->store->ops->put(c->store, key, record, 60000, ++c->token);
    client_wait(c);
    return (enum put_status)c->results[c->token];
}

enum claim_status client_claim(struct client *c, const char *key, const char *value)
{
    cr_assert(c->token < TOKENS - 1);
    c->store->ops->claim(c->store, key, value, 60000, ++c->token);
    client_wait(c);
    return (enum claim_status)c->results[c->token];
}

enum get_status client_read(struct client *c, const char *key)
{
    cr_assert(c->token < TOKENS - 1);
    c->store->ops->get(c->store, key, ++c->token);
    client_wait(c);
    return (enum get_status)c->results[c->token];
}

bool client_archive(struct client *c, const char *after, int count)
{
    json_decref(c->archive);
    c->archive = json_array();
    c->store->ops->archive(c->store, after, count, ++c->token);
    client_wait(c);
    return c->results[c->token];
}

void with_store(void (*test)(struct client *c), bool redis, int64_t cdr_max)
{
    struct redis_server r = {0};
    struct client *c;
    uv_loop_t loop;

    if (redis)
        r = redis_server_start();
    uv_loop_init(&loop);
    c = client_new(&loop, redis ? &r : NULL, cdr_max, "");
    test(c);
    clients_free(&loop, &c, 1);
    redis_server_stop(&r);
}

struct two *two_new(int64_t cdr_max)
{
    struct two *t = calloc(1, sizeof(*t));

    t->r = redis_server_start();
    uv_loop_init(&t->loop);
    for (int i = 0; i < 2; i++)
        t->c[i] = client_new(&t->loop, &t->r, cdr_max, "");
    return t;
}

void two_free(struct two *t)
{
    clients_free(&t->loop, t->c, 2);
    redis_server_stop(&t->r);
    free(t);
}
