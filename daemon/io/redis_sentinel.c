#include "redis_sentinel.h"

#include <stdio.h>
#include <stdlib.h>

#include "ascii.h"
#include "span.h"

#define PATIENCE_MS 300 /* for one Sentinel */
#define LIST_MAX 32     /* the named ones and as many that they name */

/* How a search ended; of several Sentinels the last one of these. */
enum outcome { NO_ANSWER, REFUSED, UNKNOWN_NAME, FOUND };

struct search {
    struct sentinels *of;
    struct redis_conn conn; /* to one Sentinel after the other */
    struct redis_conn *client;
    struct store_host list[LIST_MAX]; /* as it was when the search began */
    size_t count, next;
    enum outcome outcome;
    char reason[400];         /* of the outcome */
    struct store_host master; /* when found */
    struct store_host learned[LIST_MAX];
    size_t learned_count;
};

struct sentinels {
    const struct redis_conf *conf;
    struct redis_tls *tls;
    struct resolver *resolver;
    const struct store_events *on;
    struct store_host list[LIST_MAX]; /* in the order in which they are asked */
    size_t count;
    struct search searches[SENTINEL_CLIENTS];
    struct redis_conn switches; /* tells when there is another master */
    size_t next;                /* whom it asks */
    enum outcome said;          /* the last failure that was logged; FOUND: none */
    void (*closed)(void *data);
    void *data;
    int open;
};

static void add(struct store_host *list, size_t *count, const struct store_host *host)
{
    for (size_t i = 0; i < *count; i++)
        if (store_host_eq(&list[i], host))
            return;
    if (*count < LIST_MAX)
        list[(*count)++] = *host;
}

/* Who has answered, then the others that were named, then those that it knows. */
static void renew_list(struct sentinels *s, const struct search *search)
{
    s->count = 0;
    add(s->list, &s->count, &search->conn.host);
    for (size_t i = 0; i < s->conf->name.count; i++)
        add(s->list, &s->count, &s->conf->name.hosts[i]);
    for (size_t i = 0; i < search->learned_count; i++)
        add(s->list, &s->count, &search->learned[i]);
}

/* ---- a search ---- */

static void log_line(struct sentinels *s, enum log_level level, const char *what)
{
    char line[600];

    snprintf(line, sizeof(line), "sentinel: %.580s", what);
    ascii_clean(line);
    s->on->log(s->on->ctx, level, line);
}

static void fail(struct search *q, enum outcome outcome, const char *what, const char *detail)
{
    char where[400];

    if (outcome < q->outcome)
        return;
    q->outcome = outcome;
    redis_conn_where(&q->conn, where, sizeof(where));
    snprintf(q->reason, sizeof(q->reason), "%.150s %s%s%.150s", where, what, *detail ? ": " : "", detail);
}

/* Each sort of failure once, until there is another or the master is found. */
static void report(struct search *q)
{
    static const char *const said[] = {
        [NO_ANSWER] = "no Sentinel answers; the last one, ",
        [REFUSED] = "no Sentinel lets kamsyncd ask (see sentinel_user, sentinel_password_file); ",
        [UNKNOWN_NAME] = "the name behind the hosts in `store` must be that of `sentinel monitor`: ",
    };
    char what[600];

    if (q->of->said == q->outcome)
        return;
    q->of->said = q->outcome;
    snprintf(what, sizeof(what), "%s%s", said[q->outcome], q->reason);
    log_line(q->of, LOG_LEVEL_ERROR, what);
}

static void ask_next(struct search *q)
{
    if (q->next < q->count) {
        q->conn.host = q->list[q->next++];
        redis_conn_again(&q->conn, 0);
        return;
    }
    report(q);
    redis_conn_retry(q->client);
}

/* The connection to a Sentinel has ended, for whatever reason. */
static void search_over(struct redis_conn *c, const char *why)
{
    struct search *q = c->data;

    if (q->client->closing)
        return;
    if (q->outcome == FOUND) {
        renew_list(q->of, q);
        q->of->said = FOUND;
        redis_conn_at(q->client, &q->master);
        return;
    }
    if (c->refused)
        fail(q, REFUSED, "says", why);
    else if (q->outcome == NO_ANSWER)
        fail(q, NO_ANSWER, "says", why);
    ask_next(q);
}

/* The text of an answer's part, or "". */
static const char *text_at(const redisReply *r, size_t i)
{
    return r && r->type == REDIS_REPLY_ARRAY && i < r->elements && r->element[i]->type == REDIS_REPLY_STRING
               ? r->element[i]->str
               : "";
}

/* False: it is no host, or no port. */
static bool read_host(struct store_host *out, const char *name, const char *port)
{
    out->port = atoi(port);
    snprintf(out->name, sizeof(out->name), "%s", name);
    return *name && strlen(name) < sizeof(out->name) && out->port > 0 && out->port < 65536;
}

static void on_master(redisAsyncContext *ac, void *reply, void *data)
{
    struct search *q = ((struct redis_conn *)ac->data)->data;
    const redisReply *r = reply;

    (void)data;
    redis_conn_answered(&q->conn);
    if (!r)
        return;
    if (read_host(&q->master, text_at(r, 0), text_at(r, 1)))
        q->outcome = FOUND;
    else if (r->type == REDIS_REPLY_ERROR)
        fail(q, REFUSED, "says", r->str);
    else if (r->type == REDIS_REPLY_NIL)
        fail(q, UNKNOWN_NAME, "does not know", q->of->conf->name.master);
}

/* "name", "…", "ip", "192.0.2.1", "port", "26379", … of each other Sentinel. */
static void learn(struct search *q, const redisReply *fields)
{
    struct store_host host;
    const char *ip = "", *port = "";

    for (size_t i = 0; fields->type == REDIS_REPLY_ARRAY && i + 1 < fields->elements; i += 2) {
        if (strcmp(text_at(fields, i), "ip") == 0)
            ip = text_at(fields, i + 1);
        if (strcmp(text_at(fields, i), "port") == 0)
            port = text_at(fields, i + 1);
    }
    if (read_host(&host, ip, port))
        add(q->learned, &q->learned_count, &host);
}

static void on_sentinels(redisAsyncContext *ac, void *reply, void *data)
{
    struct search *q = ((struct redis_conn *)ac->data)->data;
    const redisReply *r = reply;

    (void)data;
    redis_conn_answered(&q->conn);
    q->learned_count = 0;
    for (size_t i = 0; r && r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
        learn(q, r->element[i]);
    if (r)
        redis_conn_renew(&q->conn); /* ends in search_over() */
}

static void search_ready(struct redis_conn *c)
{
    struct search *q = c->data;
    const char *name = q->of->conf->name.master;

    redis_conn_sent(c);
    redisAsyncCommand(c->ac, on_master, NULL, "SENTINEL get-master-addr-by-name %s", name);
    redis_conn_sent(c);
    redisAsyncCommand(c->ac, on_sentinels, NULL, "SENTINEL sentinels %s", name);
}

static void find_master(struct redis_conn *client)
{
    struct search *q = client->finder;

    memcpy(q->list, q->of->list, sizeof(q->list));
    q->count = q->of->count;
    q->next = 0;
    q->outcome = NO_ANSWER;
    ask_next(q);
}

/* ---- +switch-master ---- */

static void find_teller(struct redis_conn *c)
{
    struct sentinels *s = c->data;

    redis_conn_at(c, &s->list[s->next++ % s->count]);
}

/* "<name> <old address> <old port> <new address> <new port>" */
static void on_switch(redisAsyncContext *ac, void *reply, void *data)
{
    struct sentinels *s = ((struct redis_conn *)ac->data)->data;
    char name[sizeof(s->conf->name.master)], address[256], port[8];
    struct store_host host;

    (void)data;
    if (sscanf(text_at(reply, 2), "%63s %*s %*s %255s %7s", name, address, port) != 3 ||
        strcmp(name, s->conf->name.master) != 0 || !read_host(&host, address, port))
        return;
    log_line(s, LOG_LEVEL_INFO, "there is another master");
    for (size_t i = 0; i < SENTINEL_CLIENTS; i++)
        if (!store_host_eq(&s->searches[i].client->host, &host))
            redis_conn_renew(s->searches[i].client);
}

static void switches_ready(struct redis_conn *c)
{
    redisAsyncCommand(c->ac, on_switch, NULL, "SUBSCRIBE +switch-master");
}

static void switches_over(struct redis_conn *c, const char *why)
{
    (void)why; /* a search says what is wrong */
    redis_conn_retry(c);
}

/* ---- begin and end ---- */

static void one_closed(struct sentinels *s)
{
    void (*closed)(void *) = s->closed;
    void *data = s->data;

    if (--s->open > 0)
        return;
    free(s);
    closed(data);
}

static void search_closed(struct redis_conn *c)
{
    one_closed(((struct search *)c->data)->of);
}

static void switches_closed(struct redis_conn *c)
{
    one_closed(c->data);
}

static struct redis_conn connection(struct sentinels *s, uv_loop_t *loop, const char *role, void *data)
{
    return (struct redis_conn){.loop = loop,
                               .login = &s->conf->sentinel_login,
                               .tls = s->tls,
                               .resolver = s->resolver,
                               .timeout_ms = PATIENCE_MS,
                               .path = "",
                               .on = s->on,
                               .role = role,
                               .data = data};
}

static void start_search(struct sentinels *s, struct search *q, uv_loop_t *loop, struct redis_conn *client)
{
    q->of = s;
    q->client = client;
    q->conn = connection(s, loop, "search", q);
    q->conn.ready = search_ready;
    q->conn.over = search_over;
    q->conn.closed = search_closed;
    redis_conn_open(&q->conn);
    client->find = find_master;
    client->finder = q;
    s->open++;
}

static void start_switches(struct sentinels *s, uv_loop_t *loop)
{
    s->switches = connection(s, loop, "switches", s);
    s->switches.find = find_teller;
    s->switches.ready = switches_ready;
    s->switches.over = switches_over;
    s->switches.closed = switches_closed;
    redis_conn_start(&s->switches);
    s->open++;
}

struct sentinels *sentinels_new(uv_loop_t *loop, const struct redis_conf *conf, const struct store_events *on,
                                struct redis_conn *const clients[SENTINEL_CLIENTS], void (*closed)(void *data),
                                void *data)
{
    struct sentinels *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->conf = conf;
    s->tls = clients[0]->tls;
    s->resolver = clients[0]->resolver;
    s->on = on;
    s->closed = closed;
    s->data = data;
    s->said = FOUND;
    for (size_t i = 0; i < conf->name.count; i++)
        add(s->list, &s->count, &conf->name.hosts[i]);
    for (size_t i = 0; i < SENTINEL_CLIENTS; i++)
        start_search(s, &s->searches[i], loop, clients[i]);
    start_switches(s, loop);
    return s;
}

void sentinels_close(struct sentinels *s)
{
    for (size_t i = 0; i < SENTINEL_CLIENTS; i++)
        redis_conn_close(&s->searches[i].conn);
    redis_conn_close(&s->switches);
}

void sentinels_flush(struct sentinels *s)
{
    for (size_t i = 0; i < SENTINEL_CLIENTS; i++)
        redis_conn_flush(&s->searches[i].conn);
    redis_conn_flush(&s->switches);
}
