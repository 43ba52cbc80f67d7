/* A transaction's record in the store: one JSON text, always written whole, readable with `redis-cli get … | jq`, or
 * `hget … record` once it was taken over. */
#ifndef KAMSYNC_RECORD_H
#define KAMSYNC_RECORD_H

#include "buffer.h"
#include "txn.h"

#define RECORD_NOBODY "none" /* incarnation in a released record */
#define RECORD_HEAD_MAX 200

/* What its owner means to do with it. */
enum head_state {
    HEAD_HELD,
    HEAD_TAKING, /* the owner's takeover has begun, and its Kamailio may not have the transaction yet */
    HEAD_GIVEN   /* the owner's Kamailio has it, and any other node may take it over (evacuate.c) */
};

/* The owner of a record. The head stands in front, and is the fence: the store accepts a record only where none stands,
 * or one of the same holder with the same epoch or a lower one, or exactly that which it is `from` (io/put.lua). Each
 * new owner adds one to the epoch, and so does an owner who proves that he still is. */
struct head {
    int64_t epoch;
    int owner; /* 0: none, as its owner has released it */
    const char *inc;
    enum head_state state;
    const struct holder *from; /* NULL, or with epoch 0: from none */
};

/* The record of a transaction, which the caller frees; NULL when out of memory. The request, and the call's variables
 * (or NULL; taken), are included if whole is set or the caller has cancelled, while the transaction is not over; the
 * request also if it is unfinished. SIP text that is not UTF-8 is written as {"base64": …}. */
char *record_write(const struct txn *t, const struct head *h, json_t *vars, bool whole);
/* The same into a buffer, whose memory serves one record after the other; what is returned is the buffer's. */
const char *record_put(struct buffer *to, const struct txn *t, const struct head *h, json_t *vars, bool whole);

/* The length of the head without `from` and its state. 0: no record. */
size_t record_head(struct span text);
/* The epoch in the head; 1 for any other text, such as a record from before there were epochs. */
int64_t record_epoch(struct span text);
/* Whose record it is by its head alone, whatever follows; epoch 0 if it has none, or one that `from` cannot repeat. */
struct holder record_holder(struct span text);
/* Whether the record `was` in the store fences off the record `text`. */
bool record_fences(struct span was, struct span text);

/* What another node needs of a record to find its owner. */
struct record {
    int64_t epoch;
    int owner; /* 0: none */
    char inc[80];
    enum head_state state;
    struct holder from; /* whom this owner has it from; epoch 0: from none */
    bool done;
    bool cancelled; /* its owner has seen a CANCEL */
    bool connected; /* its caller is on a connection */
    bool gone;      /* that has ended, and nobody hears a reply */
    bool whole;     /* it has the request, so a survivor can take the transaction over, or finish one that is over */
};

/* 0, or -EBADMSG when the text is no record. */
int record_read(struct record *r, struct span text);

/* The transaction in a record, for the survivor that takes it over; its branches count as sent now. 0 and *out, which
 * the caller frees with txn_free(); -EBADMSG also when the request is missing, -ENOMEM. */
int record_txn(struct txn **out, struct span text, int64_t now);

#endif
