#include "redis_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "ascii.h"
#include "redis_impl.h"

#define PATIENCE_MS 300 /* for one node's answer */
#define SOON_MS 100     /* between two questions, while slots are not served */
#define LATER_MS 10000  /* else */

static void log_line(struct redis_cluster *cl, enum log_level level, const char *what)
{
    char line[600];

    snprintf(line, sizeof(line), "cluster: %.580s", what);
    ascii_clean(line);
    cl->s->store.on.log(cl->s->store.on.ctx, level, line);
}

/* In the log, and what doctor says while the store is away. */
static void log_trouble(struct redis_cluster *cl, enum log_level level, const char *what)
{
    struct store_facts *f = &cl->s->store.facts;

    snprintf(f->trouble, sizeof(f->trouble), "%.199s", what);
    ascii_clean(f->trouble);
    log_line(cl, level, what);
}

/* ---- whether the store is up ---- */

static size_t unserved(const struct redis_cluster *cl)
{
    size_t n = 0;

    for (size_t i = 0; i < SLOTS; i++)
        n += !cl->slots[i].owner || !cl->slots[i].owner->conn.is_ready;
    return n;
}

static void say_unserved(struct redis_cluster *cl, size_t n)
{
    char what[100];

    snprintf(what, sizeof(what), "nobody serves %zu of the %d slots", n, SLOTS);
    log_trouble(cl, LOG_LEVEL_WARN, what);
}

/* The store has come, or may have lost something. */
static void come_up(struct redis_cluster *cl)
{
    struct redis *s = cl->s;

    if (s->store.facts.ready) {
        s->store.on.down(s->store.on.ctx);
    } else {
        *s->complained = '\0';
        redis_look(s);
    }
    s->store.facts.ready = true;
    s->store.on.up(s->store.on.ctx);
}

/* After each change of who serves what. */
static void judge(struct redis_cluster *cl)
{
    size_t n = unserved(cl);
    bool up = cl->s->store.facts.ready;

    if (n == 0 && (!up || cl->doubt))
        come_up(cl);
    if (n == 0)
        cl->doubt = false;
    if (n == 0 && !cl->whole)
        log_line(cl, LOG_LEVEL_INFO, "all slots are served");
    else if (n > 0 && cl->whole)
        say_unserved(cl, n);
    cl->whole = n == 0;
    if (n > 0)
        redis_cluster_look(cl);
    if (cl->listener_waits && redis_cluster_any(cl))
        redis_conn_again(&cl->s->listener, 0);
}

/* ---- masters ---- */

struct master *redis_cluster_any(const struct redis_cluster *cl)
{
    struct master *m = cl->masters;

    while (m && !(m->conn.is_ready && m->slots))
        m = m->next;
    return m;
}

static void master_ready(struct redis_conn *c)
{
    struct redis *s = c->data;

    redis_load_scripts(c);
    if (s->store.facts.ready && s->cluster->doubt && unserved(s->cluster) > 0)
        come_up(s->cluster); /* others are missing still */
    judge(s->cluster);
    route_release(s->cluster);
}

static void master_lost(struct redis_conn *c)
{
    struct redis *s = c->data;
    struct redis_cluster *cl = s->cluster;

    if (cl->closing || ((struct master *)c)->slots == 0)
        return;
    cl->doubt = true;
    judge(cl);
    if (s->store.facts.ready && !redis_cluster_any(cl)) {
        s->store.facts.ready = false;
        s->store.on.down(s->store.on.ctx);
    }
    if (store_host_eq(&s->listener.host, &c->host))
        redis_conn_renew(&s->listener);
}

static void master_closed(struct redis_conn *c)
{
    struct redis *s = c->data;

    free(c);
    redis_one_closed(&s->store);
}

static struct master *master_new(struct redis_cluster *cl, const struct store_host *host)
{
    struct master *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    redis_set_up(cl->s, &m->conn, "commands");
    m->conn.host = *host;
    m->conn.ready = master_ready;
    m->conn.lost = master_lost;
    m->conn.pinged = true;
    m->conn.closed = master_closed;
    m->conn.round_trips = &cl->s->store.round_trips;
    m->next = cl->masters;
    cl->masters = m;
    cl->changes++;
    redis_conn_start(&m->conn);
    return m;
}

static struct master *known(const struct redis_cluster *cl, const struct store_host *host)
{
    struct master *m = cl->masters;

    while (m && !store_host_eq(&m->conn.host, host))
        m = m->next;
    return m;
}

static size_t masters(const struct redis_cluster *cl)
{
    size_t count = 0;

    for (const struct master *m = cl->masters; m; m = m->next)
        count++;
    return count;
}

struct master *redis_cluster_master(struct redis_cluster *cl, const struct store_host *host)
{
    struct master *m = known(cl, host);

    return m || masters(cl) == MASTERS_MAX || cl->closing ? m : master_new(cl, host);
}

const struct redis_conn *redis_cluster_conn(const struct redis_cluster *cl, const struct store_host *host)
{
    const struct master *m = known(cl, host);

    return m ? &m->conn : NULL;
}

/* Those without a slot, unless something is under way there. */
static void drop_idle(struct redis_cluster *cl)
{
    struct master **at = &cl->masters, *m;

    while ((m = *at) != NULL) {
        if (m->slots || m->waits || m->conn.asked_count) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        cl->changes++;
        redis_conn_close(&m->conn);
    }
}

/* Messages reach all nodes of the cluster, but not one that has left it. */
static void renew_listener(struct redis_cluster *cl)
{
    struct redis_conn *c = &cl->s->listener;

    if (!known(cl, &c->host))
        redis_conn_renew(c);
}

/* ---- the map ---- */

/* One that has lost all its slots may have become a replica, and the one in its place may lack something. */
void redis_cluster_own(struct redis_cluster *cl, struct slot *slot, struct master *m)
{
    if (slot->owner == m)
        return;
    cl->changes++;
    if (slot->owner && --slot->owner->slots == 0)
        cl->doubt = true;
    slot->owner = m;
    m->slots++;
    redis_cluster_look(cl);
    if (cl->doubt || !m->conn.is_ready)
        judge(cl);
}

static void count_slots(struct redis_cluster *cl)
{
    for (struct master *m = cl->masters; m; m = m->next)
        m->slots = 0;
    for (size_t i = 0; i < SLOTS; i++)
        if (cl->slots[i].owner)
            cl->slots[i].owner->slots++;
}

static void take_map(struct redis_cluster *cl, const struct slot_map *map)
{
    struct master *of[MASTERS_MAX], *m;

    for (size_t i = 0; i < map->count; i++)
        of[i] = redis_cluster_master(cl, &map->masters[i]);
    for (m = cl->masters; m; m = m->next)
        m->had = m->slots > 0;
    for (size_t i = 0; i < SLOTS; i++) {
        m = map->of[i] == NO_MASTER ? NULL : of[map->of[i]];
        cl->changes += cl->slots[i].owner != m;
        cl->slots[i].owner = m;
    }
    count_slots(cl);
    for (m = cl->masters; m; m = m->next)
        cl->doubt = cl->doubt || (m->had && !m->slots);
    drop_idle(cl);
    renew_listener(cl);
}

static void on_slots(struct redis *s, const redisReply *r, void *data)
{
    struct redis_cluster *cl = s->cluster;
    struct slot_map *map = r ? malloc(sizeof(*map)) : NULL;
    char what[400], where[300];

    (void)data;
    cl->found = map && slots_read(map, r, &cl->scout.host);
    if (cl->found) {
        take_map(cl, map);
    } else if (r && r->type == REDIS_REPLY_ERROR && !cl->said) {
        cl->said = true;
        redis_conn_where(&cl->scout, where, sizeof(where));
        snprintf(what, sizeof(what), "%.150s says: %.200s", where, r->str);
        log_trouble(cl, LOG_LEVEL_ERROR, what);
    }
    free(map);
    if (r)
        redis_conn_renew(&cl->scout); /* ends in scout_over() */
}

/* ---- the scout ---- */

static void scout_ready(struct redis_conn *c)
{
    static const char command[] = "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";

    redis_conn_send(c, span_of(command), on_slots, NULL);
}

/* The masters that answer, in turn, since one may be cut off from the others; without any, those that are named in the
 * settings. */
static const struct store_host *next_host(const struct redis_cluster *cl)
{
    const struct store_name *name = &cl->s->conf.name;
    const struct master *m;
    size_t ready = 0, n;

    for (m = cl->masters; m; m = m->next)
        ready += m->conn.is_ready;
    n = ready ? cl->next % ready : 0;
    for (m = cl->masters; m; m = m->next)
        if (m->conn.is_ready && n-- == 0)
            return &m->conn.host;
    return &name->hosts[cl->next % name->count];
}

static void scout_find(struct redis_conn *c)
{
    struct redis_cluster *cl = ((struct redis *)c->data)->cluster;
    const struct store_host host = *next_host(cl);

    cl->next++;
    cl->looking = true;
    cl->found = cl->again = false;
    redis_conn_at(c, &host);
}

static void complain(struct redis_cluster *cl, const char *why)
{
    char what[500], where[300];

    if (cl->said || ++cl->failed < cl->s->conf.name.count)
        return;
    cl->said = true;
    redis_conn_where(&cl->scout, where, sizeof(where));
    snprintf(what, sizeof(what), "no node says who has which slot; the last one, %.200s: %.200s", where, why);
    log_trouble(cl, LOG_LEVEL_WARN, what);
}

static void scout_over(struct redis_conn *c, const char *why)
{
    struct redis_cluster *cl = ((struct redis *)c->data)->cluster;

    cl->looking = false;
    if (!cl->found)
        complain(cl, why);
    else
        cl->failed = cl->said = false;
    redis_conn_again(c, cl->found && cl->whole && !cl->again ? LATER_MS : SOON_MS);
    if (cl->found) {
        judge(cl);
        route_release(cl);
    }
}

void redis_cluster_look(struct redis_cluster *cl)
{
    cl->again = true;
    if (!cl->looking && !cl->closing)
        redis_conn_again(&cl->scout, SOON_MS);
}

/* ---- begin and end ---- */

void redis_cluster_find(struct redis_conn *c)
{
    struct redis *s = c->data;
    const struct master *m = redis_cluster_any(s->cluster);

    s->cluster->listener_waits = !m;
    if (m)
        redis_conn_at(c, &m->conn.host);
}

struct redis_cluster *redis_cluster_new(struct redis *s)
{
    struct redis_cluster *cl = calloc(1, sizeof(*cl));

    if (cl)
        cl->s = s;
    return cl;
}

void redis_cluster_start(struct redis_cluster *cl)
{
    redis_set_up(cl->s, &cl->scout, "search");
    cl->scout.timeout_ms = PATIENCE_MS;
    cl->scout.find = scout_find;
    cl->scout.ready = scout_ready;
    cl->scout.over = scout_over;
    redis_conn_start(&cl->scout);
    route_open(cl);
}

void redis_cluster_close(struct redis_cluster *cl)
{
    struct master *m, *next;

    cl->closing = true;
    route_close(cl);
    redis_conn_close(&cl->scout);
    for (m = cl->masters; m; m = next) {
        next = m->next;
        redis_conn_close(&m->conn);
    }
    cl->masters = NULL;
}

void redis_cluster_free(struct redis_cluster *cl)
{
    free(cl);
}

void redis_cluster_flush(struct redis_cluster *cl)
{
    redis_conn_flush(&cl->scout);
    for (struct master *m = cl->masters; m; m = m->next)
        redis_conn_flush(&m->conn);
}
