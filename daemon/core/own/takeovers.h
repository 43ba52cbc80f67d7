/* What the files of takeovers share: one transaction on its way to this node, or one of its own that is claimed. */
#ifndef KAMSYNC_TAKEOVERS_H
#define KAMSYNC_TAKEOVERS_H

#include "own_impl.h"

#define CHAIN_MAX 8    /* claimants that died one after the other */
#define RECHECK_MS 200 /* the store did not say: ask again */
#define CONFIRM_MS 500 /* Kamailio answers within a few ms, or the message was lost */
/* A node's claim on its own: longer than a claim of another's may be under way, shorter than until the second search,
 * should the node die now. */
#define OWN_CLAIM_MS 1000

enum takeover_state { WAITING, READING, ASKING, CLAIMING, LOOKING, WATCHING, INJECTED, TAKEN, FAILED, LEAVING };

struct takeover {
    struct takeover *prev, *next;
    UT_hash_handle hh; /* by key */
    enum takeover_state state;
    bool silent;  /* Kamailio hung when it was last looked at: it may carry the INVITE out when it wakes */
    bool doubt;   /* this node counted as dead meanwhile: another one may have followed its claim */
    bool foreign; /* another survivor's share: read only to learn whether it is this node's own */
    bool own;     /* not an orphan, but one of this node's own that others may have claimed meanwhile */
    uint64_t token;
    char *key;
    struct txn *txn;      /* owned; from claiming on */
    char *to_tag;         /* owned; of that answer */
    int answered, answer; /* branch and code, when the call was answered: nothing is to be injected */
    struct holder owner;  /* of the record that was read */
    struct holder from;   /* who is claimed from, */
    struct holder as;     /* and by which name */
    bool naming;          /* a name is being looked for */
    unsigned names;       /* so many of this node's own are in use */
    bool blind;           /* the answer to its claim got lost: let go, should it have won */
    bool again;           /* (own) claimed from others once more; else it is what this node's own names lead to */
    bool late;            /* won so long after the other one was asked for that it is asked for once more */
    int64_t asked_ms;     /* when it was, at the latest */
    int chain, tries;
    int64_t watch_ms; /* (own) until when another node may be at work with it; 0: none was seen */
    int64_t due_ms;   /* when it is tried again; 0: an answer is waited for */
    int64_t sent_ms;  /* when the INVITE went to Kamailio */
};

/* takeovers.c */
/* The one that waits for the store's answer to that, or of that key; NULL. */
struct takeover *takeover_by_token(const struct engine *e, uint64_t token);
struct takeover *takeover_by_key(const struct engine *e, const char *key);
/* Whether there is room for one more under way. */
bool takeover_may_begin(const struct engine *e);
/* The takeover of that key, or NULL; what is done, and counts only for the pace, is out of the way. */
struct takeover *takeover_find(struct engine *e, const char *key);
/* NULL when memory is short. */
struct takeover *takeover_add(struct engine *e, const char *key);
/* And frees it. */
void takeover_end(struct engine *e, struct takeover *t);
/* Those under way stand in front, so that answers find them at once. */
void takeover_activate(struct engine *e, struct takeover *t, enum takeover_state state);
/* inject.c: its INVITE goes into Kamailio, which confirms within CONFIRM_MS. */
void takeover_inject(struct engine *e, struct takeover *t, int64_t now);
/* Claims it from t->from; and from that holder, which looks dead, if its record in the store says so, too. These, and
 * what calls them, end it when memory is short. */
void takeover_claim(struct engine *e, struct takeover *t);
void takeover_claim_from(struct engine *e, struct takeover *t, struct holder from);
/* A claim of t->from is won. Should that node have come back since it was asked for, its own claim may have come and
 * gone meanwhile: if so much time has passed, it is asked for once more. False: there is no need. */
bool takeover_doubts_claim(struct engine *e, struct takeover *t, int64_t now);
/* Reads whether that holder, which lives, has let it go: in t->from then, and LOOKING. */
void takeover_look(struct engine *e, struct takeover *t, struct holder h);

/* naming.c: under which name it is claimed from t->owner. */
void naming_begin(struct engine *e, struct takeover *t);
void naming_looked(struct engine *e, struct takeover *t, enum get_status status, struct span text);

/* giveup.c: what could not be taken over. */
/* It is out of the way, and only waits until its claim can be let go, or until Kamailio has it after all. */
void giveup(struct engine *e, struct takeover *t, int64_t now);
/* It is time to let it go. */
void giveup_leave(struct engine *e, struct takeover *t, int64_t now);
void giveup_left(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h, int64_t now);
/* The store's answer to a claim, after one that got lost. May end it. */
void giveup_blind(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h, int64_t now);

/* finish.c: whether that one, of a dead owner, is to be taken over, or finished if it is over already. */
bool finish_wanted(const struct engine *e, struct txn *t);
/* It was answered: claimed, it needs no Kamailio. Ends the takeover. */
void finish_answered(struct engine *e, struct takeover *t, int64_t now);

/* recheck.c: the store's answers, of a takeover with `own`. */
void recheck_claimed(struct engine *e, struct takeover *t, enum claim_status status, const struct holder *h,
                     int64_t now);
void recheck_got(struct engine *e, struct takeover *t, enum get_status status, struct span text, int64_t now);

#endif
