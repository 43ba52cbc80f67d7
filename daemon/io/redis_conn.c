#include "redis_conn.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "ascii.h"
#include "redis_loop.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 250 /* lookups must work again within a second of Redis' return */
#define IDLE_MS 1000       /* then it is asked PING */
#define STEADY_MS 1000     /* a connection that lasted this long was good */
#define OUT_MAX (1 << 20)  /* bytes of memory that it keeps for commands */
#define SAY_MS 60000       /* another reason why it cannot connect is logged at this interval */

static void look_up(struct redis_conn *c);
static void on_watchdog(uv_timer_t *timer);
static void connect_next(struct redis_conn *c);

const char *redis_conn_where(const struct redis_conn *c, char *out, size_t size)
{
    bool named = *c->ip && strcmp(c->ip, c->host.name) != 0;

    if (*c->path)
        snprintf(out, size, "%s", c->path);
    else
        snprintf(out, size, "%s%s%s%s:%d", c->host.name, named ? " (" : "", named ? c->ip : "", named ? ")" : "",
                 c->host.port);
    return out;
}

static void say(struct redis_conn *c, enum log_level level, const char *what, const char *detail)
{
    const char *advice = store_advice(detail && *detail ? detail : what);
    char line[1000], where[400];

    snprintf(line, sizeof(line), "redis %s (%s): %s%s%s%s%s", redis_conn_where(c, where, sizeof(where)), c->role, what,
             detail && *detail ? ": " : "", detail ? detail : "", advice ? " -> " : "", advice ? advice : "");
    ascii_clean(line);
    c->on->log(c->on->ctx, level, line);
}

static void on_backoff(uv_timer_t *timer)
{
    struct redis_conn *c = timer->data;

    if (c->find)
        c->find(c);
    else
        look_up(c);
}

void redis_conn_again(struct redis_conn *c, uint64_t ms)
{
    c->refused = false;
    if (!c->closing)
        uv_timer_start(&c->timer, on_backoff, ms, 0);
}

void redis_conn_at(struct redis_conn *c, const struct store_host *host)
{
    c->host = *host;
    if (!c->closing)
        look_up(c);
}

void redis_conn_retry(struct redis_conn *c)
{
    uint64_t wait = BACKOFF_FIRST_MS;

    if (c->closing)
        return;
    for (unsigned i = 0; i < c->attempt && wait < BACKOFF_MAX_MS; i++)
        wait *= 2;
    c->attempt++;
    uv_timer_start(&c->timer, on_backoff, wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS, 0);
}

/* A name may have several addresses, with Redis listening on one of them. */
static void on_next(uv_timer_t *timer)
{
    connect_next(timer->data);
}

static void end_attempt(struct redis_conn *c)
{
    c->ac = NULL;
    c->is_ready = c->odd = false;
    c->pending = 0;
    buffer_clear(&c->out);
    c->measured_ns = 0;
    *c->ip = '\0';
    redis_tls_end(c->peer);
    c->peer = NULL;
    uv_timer_stop(&c->timer);
}

/* Of what is known the best. */
static const char *reason_of(const struct redis_conn *c, const char *reason)
{
    bool ended = !c->is_ready && reason && *reason;
    const char *tls = c->peer ? redis_tls_error(c->peer, ended) : NULL;

    if (c->odd)
        return "what it says is no answer: is that a Redis?";
    if (*c->refusal)
        return c->refusal;
    return tls ? tls : reason ? reason : "";
}

/* Where it goes on after its end. */
static void go_on(struct redis_conn *c, bool was_ready, const char *why)
{
    if (c->closing)
        return;
    if (!was_ready && c->next_address < c->addresses.count)
        uv_timer_start(&c->timer, on_next, 0, 0); /* the caller still uses this one */
    else if (c->over)
        c->over(c, why);
    else
        redis_conn_retry(c);
}

/* For kamsyncctl doctor. */
static void note_trouble(struct redis_conn *c, const char *why)
{
    if (!c->trouble)
        return;
    snprintf(c->trouble, c->trouble_size, "%s", why);
    ascii_clean(c->trouble);
}

/* One line says why it cannot connect, and others follow if the reason changes; a refusal has a line of its own. */
static void say_why(struct redis_conn *c, const char *why)
{
    uint64_t now = uv_now(c->loop);

    if (c->refused || (c->said_ms && (now - c->said_ms < SAY_MS || strcmp(why, c->said) == 0)))
        return;
    c->said_ms = now;
    snprintf(c->said, sizeof(c->said), "%s", why);
    say(c, LOG_LEVEL_WARN, "cannot connect, trying again for ever", why);
}

/* Every connection ends here, once. hiredis frees the context itself. */
static void gone(struct redis_conn *c, const char *reason)
{
    bool was_ready = c->is_ready;
    char why[sizeof(c->refusal)];

    snprintf(why, sizeof(why), "%s", reason_of(c, reason));
    *c->refusal = '\0';
    note_trouble(c, why);
    if (was_ready && uv_now(c->loop) - c->ready_ms >= STEADY_MS)
        c->attempt = 0; /* else reconnects, each with a rewrite of everything, would follow one another at once */
    if (!c->over && was_ready)
        say(c, LOG_LEVEL_WARN, "connection lost", why);
    else if (!c->over)
        say_why(c, why);
    end_attempt(c);
    if (was_ready && c->lost)
        c->lost(c);
    go_on(c, was_ready, why);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    struct redis_conn *c = ac->data;

    (void)status;
    gone(c, ac->errstr);
}

/* Otherwise the kernel would keep sending it for minutes, and old records would overtake newer ones. */
static void forget_unsent(const redisAsyncContext *ac)
{
    const struct linger at_once = {.l_onoff = 1};

    setsockopt(ac->c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static bool waits(const struct redis_conn *c)
{
    return c->pending > 0 || !c->is_ready;
}

/* Connecting takes one round trip. If the network drops packets now, that must not delay the next try when it no longer
 * does. */
static uint64_t patience(const struct redis_conn *c)
{
    bool connecting = !(c->ac->c.flags & REDIS_CONNECTED) && !c->over;

    return waits(c) ? (uint64_t)(connecting ? c->timeout_ms / 2 : c->timeout_ms) : IDLE_MS;
}

/* Arms the watchdog, which wakes nobody as long as there is nothing to watch. It repeats, which tells it from a pause
 * (tests/fuzz). */
static void watch(struct redis_conn *c)
{
    uint64_t passed = uv_now(c->loop) - c->progress_ms;

    if (!waits(c) && !c->pinged)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_watchdog, passed < patience(c) ? patience(c) - passed : 0, IDLE_MS);
}

static void give_up(struct redis_conn *c)
{
    redisAsyncContext *ac = c->ac;

    if (ac->c.flags & REDIS_CONNECTED) {
        if (c->over)
            snprintf(c->refusal, sizeof(c->refusal), "no answer in time");
        else
            say(c, LOG_LEVEL_WARN, "no answer in time", NULL);
        forget_unsent(ac);
        redisAsyncFree(ac); /* ends in on_disconnect() */
    } else {
        redisAsyncFree(ac);
        gone(c, "no answer to connect");
    }
}

static void on_watchdog(uv_timer_t *timer)
{
    struct redis_conn *c = timer->data;
    bool late = c->ac && uv_now(c->loop) - c->progress_ms >= patience(c);

    if (late && waits(c)) {
        give_up(c);
    } else if (c->ac) {
        if (late && c->pinged) {
            c->progress_ms = uv_now(c->loop);
            redis_conn_ping(c);
        }
        watch(c);
    }
}

/* Logged once, and retried later: Redis may be loading, or under maintenance. */
static void refuse(struct redis_conn *c, const char *what, const char *detail)
{
    snprintf(c->refusal, sizeof(c->refusal), "%s%s%.150s", what, *detail ? ": " : "", detail);
    if (!c->refused && !c->over)
        say(c, LOG_LEVEL_ERROR, c->refusal, NULL);
    c->refused = true;
    redisAsyncDisconnect(c->ac);
}

static void on_greeted(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis_conn *c = ac->data;
    redisReply *r = reply;

    redis_conn_answered(c);
    if (r && r->type == REDIS_REPLY_ERROR && !(ac->c.flags & REDIS_DISCONNECTING))
        refuse(c, data, r->str);
}

/* The first part of the answer to ROLE is "master", "slave" or "sentinel". */
static void on_role(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis_conn *c = ac->data;
    redisReply *r = reply;

    on_greeted(ac, reply, data);
    if (!r || (ac->c.flags & REDIS_DISCONNECTING) || r->type != REDIS_REPLY_ARRAY || r->elements == 0 ||
        r->element[0]->type != REDIS_REPLY_STRING)
        return;
    if (strcmp(r->element[0]->str, "master") != 0)
        refuse(c, "not the master any more, or not yet: the Sentinels are asked again", "");
}

/* A Redis that cannot write to its disk refuses PING as well as writes; but it can be read. */
static bool is_pong(const redisReply *r)
{
    return r && (r->type != REDIS_REPLY_ERROR || strncmp(r->str, "MISCONF ", 8) == 0);
}

static void on_ping(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis_conn *c = ac->data;
    redisReply *r = reply;

    if (is_pong(r))
        redis_conn_answered(c);
    else
        on_greeted(ac, reply, data);
    if (!is_pong(r) || (ac->c.flags & REDIS_DISCONNECTING) || c->is_ready)
        return; /* hiredis may call this again, with a message of an unknown channel */
    c->is_ready = true;
    c->refused = false;
    c->said_ms = 0;
    c->ready_ms = uv_now(c->loop);
    if (!c->over)
        say(c, LOG_LEVEL_INFO, "connected", NULL);
    c->ready(c);
}

static void greet(struct redis_conn *c)
{
    const struct redis_login *l = c->login;

    if (*l->password) {
        redis_conn_sent(c);
        if (*l->user)
            redisAsyncCommand(c->ac, on_greeted, "AUTH refused", "AUTH %s %s", l->user, l->password);
        else
            redisAsyncCommand(c->ac, on_greeted, "AUTH refused", "AUTH %s", l->password);
    }
    if (c->db) {
        redis_conn_sent(c);
        redisAsyncCommand(c->ac, on_greeted, "SELECT refused", "SELECT %d", c->db);
    }
    if (c->is_master) {
        redis_conn_sent(c);
        redisAsyncCommand(c->ac, on_role, "ROLE refused", "ROLE");
    }
    redis_conn_sent(c);
    redisAsyncCommand(c->ac, on_ping, "PING refused", "PING");
}

/* Files of TLS may have been renewed since the last connection. */
static void start_tls(struct redis_conn *c)
{
    char why[500];
    int rc = redis_tls_renew(c->tls, why, sizeof(why));

    if (rc < 0)
        say(c, LOG_LEVEL_ERROR, "files of TLS have changed, and the ones before stay in use", why);
    else if (rc > 0)
        say(c, LOG_LEVEL_INFO, "files of TLS have changed, and are in use", NULL);
    c->peer = redis_tls_start(c->tls, c->ac, c->host.name);
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    struct redis_conn *c = ac->data;

    if (status != REDIS_OK) {
        gone(c, ac->errstr); /* hiredis frees the context next */
        return;
    }
    if (!*c->path)
        redisEnableKeepAlive(&c->ac->c);
    if (c->tls)
        start_tls(c);
    if (c->tls && !redis_tls_begun(c->peer))
        redisAsyncDisconnect(c->ac); /* ends in on_disconnect() */
    else
        greet(c);
}

/* ip: "" for the Unix socket. */
static void connect_to(struct redis_conn *c, const char *ip)
{
    redisAsyncContext *ac = *ip ? redisAsyncConnect(ip, c->host.port) : redisAsyncConnectUnix(c->path);

    snprintf(c->ip, sizeof(c->ip), "%s", ip);
    if (!ac || ac->err || redis_loop_attach(ac, c->loop) < 0) {
        gone(c, ac ? ac->errstr : "memory is short");
        if (ac)
            redisAsyncFree(ac);
        return;
    }
    ac->data = c;
    c->ac = ac;
    redis_guard(ac);
    c->progress_ms = uv_now(c->loop);
    redisAsyncSetConnectCallback(ac, on_connect);
    redisAsyncSetDisconnectCallback(ac, on_disconnect);
    watch(c);
}

static void connect_next(struct redis_conn *c)
{
    connect_to(c, c->addresses.ip[c->next_address++]);
}

static void connect_first(struct redis_conn *c, const struct addresses *known)
{
    c->addresses = *known;
    connect_next(c);
}

static void on_looked_up(struct asker *asker, int status)
{
    struct redis_conn *c = asker->data;
    const struct addresses *known = resolver_known(c->resolver, c->host.name);

    uv_timer_stop(&c->timer);
    if (known && (status == 0 || status == UV_EAI_AGAIN)) /* the latter: no name server answers */
        connect_first(c, known);
    else
        gone(c, status < 0 ? uv_strerror(status) : "no address");
}

static void on_slow_name(uv_timer_t *timer)
{
    struct redis_conn *c = timer->data;
    const struct addresses *known = resolver_known(c->resolver, c->host.name);

    resolver_leave(&c->asker);
    if (known)
        connect_first(c, known);
    else
        gone(c, "its name is still being looked up: is the name server (/etc/resolv.conf) slow or away?");
}

/* A numeric address needs no look-up. */
static void look_up(struct redis_conn *c)
{
    unsigned char addr[sizeof(struct in6_addr)];
    int rc;

    c->next_address = c->addresses.count = 0;
    if (*c->path || inet_pton(AF_INET, c->host.name, addr) == 1 || inet_pton(AF_INET6, c->host.name, addr) == 1) {
        connect_to(c, *c->path ? "" : c->host.name);
        return;
    }
    c->asker = (struct asker){.done = on_looked_up, .data = c};
    rc = resolver_ask(c->resolver, c->host.name, &c->asker);
    if (rc < 0)
        gone(c, uv_strerror(rc));
    else
        uv_timer_start(&c->timer, on_slow_name, (uint64_t)c->timeout_ms, 0);
}

void redis_conn_open(struct redis_conn *c)
{
    uv_timer_init(c->loop, &c->timer);
    c->timer.data = c;
}

void redis_conn_start(struct redis_conn *c)
{
    redis_conn_open(c);
    redis_conn_again(c, 0);
}

void redis_conn_renew(struct redis_conn *c)
{
    if (c->ac && !c->closing && (c->ac->c.flags & REDIS_CONNECTED))
        redisAsyncFree(c->ac); /* ends in on_disconnect() */
}

void redis_conn_flush(struct redis_conn *c)
{
    struct span bytes = {c->out.p, c->out.n};

    buffer_clear(&c->out);
    if (c->ac && !redis_loop_write(c->ac, bytes, !c->peer))
        redisAsyncFree(c->ac); /* ends in on_disconnect() */
    if (c->out.size > OUT_MAX)
        buffer_free(&c->out);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct redis_conn *c = handle->data;

    free(c->asked);
    buffer_free(&c->out);
    c->closed(c);
}

void redis_conn_close(struct redis_conn *c)
{
    c->closing = true;
    resolver_leave(&c->asker);
    if (c->ac)
        redisAsyncFree(c->ac);
    c->ac = NULL;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void redis_conn_sent(struct redis_conn *c)
{
    if (c->pending++ == 0) {
        c->progress_ms = uv_now(c->loop);
        watch(c);
    }
    if (c->round_trips && !c->measured_ns) {
        c->measured_ns = uv_hrtime();
        c->measured_left = c->pending;
    }
}

/* Redis answers in order. One command at a time is measured, so the clock is read twice a round trip, not twice a
 * command. */
static void measure(struct redis_conn *c)
{
    if (!c->measured_ns || --c->measured_left > 0)
        return;
    histogram_add(c->round_trips, (int64_t)(uv_hrtime() - c->measured_ns) / 1000);
    c->measured_ns = 0;
}

void redis_conn_answered(struct redis_conn *c)
{
    if (c->pending > 0)
        c->pending--;
    c->progress_ms = uv_now(c->loop);
    if (c->pending == 0 && c->ac)
        watch(c);
    measure(c);
}
