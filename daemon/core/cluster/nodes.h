/* The node table: every Kamailio of the cluster as its kamsyncd last described it.
 *
 * A node lives as long as its beats keep coming: each record carries a counter, and a node whose counter stands still
 * for the whole time to live, as seen by this node's own clock while the store could be read, is lost. So no two clocks
 * need agree, a record that Redis forgot is no death, and one late beat is none either. */
#ifndef KAMSYNC_NODES_H
#define KAMSYNC_NODES_H

#include <stdint.h>

#include "proof.h"

#define NODES_MAX 1024

struct node {
    int id; /* Kamailio's server_id */
    char name[64];
    char sip[80];              /* SIP address for handover */
    char inc[80];              /* incarnation of its Kamailio */
    int64_t beat;              /* counts up while its kamsyncd lives */
    bool up;                   /* its kamsyncd says that Kamailio is up */
    char proof[PROOF_LEN + 1]; /* of all above; "": none */
    bool lost;                 /* its beats ended, and it does not answer */
    bool reached;              /* its Kamailio answers our probes */
    bool unseen;               /* its beats ended, but it answers */
    int64_t seen_ms, heard_ms; /* last beat, last answer */
    int64_t read_ms;           /* when its record was last read, with a new beat or not */
    int64_t here;              /* the last roll-call that its kamsyncd answered */
};

struct nodes {
    struct node list[NODES_MAX];
    size_t count;
    int64_t full_ms; /* when there was last no room for one; 0: never */
};

/* A node's record as JSON text, proven with the secret, which the caller frees; NULL when memory is short. */
char *node_record(const struct node *n, const char *secret);

/* Reads a record. 0 or -EBADMSG. Whether it is proven is not asked. */
int node_read(struct node *n, struct span record);
/* Whether the record that was read so was made with that secret; false also when memory is short. */
bool node_is_proven(const struct node *n, const char *secret);

/* Takes what a record said at time now. The node of the table when that changes who it is or whether it can be used
 * (address, incarnation, up), else NULL. An older record than the one known changes nothing, unless the node was lost:
 * then its clock, from which the counter starts, may have been set back. */
const struct node *nodes_see(struct nodes *all, const struct node *fresh, int64_t now);

/* An answer to a probe came. The node when that makes it reached again, else NULL. */
const struct node *nodes_hear(struct nodes *all, int id, int64_t now);
/* The next node that has not answered for limit_ms, marked so; NULL when there is none (more). */
const struct node *nodes_miss(struct nodes *all, int64_t now, int64_t limit_ms);

/* The next node that is lost now, marked so; NULL when there is none (more). */
const struct node *nodes_lose(struct nodes *all, int64_t now, int64_t ttl_ms);

/* The next node that is lost and whose record has not been read for limit_ms, so that it has ended: it leaves the
 * table. Its id; 0 when there is none (more). */
int nodes_leave(struct nodes *all, int64_t now, int64_t limit_ms);

/* Whether there may be a node that is not in the table, since it was full that short a time ago. */
bool nodes_overflow(const struct nodes *all, int64_t now, int64_t limit_ms);

/* Takes that node out of the table, if it is there. */
void nodes_forget(struct nodes *all, int id);

/* Gives every node a full time to live from now on: after a time in which nothing could be read. */
void nodes_grace(struct nodes *all, int64_t now);
/* The same for answers: after a time in which nobody could be asked. */
void nodes_grace_probes(struct nodes *all, int64_t now);

/* The next node that lives though its beats have ended, marked so; NULL when there is none (more). */
const struct node *nodes_hide(struct nodes *all, int64_t now, int64_t ttl_ms);

/* That incarnation's kamsyncd has answered roll-call n. */
void nodes_here(struct nodes *all, int id, const char *inc, int64_t n);

const struct node *nodes_find(const struct nodes *all, int id);
/* Whether transactions of that node and incarnation are alive. */
bool node_is_alive(const struct node *n, const char *inc);

#endif
