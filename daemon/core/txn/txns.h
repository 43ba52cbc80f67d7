/* The transactions that this node owns: two indexes, and the list of those whose record must be written.
 *
 * A transaction is in that list at most once, however often it changes: so writes are merged, and the list is never
 * longer than the number of transactions. */
#ifndef KAMSYNC_TXNS_H
#define KAMSYNC_TXNS_H

#include "txn.h"

struct txns {
    struct txn *by_id, *by_key;
    struct txn *dirty; /* oldest change first */
    struct txn *asked; /* those being proven, in the order of their tokens */
    struct txn *busy;  /* those that each pass of the janitor checks: all that changed */
    struct txn *quiet; /* the others, in the order of their last check */
    size_t count, dirty_count;
    size_t bytes; /* of all, as last counted */
};

#define TXNS_BYTES 4096 /* for each allowed transaction: callers choose how long theirs are */

/* Adds the transaction, and takes ownership of it. 0, or -ENOMEM: then it is still the caller's. */
int txns_add(struct txns *all, struct txn *t);
/* Its tm id is another one. 0; -ENOMEM: then it is removed and freed. */
int txns_rename(struct txns *all, struct txn *t, struct span id);
/* Updates the byte count after a change. */
void txns_count(struct txns *all, struct txn *t);
/* Removes it from the set; txns_remove() frees it, too. */
void txns_take(struct txns *all, struct txn *t);
void txns_remove(struct txns *all, struct txn *t);
void txns_clear(struct txns *all);

struct txn *txns_by_id(const struct txns *all, struct span id);
/* By the branch of tm's own Via, and that branch's index; NULL also when the branch is not tm's. */
struct txn *txns_by_branch(const struct txns *all, struct span branch, int *index);
struct txn *txns_by_key(const struct txns *all, const char *key);

/* Moves it to the end of the quiet or the busy list. txns_mark() makes it busy. */
void txns_quiet(struct txns *all, struct txn *t, bool quiet);

void txns_mark(struct txns *all, struct txn *t);
void txns_mark_all(struct txns *all);
/* Takes the oldest dirty transaction off the list; NULL when there is none. */
struct txn *txns_take_dirty(struct txns *all);

/* A write that proves the ownership has begun, with a token larger than any before. What changes until its answer is
 * written after that. */
void txns_ask(struct txns *all, struct txn *t, uint64_t token);
/* The answer to that write came: its transaction; NULL: none has that token. */
struct txn *txns_answered(struct txns *all, uint64_t token);

#endif
