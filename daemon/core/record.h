/* A transaction as it stands in the store: one JSON text, always written whole, readable with `redis-cli get … | jq`.
 */
#ifndef KAMSYNC_RECORD_H
#define KAMSYNC_RECORD_H

#include "txn.h"

/* The record of a transaction, which the caller frees; NULL when memory is short. A transaction that is over goes
 * without its request. SIP text that is not UTF-8 stands as {"base64": …}. */
char *record_write(const struct txn *t, int owner, const char *inc);

/* What another node must know of a record to find its owner. */
struct record {
    int owner;
    char inc[80];
    char sent_by[256];
    bool done;
};

/* 0, or -EBADMSG when the text is no record. */
int record_read(struct record *r, struct span text);

#endif
