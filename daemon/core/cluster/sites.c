/* Sites: the places in which the nodes of a cluster stand, and which survivor takes over what a dead node had.
 *
 *     round by round, and later rounds only what is left: its own site's survivors, each its share ▶ any of these ▶ any
 *     node
 *
 * Whoever is in doubt leaves it: the fence keeps two from having one transaction, the last round anything from being
 * left. A site without a node that can take anything over is none: then all survivors share what it had. */
#include "cluster_impl.h"

/* In the later rounds of a search each survivor reads all records, those of living nodes, too. Where there are more
 * survivors than the first number, only the second number of them reads each. */
#define SEARCHERS_ALL 16
#define SEARCHERS 4

/* Of a dead node, too, until its record ends; NULL: not known. */
static const char *site_of(const struct engine *e, int node)
{
    const struct node *n = node == e->self.id ? &e->self : nodes_find(&e->nodes, node);

    return n ? n->site : NULL;
}

static bool lives(const struct node *n)
{
    return n->up && !n->lost;
}

/* Without heartbeats it is cut off from the store, or has no kamsyncd. */
static bool can_take(const struct node *n)
{
    return lives(n) && !n->unseen;
}

static bool is_at(const struct node *n, const char *site)
{
    return strcmp(n->site, site) == 0;
}

static uint32_t mix(uint32_t hash)
{
    hash = (hash ^ hash >> 16) * 0x7feb352du;
    hash = (hash ^ hash >> 15) * 0x846ca68bu;
    return hash ^ hash >> 16;
}

/* Never 0. */
static uint32_t weight(uint32_t key, int node)
{
    return mix(key ^ (uint32_t)node * 0x9e3779b1u) | 1;
}

static uint32_t hash_of(const char *key)
{
    uint32_t hash = 2166136261u;

    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 16777619u;
    return mix(hash); /* otherwise the last bit is only the parity of the key */
}

/* Survivors, of one site or of all (NULL), share the keys by a hash, which is the same on each node, so that they need
 * not agree. */
static bool is_share(const struct engine *e, const char *key, const char *site)
{
    size_t alive = 1, rank = 0;

    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[i];

        if (lives(n) && (!site || is_at(n, site))) {
            alive++;
            rank += n->id < e->self.id;
        }
    }
    return hash_of(key) % alive == rank;
}

/* Among many, of whom some may not know yet that one lives or is dead: how many that can take it come before this one
 * for that key, each with a weight by a hash of both. Who is wrong about a node is so only about that node's keys. */
static size_t rank_of(const struct engine *e, const char *key, const char *site)
{
    uint32_t hash = hash_of(key), own = weight(hash, e->self.id);
    size_t before = 0;

    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[i];
        uint32_t its = can_take(n) && (!site || is_at(n, site)) ? weight(hash, n->id) : 0;

        before += its > own || (its == own && n->id < e->self.id);
    }
    return before;
}

static bool are_many(const struct engine *e)
{
    size_t alive = 1;

    for (size_t i = 0; i < e->nodes.count; i++)
        alive += lives(&e->nodes.list[i]);
    return alive > SEARCHERS_ALL;
}

static bool is_first(const struct engine *e, const char *key, const char *site)
{
    return are_many(e) ? rank_of(e, key, site) == 0 : is_share(e, key, site);
}

/* How many other nodes of that site can take something over; *id is the one whose turn it is, if there are so many. */
static size_t able(const struct engine *e, const char *site, size_t turn, int *id)
{
    size_t count = 0;

    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[i];

        if (can_take(n) && is_at(n, site) && count++ == turn)
            *id = n->id;
    }
    return count;
}

static bool is_others(const struct engine *e, const char *site)
{
    int id;

    return site && !is_at(&e->self, site) && able(e, site, 0, &id);
}

bool sites_several(const struct engine *e)
{
    for (size_t i = 0; i < e->nodes.count; i++)
        if (!is_at(&e->nodes.list[i], e->self.site))
            return true;
    return false;
}

/* Whoever comes first among all does so within its site, too. */
bool sites_concern(const struct engine *e, const char *key, enum round round)
{
    if (are_many(e))
        return rank_of(e, key, e->self.site) < (round == ROUND_SHARE ? 1 : SEARCHERS);
    return round != ROUND_SHARE || is_share(e, key, e->self.site) || is_share(e, key, NULL);
}

bool sites_may_take(const struct engine *e, int node, const char *key, enum round round)
{
    const char *site = site_of(e, node);

    if (is_others(e, site))
        return round == ROUND_ALL;
    return round != ROUND_SHARE || is_first(e, key, site && is_at(&e->self, site) ? site : NULL);
}

int sites_heir(const struct engine *e, int node, const char *key)
{
    const char *site = site_of(e, node);
    int id = 0;
    size_t count = is_others(e, site) ? able(e, site, 0, &id) : 0;

    if (count > 1)
        able(e, site, hash_of(key) % count, &id);
    return id;
}
