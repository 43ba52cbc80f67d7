/* One INVITE transaction as its owner knows it, built from Kamailio's events. record.h defines its form in the store,
 * txns.h the set of all. */
#ifndef KAMSYNC_TXN_H
#define KAMSYNC_TXN_H

#include <jansson.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "sip.h"

#define TXN_APART_MAX 32768 /* bytes of a transaction's requests that branches have of their own */
#define TXN_BRANCHES_MAX 31 /* tm's own limit (MAX_BRANCHES_LIMIT in core/config.h) */

/* One branch as it was sent. */
struct txn_branch {
    int index;      /* tm's branch index, at the end of the Via branch */
    short code;     /* last reply, 0 before the first */
    bool silent;    /* taken over when it rang, without a reply since */
    unsigned told;  /* steps taken about that: a 100 to tm, then the INVITE again */
    bool concluded; /* its code is only inferred: a real reply replaces it */
    bool over;      /* it had ended before failure_route added others: tm has dropped its reply */
    bool elsewhere; /* (second.c) the first node has no such branch, or has sent it to another far end */
    bool rang;      /* it got a provisional reply */
    bool ended;     /* its far end has sent a final reply after all, and needs no CANCEL (finish.c) */
    char *via;      /* owned; the other texts stand behind it in the same block */
    const char *to, *sock, *ruri;
    const char *route; /* Route set as a header would hold it, "<sip:a;lr>, <sip:b;lr>"; NULL without */
    const char *kept;  /* flags and the like, which a takeover hands back to the script; NULL without */
    char *head;        /* owned: headers of its final reply that the caller needs (sip_reply_head()); NULL: none */
    bool apart;        /* it was sent otherwise than the transaction's req, far_from and far_to say: as `as` does, */
    struct sip_as_sent as; /* owned; without req that was too large, and the branch is not sent again */
    int64_t sent_ms;
};

/* How sure this node is that it owns the transaction. */
enum txn_hold {
    HOLD_NEW,     /* the store has not yet accepted its record: another node may have routed the same INVITE */
    HOLD_PROVING, /* others may have thought this node dead, or the store may have lost the record */
    HOLD_OWNED,   /* the store has accepted a record of this epoch */
    HOLD_GIVEN    /* and another node may take it over from this one, which lives (evacuate.c) */
};

/* What is known of its end. */
enum txn_end {
    END_OPEN,
    END_UNSURE, /* open, but events may have been lost, its end with them: Kamailio is asked (state.c) */
    END_DONE,   /* the caller has got its final reply: its record now expires soon */
    END_NO_TM   /* the same, and no tm has its branches: CANCELs and late replies are left to finish.c */
};

/* Its record in the store, and the list that it is in (txns.h). */
enum txn_record {
    RECORD_CLEAN,      /* the last write had all of it */
    RECORD_DIRTY,      /* to be written */
    RECORD_ASKED,      /* a write that proves ownership is under way */
    RECORD_ASKED_DIRTY /* the same, and the transaction has changed since */
};

/* What its call knows of it. If a call that knows something is gone, it has ended. */
enum txn_told {
    TOLD_NOTHING,
    TOLD_TAKEN, /* this node has taken over the call with it */
    TOLD_OVER   /* it was answered, or has ended */
};

enum txn_state { TXN_TRYING, TXN_RINGING, TXN_ANSWERED, TXN_FAILED };

/* Whose a record is, and since which epoch (record.h). */
struct holder {
    int64_t epoch; /* 0: none */
    int owner;     /* 0: nobody: its owner has released it */
    char inc[80];
};

struct txn {
    char *id;         /* owned: the Via branch that tm gives this transaction, without the branch index */
    char *key;        /* owned: name of the record in the store */
    char *call_id;    /* owned; the next five stand behind it in the same block */
    struct span call; /* the name of its call (call.h): call_id and From tag */
    const char *branch, *sent_by, *src, *dst;
    struct span req;             /* owned: the INVITE as received, or as sent (sip_read_as_sent()) */
    char *far_from, *far_to;     /* owned: From and To for the far end, if the script has changed them; else NULL */
    struct txn_branch *branches; /* owned, in the order of their sending */
    size_t branch_count;
    uint32_t cseq;
    bool stateless;     /* the script sent it by forward(): tm does not have it, and its request is not kept */
    bool cancelled;     /* the caller sent a CANCEL */
    bool gone;          /* his connection has ended with its node, and he has not come back: nobody hears a reply */
    int64_t at;         /* begun_ms as ms since 1970 by its first owner's clock; 0: unknown */
    int64_t begun_ms;   /* when its first branch was sent; all times are the engine's */
    int64_t changed_ms; /* last new branch or reply */

    enum txn_end end;
    short final;    /* tm's answer to the caller, as Kamailio says (state.c); 0: unknown */
    short asked;    /* questions without an answer, */
    int64_t ask_ms; /* and when the next one is due */
    int64_t last;   /* when the last reply came, by the clock of the node that got it; 0: unknown, or tm went on */

    enum txn_hold hold;
    bool away;            /* another node says that it has taken it over, while this one's Kamailio was away */
    bool outdated;        /* the record that it goes over is an older one, of a node that is to look then */
    int64_t epoch;        /* of its record (record.h), as written */
    struct holder from;   /* over whose record it may go (record.h) */
    int64_t proven_epoch; /* the last epoch that the store has accepted, 0: none */
    int64_t asked_epoch;  /* that of the write under way if its answer proves ownership; 0: it was sent before ownership
                             came into doubt */
    uint64_t ask_token;   /* of the question whether a rival owner lives; 0: none under way */
    int64_t asked_rival;  /* the epoch of the rival's record that the last such question was about; 0: none */
    int64_t given_ms;     /* when it was last given away, or came back (evacuate.c); 0: never */
    int64_t wait_ms;      /* until when another node's takeover may still fail; 0: there is none */
    int64_t wait_epoch;   /* that of its record */

    enum txn_record record;
    uint64_t token;    /* of its last write, which may be under way */
    int64_t put_ms;    /* when that was */
    unsigned refusals; /* how often the store refused this record, but not others */
    int64_t retry_ms;  /* after a refusal: when it is written again; 0: none */

    int64_t taken_ms;  /* when this node took it over from a dead one; 0: it is not taken over */
    int64_t cancel_ms; /* when tm is given the CANCEL that the dead node had accepted; 0: tm has it */
    int64_t finish_ms; /* when far ends that no tm cancels get a CANCEL again (finish.c) */
    enum txn_told call_told;
    json_t *vars; /* owned: the call's variables if it was taken over with some, else NULL */

    size_t bytes;              /* its share of the total (txns.h) */
    bool quiet;                /* only an event changes it, for long: it is in the list that is checked seldom */
    int64_t checked_ms;        /* its last check, if it is there */
    struct txn *prev, *next;   /* in the list of dirty transactions, or of those being proven (txns.h) */
    struct txn *older, *newer; /* in the list of quiet ones, or of the others */
    UT_hash_handle hh;         /* by id */
    UT_hash_handle hh_key;     /* by key */
};

/* Splits tm's Via branch into the transaction's part and the index: "z9hG4bK….0" is 0 of "z9hG4bK…". -EBADMSG when it
 * is not of tm's form (branch_builder() in core/msg_translator.c). */
int txn_split_branch(struct span branch, struct span *id, int *index);

/* A transaction from its first `branch` event, after the identity in its `req` and what was sent have been read. 0 and
 * *out, which the caller frees with txn_free(); -EBADMSG, -ENOMEM. */
int txn_begin(struct txn **out, const struct event *ev, const struct sip_id *id, const struct sip_sent *sent,
              int64_t now);
void txn_free(struct txn *t);

/* Whether it has no branch yet: its only one stands for those to come (KAMSYNC_PENDING of the script). */
bool txn_is_pending(const struct txn *t);
/* Its first branch was sent: 0, and the caller adds it after the set knows the new id (txns_rename()); -ENOMEM. */
int txn_begun(struct txn *t, const struct event *ev);

/* Adds the event's branch, or replaces it. 0, -EBADMSG, -ENOMEM (also with too many branches). */
int txn_add_branch(struct txn *t, const struct event *ev, const struct sip_sent *sent, int64_t now);

#define TXN_BRANCH_TEXTS 6

/* Copies the texts (via, to, sock, ruri, route, kept) into a branch without texts; an empty span without bytes gives
 * NULL. The spans then point to the copies. 0 or -ENOMEM. */
int txn_branch_texts(struct txn_branch *b, struct span *texts);
/* The same for the transaction. */
int txn_texts(struct txn *t, struct span call_id, struct span from_tag, struct span branch, struct span sent_by,
              struct span src, struct span dst);

/* Frees what the branch holds. */
void txn_branch_clear(struct txn_branch *b);

/* The caller is there now, on another connection. 0 or -ENOMEM. */
int txn_moved(struct txn *t, const char *src, const char *dst);

/* Adds a complete branch (only the Route set may be missing), and takes ownership of it, even on an error. The first
 * branch gives the transaction its id. 0, -EBADMSG, -ENOMEM. */
int txn_give_branch(struct txn *t, struct txn_branch *b);

/* Bytes of the parts whose length others choose. */
size_t txn_size(const struct txn *t);

static inline bool txn_is_done(const struct txn *t)
{
    return t->end >= END_DONE;
}

/* It is over; or not, for it has another branch. */
void txn_set_done(struct txn *t, bool done);

bool txn_has_branch(const struct txn *t, int index);

/* The last reply on a branch; 0 when there is none. */
int txn_branch_code(const struct txn *t, int index);

/* NULL only is the same as NULL. */
static inline bool txn_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Whether a takeover cannot send that branch again as it was sent. */
static inline bool txn_is_withheld(const struct txn_branch *b)
{
    return b->apart && !b->as.req.p;
}
bool txn_withholds(const struct txn *t, int index);

/* In a takeover: the branch that was sent again rang before, with that code. */
void txn_rang(struct txn *t, int index, int code);
/* Whether the far end of such a branch is still silent. */
bool txn_is_silent(const struct txn *t);

/* Notes a reply; true when that changes the transaction. A branch keeps its first final code. */
bool txn_reply(struct txn *t, int index, int code, int64_t now);

/* Keeps the headers of that branch's final reply. */
void txn_reply_head(struct txn *t, int index, struct span reply);

/* Trying and ringing are pending; failed means that all branches have. */
enum txn_state txn_state(const struct txn *t);
const char *txn_state_name(enum txn_state state);

/* Whether the branch's far end may still ring, and need a CANCEL that got lost: it rang, and tm gave it up (a 408
 * counts as that) or the transaction is over without it. */
bool txn_rings_on(const struct txn *t, const struct txn_branch *b);
/* Whether the transaction is over and still needs its request in case its owner dies now: the caller may not have got
 * the final reply, or a far end may still ring. A caller gets a 2xx from the node that sent it. */
bool txn_unfinished(const struct txn *t);

/* The reply shown in the record: the 2xx, the final reply that tm picks for the caller, or the highest provisional. */
int txn_code(const struct txn *t);

/* "X-Kamsync-Branches: <token>|<branch>|<branch>…", for a takeover: each branch at its index, so that later ones keep
 * theirs; with or without the headers of replies and what is kept, and then without branches that were sent otherwise
 * than the transaction's request, which nobody sends then. "X-Kamsync-Branches: <token> <code> <headers>" if it
 * has its final reply. The caller frees it; NULL when out of memory, or when too long for a frame. */
char *txn_branches(const struct txn *t, uint64_t token, bool all);

#endif
