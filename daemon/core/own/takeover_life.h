/* One takeover: a dead owner's transaction on its way to this node, and its state machine (takeover_table.c). */
#ifndef KAMSYNC_TAKEOVER_LIFE_H
#define KAMSYNC_TAKEOVER_LIFE_H

#include "own_impl.h"
#include "record.h"

#define CONFIRM_MS 500 /* Kamailio answers within a few ms, or the message was lost */

enum takeover_state {
    WANTED,   /* waits for a free slot */
    READING,  /* its record is being read */
    ASKING,   /* its owner looks dead: the owner's heartbeat is being read */
    TAKING,   /* its record is being written with this node as owner, fenced by the epoch */
    INJECTED, /* the INVITE was sent into this node's Kamailio */
    TAKEN,    /* this node owns it; the slot is used until the far end has answered */
    FAILED,   /* Kamailio refused it, or did not answer: it may still take it */
    CHECKING, /* the record is read once more: only one that is still this node's is released */
    LEAVING,  /* the record is being released */
    AWAITING, /* its caller's connection has ended with its owner: he may come back */
    TAKEOVER_ENDED
};
#define TAKEOVER_STATES TAKEOVER_ENDED /* how many a takeover goes through */

enum takeover_event {
    EV_TURN,      /* there is a free slot */
    EV_FREE,      /* its record: released, given away, or of this node's own dead incarnation */
    EV_ORPHAN,    /* its record: its owner looks dead */
    EV_GONE,      /* the same, and its caller's connection has ended with it */
    EV_DEAD,      /* the owner's heartbeat in the store shows no life either */
    EV_ALIVE,     /* the owner is alive again */
    EV_OWN,       /* its record is this node's own: this kamsyncd has restarted */
    EV_OTHER,     /* there is no record, or no orphan's */
    EV_WON,       /* the store has accepted the record with this node as owner */
    EV_OVER,      /* the same, and the transaction needs no Kamailio, as it was answered */
    EV_BACK,      /* the same, but the owner is alive again */
    EV_LOST,      /* another node owns the record */
    EV_UNKNOWN,   /* the store's answer is unknown */
    EV_TAKEN,     /* Kamailio has the transaction */
    EV_REFUSED,   /* Kamailio refused it */
    EV_TIME,      /* timeout */
    EV_LAST_TIME, /* third timeout */
    TAKEOVER_EVENTS
};

struct takeover {
    struct takeover *prev, *next;
    UT_hash_handle hh; /* by key */
    enum takeover_state state;
    bool silent;      /* Kamailio hung at the last check: it may still carry out the INVITE when it resumes */
    bool doubt;       /* this node was thought dead meanwhile: another may have taken it over from here */
    bool written;     /* a write with this node as owner is under way, or may have arrived */
    bool asked;       /* the store has not answered yet */
    bool awaited;     /* its caller has not come back in time */
    enum round round; /* of the search that found it; one that a stray brings is in the last */
    uint64_t token;   /* of its last question to the store; also tells Kamailio's report which takeover it is about */
    char *key;
    struct txn *txn;      /* owned; from TAKING on */
    char *src, *dst;      /* owned; where its caller has come back; NULL: he has not */
    char *to_tag;         /* owned; To tag of the answer */
    int answered, answer; /* branch and code if the call was answered: nothing is injected */
    struct holder from;   /* the owner that it is taken from */
    int64_t epoch;        /* of the record with this node as owner */
    int chain, tries;     /* owners that have died in a row; injected INVITEs */
    int64_t begun_ms;
    int64_t due_ms;  /* time of the next try; 0: waits for an answer */
    int64_t sent_ms; /* when the INVITE was sent to Kamailio */
};

/* A transition: what an event does to a takeover in a state. */
struct takeover_step {
    enum takeover_state state;
    enum takeover_event event;
    enum takeover_state next;
    void (*act)(struct engine *e, struct takeover *t, int64_t now); /* or NULL; ends the takeover only if next does */
};
/* NULL for what cannot happen. */
const struct takeover_step *takeover_step(enum takeover_state state, enum takeover_event event);
/* Whether that event cannot occur in that state. */
bool takeover_never(enum takeover_state state, enum takeover_event event);
const char *takeover_state_name(enum takeover_state state);
const char *takeover_event_name(enum takeover_event event);

/* Whether the previous owner is alive again, and had not given it away. */
bool takeover_is_back(const struct engine *e, const struct takeover *t, int64_t now);

/* The actions of the table. */
void takeover_ask(struct engine *e, struct takeover *t, int64_t now);
void takeover_await(struct engine *e, struct takeover *t, int64_t now);
void takeover_alone(struct engine *e, struct takeover *t, int64_t now);
void takeover_read(struct engine *e, struct takeover *t, int64_t now);
void takeover_take(struct engine *e, struct takeover *t, int64_t now);
void takeover_inject(struct engine *e, struct takeover *t, int64_t now);
void takeover_finish(struct engine *e, struct takeover *t, int64_t now);
void takeover_again(struct engine *e, struct takeover *t, int64_t now);
void takeover_give_up(struct engine *e, struct takeover *t, int64_t now);
void takeover_release(struct engine *e, struct takeover *t, int64_t now);
void takeover_done(struct engine *e, struct takeover *t, int64_t now);
void takeover_unanswered(struct engine *e, struct takeover *t, int64_t now);
void takeover_lost(struct engine *e, struct takeover *t, int64_t now);

/* gone.c: whether its caller's connection has ended, and he has not come back. Then, once it is this node's: its
 * branches are cancelled, and its call has ended. */
bool gone_is(const struct engine *e, const struct takeover *t);
void gone_finish(struct engine *e, struct takeover *t, int64_t now);

/* finish.c: whether a dead owner's transaction is to be taken over, or finished if it is already over. */
bool finish_wanted(const struct engine *e, struct txn *t);
/* The transaction was answered, and is this node's: it needs no Kamailio. */
void finish_answered(struct engine *e, struct takeover *t, int64_t now);

#endif
