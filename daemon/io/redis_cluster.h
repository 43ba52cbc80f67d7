/* A Redis Cluster: a connection to each master, and the way of each command to the one that has its key's slot.
 *
 *     redis_cluster.c   who has which slot, the masters, and whether the store is up
 *     redis_route.c     commands: sent, and sent again where the cluster says
 *
 * The store comes up when all slots are served. Then it stays up while any master answers: a command whose slot nobody
 * serves fails at once, as in a store that is away, and others go on. When all slots are served again after that, or
 * other nodes have become the masters, it goes down and up: a replica may have missed something, so everything is
 * written again. */
#ifndef KAMSYNC_REDIS_CLUSTER_H
#define KAMSYNC_REDIS_CLUSTER_H

#include "redis_conn.h"
#include "redis_slots.h"

struct routed;

struct master {
    struct redis_conn conn; /* first; its data is the store */
    struct master *next;
    size_t slots;   /* how many it has */
    unsigned waits; /* commands that wait for it and are of a slot that it does not have yet */
    bool had;       /* slots, before the map changed */
};

struct slot {
    struct master *owner; /* NULL: nobody */
    struct master *at;    /* where `under` commands of it are under way, in the order of their sending */
    uint32_t under;
    struct routed *held; /* those that wait, or are under way elsewhere, in the order in which they came */
};

struct redis_cluster {
    struct redis *s;
    struct slot slots[SLOTS];
    struct master *masters; /* those with slots, and those that a slot is on its way to */
    /* Asks one node after the other for the map, on a connection for each question. */
    struct redis_conn scout;
    size_t next;         /* whom it asks */
    bool looking;        /* a question is under way */
    bool found;          /* it has been answered with a map */
    bool again;          /* the map may be wrong since: it is asked once more soon */
    bool whole;          /* all slots are served */
    bool listener_waits; /* for a master */
    bool doubt;          /* what was written may be lost */
    size_t failed;       /* questions in a row */
    bool said;           /* the log has it that no node answers */
    bool closing;
    /* redis_route.c */
    uv_timer_t timer;               /* while some are held */
    size_t held, kept;              /* how many; bytes of all commands under way */
    uint64_t numbered;              /* commands */
    unsigned changes, scan_changes; /* of who has what: now, and when the scan began */
    unsigned scanned;               /* the place of the master that is being scanned */
    bool scan_is_short;             /* one could not be */
};

/* NULL when out of memory. */
struct redis_cluster *redis_cluster_new(struct redis *s);
/* From now on each connection, and the timer, is one more that is open (struct redis). */
void redis_cluster_start(struct redis_cluster *cl);
/* Before the connections are closed; the memory is freed by redis_cluster_free(), when all are. */
void redis_cluster_close(struct redis_cluster *cl);
void redis_cluster_free(struct redis_cluster *cl);
/* Writes queued commands. */
void redis_cluster_flush(struct redis_cluster *cl);
/* For redis_conn.find of the listener: pub/sub goes through any node. Without one it waits for the first. */
void redis_cluster_find(struct redis_conn *c);
/* The map is wrong, or may be: it is asked for soon. */
void redis_cluster_look(struct redis_cluster *cl);
/* Makes that master the slot's owner. */
void redis_cluster_own(struct redis_cluster *cl, struct slot *slot, struct master *m);
/* The node of that address; NULL: there are too many, or memory is short. */
struct master *redis_cluster_master(struct redis_cluster *cl, const struct store_host *host);
/* The connection for commands to that address; NULL: it is no master. */
const struct redis_conn *redis_cluster_conn(const struct redis_cluster *cl, const struct store_host *host);
/* One that answers; NULL: none does. */
struct master *redis_cluster_any(const struct redis_cluster *cl);

/* redis_route.c: as redis_send() and redis_send_scan(). */
bool route_send(struct redis_cluster *cl, struct span key, struct buffer *command, redis_answer *fn, void *data);
bool route_scan(struct redis_cluster *cl, uint64_t cursor, const char *pattern, redis_answer *fn, void *data);
/* What to scan next, behind a master's own cursor. False: the scan is at its end and has missed a master. */
bool route_scanned(struct redis_cluster *cl, uint64_t *cursor);
void route_open(struct redis_cluster *cl);
/* A connection is ready: sends what may be sent. */
void route_release(struct redis_cluster *cl);
/* Ends all that wait: nobody answers them. */
void route_close(struct redis_cluster *cl);

#endif
