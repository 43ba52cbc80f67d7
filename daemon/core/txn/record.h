/* A transaction as it stands in the store: one JSON text, always written whole, readable with `redis-cli get … | jq`.
 */
#ifndef KAMSYNC_RECORD_H
#define KAMSYNC_RECORD_H

#include "txn.h"

/* The record of a transaction, which the caller frees; NULL when memory is short. The request, and the call's variables
 * (or NULL; taken), go along if whole is set, or the caller has cancelled, and the transaction is not over; the
 * request also if it is unfinished. SIP text that is not UTF-8 stands as {"base64": …}. */
char *record_write(const struct txn *t, int owner, const char *inc, json_t *vars, bool whole);

/* What another node must know of a record to find its owner. */
struct record {
    int owner;
    char inc[80];
    bool done;
    bool cancelled; /* its owner has seen a CANCEL */
    bool whole;     /* it has the request, so a survivor can take the transaction over, or finish it if it is over */
};

/* 0, or -EBADMSG when the text is no record. */
int record_read(struct record *r, struct span text);

/* The transaction that a record describes, for a survivor that takes it over; its branches count as sent now. 0 and
 * *out, which the caller frees with txn_free(); -EBADMSG also when the request is missing, -ENOMEM. */
int record_txn(struct txn **out, struct span text, int64_t now);

#endif
