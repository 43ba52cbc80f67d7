/* The failure detector: heartbeats of this node and the others, who is alive, and who is reachable. */
#include "cluster_impl.h"
#include "link_impl.h"

#include <inttypes.h>
#include <stdio.h>

#include "record.h"

/* A record long outlives its kamsyncd: one that starts meanwhile must learn from it that the node exists,
 * whose Kamailio may be alive, and probe that. */
#define RECORD_MS 86400000
#define UNHEARD_MS 100      /* interval of retries while the store refuses heartbeats */
#define PROBE_MS 500        /* interval at which each node probes others' Kamailios: */
#define PROBE_IDLE_MS 2000  /* those with no transaction and no call, which nobody looks for there */
#define PROBES_MAX 15       /* so many at a time, and the rest in turn, but for those in doubt */
#define PROBE_LIMIT_MS 1400 /* nearly three probes unanswered: the node is unreachable */

void peers_beat(struct engine *e, bool announce)
{
    char *record;

    if (!e->self.id || !e->store.up)
        return;
    e->self.beat++;
    record = node_record(&e->self, e->conf.secret);
    if (record)
        e->io.beat(e->io.ctx, e->self.id, record, RECORD_MS, announce);
    free(record);
}

/* Another master of the store than the one that has the nodes may have a record before that one has the beat. */
void peers_appear(struct engine *e, int64_t now)
{
    peers_beat(e, true);
    e->peers.said_beat = e->self.beat;
    e->peers.unheard = e->peers.own_beat > 0;
    e->peers.next_beat_ms = now; /* and is read at once */
}

void peers_tell(struct engine *e, const struct node *n, int64_t now)
{
    int64_t number = link_next_n(&e->link);

    engine_push(e, number, msg_node(number, n->id, n->sip, n->inc, n->up && !n->lost && n->reached), now);
}

static void node_changed(struct engine *e, const struct node *n, int64_t now)
{
    e->count.nodes_changed++;
    engine_log(e, LOG_LEVEL_INFO, "node %d (%s) at %s is %s, incarnation %s", n->id, n->name, n->sip, node_state(n),
               n->inc);
    if (e->contact.hello)
        peers_tell(e, n, now);
}

void peers_alive(struct engine *e, int id, int64_t now)
{
    const struct node *n = nodes_hear(&e->nodes, id, now);

    if (n)
        node_changed(e, n, now);
}

void peers_answered(struct engine *e, int id, bool alive, int64_t now)
{
    const struct node *n = nodes_answered(&e->nodes, id, alive);

    if (n)
        node_changed(e, n, now);
}

/* An OPTIONS that only a peer can answer (its script does, with a proof), sent in the way of a handover. */
static void probe_node(struct engine *e, struct node *n, int64_t now)
{
    char text[768], sock[sizeof(e->self.sip) + 4], dst[sizeof(n->sip) + 4], *base64;
    struct handover h = {.to = n->id, .inc = n->inc, .why = "probe", .src = sock, .dst = dst};

    e->peers.probes++;
    node_ask(n, now, PROBE_MS);
    snprintf(sock, sizeof(sock), "udp:%s", e->self.sip);
    snprintf(dst, sizeof(dst), "udp:%s", n->sip);
    snprintf(text, sizeof(text),
             "OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK-kamsync.%d.%" PRIu64 ".%s\r\n"
             "From: <sip:kamsync@%s>;tag=%d\r\nTo: <sip:%s>\r\nCall-ID: kamsync-probe-%d-%" PRIu64 "\r\n"
             "CSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\nContent-Length: 0\r\n\r\n",
             n->sip, e->self.sip, n->id, e->peers.probes, e->contact.tag, e->self.sip, e->self.id, n->sip, e->self.id,
             e->peers.probes);
    base64 = engine_handover(e, h, span_of(text));
    engine_send(e, n->sip, NULL, base64, now);
    free(base64);
}

/* The store tells who beats, as of just now. */
static bool reads(const struct engine *e, int64_t now)
{
    return e->store.up && now - e->peers.read_ms <= 2 * e->conf.heartbeat_ms;
}

static int64_t probe_interval(const struct node *n, size_t turns)
{
    int64_t every_ms = (int64_t)turns * PROBE_MS;

    return n->idle && every_ms < PROBE_IDLE_MS ? PROBE_IDLE_MS : every_ms;
}

/* All by all would be n² probes. In a large cluster each node asks some of the others at a time, each node from another
 * one on; but whoever is in doubt is asked each time, so who is dead is known as soon as in a small cluster. */
static void probe_some(struct engine *e, int64_t now)
{
    struct nodes *all = &e->nodes;
    int64_t late_ms = reads(e, now) ? e->conf.heartbeat_ms * 3 / 2 : INT64_MAX;
    size_t count = 0, turns, room;

    for (size_t i = 0; i < all->count; i++)
        count += node_is_probed(&all->list[i]);
    turns = (count + PROBES_MAX - 1) / PROBES_MAX;
    room = turns ? (count + turns - 1) / turns : 0;
    for (size_t i = 0; i < all->count; i++) {
        struct node *n = &all->list[((size_t)e->self.id + i) % all->count];
        bool turn = room && now + ALONG_MS - n->asked_ms >= probe_interval(n, turns);

        if (!node_is_probed(n) || !(turn || node_is_doubtful(n, now, late_ms)))
            continue;
        room -= room && turn;
        probe_node(e, n, now);
    }
}

/* While this node's own Kamailio is away, no node can be probed, and silence means nothing. */
static void probe_nodes(struct engine *e, int64_t now)
{
    const struct node *n;
    bool asking = e->contact.hello && e->self.up;

    if (!asking)
        nodes_grace_probes(&e->nodes, now);
    while ((n = nodes_miss(&e->nodes, now, PROBE_LIMIT_MS)) != NULL)
        node_changed(e, n, now);
    if (asking)
        probe_some(e, now);
}

/* Missing heartbeats mean something only while they can be read. */
static void lose_nodes(struct engine *e, int64_t now)
{
    const struct node *lost;
    int id;

    if (!reads(e, now))
        return;
    /* From now on a node never heard of counts as dead: until now its transactions were left alone. */
    if (!e->peers.ripe && now - e->peers.since_ms >= e->conf.node_ttl_ms) {
        e->peers.ripe = true;
        engine_post(e, (struct notice){.type = NOTICE_DEATH, .whole = true}, now);
    }
    while ((lost = nodes_lose(&e->nodes, now, e->conf.node_ttl_ms)) != NULL) {
        node_changed(e, lost, now);
        engine_post(e, (struct notice){.type = NOTICE_DEATH, .whole = true}, now);
    }
    while ((lost = nodes_hide(&e->nodes, now, e->conf.node_ttl_ms)) != NULL)
        node_changed(e, lost, now);
    while ((id = nodes_leave(&e->nodes, now, e->conf.node_ttl_ms)) != 0)
        engine_log(e, LOG_LEVEL_INFO, "node %d is forgotten: it was lost, and its record has ended", id);
}

/* The store is now a replica that lagged behind: others may have read an outdated state of this node there. */
void peers_own_lost(struct engine *e, int64_t now)
{
    engine_log(e, LOG_LEVEL_WARN, "the store has lost this node's last beats: it is another one, or has forgotten");
    e->peers.unheard = true;
    engine_post(e, (struct notice){.type = NOTICE_DOUBTED}, now);
}

/* Whoever has thought this node dead reads from now on that it lives. The first time nothing waits for that. */
static void appeared(struct engine *e, int64_t now)
{
    bool early = e->peers.said_beat && !e->peers.unheard;

    e->peers.unheard = e->peers.missed = false;
    e->peers.said_beat = 0;
    if (early)
        engine_post(e, (struct notice){.type = NOTICE_DOUBTED}, now);
}

/* A store that takes no writes (READONLY, OOM) refuses the heartbeats, too, and nothing else reveals it: the
 * others may think this node dead though it reads the store all the time. So this node checks its own record there.
 */
static void see_own(struct engine *e, const struct node *own, int64_t now)
{
    if (own->beat < e->peers.own_beat) {
        peers_own_lost(e, now);
        e->peers.own_beat = own->beat;
        return;
    }
    if (own->beat == e->peers.own_beat)
        return;
    e->peers.own_beat = own->beat;
    e->peers.own_seen_ms = now;
    if (own->beat >= e->peers.said_beat)
        appeared(e, now);
}

/* Once, before anything is written again: what others have taken over meanwhile is theirs. */
static void miss_own(struct engine *e, int64_t now)
{
    if (e->peers.missed || !reads(e, now) || !e->peers.own_beat || now - e->peers.own_seen_ms < e->conf.node_ttl_ms / 2)
        return;
    e->peers.unheard = e->peers.missed = true;
    e->peers.next_beat_ms = now + UNHEARD_MS;
    engine_log(e, LOG_LEVEL_WARN, "the store does not take this node's beats: the others may think it dead");
    engine_post(e, (struct notice){.type = NOTICE_DOUBTED}, now);
}

static void see_other(struct engine *e, const struct node *fresh, int64_t now)
{
    const struct node *changed;

    if (e->nodes.count == NODES_MAX && !nodes_find(&e->nodes, fresh->id) &&
        !nodes_overflow(&e->nodes, now, 2 * e->conf.node_ttl_ms))
        engine_log(e, LOG_LEVEL_ERROR,
                   "%d nodes are known: node %d and further ones are not, and nothing is handed "
                   "over to them",
                   NODES_MAX, fresh->id);
    changed = nodes_see(&e->nodes, fresh, now);
    if (!changed)
        return;
    node_changed(e, changed, now);
    advice_address(e, now);
    advice_version(e, changed, now);
    /* the node died, or its old incarnation did */
    engine_post(e, (struct notice){.type = NOTICE_DEATH}, now);
}

void engine_node(struct engine *e, struct span record, int64_t now)
{
    struct node fresh;

    if (node_read(&fresh, record) < 0) {
        engine_log(e, LOG_LEVEL_WARN, "a node record in the store is not understood");
        return;
    }
    if (fresh.id == e->self.id) {
        see_own(e, &fresh, now);
        advice_twice(e, &fresh, now);
    } else {
        see_other(e, &fresh, now);
    }
}

/* Only a node of this cluster is believed: others may use the channel, too. Records in this cluster's own keys are read
 * with the next heartbeat in any case. */
void engine_announced(struct engine *e, struct span record, int64_t now)
{
    struct node fresh;
    bool read = node_read(&fresh, record) == 0;

    if (read && !check_is_proven(e, &fresh)) {
        e->count.nodes_foreign++;
        advice_foreign(e, &fresh, now);
    } else if (!e->self.id || !read || fresh.id != e->self.id || strcmp(fresh.sip, e->self.sip) != 0) {
        engine_node(e, record, now);
    }
}

void engine_nodes_read(struct engine *e, bool ok, int64_t now)
{
    if (!ok)
        return;
    /* A time in which the store could not be read shows no node's death. */
    if (!e->peers.since_ms || now - e->peers.read_ms > 2 * e->conf.heartbeat_ms) {
        nodes_grace(&e->nodes, now);
        e->peers.since_ms = now;
        e->peers.ripe = false;
    }
    e->peers.read_ms = now;
}

bool peers_dead(const struct engine *e, int id, const char *inc, int64_t now)
{
    const struct node *n = nodes_find(&e->nodes, id);

    if (id == e->self.id)
        return strcmp(inc, e->self.inc) != 0;
    if (!n)
        return e->peers.since_ms && now - e->peers.since_ms >= e->conf.node_ttl_ms &&
               !nodes_overflow(&e->nodes, now, 2 * e->conf.node_ttl_ms);
    return !node_is_alive(n, inc);
}

enum verdict engine_judge(const struct engine *e, const struct record *r, int64_t now)
{
    if (r->owner == e->self.id && strcmp(r->inc, e->self.inc) == 0)
        return VERDICT_MINE;
    if (!r->owner)
        return r->done ? VERDICT_DONE : VERDICT_ORPHAN;
    if (node_is_alive(nodes_find(&e->nodes, r->owner), r->inc))
        return VERDICT_OWNER;
    if (!peers_dead(e, r->owner, r->inc, now))
        return VERDICT_UNAVAILABLE;
    return r->done ? VERDICT_DONE : VERDICT_ORPHAN;
}

void peers_tick(struct engine *e, int64_t now, int64_t until)
{
    bool probe = until >= e->peers.next_probe_ms;

    if (probe)
        e->peers.next_probe_ms = now + PROBE_MS;
    if (until >= e->peers.next_beat_ms) {
        e->peers.next_beat_ms = e->peers.unheard ? now + UNHEARD_MS : peers_probing(e, now + e->conf.heartbeat_ms);
        peers_beat(e, false);
        if (e->store.up)
            e->io.read_nodes(e->io.ctx);
    }
    if (probe) {
        probe_nodes(e, now);
        lose_nodes(e, now);
        miss_own(e, now);
    }
}

int64_t peers_probing(const struct engine *e, int64_t until)
{
    int64_t past = until - e->peers.next_probe_ms;

    return past > 0 ? until - past % PROBE_MS : until;
}

int64_t peers_due(const struct engine *e)
{
    return e->peers.next_beat_ms < e->peers.next_probe_ms ? e->peers.next_beat_ms : e->peers.next_probe_ms;
}
