/* What cluster.c and cluster_store.c share. */
#ifndef KAMSYNC_TEST_CLUSTER_IMPL_H
#define KAMSYNC_TEST_CLUSTER_IMPL_H

#include "cluster.h"

struct entry {
    struct entry *next;
    uint64_t seq;
    char *key, *value;
    int64_t ends_ms;
};

enum kind { APPLY_PUT, APPLY_GET, APPLY_CLAIM, APPLY_SCAN, APPLY_BEAT, APPLY_NODES, ANSWER, ANNOUNCE, FRAME, PACKET };

struct task {
    struct task *next;
    int64_t at;
    uint64_t seq;
    enum kind kind, of; /* of: what an answer answers */
    size_t site;
    unsigned epoch;
    char *key, *value;
    int64_t ttl_ms;
    uint64_t token, cursor;
    int status;
    json_t *json; /* names of a scan, records of nodes */
};

/* A task of that node, after the cluster's delay, and not before *not_before, which moves on to it. */
struct task *task_add(struct site *s, enum kind kind, int64_t *not_before, const char *key, const char *value);
void task_free(struct task *t);

struct entry *entry_find(const struct cluster *c, const char *key);
/* A question reaches the store; its answer reaches the node. */
void store_apply(struct cluster *c, struct task *t);
void store_answer(struct site *s, enum kind of, const struct task *t, bool failed);
/* The part of an engine's world that is the store. */
struct engine_io store_io(struct site *s);

#endif
