/* The archive of ended calls: one stream; or, in a Redis Cluster, one for each bucket, which are merged:
 *
 *     ask each from the position on ▶ sort ▶ keep up to where each has told all ▶ ask again, until there are enough
 *
 * So a round reads a little more than is wanted, wherever the entries are. What is as new as the slowest master's clock
 * is left for later: another archive could still get an entry with a lower id, which nobody would find who goes on from
 * a higher one. */
#include <stdio.h>
#include <stdlib.h>

#include "cdr_id.h"
#include "redis_impl.h"

#define SETTLE_MS 1000 /* after a failover the new master's clock may be behind by so much */
#define SPARE 6        /* that each is asked for beyond its share, so that mostly one round suffices */

/* An entry's fields; false when it is none, or when out of memory. The caller frees the pairs. */
static bool read_entry(const redisReply *r, struct pair **pairs, size_t *count)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[0]->type == REDIS_REPLY_STRING &&
           redis_read_pairs(r->element[1], pairs, count);
}

/* ---- several archives ---- */

struct entry {
    struct cdr_id id;
    size_t count;
    struct pair pairs[]; /* and their bytes */
};

struct part {
    struct merge *merge;
    int bucket;
};

struct merge {
    struct redis *s;
    uint64_t token;
    bool newest;      /* backwards, from the newest one on */
    struct cdr_id at; /* all up to there is in the list */
    size_t wanted, each;
    struct entry **list; /* as read: those to be delivered, then this round's */
    size_t kept, count, size;
    size_t waiting; /* for so many answers */
    bool failed, gap;
    bool later;          /* than the first round */
    uint64_t settled_ms; /* the slowest master's time in the first round */
    bool bounded;        /* some archive has more to tell, */
    struct cdr_id bound; /* after this entry */
    struct part parts[];
};

static void drop_new(struct merge *m)
{
    while (m->count > m->kept)
        free(m->list[--m->count]);
}

static void merge_free(struct merge *m)
{
    m->kept = 0;
    drop_new(m);
    free(m->list);
    free(m);
}

/* ---- an answer ---- */

/* Room for one more. False when out of memory. */
static bool grow(struct merge *m)
{
    size_t size = m->size ? 2 * m->size : 256;
    struct entry **list = m->list;

    if (m->count < m->size)
        return true;
    list = realloc(list, size * sizeof(struct entry *));
    if (!list)
        return false;
    m->list = list;
    m->size = size;
    return true;
}

static bool add(struct merge *m, struct entry *e)
{
    if (!e || !grow(m)) {
        free(e);
        return false;
    }
    m->list[m->count++] = e;
    return true;
}

/* NULL when out of memory. */
static struct entry *entry_of(struct cdr_id id, const struct pair *pairs, size_t count)
{
    size_t bytes = 0;
    struct entry *e;
    char *to;

    for (size_t i = 0; i < count; i++)
        bytes += pairs[i].name.n + pairs[i].value.n;
    e = malloc(sizeof(*e) + count * sizeof(*pairs) + bytes);
    if (!e)
        return NULL;
    *e = (struct entry){.id = id, .count = count};
    to = (char *)&e->pairs[count];
    for (size_t i = 0; i < count; i++) {
        e->pairs[i].name = (struct span){memcpy(to, pairs[i].name.p, pairs[i].name.n), pairs[i].name.n};
        to += pairs[i].name.n;
        e->pairs[i].value = (struct span){memcpy(to, pairs[i].value.p, pairs[i].value.n), pairs[i].value.n};
        to += pairs[i].value.n;
    }
    return e;
}

/* In the order of reading. */
static int compare(const struct merge *m, struct cdr_id a, struct cdr_id b)
{
    return m->newest ? cdr_id_compare(b, a) : cdr_id_compare(a, b);
}

/* One that was not asked for fails: else a broken store would have us ask for ever. */
static bool take_entry(struct merge *m, const redisReply *r, int bucket, struct cdr_id *id)
{
    struct pair *pairs = NULL;
    size_t count;
    bool taken = read_entry(r, &pairs, &count) && cdr_id_read(id, span_of(r->element[0]->str));

    id->bucket = bucket;
    taken = taken && compare(m, *id, m->at) > 0 && add(m, entry_of(*id, pairs, count));
    free(pairs);
    return taken;
}

/* The answer of archive.lua. */
static bool take_part(struct merge *m, const redisReply *r, int bucket)
{
    const redisReply *list;
    struct cdr_id id = {0};
    uint64_t ms;

    if (!r || r->type != REDIS_REPLY_ARRAY || r->elements != 3 || r->element[0]->type != REDIS_REPLY_INTEGER ||
        r->element[1]->type != REDIS_REPLY_ARRAY || r->element[2]->type != REDIS_REPLY_INTEGER)
        return false;
    ms = r->element[0]->integer > SETTLE_MS ? (uint64_t)r->element[0]->integer - SETTLE_MS : 0;
    if (!m->later && ms < m->settled_ms)
        m->settled_ms = ms;
    m->gap = m->gap || r->element[2]->integer;
    list = r->element[1];
    for (size_t i = 0; i < list->elements; i++)
        if (!take_entry(m, list->element[i], bucket, &id))
            return false;
    if (list->elements >= m->each && (!m->bounded || compare(m, id, m->bound) < 0)) {
        m->bounded = true;
        m->bound = id;
    }
    return true;
}

/* ---- a round ---- */

static int forwards(const void *a, const void *b)
{
    return cdr_id_compare((*(struct entry *const *)a)->id, (*(struct entry *const *)b)->id);
}

static int backwards(const void *a, const void *b)
{
    return forwards(b, a);
}

/* Keeps what may be delivered of this round's. False when there is nothing after it. */
static bool keep(struct merge *m)
{
    bool goes_on = m->bounded;

    if (m->count > m->kept)
        qsort(m->list + m->kept, m->count - m->kept, sizeof(struct entry *), m->newest ? backwards : forwards);
    for (size_t i = m->kept; i < m->count && m->kept < m->wanted; i++) {
        struct entry *e = m->list[i];
        bool settled = e->id.ms < m->settled_ms;

        if (m->bounded && compare(m, e->id, m->bound) > 0)
            break;
        if (settled) {
            m->list[i] = m->list[m->kept];
            m->list[m->kept++] = e;
        } else if (!m->newest) {
            goes_on = false;
            break;
        }
    }
    drop_new(m);
    m->at = m->newest && m->bound.ms >= m->settled_ms ? (struct cdr_id){.ms = m->settled_ms} : m->bound;
    m->later = true;
    return goes_on && m->kept < m->wanted;
}

static void deliver(const struct merge *m)
{
    const struct store_events *on = &m->s->store.on;
    char id[CDR_ID_SIZE];

    for (size_t i = 0; !m->failed && i < m->kept; i++) {
        const struct entry *e = m->list[m->newest ? m->kept - 1 - i : i];

        on->archived(on->ctx, m->token, cdr_id_write(id, e->id), e->pairs, e->count, ARCHIVE_READ);
    }
    on->archived(on->ctx, m->token, NULL, NULL, 0, m->failed ? ARCHIVE_FAILED : m->gap ? ARCHIVE_GAP : ARCHIVE_READ);
}

static bool ask_all(struct merge *m);

static void on_part(struct redis *s, const redisReply *r, void *data)
{
    const struct part *part = data;
    struct merge *m = part->merge;

    redis_complain(s, r);
    if (!m->failed && !take_part(m, r, part->bucket))
        m->failed = true;
    if (--m->waiting > 0 || (!m->failed && keep(m) && ask_all(m)))
        return;
    deliver(m);
    merge_free(m);
}

/* What comes after the position: of equal ids those in the buckets behind its own. */
static bool ask_one(struct merge *m, struct part *part)
{
    struct cdr_id id = {m->at.ms, m->at.n, -1};
    bool same = m->newest ? part->bucket < m->at.bucket : part->bucket > m->at.bucket;
    bool read = !m->newest && !m->later && m->at.bucket >= 0;
    char key[KEY_SHORT_MAX], at[CDR_ID_SIZE];

    key_archive_of(key, (unsigned)part->bucket);
    cdr_id_write(at, id);
    return redis_ask(m->s, span_of(key), on_part, part, "EVAL %s 1 %s %s %s%s %s %d %s%s", archive_lua, key,
                     m->newest ? "XREVRANGE" : "XRANGE", same ? "" : "(", at, m->newest ? "-" : "+", (int)m->each,
                     read && same ? "(" : "", read ? at : "");
}

/* False when nothing could be sent; if only some could, it fails with the last answer. */
static bool ask_all(struct merge *m)
{
    m->bounded = false;
    for (unsigned i = 0; i < key_archives(); i++) {
        m->parts[i] = (struct part){m, (int)i};
        if (ask_one(m, &m->parts[i]))
            m->waiting++;
        else
            m->failed = true;
    }
    return m->waiting > 0;
}

static bool ask_merged(struct redis *s, const struct cdr_id *after, int count, uint64_t token)
{
    static const struct cdr_id last = {UINT64_MAX, UINT64_MAX, KEY_BUCKETS};
    struct merge *m = calloc(1, sizeof(*m) + key_archives() * sizeof(struct part));

    if (!m)
        return false;
    m->s = s;
    m->token = token;
    m->settled_ms = UINT64_MAX;
    m->newest = !after;
    m->at = after ? *after : last;
    m->wanted = (size_t)count;
    m->each = 2 * m->wanted / key_archives() + SPARE;
    if (ask_all(m))
        return true;
    merge_free(m);
    return false;
}

/* ---- one archive ---- */

static bool deliver_one(struct redis *s, uint64_t token, const redisReply *entry)
{
    struct pair *pairs;
    size_t count;

    if (!read_entry(entry, &pairs, &count))
        return false;
    s->store.on.archived(s->store.on.ctx, token, entry->element[0]->str, pairs, count, ARCHIVE_READ);
    free(pairs);
    return true;
}

static void on_entries(struct redis *s, const redisReply *r, uint64_t token, bool newest_first)
{
    bool ok = r && r->type == REDIS_REPLY_ARRAY;

    redis_complain(s, r);
    for (size_t i = 0; ok && i < r->elements; i++)
        ok = deliver_one(s, token, r->element[newest_first ? r->elements - 1 - i : i]);
    s->store.on.archived(s->store.on.ctx, token, NULL, NULL, 0, ok ? ARCHIVE_READ : ARCHIVE_FAILED);
}

static void on_newest(struct redis *s, const redisReply *r, void *data)
{
    on_entries(s, r, (uintptr_t)data, true);
}

static void on_following(struct redis *s, const redisReply *r, void *data)
{
    on_entries(s, r, (uintptr_t)data, false);
}

static bool ask_one_archive(struct redis *s, const struct cdr_id *after, int count, uint64_t token)
{
    void *data = (void *)(uintptr_t)token;
    char from[CDR_ID_SIZE];

    if (!after)
        return redis_ask(s, span_of(s->cdr), on_newest, data, "XREVRANGE %s + - COUNT %d", s->cdr, count);
    cdr_id_write(from, (struct cdr_id){after->ms, after->n, -1});
    return redis_ask(s, span_of(s->cdr), on_following, data, "XRANGE %s (%s + COUNT %d", s->cdr, from, count);
}

void redis_archive(struct store *store, const char *after, int count, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    struct cdr_id id;
    bool ok = count > 0 && (!after || cdr_id_read(&id, span_of(after)));

    if (!ok || !(key_archives() > 1 ? ask_merged : ask_one_archive)(s, after ? &id : NULL, count, token))
        answers_not_archived(&s->answers, token);
}
