/* Sites: the places in which the nodes of a cluster stand, and which survivor takes over what a dead node had.
 *
 *     round by round, and later rounds only what is left: its own site's survivors, each its share ▶ any of these ▶ any
 *     node
 *
 * Whoever is in doubt leaves it: the fence keeps two from having one transaction, the last round anything from being
 * left. A site without a node that can take anything over is none: then all survivors share what it had. */
#include "cluster_impl.h"

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

static bool is_at(const struct node *n, const char *site)
{
    return strcmp(n->site, site) == 0;
}

static uint32_t hash_of(const char *key)
{
    uint32_t hash = 2166136261u;

    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 16777619u;
    hash = (hash ^ hash >> 16) * 0x7feb352du; /* otherwise the last bit is only the parity of the key */
    hash = (hash ^ hash >> 15) * 0x846ca68bu;
    return hash ^ hash >> 16;
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

/* How many other nodes of that site can take something over; *id is the one whose turn it is, if there are so many. */
static size_t able(const struct engine *e, const char *site, size_t turn, int *id)
{
    size_t count = 0;

    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[i];

        if (lives(n) && !n->unseen && is_at(n, site) && count++ == turn)
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

bool sites_concern(const struct engine *e, const char *key)
{
    return is_share(e, key, e->self.site) || is_share(e, key, NULL);
}

bool sites_may_take(const struct engine *e, int node, const char *key, enum round round)
{
    const char *site = site_of(e, node);

    if (is_others(e, site))
        return round == ROUND_ALL;
    return round != ROUND_SHARE || is_share(e, key, site && is_at(&e->self, site) ? site : NULL);
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
