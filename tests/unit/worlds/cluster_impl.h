/* What cluster.c and cluster_store.c share. */
#ifndef KAMSYNC_TEST_CLUSTER_IMPL_H
#define KAMSYNC_TEST_CLUSTER_IMPL_H

#include "cluster.h"

#define NEVER (INT64_MAX / 2)
#define BACKOFF_MS 250 /* a lost connection is there again so soon, if it can be */

struct entry {
    struct entry *next;
    uint64_t seq;
    char *key, *value; /* a call has no value, but: */
    json_t *fields;
    int64_t since_ms, until_ms, ends_ms; /* until_ms: when it was written over */
};

enum kind {
    APPLY_PUT,
    APPLY_GET,
    APPLY_CLAIM,
    APPLY_SCAN,
    APPLY_BEAT,
    APPLY_NODES,
    APPLY_CALL,
    APPLY_CALL_GET,
    APPLY_ARCHIVE,
    APPLY_TELL,
    ANSWER,
    ANNOUNCE,
    TOLD,
    FRAME,
    PACKET,
    NEAR,      /* a question to the near replica */
    CUT,       /* the node gives its connections up */
    JOIN,      /* it has a new one, */
    SUBSCRIBE, /* and one for announcements */
    CUT_WAY,   /* the node gives up its connection to one master; */
    JOIN_WAY,  /* it has that again */
    REOPEN     /* kamsyncd closes its link to Kamailio, and opens it again */
};

struct task {
    struct task *next; /* outside the heap */
    size_t place;      /* in it */
    int64_t at;
    uint64_t seq;
    enum kind kind, of; /* of: what an answer answers */
    size_t site;
    unsigned epoch;
    char *key, *value;
    int64_t ttl_ms;
    uint64_t token, cursor;
    int status;  /* of a packet: whether it never leaves its host */
    bool adrift; /* its connection is gone: nobody gets its answer */
    bool old;    /* it went to the store from before the failover */
    bool again;  /* it is an answer that has come already */
    bool failed; /* it is one that says nothing */
    size_t master;
    json_t *weak; /* of a call's fields those that go over nothing */
    json_t *json; /* names of a scan, records of nodes, fields of a call, entries of the archive */
    enum call_mode mode;
    bool first; /* the first write of a call */
    char *own;  /* call_write.tx */
    int node;   /* who writes to a call; who is told something */
};

/* cluster_tasks.c. A task of that node, after the cluster's delay, and not before *not_before, which moves on to it. */
struct task *task_add(struct site *s, enum kind kind, int64_t *not_before, const char *key, const char *value);
void task_free(struct task *t);
void task_insert(struct cluster *c, struct task *t);
void task_remove(struct cluster *c, struct task *t);
void task_move(struct cluster *c, struct task *t, int64_t at);
/* When the first one is due; takes it out. */
int64_t tasks_due(const struct cluster *c);
struct task *tasks_next(struct cluster *c);
/* Takes all out of which that is true, as a list in their order. */
struct task *tasks_take(struct site *s, bool (*is)(const struct site *s, const struct task *t, size_t master),
                        size_t master);
void tasks_free(struct cluster *c);
/* Puts a task that was taken out in again, to be done now. */
void task_again(struct cluster *c, struct task *t);

struct entry *entry_find(const struct cluster *c, const struct data *d, const char *key);
void entry_free(struct entry *x);
/* What stands in the store that the task goes to. */
struct data *data_of(struct cluster *c, const struct task *t);
void data_clear(struct data *d);
/* Whether the store takes no writes from that task's node. */
bool is_refused(const struct cluster *c, const struct task *t);
/* One of so many times; never when nothing is left to chance. */
bool one_in(struct cluster *c, unsigned times);
/* To all nodes that listen there, or to one. */
void store_publish(struct cluster *c, const struct task *t, enum kind kind, int node);
/* The node listens for announcements, from now on or in a moment; or no more. */
void store_listen(struct site *s);
void store_listen_not(struct site *s);
/* The node's ways to the masters: a fresh connection, what of it leads to the server from before. */
void ways_open(struct site *s);
void ways_close(struct site *s);
/* It gives its connections up, and has new ones in a moment. */
void store_leave(struct site *s);
/* Something will happen to the node's connection, or to the one to that master. */
struct task *plan(struct site *s, enum kind kind, int64_t in_ms, unsigned epoch);
void plan_way(struct site *s, enum kind kind, int64_t in_ms, size_t master);
void way_accident(struct site *s, const struct task *t);
int64_t up_to(struct cluster *c, int64_t ms);
/* What is under way to a master, or to all (MASTERS_MAX), gets no answer. */
void store_drop(struct site *s, size_t master);
/* The master that has the name; the way that a question takes; false: none, and its answer says nothing. */
size_t master_of(const struct cluster *c, const char *key);
bool cluster_is_torn(const struct cluster *c);
bool way_of(const struct site *s, enum kind kind, const char *key, size_t *master);
/* A question that is redirected: it arrives later than those asked after it. */
bool is_redirected(const struct cluster *c, const struct task *t);
/* Whether the task, which is done, is an answer that comes once more. */
bool store_again(struct cluster *c, struct task *t);
/* Something happens to the node's connection. */
void store_accident(struct site *s, const struct task *t);
/* A line of what happens, with CLUSTER_LOG=1 in the environment. */
__attribute__((format(printf, 2, 3))) void cluster_note(const struct site *s, const char *fmt, ...);
/* A question reaches the store; its answer reaches the node. */
void store_apply(struct cluster *c, struct task *t);
/* What a connection that broke had sent: it arrives, its answer does not. */
void store_apply_adrift(struct cluster *c, struct task *t);
void store_answer(struct site *s, enum kind of, const struct task *t, bool failed);
/* What a write does to a record, all of it: *record is NULL, or an object that it changes or makes; an entry that it
 * makes is appended to the archive, an array of [id, fields]. */
enum call_result model_write(json_t **record, json_t *archive, enum call_mode mode, int node, json_t *pairs,
                             json_t *weak, const char *dialog);
/* The entries that a reading of the archive gives, oldest first. */
json_t *model_archive(json_t *archive, const char *after, int count);
/* The same for a task, and its answer. cluster_calls.c */
void store_apply_call(struct cluster *c, struct task *t);
void store_answer_call(struct site *s, enum kind of, const struct task *t, bool failed);
void store_calls_io(struct engine_io *io);
struct task *store_ask(struct site *s, enum kind kind, const char *key, const char *value, int64_t ttl_ms,
                       uint64_t token);
struct task *store_answer_to(struct cluster *c, const struct task *t);
/* Writes a text, or (NULL) something without one. */
struct entry *entry_add(struct cluster *c, struct data *d, const char *key, const char *value, int64_t ttl_ms);

/* A node's own address, which is not the one that all share (192.0.2.10); the node that has it, 0: none. */
char *address_of(const struct site *s);
int node_at(const struct cluster *c, const char *address);

/* cluster_kamailio.c: a packet or a frame reaches Kamailio; what a hung one finds when it goes on. */
void to_kamailio(struct site *s, const struct task *t);
void read_inbox(struct site *s);
/* It begins a call; the reply to its INVITE goes to the kamsyncd. */
void kamailio_call(struct site *s, int call);
void kamailio_reply(struct site *s, int call, int code);
/* What it says to its kamsyncd: an event, and the branch and reply of a transaction; a stray, if it can be asked. */
void kamailio_event(struct site *s, const char *event);
/* cluster_probes.c: the way of route[KAMSYNC_PROBE]: what the acknowledgement of the probe says of the one before,
 * NULL: nothing. */
char *kamailio_probes(struct site *s, int id);
/* That node has answered. */
void kamailio_alive(struct site *s, int id);
char *kamailio_now(const struct site *s);
char *kamailio_branch(const struct site *s, const struct leg *k, const char *req, bool with_req);
char *kamailio_replied(const struct site *s, const struct leg *k, int code);
bool kamailio_stray(struct site *s, const char *msg);
/* tm has that transaction, though it may have ended. */
bool kamailio_has(const struct site *s, int call);
/* The far end's final reply comes to it, or it sends one on. */
void kamailio_final(struct site *s, int call, int code);
void kamailio_hear(struct site *s, struct heard h);
int call_of(const char *msg);
/* A packet from the network arrives in a moment. */
void arrive(struct cluster *c, size_t node, const char *msg);

/* The header of a handover, as it was taken off a message. */
struct handed {
    bool came;    /* there was one; */
    char why[16]; /* "": it was not good, or there was none: the message is one from the network */
    int from;
    char at[64];
};

/* route[KAMSYNC_HANDOVER], to a node that it knows; what makes one of the network unique. */
void hand_over(struct site *s, size_t to, const char *why, const char *at, const char *msg);
char *handover_at(struct site *s);

/* cluster_connections.c: the text, about that call, with its caller's connection in place of his address. */
char *connected_text(const struct cluster *c, int call, const char *text);
/* Its kamsyncd is asked about a final reply to that call. */
void final_is_asked(struct site *s, int call);
/* kamsyncd's own CANCEL, ACK or BYE reaches the far end, even from an isolated node: some seconds of trying are enough.
 */
void far_end_hears(struct site *s, const char *msg);

/* cluster_cancels.c: a CANCEL; whether it is another copy of one that was acted upon. */
void cancel_arrives(struct site *s, const struct handed *h, const char *msg);
bool cancel_is_seen(const struct site *s, const struct handed *h);

/* cluster_invites.c: INVITEs and their like; why: NULL, of the network; else what the header says. */
void invite_arrives(struct site *s, const char *why, const char *msg);
/* The number of the re-INVITE that the message is one of, or about; 0: it is about the call's first. */
int re_of(const char *msg);
void re_arrives(struct site *s, const char *why, const char *msg);
void re_taken_over(struct site *s, const char *msg, long long token);

/* cluster_near.c */
bool near_ask_replica(void *ctx, const char *key, uint64_t token);
void near_answers(struct site *s, const struct task *t);

/* The part of an engine's world that is the store. */
struct engine_io store_io(struct site *s);

#endif
