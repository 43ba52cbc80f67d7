/* The node table: every Kamailio of the cluster as its kamsyncd last described it.
 *
 * A node is alive while its heartbeats arrive: each record has a counter, and a node whose counter does not change for
 * the whole TTL, by this node's own clock while the store could be read, is lost. So clocks need not agree,
 * and neither a record that Redis lost nor one late heartbeat is a death. */
#ifndef KAMSYNC_NODES_H
#define KAMSYNC_NODES_H

#include <stdint.h>

#include "key.h"
#include "proof.h"

#define NODES_MAX 1024

/* Version of what nodes write for each other: records, messages, handovers. Raised when an older node could not handle
 * what a newer one writes; docs/upgrade.md says what to do then. 0: a node from before there were versions. */
#define NODE_VERSION 3

struct node {
    int id; /* Kamailio's server_id */
    char name[64];
    char site[KEY_CLUSTER_MAX + 1]; /* where it stands; "": the cluster has one site */
    char sip[80];                   /* SIP address for handover */
    char inc[80];                   /* incarnation of its Kamailio */
    int64_t beat;                   /* heartbeat counter of its kamsyncd */
    bool up;                        /* its kamsyncd says that Kamailio is up */
    int version;                    /* NODE_VERSION of its kamsyncd */
    char proof[PROOF_LEN + 1];      /* covers all of the above; "": none */
    bool idle;                      /* its kamsyncd knows of no transaction and no call there */
    bool lost;                      /* its heartbeats ended, and it does not answer */
    bool reached;                   /* its Kamailio answers our probes */
    bool unseen;                    /* its heartbeats ended, but it answers probes */
    int64_t seen_ms, heard_ms;      /* last heartbeat, last answer to a probe */
    int64_t asked_ms, before_ms;    /* last probe, and the one before; 0: none yet */
    bool later;                     /* the answer to the last probe is told when the next one is sent */
    int64_t read_ms;                /* last read of its record, with or without a new heartbeat */
    int64_t here;                   /* the last barrier that its kamsyncd answered */
};

struct nodes {
    struct node list[NODES_MAX];
    size_t count;
    int64_t full_ms; /* when the table last had no room for a node; 0: never */
};

/* A node's record as JSON text with a proof, which the caller frees; NULL when out of memory. */
char *node_record(const struct node *n, const char *secret);

/* Reads a record. 0 or -EBADMSG. Does not verify its proof. */
int node_read(struct node *n, struct span record);
/* Whether the record read that way has that secret's proof; false also when out of memory. */
bool node_is_proven(const struct node *n, const char *secret);

/* Merges a record read at time now. Returns the node of the table if its address, incarnation or up has changed, else
 * NULL. A record older than the known one changes nothing, unless the node was lost: then its clock, from which the
 * counter starts, may have been set back. */
const struct node *nodes_see(struct nodes *all, const struct node *fresh, int64_t now);

/* Whether the node is probed at all. */
bool node_is_probed(const struct node *n);
/* Whether it owes an answer or was never asked, or its last heartbeat is older than late_ms. */
bool node_is_doubtful(const struct node *n, int64_t now, int64_t late_ms);
/* Notes a probe, of which there is one each every_ms, or a rarer one. That the node was silent before, for longer than
 * it would be if it had answered all of the former, says nothing: it owed no answer. */
void node_ask(struct node *n, int64_t now, int64_t every_ms);

/* Notes an answer to a probe. Returns the node if it became reachable by that, else NULL. */
const struct node *nodes_hear(struct nodes *all, int id, int64_t now);
/* Notes whether it had answered the probe before the last when that was sent: the script says so instead of each
 * answer, and if not, tells the next answer at once. Returns as nodes_hear(). */
const struct node *nodes_answered(struct nodes *all, int id, bool alive);
/* The next node that owes an answer, or is not probed, and has not answered for limit_ms, now marked unreachable; NULL
 * when there is none (more). */
const struct node *nodes_miss(struct nodes *all, int64_t now, int64_t limit_ms);

/* The next node that is now lost, marked so; NULL when there is none (more). */
const struct node *nodes_lose(struct nodes *all, int64_t now, int64_t ttl_ms);

/* Removes the next lost node whose record has not been read for limit_ms, and so has expired. Returns its id; 0 when
 * there is none (more). */
int nodes_leave(struct nodes *all, int64_t now, int64_t limit_ms);

/* Whether a node may be missing because the table was full within the last limit_ms. */
bool nodes_overflow(const struct nodes *all, int64_t now, int64_t limit_ms);

/* Removes that node, if it is in the table. */
void nodes_forget(struct nodes *all, int id);

/* Gives every node a full TTL from now on: after a time in which the store could not be read. */
void nodes_grace(struct nodes *all, int64_t now);
/* The same for answers: after a time in which no probe could be sent. */
void nodes_grace_probes(struct nodes *all, int64_t now);

/* The next node that is alive though its heartbeats ended, marked so; NULL when there is none (more). */
const struct node *nodes_hide(struct nodes *all, int64_t now, int64_t ttl_ms);

/* Notes that this incarnation's kamsyncd has answered barrier n. */
void nodes_here(struct nodes *all, int id, const char *inc, int64_t n);

const struct node *nodes_find(const struct nodes *all, int id);
/* Whether a node may be of a site of that name. */
bool node_is_site(const char *name);
/* Its state in words. */
const char *node_state(const struct node *n);
/* Whether transactions of that incarnation of the node are alive. */
bool node_is_alive(const struct node *n, const char *inc);

#endif
