/* A small cluster in one process, the same each time: whole engines, beside each a modelled Kamailio, one store, one
 * virtual clock. What takes time (the store, the link, the network) is a task with a time of its own; how long it takes
 * the cluster's `delay` says. */
#ifndef KAMSYNC_TEST_CLUSTER_H
#define KAMSYNC_TEST_CLUSTER_H

#include "engine.h"
#include "helper.h"

#define EPOCH 1800000000000 /* ms since 1970 at time 0 */
#define SITES_MAX 64        /* a mask of them has as many bits */
#define CALLS_MAX 400
#define STARTS_KEPT 64 /* of a Kamailio */
#define CANCELS_MAX 4000
#define MASTERS_MAX 3
#define HANDED_MS 1000 /* so long two may have what one gives the other */

struct task;
struct entry;
struct cluster;
struct heard;
struct phones;

/* A connection to one master of the store. */
struct way {
    bool away;   /* it is broken, though not those to other masters */
    bool behind; /* it leads to the master from before the last failover */
    unsigned epoch;
    int64_t apply_at, answer_at; /* nothing overtakes on one connection */
};

/* One node: kamsyncd, its Kamailio, and how both are connected. */
struct site {
    struct cluster *c;
    struct engine *e;
    struct engine_conf conf;
    struct engine_io io;
    int id;
    bool crashed; /* kamsyncd; from then on a fresh one waits to be started */
    /* Kamailio */
    bool dead, hung;
    bool isolated;       /* no packet gets in or out */
    bool still;          /* the whole host stands still: no timer runs, and what arrives waits */
    struct task *parked; /* what waits so */
    bool refuse;         /* answers each takeover with ok=0 */
    bool silent;         /* INVITEs of takeovers are lost on their way, */
    int64_t full_ms;     /* or lie in its socket until then, among others */
    unsigned starts;
    int64_t gone_ms[STARTS_KEPT]; /* when each start of it last ended, by their number; 0: it has not */
    int64_t started_ms;
    char inc[16];
    bool linked, hello;
    unsigned link_epoch;
    int64_t events, strays;
    int64_t said_ms; /* when its kamsyncd, or another, gave it the last handover */
    json_t *seen;    /* handovers that have come, and CANCELs that were acted upon */
    unsigned handovers;
    json_t *queue; /* events that wait for a kamsyncd, as texts */
    json_t *inbox; /* what a hung one has not read yet: frames, and packets as texts */
    bool holds[CALLS_MAX];
    bool left[CALLS_MAX];          /* lost to another node: tm has it still, and so takes no INVITE of it */
    int re[CALLS_MAX];             /* the number of the re-INVITE of that call that tm has, 0: none */
    bool re_done[CALLS_MAX];       /* and it has had its final reply */
    int64_t lingers[CALLS_MAX];    /* until then tm still has what has ended (wt_timer) */
    char knows[SITES_MAX + 1][16]; /* Kamailio's table of the other nodes: by id the incarnation, "": it is not there */
    bool clock[SITES_MAX + 1];     /* whose clock it knows */
    bool heard[SITES_MAX + 1];     /* who has answered the last probe, */
    bool later[SITES_MAX + 1];     /* and of whose answer kamsyncd is told with the next one */
    /* the store */
    bool connected;
    bool deaf;      /* what it asks arrives there, but no answer comes back */
    bool refused;   /* it is a read-only replica that it talks to */
    bool own_there; /* its own record was seen in the store */
    bool hears;     /* the connection for announcements is there, which is one of its own */
    unsigned store_epoch, hear_epoch;
    enum { NOT_NEAR, NEAR_AWAY, NEAR_THERE } near; /* its near replica, which knows what stood in the store */
    int64_t near_lag_ms;                           /* so long ago, */
    int64_t near_stop_ms;                          /* and not later than that; 0: it follows */
    int64_t link_at, hear_at;
    struct way way[MASTERS_MAX];
    int64_t touch_ms; /* what it said or was told until then may have come late, or got lost */
};

/* What stands in one store. */
struct data {
    struct entry *entries;
    struct entry *past; /* what was written over a moment ago, and a replica may still have */
    json_t *archive;    /* of ended calls: [id, fields] each, oldest first; and when each was written: */
    json_t *archived_ms;
};

/* What will happen (cluster_tasks.c): the first one stands first. */
struct tasks {
    struct task **heap;
    size_t count, size;
};

/* A Kamailio has taken a call over, of a dead start of another one; by 0: no. Counted from 0. */
struct taking {
    size_t from;
    int by; /* that node's id */
    int64_t at_ms, gone_ms;
    bool unwritten; /* though the store has never taken its record for that */
};

struct cluster {
    struct site site[SITES_MAX];
    size_t count;
    int64_t now;
    struct tasks tasks;
    uint64_t seq;
    struct data store;      /* of the store that all use, or should use by now; */
    struct data old_store;  /* and of the one before the last failover, which some may still be on */
    int64_t lag_ms;         /* at most so far a replica is behind; 0: there is none */
    int64_t split_ms;       /* until then a node may still find the one before */
    size_t masters;         /* more than one: each has a part of the names, as in a Redis Cluster */
    bool gone[MASTERS_MAX]; /* that master has no server */
    int64_t
        moving_ms[MASTERS_MAX]; /* until then slots of that master move to another, so that commands are redirected */
    uint64_t entry_seq;
    size_t scan_part; /* names in each part of a scan */
    unsigned scan_failures;
    unsigned reads; /* lookups of records so far */
    /* A fault of the store, to see whether anybody notices; NULL: none. "fence": any record goes over any
     * other. "claim": every claim on an INVITE wins. "end":
     * a call can end again and again. "same": whoever has a call's transaction does not get the call from another node.
     */
    const char *broken;
    int64_t (*delay)(struct cluster *c);
    bool (*maybe)(struct cluster *c); /* whether a write that got no answer was done */
    bool adrift;                      /* what a broken connection still held may reach the store later */
    bool parted;                      /* the sites have lost each other: only that of the first node has the store */
    bool lossy;                       /* handovers between Kamailios get lost */
    bool shuffle;                     /* answers overtake each other, and announcements do */
    bool large; /* more nodes than KAMSYNC_ALL_MAX: about a CANCEL without transaction kamsyncd is asked first */
    enum { ROUTE_AT_ONCE, ROUTE_ASKED, ROUTE_CLAIMED } invites; /* docs/measurements/claims.md: none, late, strict */
    bool twice;                                                 /* announcements come twice now and then, */
    bool again;                                                 /* and so do answers of the store */
    unsigned (*dice)(struct cluster *c, unsigned sides);        /* NULL: nothing is left to chance */
    uint64_t rng;
    /* What happened to each call, and to each CANCEL. */
    unsigned injected[CALLS_MAX], lost[CALLS_MAX];
    bool ended[CALLS_MAX];
    bool vanished[CALLS_MAX];        /* its Kamailio gave it up for another that has it, but none does */
    struct site *last_at[CALLS_MAX]; /* whose Kamailio was the last to take it; */
    bool orphaned[CALLS_MAX];        /* that has died with it, maybe before the one of before heard to give it up */
    int64_t changed_ms[CALLS_MAX];   /* when a Kamailio last took, lost or ended it */
    int final[CALLS_MAX];       /* what the far end has answered, 0: it rings; its replies are packets of their own */
    int64_t said_ms[CALLS_MAX]; /* when a kamsyncd that has the store was last asked about such a reply; 0: not yet */
    size_t first_at[CALLS_MAX]; /* the node that its replies name */
    bool begun[CALLS_MAX];      /* a Kamailio has routed its INVITE */
    bool loose[CALLS_MAX];      /* one did so without a claim, or the store may have forgotten the claim */
    bool doubled[CALLS_MAX];    /* another one routed it, too, while the first had it still: */
    int64_t doubled_ms[CALLS_MAX];         /* when one last did; INT64_MAX: that is not known any more; */
    struct taking taking[CALLS_MAX];       /* the last takeover of each call */
    int64_t written[SITES_MAX][CALLS_MAX]; /* the highest epoch of each node's records that the store has taken */
    int64_t handed_ms[CALLS_MAX];          /* when a Kamailio last took it from another that gave it away */
    bool wrongly[CALLS_MAX];               /* though it had a claim, as had the first */
    int re_code[CALLS_MAX];                /* what the far end has answered to the last re-INVITE, 0: nothing yet */
    size_t cancel_count;
    int cancel_call[CANCELS_MAX];
    unsigned delivered[CANCELS_MAX], refused[CANCELS_MAX];
    uint64_t answered_by[CANCELS_MAX]; /* bits of the nodes that did */
    bool amid[CANCELS_MAX];            /* one did while one node gave its call to another */
    bool astray[CANCELS_MAX];          /* another node sent it, not the caller: he does not hear the answer */
    bool timed_out[CALLS_MAX];
    bool answered[CALLS_MAX];     /* the store has taken a record that says so */
    bool connects;                /* each fourth caller is on a connection: */
    size_t at_node[CALLS_MAX];    /* to that node, */
    unsigned at_start[CALLS_MAX]; /* and that start of its Kamailio; 0: to none yet. Then he takes another: */
    unsigned connections[CALLS_MAX];
    bool cut[CALLS_MAX];     /* one has ended with its node */
    bool hung_up[CALLS_MAX]; /* kamsyncd has ended the call in his stead */
    json_t *last_invite;     /* of a takeover, as text */
    struct phones *phones;   /* who listens, and has timers: */
    void (*hear)(struct cluster *c, const struct heard *h);
    int64_t (*ring)(struct cluster *c); /* does what is due; when something is again */
};

/* What reaches a caller or the far end. */
struct heard {
    enum {
        HEARD_RINGING,
        HEARD_FINAL,
        HEARD_ACK,
        HEARD_CANCEL,    /* the far end */
        HEARD_CANCELLED, /* the caller, an answer to his */
        HEARD_BYE,
        HEARD_RE,
        HEARD_RE_FINAL
    } what;
    int call;
    int code;      /* the caller's: of the final reply to his INVITE, or to the CANCEL with this: */
    size_t number; /* (HEARD_CANCELLED); of the re-INVITE (HEARD_RE, HEARD_RE_FINAL) */
    size_t node;   /* that routed that one */
    size_t side;   /* whose BYE it is: 0 the caller's, 1 the far end's */
};

/* The node stands in that site from now on. */
void cluster_site(struct cluster *c, size_t node, const char *site);

/* All nodes up, and long enough so that each knows all others. */
struct cluster *cluster_new(size_t nodes);
void cluster_free(struct cluster *c);
void cluster_run(struct cluster *c, int64_t ms);

/* A call begins at this node (counted from 0), and rings. */
void cluster_call(struct cluster *c, size_t node, int call);
/* A CANCEL for it arrives at the node; its number. */
size_t cluster_cancel(struct cluster *c, size_t node, int call);
/* The far end answers it; the 200 comes to the node that holds it. */
void cluster_answer(struct cluster *c, int call);

/* The caller's INVITE arrives at the node, maybe not for the first time. */
void cluster_invite(struct cluster *c, size_t node, int call);
/* His n-th re-INVITE (from 1 on) does, the far end's final reply to it, his ACK for that. */
void cluster_reinvite(struct cluster *c, size_t node, int call, int n);
void cluster_re_final(struct cluster *c, size_t node, int call, int n);
void cluster_re_ack(struct cluster *c, size_t node, int call, int n);
/* Who routes INVITEs by claims, or after a question, does so from now on. */
void cluster_route(struct cluster *c, bool strict);

/* Whether the caller is on a connection; whether that is alive, and at which node. If not, he takes one to that node.
 */
bool cluster_is_connected(const struct cluster *c, int call);
bool cluster_connection(const struct cluster *c, int call, size_t *node);
void cluster_connect(struct cluster *c, size_t node, int call);

/* What the far end has answered arrives at the node, or a BYE of that side's, or (code) the reply to it. */
void cluster_final(struct cluster *c, size_t node, int call);
void cluster_bye(struct cluster *c, size_t node, int call, size_t side, int code);

/* What a Kamailio still has of a call that its far end has ended, tm's timer ends. */
void cluster_time_out(struct cluster *c);

/* Two Kamailios have it, or somebody is taking it over. */
bool cluster_is_contested(const struct cluster *c, int call);
/* The store loses everything. */
void cluster_forget(struct cluster *c);

void cluster_kill(struct cluster *c, size_t node);    /* Kamailio dies: the link breaks */
void cluster_restart(struct cluster *c, size_t node); /* with a new incarnation */
void cluster_break(struct cluster *c, size_t node);   /* only the link breaks; */
void cluster_mend(struct cluster *c, size_t node);    /* and is mended */
void cluster_hang(struct cluster *c, size_t node, bool hung);
/* The node's host stands still, or goes on; meanwhile nothing else may be done to the node. */
void cluster_stand(struct cluster *c, size_t node, bool still);
/* The node's way to the store; what is under way gets no answer. */
void cluster_cut(struct cluster *c, size_t node);
/* The sites lose each other, and all but the first node's the store; or meet again. */
void cluster_part(struct cluster *c, bool parted);
bool cluster_are_apart(const struct cluster *c, size_t a, size_t b);
void cluster_join(struct cluster *c, size_t node);
/* kamsyncd dies, and its Kamailio goes on. It starts anew with cluster_mend() and cluster_join(). */
void cluster_crash(struct cluster *c, size_t node);

/* cluster_accidents.c: what befalls the ways to the store, and the store. */
/* No answer reaches the node any more, for as long as it is patient; then the connection is given up, or all come. */
void cluster_deafen(struct cluster *c, size_t node);
/* That master hangs for that node: nothing that it asks for is done sooner. */
void cluster_delay(struct cluster *c, size_t node, size_t master, int64_t ms);
/* What was announced to the node, or told, comes so late; or is lost, and so is what is sent in that time. */
void cluster_hear_late(struct cluster *c, size_t node, int64_t ms);
void cluster_hear_not(struct cluster *c, size_t node, int64_t ms);
/* The node talks to a replica: it reads, but each write is refused, and what it tells only others there hear. */
void cluster_refuse(struct cluster *c, size_t node, bool refused);
/* The node has a near replica, so far behind, which follows the store, or does not any more; or (-1) it is away. Until
 * then it has none. lag_ms of the cluster is how far it can look back. */
void cluster_near(struct cluster *c, size_t node, int64_t lag_ms, bool follows);
/* FLUSHALL: the store loses everything, and no connection breaks. */
void cluster_flush(struct cluster *c);

/* cluster_failover.c: another server becomes that master of the store, 0 if there is only one. Each node goes there at
 * a time of its own, at most split_ms later; what it writes into the old one until then is lost. Nothing happens while
 * a node has not followed the last one. */
/* A replica that is so far behind. */
void cluster_failover(struct cluster *c, size_t master, int64_t lag_ms, int64_t split_ms);
/* The one before, with what it had then; or with nothing, as after a restart without its file. */
void cluster_failback(struct cluster *c, size_t master, bool empty, int64_t split_ms);
/* Whether the node is, with any of its connections, on another server than the others, or on none. */
bool cluster_is_behind(const struct site *s);

/* cluster_masters.c: one master of several. The store as a whole is there all the time. */
/* The master that has that call. */
size_t cluster_master_of(const struct cluster *c, int call);
/* It has no server any more, or again. */
void cluster_lose_master(struct cluster *c, size_t master, bool gone);
/* The node's connection to it breaks, and is there again in a moment. */
void cluster_break_way(struct cluster *c, size_t node, size_t master);
/* A part of its slots moves for so long. */
void cluster_move_slots(struct cluster *c, size_t master, int64_t ms);

/* Of a node, by its id, in a mask of them. */
uint64_t cluster_bit(int id);
/* One Kamailio has it from another that gives it away: a moment ago, and both may have it. */
bool cluster_is_handed(const struct cluster *c, int call);
/* How many living Kamailios hold the call; which one. */
size_t cluster_holders(const struct cluster *c, int call, size_t *which);
/* A field of the record in the store; NULL when there is none. The caller derefs it. */
json_t *cluster_record(const struct cluster *c, int call);
/* Its key; how long ago the record was written. */
char *cluster_key(int call);
int64_t cluster_record_age(const struct cluster *c, int call);
/* The fields of the call's own record in the store, all texts; NULL when there is none. The caller derefs it. */
json_t *cluster_call_record(const struct cluster *c, const char *key);

#endif
