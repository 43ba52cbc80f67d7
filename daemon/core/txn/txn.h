/* One INVITE transaction as its owner knows it, built from Kamailio's events. record.h gives it its form in the store,
 * txns.h keeps all of them. */
#ifndef KAMSYNC_TXN_H
#define KAMSYNC_TXN_H

#include <jansson.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "sip.h"

#define TXN_BRANCHES_MAX 31 /* tm's own limit (MAX_BRANCHES_LIMIT in core/config.h) */

/* One branch as it was sent. */
struct txn_branch {
    int index;      /* tm's branch index, the end of the Via branch */
    short code;     /* last reply, 0 before the first */
    bool silent;    /* taken over when it rang, and no reply since */
    unsigned told;  /* what was done about that: a 100 to tm, then the INVITE again */
    bool concluded; /* its code is our own conclusion: a real reply replaces it */
    bool over;      /* it had ended before failure_route sent the call on: tm has dropped its reply */
    bool elsewhere; /* (second.c) the node that was the first has it not, or to another far end */
    bool rang;      /* a provisional reply came */
    bool ended;     /* its far end has said so after all: no CANCEL is owed to it (finish.c) */
    char *via;      /* owned; the other texts stand behind it in the same block */
    const char *to, *sock, *ruri;
    const char *route; /* Route set as a header would hold it, "<sip:a;lr>, <sip:b;lr>"; NULL without */
    char *head;        /* owned: of its final reply, what the caller needs to go on (sip_reply_head()); NULL: nothing */
    int64_t sent_ms;
};

/* Of its record: what was never written may be another node's already, so its first write asks. */
enum txn_record { RECORD_WRITTEN, RECORD_NONE, RECORD_ASKED };

enum txn_state { TXN_TRYING, TXN_RINGING, TXN_ANSWERED, TXN_FAILED };

struct txn {
    char *id;         /* owned: the Via branch that tm gives this transaction, without the branch index */
    char *key;        /* owned: name of the record in the store */
    char *call_id;    /* owned; the next five stand behind it in the same block */
    struct span call; /* the name of its call (call.h): call_id and From tag */
    const char *branch, *sent_by, *src, *dst;
    struct span req;             /* owned: the INVITE as received */
    struct txn_branch *branches; /* owned, in the order of their sending */
    size_t branch_count;
    uint32_t cseq;
    bool cancelled; /* the caller sent a CANCEL */
    bool done;      /* it had its final reply: what the store holds now lives a short time */
    bool stateless; /* the script sent it by forward(): no tm has it, and its request is not kept */
    short final;    /* what tm has answered the caller, as Kamailio says (state.c); 0: that is not known */
    bool missed;    /* events of it may have been lost: Kamailio is asked for that */
    bool waited;    /* tm had not answered when all its branches had failed */
    short asked;    /* how often it was, without an answer, */
    int64_t ask_ms; /* and when it is asked again */
    bool settled;   /* answered while its owner was dead: no Kamailio has it */
    bool elsewhere; /* another node took it over while this one's Kamailio was away */
    bool unsure;    /* others may have taken it over: nothing is written before that is known */
    bool second;    /* another node's record stood there when this one was to be written first */
    enum txn_record record;
    uint64_t token;            /* of the first write, while it is under way, or of the last one */
    bool again;                /* it has changed since the first one was begun */
    unsigned refusals;         /* so often the store would not have it, whatever it did with others */
    int64_t retry_ms;          /* then: when it is written again; 0: it was not refused */
    size_t bytes;              /* that it is counted with (txns.h) */
    bool dirty;                /* the record in the store is older than this */
    bool quiet;                /* nothing changes but by an event, for long: in the list that is looked at seldom */
    int64_t taken_ms;          /* when this node took it over from a dead one; 0: it did not */
    int64_t cancel_ms;         /* when tm is given the CANCEL again that the dead one had accepted; 0: it has it */
    int64_t finish_ms;         /* when far ends are cancelled again that no tm cancels (finish.c) */
    bool call_taken;           /* and its call with it: should that be gone now, it has ended */
    bool call_told;            /* and its call knows that it was answered, or that it ended: the same */
    char *taken_from;          /* owned; whom it was claimed from then, as a claim names him, NULL: nobody */
    char *taken_of;            /* the same: whose record it was that began it */
    int64_t at;                /* the same as ms since 1970 by its first owner's clock, 0: unknown */
    int64_t last;              /* when the last reply came, by the clock of whoever got it; 0: none yet */
    json_t *vars;              /* owned: the call's variables, if it was taken over with some; else NULL */
    int64_t begun_ms;          /* when its first branch was sent; all times are the engine's */
    int64_t changed_ms;        /* when a branch was last added or replied to */
    int64_t put_ms;            /* when the record was last given to the store */
    int64_t checked_ms;        /* when it was last looked at there */
    struct txn *prev, *next;   /* the list of dirty transactions, or of those whose first write is under way (txns.h) */
    struct txn *older, *newer; /* the list of quiet ones, or that of the others */
    UT_hash_handle hh;         /* by id */
    UT_hash_handle hh_key;     /* by key */
};

/* Text that names a transaction in `branch`, with its index: "z9hG4bK….0" is 0 of "z9hG4bK…". -EBADMSG when it is not
 * tm's form (branch_builder() in core/msg_translator.c). */
int txn_split_branch(struct span branch, struct span *id, int *index);

/* A transaction made of its first `branch` event: the identity in its `req`, and what was sent, have been read. 0 and
 * *out, which the caller frees with txn_free(); -EBADMSG, -ENOMEM. */
int txn_begin(struct txn **out, const struct event *ev, const struct sip_id *id, const struct sip_sent *sent,
              int64_t now);
void txn_free(struct txn *t);

/* Adds the branch of the event, or renews it. 0, -EBADMSG, -ENOMEM (also: too many branches). */
int txn_add_branch(struct txn *t, const struct event *ev, const struct sip_sent *sent, int64_t now);

/* Copies the texts into the branch, which has none yet; an empty span without bytes is none. 0 or -ENOMEM. */
int txn_branch_texts(struct txn_branch *b, struct span via, struct span to, struct span sock, struct span ruri,
                     struct span route);
/* The same for the transaction. */
int txn_texts(struct txn *t, struct span call_id, struct span from_tag, struct span branch, struct span sent_by,
              struct span src, struct span dst);

/* Adds a branch that is filled in, all texts but route set; it is the transaction's from now on, also on an error. The
 * first one gives the transaction its id. 0, -EBADMSG, -ENOMEM. */
int txn_give_branch(struct txn *t, struct txn_branch *b);

/* Bytes that it takes, as far as others choose how many. */
size_t txn_size(const struct txn *t);

bool txn_has_branch(const struct txn *t, int index);

/* The last reply on a branch; 0 when there is none. */
int txn_branch_code(const struct txn *t, int index);

/* A branch that was sent again in a takeover rang before, by that code. */
void txn_rang(struct txn *t, int index, int code);
/* Whether the far end of such a branch has said nothing yet. */
bool txn_is_silent(const struct txn *t);

/* Notes a reply; true when that changes the transaction. A branch keeps its first final code. */
bool txn_reply(struct txn *t, int index, int code, int64_t now);

/* Keeps the headers of that branch's final reply. */
void txn_reply_head(struct txn *t, int index, struct span reply);

/* Trying and ringing are pending; failed means that every branch has ended so. */
enum txn_state txn_state(const struct txn *t);
const char *txn_state_name(enum txn_state state);

/* Whether its far end may ring on, and need a CANCEL that got lost: it rang and tm has given it up (a 408 counts as
 * that), or the transaction is over without it. */
bool txn_rings_on(const struct txn *t, const struct txn_branch *b);
/* It is over, and still needs its request, should its owner die now: the caller may not have heard the final reply, or
 * a far end rings on. The caller of a 2xx hears it from who sent it. */
bool txn_unfinished(const struct txn *t);

/* The reply that the record shows: the 2xx, the final one that tm picks for the caller, or the highest provisional. */
int txn_code(const struct txn *t);

/* "X-Kamsync-Branches: <token>|<branch>|<branch>…", for a takeover: every index in its place, so that later ones keep
 * theirs; with the headers of replies, or without. "X-Kamsync-Branches: <token> <code> <headers>" if it has its final
 * reply. The caller frees it; NULL when memory is short, or it is too long for a frame. */
char *txn_branches(const struct txn *t, uint64_t token, bool heads);

#endif
