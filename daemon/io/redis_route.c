/* Commands on their way to the master that has their key's slot. Each is kept until its answer, so that it can be sent
 * again:
 *
 *     MOVED      to the slot's new master
 *     ASK        once to the node that the slot is on its way to, behind ASKING
 *     TRYAGAIN   after a while: of the keys of a script some are here and some there
 *     NOSCRIPT   with the whole script: this master has not been given it
 *
 * Commands of one slot are executed in the order in which they came: else an old record could go over a newer one of
 * the same node. So one that has to be sent again waits until those are answered that went out behind it, and what
 * comes later waits for it. If one of the same key was executed behind it all the same, since the slot was away for a
 * moment only, it is too late, and fails. */
#include <stdlib.h>
#include <utlist.h>

#include "hash.h"
#include "redis_cluster.h"
#include "redis_impl.h"

#define TICK_MS 20
#define TRIES_MAX 6
#define KEPT_MAX (64 << 20)
#define PER_MASTER (UINT64_C(1) << 48) /* in a cursor the master's place is above its own one */
#define OWN_CURSOR (PER_MASTER - 1)

struct routed {
    struct routed *prev, *next; /* while it is held */
    redis_answer *fn;
    void *data;
    struct buffer command;
    uint64_t number;           /* in the order of coming */
    uint64_t due_ms, end_ms;   /* not before; no longer */
    struct master *to;         /* where ASK said; NULL: to the slot's owner */
    unsigned slot, key, tries; /* key: its hash */
    bool held, sent;           /* sent: under way there, and held all the same */
};

/* ---- an end ---- */

static void unhold(struct redis_cluster *cl, struct routed *q)
{
    if (!q->held)
        return;
    DL_DELETE(cl->slots[q->slot].held, q);
    q->held = false;
    if (--cl->held == 0)
        uv_timer_stop(&cl->timer);
}

static void leave_target(struct routed *q)
{
    if (q->to)
        q->to->waits--;
    q->to = NULL;
}

static void free_routed(struct redis_cluster *cl, struct routed *q)
{
    cl->kept -= q->command.size;
    free(q->command.p);
    free(q);
}

static void finish(struct redis_cluster *cl, struct routed *q, const redisReply *r)
{
    redis_answer *fn = q->fn;
    void *data = q->data;

    unhold(cl, q);
    leave_target(q);
    free_routed(cl, q);
    fn(cl->s, r, data);
}

/* ---- sending ---- */

static void on_routed(struct redis *s, const redisReply *r, void *data);

static void on_asking(struct redis *s, const redisReply *r, void *data)
{
    (void)s;
    (void)r;
    (void)data;
}

static struct span bytes_of(const struct routed *q)
{
    return (struct span){q->command.p, q->command.n};
}

/* False: the connection takes nothing. */
static bool give(struct redis_cluster *cl, struct routed *q)
{
    struct slot *slot = &cl->slots[q->slot];

    if (!redis_conn_send(&slot->owner->conn, bytes_of(q), on_routed, q))
        return false;
    unhold(cl, q);
    slot->at = slot->owner;
    slot->under++;
    return true;
}

static bool give_asking(struct routed *q)
{
    q->sent = redis_conn_send(&q->to->conn, span_of("*1\r\n$6\r\nASKING\r\n"), on_asking, NULL) &&
              redis_conn_send(&q->to->conn, bytes_of(q), on_routed, q);
    return q->sent;
}

/* The first one of those that are held. What is sent again waits for all that are under way. */
static bool may_go(const struct slot *slot, const struct routed *q, uint64_t now)
{
    const struct master *to = q->to ? q->to : slot->owner;
    bool before = slot->under > 0 && (q->tries > 0 || slot->at != to);

    return !q->sent && !before && now >= q->due_ms && to && to->conn.is_ready;
}

/* Sends what may be sent, and ends what has waited for too long. */
static void release(struct redis_cluster *cl, struct slot *slot)
{
    uint64_t now = uv_now(cl->s->loop);
    struct routed *q;

    while ((q = slot->held) != NULL) {
        if (!q->sent && now >= q->end_ms)
            finish(cl, q, NULL);
        else if (!may_go(slot, q, now) || !(q->to ? give_asking(q) : give(cl, q)))
            return;
    }
}

void route_release(struct redis_cluster *cl)
{
    for (size_t i = 0; cl->held && i < SLOTS; i++)
        if (cl->slots[i].held)
            release(cl, &cl->slots[i]);
}

static void on_tick(uv_timer_t *timer)
{
    route_release(timer->data);
}

static int by_number(const struct routed *a, const struct routed *b)
{
    return a->number < b->number ? -1 : a->number > b->number;
}

static void hold(struct redis_cluster *cl, struct routed *q)
{
    if (q->held)
        return;
    DL_INSERT_INORDER(cl->slots[q->slot].held, q, by_number);
    q->held = true;
    if (cl->held++ == 0)
        uv_timer_start(&cl->timer, on_tick, TICK_MS, TICK_MS);
}

/* ---- answers ---- */

static bool is_error(const redisReply *r, const char *word)
{
    return r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, word, strlen(word)) == 0;
}

/* MOVED names who has the slot now, ASK who is about to have it. */
static bool follow(struct redis_cluster *cl, struct routed *q, const redisReply *r, const struct store_host *asked)
{
    struct redirect to;
    struct master *m = slots_redirect(&to, r, asked) ? redis_cluster_master(cl, &to.host) : NULL;

    if (!m)
        return false;
    if (to.ask) {
        q->to = m;
        m->waits++;
        return true;
    }
    redis_cluster_own(cl, &cl->slots[q->slot], m);
    return true;
}

/* Whether it is to be sent again, and where. */
static bool is_repeated(struct redis_cluster *cl, struct routed *q, const redisReply *r, const struct master *from)
{
    uint64_t now = uv_now(cl->s->loop);

    if (is_error(r, "CLUSTERDOWN "))
        redis_cluster_look(cl);
    if (!r || cl->closing || ++q->tries > TRIES_MAX || now >= q->end_ms)
        return false;
    if (is_error(r, "TRYAGAIN ")) {
        q->due_ms = now + (TICK_MS << q->tries);
        return true;
    }
    return redis_has_no_script(r) ? redis_make_whole(cl->s, &q->command) : follow(cl, q, r, &from->conn.host);
}

/* Held, and came before one of the same key that has been executed now. */
static struct routed *overtaken(const struct slot *slot, const struct routed *by)
{
    struct routed *q = slot->held;

    while (q && (q->sent || q->key != by->key))
        q = q->next;
    return q && q->number < by->number ? q : NULL;
}

static void fail_overtaken(struct redis_cluster *cl, const struct routed *by)
{
    struct routed *q;

    while ((q = overtaken(&cl->slots[by->slot], by)) != NULL)
        finish(cl, q, NULL);
}

static void on_routed(struct redis *s, const redisReply *r, void *data)
{
    struct redis_cluster *cl = s->cluster;
    struct routed *q = data;
    struct slot *slot = &cl->slots[q->slot];
    struct master *from = q->sent ? q->to : slot->at;
    size_t kept = q->command.size;

    if (!q->sent)
        slot->under--;
    q->sent = false;
    leave_target(q);
    if (r && r->type == REDIS_REPLY_ERROR)
        hold(cl, q); /* before anything new is written because of it */
    else if (r)
        fail_overtaken(cl, q);
    if (is_repeated(cl, q, r, from)) {
        cl->kept += q->command.size - kept;
        s->store.facts.repeated++;
    } else {
        finish(cl, q, r);
    }
    release(cl, slot);
}

/* ---- what the store asks ---- */

static struct routed *routed_new(struct redis_cluster *cl, struct span key, struct buffer *command, redis_answer *fn,
                                 void *data)
{
    struct routed *q = command->failed || cl->kept > KEPT_MAX ? NULL : calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    *q = (struct routed){.fn = fn, .data = data, .command = *command, .number = ++cl->numbered};
    q->slot = slot_of(key);
    q->key = hash_bytes(key.p, key.n);
    q->end_ms = uv_now(cl->s->loop) + (uint64_t)cl->s->conf.timeout_ms;
    cl->kept += q->command.size;
    return q;
}

/* It waits if others do, or if commands of that slot are under way to the owner before. */
static bool take(struct redis_cluster *cl, struct routed *q)
{
    struct slot *slot = &cl->slots[q->slot];

    if (!slot->owner || !(slot->owner->conn.is_ready || slot->held))
        return false;
    if (!slot->held && (!slot->under || slot->at == slot->owner))
        return give(cl, q);
    hold(cl, q);
    return true;
}

static bool send_anywhere(struct redis_cluster *cl, struct buffer *command, redis_answer *fn, void *data)
{
    struct master *m = redis_cluster_any(cl);

    if (m)
        return redis_conn_send_once(&m->conn, command, fn, data);
    free(command->p);
    return false;
}

bool route_send(struct redis_cluster *cl, struct span key, struct buffer *command, redis_answer *fn, void *data)
{
    struct routed *q;

    if (!key.n)
        return send_anywhere(cl, command, fn, data);
    q = cl->closing ? NULL : routed_new(cl, key, command, fn, data);
    if (!q)
        free(command->p);
    else if (take(cl, q))
        return true;
    else
        free_routed(cl, q);
    return false;
}

/* ---- SCAN ---- */

static struct master *nth_master(const struct redis_cluster *cl, unsigned n)
{
    struct master *m = cl->masters;

    while (m && n-- > 0)
        m = m->next;
    return m;
}

static bool scan(struct master *m, uint64_t cursor, const char *pattern, redis_answer *fn, void *data)
{
    struct buffer command = {0};

    return redis_format(&command, SCAN_FORMAT, (unsigned long long)cursor, pattern, SCAN_COUNT) &&
           redis_conn_send_once(&m->conn, &command, fn, data);
}

static bool is_away(const struct master *m)
{
    return !m->conn.is_ready && m->slots;
}

/* One that is away is left out. */
bool route_scan(struct redis_cluster *cl, uint64_t cursor, const char *pattern, redis_answer *fn, void *data)
{
    unsigned n = (unsigned)(cursor / PER_MASTER);
    struct master *m;

    if (!cursor) {
        cl->scan_changes = cl->changes;
        cl->scan_is_short = false;
    }
    while ((m = nth_master(cl, n)) != NULL && !m->conn.is_ready) {
        cl->scan_is_short = cl->scan_is_short || is_away(m);
        cursor = ++n * PER_MASTER;
    }
    cl->scanned = n;
    return m && cl->scan_changes == cl->changes && scan(m, cursor & OWN_CURSOR, pattern, fn, data);
}

bool route_scanned(struct redis_cluster *cl, uint64_t *cursor)
{
    unsigned n = cl->scanned;

    if (*cursor > OWN_CURSOR || cl->scan_changes != cl->changes)
        return false;
    if (!*cursor && !nth_master(cl, ++n))
        return !cl->scan_is_short;
    *cursor |= n * PER_MASTER;
    return true;
}

/* ---- begin and end ---- */

void route_open(struct redis_cluster *cl)
{
    uv_timer_init(cl->s->loop, &cl->timer);
    cl->timer.data = cl;
    cl->s->open++;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct redis_cluster *cl = handle->data;

    redis_one_closed(&cl->s->store);
}

/* What was sent is answered when its connection is closed. */
void route_close(struct redis_cluster *cl)
{
    struct routed *q, *next;

    for (size_t i = 0; cl->held && i < SLOTS; i++)
        DL_FOREACH_SAFE(cl->slots[i].held, q, next)
        {
            if (!q->sent)
                finish(cl, q, NULL);
        }
    uv_close((uv_handle_t *)&cl->timer, on_timer_closed);
}
