/* The transactions that this node owns: two indexes, and the list of those whose record must be written.
 *
 * However often a transaction changes, it stands in that list once: writes merge there, and it never holds more than
 * there are transactions. */
#ifndef KAMSYNC_TXNS_H
#define KAMSYNC_TXNS_H

#include "txn.h"

struct txns {
    struct txn *by_id, *by_key;
    struct txn *dirty; /* oldest change first */
    struct txn *busy;  /* those that are looked at with each pass of the janitor: any that changed */
    struct txn *quiet; /* the others, by when they were last looked at */
    size_t count, dirty_count;
};

/* Takes the transaction over. 0, or -ENOMEM: then it is still the caller's. */
int txns_add(struct txns *all, struct txn *t);
/* Ends and frees it. */
void txns_remove(struct txns *all, struct txn *t);
void txns_clear(struct txns *all);

struct txn *txns_by_id(const struct txns *all, struct span id);
struct txn *txns_by_key(const struct txns *all, const char *key);

/* Puts it at the end of one of the two lists. txns_mark() makes it busy. */
void txns_quiet(struct txns *all, struct txn *t, bool quiet);

void txns_mark(struct txns *all, struct txn *t);
void txns_mark_all(struct txns *all);
/* The dirty transaction that waits longest, no longer marked; NULL when there is none. */
struct txn *txns_take_dirty(struct txns *all);

#endif
