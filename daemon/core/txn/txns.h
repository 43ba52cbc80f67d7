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
    struct txn *asked; /* whose first write is under way, in the order of their tokens */
    struct txn *busy;  /* those that are looked at with each pass of the janitor: any that changed */
    struct txn *quiet; /* the others, by when they were last looked at */
    size_t count, dirty_count, asked_count;
    size_t bytes; /* of all, as last counted */
};

#define TXNS_BYTES 4096 /* for each that may be there: their callers choose how long they are */

/* Takes the transaction over. 0, or -ENOMEM: then it is still the caller's. */
int txns_add(struct txns *all, struct txn *t);
/* It has changed, and may have become longer. */
void txns_count(struct txns *all, struct txn *t);
/* Ends it; the second one frees it, too. */
void txns_take(struct txns *all, struct txn *t);
void txns_remove(struct txns *all, struct txn *t);
void txns_clear(struct txns *all);

struct txn *txns_by_id(const struct txns *all, struct span id);
/* By the branch of tm's own Via, and that branch's index; NULL also when it is none of tm's. */
struct txn *txns_by_branch(const struct txns *all, struct span branch, int *index);
struct txn *txns_by_key(const struct txns *all, const char *key);

/* Puts it at the end of one of the two lists. txns_mark() makes it busy. */
void txns_quiet(struct txns *all, struct txn *t, bool quiet);

void txns_mark(struct txns *all, struct txn *t);
void txns_mark_all(struct txns *all);
/* The dirty transaction that waits longest, no longer marked; NULL when there is none. */
struct txn *txns_take_dirty(struct txns *all);

/* The store has no record of it, or none of any: another node may write one before this one does, since the caller
 * sends its INVITE again, so it is written as the first time. `t` may be NULL. */
void txns_forgotten(struct txn *t);
void txns_forget_all(struct txns *all);

/* Its first write is under way, with a token larger than any before: until that is answered it cannot be dirty, but
 * only notes that it changed. */
void txns_ask(struct txns *all, struct txn *t, uint64_t token);
/* That write was answered: whose it was, its record not written for all that is known here; NULL: none of these. */
struct txn *txns_answered(struct txns *all, uint64_t token);

#endif
