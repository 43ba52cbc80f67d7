/* What a store can say at once, kept until the loop's next turn: the engine that asks may be in the midst of a list,
 * and no answer comes before the call that asked has returned. */
#ifndef KAMSYNC_ANSWERS_H
#define KAMSYNC_ANSWERS_H

#include "store.h"

struct answer {
    void (*give)(struct store *s, const struct answer *a);
    uint64_t token;
    int status;
    void *data; /* owned, for free() */
    size_t n;   /* its length */
};

struct answers {
    struct store *store;
    uv_idle_t idle; /* active while some wait */
    struct answer *list;
    size_t count, size;
    void (*closed)(struct store *s);
};

/* -ENOMEM, or 0; then it has to be closed. */
int answers_init(struct answers *a, uv_loop_t *loop, struct store *s);
/* Forgets those that wait; closed() is called later. */
void answers_close(struct answers *a, void (*closed)(struct store *s));

/* Takes the data. */
void answers_add(struct answers *a, struct answer x);

/* The usual ones. Texts are copied; when there is no memory for that, the answer is that it failed. */
void answers_put_done(struct answers *a, bool ok);
void answers_got(struct answers *a, uint64_t token, enum get_status status, struct span record);
void answers_claimed(struct answers *a, uint64_t token, enum claim_status status, struct span holder);
void answers_call_written(struct answers *a, uint64_t token, enum call_result result);
/* A reading that failed. */
void answers_not_scanned(struct answers *a);
void answers_call_not_got(struct answers *a, uint64_t token);
void answers_no_call_keys(struct answers *a, uint64_t token);
void answers_not_archived(struct answers *a, uint64_t token);

#endif
