#include "txns.h"

#include <errno.h>
#include <utlist.h>

int txns_add(struct txns *all, struct txn *t)
{
    HASH_ADD_KEYPTR(hh, all->by_id, t->id, strlen(t->id), t);
    if (!t->hh.tbl)
        return -ENOMEM;
    HASH_ADD_KEYPTR(hh_key, all->by_key, t->key, strlen(t->key), t);
    if (!t->hh_key.tbl) {
        HASH_DELETE(hh, all->by_id, t);
        return -ENOMEM;
    }
    DL_APPEND2(all->busy, t, older, newer);
    all->count++;
    t->bytes = 0;
    txns_count(all, t);
    return 0;
}

void txns_count(struct txns *all, struct txn *t)
{
    size_t bytes = txn_size(t);

    all->bytes += bytes - t->bytes;
    t->bytes = bytes;
}

static struct txn **list_of(struct txns *all, const struct txn *t)
{
    return t->quiet ? &all->quiet : &all->busy;
}

void txns_quiet(struct txns *all, struct txn *t, bool quiet)
{
    DL_DELETE2(*list_of(all, t), t, older, newer);
    t->quiet = quiet;
    DL_APPEND2(*list_of(all, t), t, older, newer);
}

static void unmark(struct txns *all, struct txn *t)
{
    struct txn **list = t->record == RECORD_DIRTY ? &all->dirty : &all->asked;

    if (t->record == RECORD_CLEAN)
        return;
    DL_DELETE(*list, t); /* NOLINT(clang-analyzer-*): utlist */
    all->dirty_count -= t->record == RECORD_DIRTY;
    t->record = RECORD_CLEAN;
}

/* Out of all but by_id. */
static void leave(struct txns *all, struct txn *t)
{
    unmark(all, t);
    DL_DELETE2(*list_of(all, t), t, older, newer);
    HASH_DELETE(hh_key, all->by_key, t); /* NOLINT(clang-analyzer-*): uthash */
    all->count--;
    all->bytes -= t->bytes;
}

void txns_take(struct txns *all, struct txn *t)
{
    HASH_DELETE(hh, all->by_id, t); /* NOLINT(clang-analyzer-*): uthash */
    leave(all, t);
}

int txns_rename(struct txns *all, struct txn *t, struct span id)
{
    char *fresh = span_dup(id);

    HASH_DELETE(hh, all->by_id, t);
    if (fresh) {
        free(t->id);
        t->id = fresh;
        HASH_ADD_KEYPTR(hh, all->by_id, t->id, strlen(t->id), t);
    }
    if (fresh && t->hh.tbl)
        return 0;
    leave(all, t);
    txn_free(t);
    return -ENOMEM;
}

void txns_remove(struct txns *all, struct txn *t)
{
    txns_take(all, t);
    txn_free(t);
}

void txns_clear(struct txns *all)
{
    struct txn *t, *next;

    HASH_ITER(hh, all->by_id, t, next)
    {
        txns_remove(all, t);
    }
}

struct txn *txns_by_id(const struct txns *all, struct span id)
{
    struct txn *t;

    HASH_FIND(hh, all->by_id, id.p, id.n, t);
    return t;
}

struct txn *txns_by_branch(const struct txns *all, struct span branch, int *index)
{
    struct span id;

    return txn_split_branch(branch, &id, index) == 0 ? txns_by_id(all, id) : NULL;
}

struct txn *txns_by_key(const struct txns *all, const char *key)
{
    struct txn *t;

    HASH_FIND(hh_key, all->by_key, key, strlen(key), t);
    return t;
}

void txns_mark(struct txns *all, struct txn *t)
{
    if (t->quiet)
        txns_quiet(all, t, false);
    if (t->record == RECORD_ASKED)
        t->record = RECORD_ASKED_DIRTY;
    if (t->record != RECORD_CLEAN)
        return;
    DL_APPEND(all->dirty, t);
    t->record = RECORD_DIRTY;
    all->dirty_count++;
}

void txns_mark_all(struct txns *all)
{
    struct txn *t, *next;

    HASH_ITER(hh, all->by_id, t, next)
    {
        txns_mark(all, t);
    }
}

struct txn *txns_take_dirty(struct txns *all)
{
    struct txn *t = all->dirty;

    if (t)
        unmark(all, t);
    return t;
}

void txns_ask(struct txns *all, struct txn *t, uint64_t token)
{
    t->record = RECORD_ASKED;
    t->asked_epoch = t->epoch;
    t->token = token;
    DL_APPEND(all->asked, t);
}

/* Answers come in the order of the tokens: so it is the first one, or none. */
struct txn *txns_answered(struct txns *all, uint64_t token)
{
    struct txn *t = all->asked;
    bool changed;

    while (t && t->token < token)
        t = t->next;
    if (!t || t->token != token)
        return NULL;
    changed = t->record == RECORD_ASKED_DIRTY;
    unmark(all, t);
    if (changed)
        txns_mark(all, t);
    return t;
}
