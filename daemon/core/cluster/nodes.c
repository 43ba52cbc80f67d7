#include "nodes.h"

#include <errno.h>
#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "msg.h"

#define SAID_MAX (sizeof(struct node) + 64)

/* The text that the proof covers. The name is last, since it may hold any character. */
static const char *said(char *out, size_t size, const struct node *n)
{
    snprintf(out, size, "%d %s %s %" PRId64 " %d %d %s%s%s", n->id, n->sip, n->inc, n->beat, n->up, n->version, n->site,
             *n->site ? " " : "", n->name);
    return out;
}

/* Without a site it is the text of older versions; with one no text of the two kinds can pass for the other. */
static struct span kind(const struct node *n)
{
    return span_of(*n->site ? "node at" : "node");
}

char *node_record(const struct node *n, const char *secret)
{
    char text[SAID_MAX], *record, *proof = proof_make(kind(n), span_of(said(text, sizeof(text), n)), secret);
    json_t *json = json_pack("{s:i,s:s,s:s*,s:s,s:s,s:I,s:b,s:i,s:o*,s:s*}", "id", n->id, "name", n->name, "site",
                             *n->site ? n->site : NULL, "sip", n->sip, "inc", n->inc, "beat", (json_int_t)n->beat, "up",
                             (int)n->up, "v", n->version, "idle", n->idle ? json_true() : NULL, "proof", proof);

    record = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    free(proof);
    return record;
}

bool node_is_proven(const struct node *n, const char *secret)
{
    char text[SAID_MAX];

    return proof_is(n->proof, kind(n), span_of(said(text, sizeof(text), n)), secret);
}

static bool copy(char *out, size_t size, const char *in)
{
    return snprintf(out, size, "%s", in) < (int)size;
}

bool node_is_site(const char *name)
{
    return !*name || key_is_cluster(name);
}

/* The store may hold anything, and these strings go into log lines and headers. */
static bool is_sound(const struct node *n)
{
    for (const char *p = n->name; *p; p++)
        if (iscntrl((unsigned char)*p))
            return false;
    return n->id > 0 && msg_is_sip_address(n->sip) && msg_is_word(n->inc) && node_is_site(n->site);
}

int node_read(struct node *n, struct span record)
{
    json_t *json = json_loadb(record.p, record.n, 0, NULL);
    const char *name, *sip, *inc, *site = "", *proof = "";
    json_int_t beat = 0;
    int up = 0, idle = 0, rc = -EBADMSG;

    *n = (struct node){0};
    if (json_unpack(json, "{s:i,s:s,s:s,s:s,s:I,s:b,s?i,s?b,s?s,s?s}", "id", &n->id, "name", &name, "sip", &sip, "inc",
                    &inc, "beat", &beat, "up", &up, "v", &n->version, "idle", &idle, "site", &site, "proof",
                    &proof) == 0 &&
        copy(n->name, sizeof(n->name), name) && copy(n->site, sizeof(n->site), site) &&
        copy(n->sip, sizeof(n->sip), sip) && copy(n->inc, sizeof(n->inc), inc) &&
        copy(n->proof, sizeof(n->proof), proof) && is_sound(n))
        rc = 0;
    n->beat = beat;
    n->up = up;
    n->idle = idle;
    json_decref(json);
    return rc;
}

static struct node *find(struct nodes *all, int id)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->list[i].id == id)
            return &all->list[i];
    return NULL;
}

const struct node *nodes_find(const struct nodes *all, int id)
{
    return find((struct nodes *)all, id);
}

bool node_is_alive(const struct node *n, const char *inc)
{
    return n && n->up && !n->lost && strcmp(n->inc, inc) == 0;
}

static bool same(const struct node *a, const struct node *b)
{
    return a->up == b->up && strcmp(a->inc, b->inc) == 0 && strcmp(a->sip, b->sip) == 0;
}

static const struct node *add(struct nodes *all, const struct node *fresh, int64_t now)
{
    struct node *n = all->count < NODES_MAX ? &all->list[all->count] : NULL;

    if (!n) {
        all->full_ms = now;
        return NULL;
    }
    all->count++;
    *n = *fresh;
    n->reached = true; /* until a probe fails */
    n->heard_ms = n->seen_ms = n->read_ms = now;
    return n;
}

const struct node *nodes_see(struct nodes *all, const struct node *fresh, int64_t now)
{
    struct node *n = find(all, fresh->id), was;

    if (!n)
        return add(all, fresh, now);
    was = *n;
    n->read_ms = now;
    if (was.lost ? fresh->beat == was.beat : fresh->beat <= was.beat)
        return NULL;
    *n = *fresh;
    n->seen_ms = n->read_ms = now;
    if (was.lost || was.unseen || !same(&was, fresh)) {
        n->reached = true;
        n->heard_ms = now;
        return n;
    }
    n->reached = was.reached;
    n->heard_ms = was.heard_ms;
    n->asked_ms = was.asked_ms;
    n->before_ms = was.before_ms;
    n->later = was.later;
    n->here = was.here;
    return NULL;
}

bool node_is_probed(const struct node *n)
{
    return n->up && !n->lost;
}

static bool owes(const struct node *n)
{
    return n->heard_ms < n->asked_ms && !n->later;
}

bool node_is_doubtful(const struct node *n, int64_t now, int64_t late_ms)
{
    return owes(n) || !n->reached || !n->asked_ms || now - n->seen_ms > late_ms;
}

/* If the answer to the last probe is told with this one, the last answer known of is that to the one before. */
void node_ask(struct node *n, int64_t now, int64_t every_ms)
{
    int64_t silent_ms = n->later ? 2 * every_ms : every_ms;

    if (!owes(n) && now - n->heard_ms > silent_ms)
        n->heard_ms = now - silent_ms;
    n->before_ms = n->asked_ms;
    n->asked_ms = now;
}

/* Returns n if it became reachable by that. */
static const struct node *hear(struct node *n, int64_t at)
{
    bool again = !n->reached;

    if (at > n->heard_ms)
        n->heard_ms = at;
    n->reached = true;
    return again ? n : NULL;
}

const struct node *nodes_hear(struct nodes *all, int id, int64_t now)
{
    struct node *n = find(all, id);

    return n ? hear(n, now) : NULL;
}

const struct node *nodes_answered(struct nodes *all, int id, bool alive)
{
    struct node *n = find(all, id);

    if (!n)
        return NULL;
    n->later = alive;
    return alive ? hear(n, n->before_ms) : NULL;
}

const struct node *nodes_miss(struct nodes *all, int64_t now, int64_t limit_ms)
{
    for (size_t i = 0; i < all->count; i++) {
        struct node *n = &all->list[i];

        if (n->reached && (owes(n) || !node_is_probed(n)) && now - n->heard_ms > limit_ms) {
            n->reached = false;
            return n;
        }
    }
    return NULL;
}

const struct node *nodes_lose(struct nodes *all, int64_t now, int64_t ttl_ms)
{
    for (size_t i = 0; i < all->count; i++) {
        struct node *n = &all->list[i];

        if (!n->lost && !n->reached && now - n->seen_ms > ttl_ms) {
            n->lost = true;
            return n;
        }
    }
    return NULL;
}

int nodes_leave(struct nodes *all, int64_t now, int64_t limit_ms)
{
    for (size_t i = 0; i < all->count; i++) {
        int id = all->list[i].id;

        if (all->list[i].lost && now - all->list[i].read_ms > limit_ms) {
            nodes_forget(all, id);
            return id;
        }
    }
    return 0;
}

bool nodes_overflow(const struct nodes *all, int64_t now, int64_t limit_ms)
{
    return all->full_ms && now - all->full_ms <= limit_ms;
}

void nodes_forget(struct nodes *all, int id)
{
    struct node *n = find(all, id);

    if (n)
        *n = all->list[--all->count];
}

void nodes_grace(struct nodes *all, int64_t now)
{
    for (size_t i = 0; i < all->count; i++)
        all->list[i].seen_ms = all->list[i].read_ms = now;
}

void nodes_grace_probes(struct nodes *all, int64_t now)
{
    for (size_t i = 0; i < all->count; i++)
        all->list[i].heard_ms = now;
}

const struct node *nodes_hide(struct nodes *all, int64_t now, int64_t ttl_ms)
{
    for (size_t i = 0; i < all->count; i++) {
        struct node *n = &all->list[i];

        if (n->up && n->reached && !n->lost && !n->unseen && now - n->seen_ms > ttl_ms) {
            n->unseen = true;
            return n;
        }
    }
    return NULL;
}

void nodes_here(struct nodes *all, int id, const char *inc, int64_t n)
{
    struct node *node = find(all, id);

    if (node && strcmp(node->inc, inc) == 0 && n > node->here)
        node->here = n;
}

const char *node_state(const struct node *n)
{
    if (n->lost)
        return "lost: no heartbeat, no answer";
    if (!n->up)
        return "down: its Kamailio is away";
    if (n->unseen)
        return "unseen: no heartbeat, but its Kamailio answers";
    return n->reached ? "up" : "out of reach: it lives, but does not answer us";
}
