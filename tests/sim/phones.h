/* Callers, and a gateway that answers them, with RFC 3261's timers: what gets no answer is sent again, each time to any
 * node. Their packets get lost now and then. */
#ifndef KAMSYNC_SIM_PHONES_H
#define KAMSYNC_SIM_PHONES_H

#include "cluster.h"

/* A request or reply that is sent again until it is answered, or 64*T1 have passed. */
struct repeat {
    int64_t since_ms, at_ms, gap_ms; /* at_ms 0: not now */
    bool answered;
};

struct phone {
    bool called;
    int64_t called_ms;
    size_t node;                        /* that his first INVITE goes to; the next ones go to any */
    bool rang;                          /* and he knows: then he may cancel */
    struct repeat invite, re, re_final; /* the caller's, and the far end's */
    int re_n;                           /* how many there were; re_final is the one to this: */
    int re_answered;
    size_t re_node;                      /* that the last was routed by */
    struct repeat final, cancel, bye[2]; /* the gateway's; the caller's; of both sides */
    int code;                            /* the final reply that the caller has, 0: none */
    int cancel_code;                     /* the answer to his CANCEL that came first */
    int64_t code_ms;
    int64_t deaf_ms; /* until then the caller hears of no end */
};

struct phones {
    struct phone phone[CALLS_MAX];
    bool lossless;
    unsigned (*dice)(struct cluster *c, unsigned sides);
};

/* Makes them the cluster's. */
void phones_begin(struct cluster *c, struct phones *p);
void phones_call(struct cluster *c, size_t node, int call);
/* The far end answers, or rejects (code). */
void phones_answer(struct cluster *c, int call, int code);
void phones_cancel(struct cluster *c, int call);
/* The caller changes something within the call. */
void phones_reinvite(struct cluster *c, int call);
/* That side hangs up: 0 the caller, 1 the far end. */
void phones_bye(struct cluster *c, int call, size_t side);

#endif
