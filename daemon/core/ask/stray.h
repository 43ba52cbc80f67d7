/* One stray: its state while it is looked up, and how it is answered. */
#ifndef KAMSYNC_STRAY_H
#define KAMSYNC_STRAY_H

#include "ask_impl.h"
#include "cluster_impl.h"

enum stray_kind { STRAY_CANCEL, STRAY_ACK, STRAY_INVITE, STRAY_REPLY };

/* near.c */
enum near_state {
    NEAR_OVER,  /* the store is asked, as without a near replica */
    NEAR_ASKED, /* until again_ms */
    NEAR_GIVEN  /* whom it named has the stray, and should act until again_ms */
};

struct stray {
    struct stray *prev, *next;
    UT_hash_handle hh; /* by id */
    uint64_t id;
    uint64_t token; /* of the last question to the store: the id, and above that the question's number */
    enum stray_kind kind;
    int code;      /* of a reply */
    bool asked;    /* a lookup is under way */
    bool orphan;   /* its transaction is being taken over */
    bool hopeless; /* that failed */
    bool unheard;  /* a reply: without an owner nobody can hear it, as the caller is on a connection */
    bool awaits;   /* its owner has got it, and is to say that it has acted: over a connection nobody repeats it */
    bool waited;   /* a reply to an own transaction has been given time for the events before it */
    bool rival;    /* an INVITE claimed by a node that looks dead, but may be back, with its record on its way */
    enum near_state near;
    struct absence absent;
    size_t bytes;
    struct span msg; /* owned, as are the texts */
    char *src, *dst, *key, *call_id, *via;
    char *at;       /* of the copies that were given out: tells the owner that it has acted already; NULL: none was */
    bool all;       /* all nodes have got one */
    int64_t all_ms; /* when they got it */
    int64_t came_ms;
    int64_t came; /* the same in ms since 1970, as the script says it if it has reported it later */
    int64_t begun_ms, again_ms, retry_ms;
    int64_t asked_ms; /* last lookup */
    int64_t heir_ms;  /* when a node of the orphan's site was told of it; 0: not */
};

/* 0 and *out, or a negative code: the stray cannot be looked up. */
int stray_new(struct stray **out, const struct arrived *a, uint64_t id, int64_t wall, int64_t now);
void stray_free(struct stray *s);
/* 0, or -ENOMEM: then it is still the caller's. */
int stray_add(struct engine *e, struct stray *s);
/* Begins a question to the store, whose token is that of the stray then; whose question it is, unless that was answered
 * already (NULL). */
void stray_asks(struct stray *s, int64_t now);
struct stray *stray_answered(const struct engine *e, uint64_t token);
/* Ends its lookup and frees it. */
void stray_end(struct engine *e, struct stray *s);
/* It has been handed over to its owner: how long that took. */
void stray_handed(struct engine *e, const struct stray *s, int64_t now);
/* Shows how it came, and its handover to that node, unless NULL. */
void stray_show(struct engine *e, const struct stray *s, const struct node *to);
/* A decision about it, for kamsyncctl trace. */
void stray_note(struct engine *e, const struct stray *s, const char *what, int owner);
/* The stray as a handover to that node: base64, which the caller frees, or NULL. */
char *stray_handed_to(struct engine *e, struct stray *s, const struct node *to, enum verdict why);
/* Sends the stray on: to its owner, or back to this Kamailio, which handles it by the verdict. */
void stray_send_on(struct engine *e, struct stray *s, enum verdict v, const struct node *to, int64_t now);
/* Over a connection nobody sends another copy of a CANCEL or a negative reply. But the owner may be dead and not missed
 * yet, or a copy gets lost: so he gets one again and again, until the record shows that he has acted, or says another
 * owner. The CANCEL is only answered then, since the answer stops the caller. The same holds for this node's own
 * Kamailio just after a takeover. */
bool stray_is_repeated_here(const struct stray *s);
void stray_await(struct engine *e, struct stray *s, const struct node *owner, int64_t now);
/* Whether this node's Kamailio is to answer it, since the owner, who has it, lacks the connection that it came over:
 * RFC 3261 9.2 has a CANCEL answered with 200 whatever becomes of the INVITE. */
bool stray_is_answered_here(const struct stray *s);
/* Hands a CANCEL to that node, which drops it if it lacks the transaction, and tells this one if it has acted. False:
 * out of memory. */
bool stray_give(struct engine *e, struct stray *s, const struct node *to, int64_t now);
/* Acts upon that verdict about that owner (0: none), and ends the stray; but a CANCEL of a transaction that this node
 * has just taken over only ends when Kamailio has acted upon it. */
void stray_conclude(struct engine *e, struct stray *s, enum verdict v, int owner, int64_t now);

/* near.c: asks the near replica about it. False: that is of no use for this one, or it is away. */
bool near_ask(struct engine *e, struct stray *s, int64_t now);
/* Its answer. */
void near_got(struct engine *e, struct stray *s, enum get_status status, struct span text, int64_t now);
/* Whether what began with near_ask() goes on; if not, the store is to be asked, as if the stray came now. */
bool near_goes_on(struct engine *e, struct stray *s, int64_t now);

#endif
