/* Answers that a store has at once, kept until the loop's next turn: the engine may be in the midst of a list, and
 * no answer comes before the call that asked has returned. */
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

/* -ENOMEM, or 0: then it has to be closed. */
int answers_init(struct answers *a, uv_loop_t *loop, struct store *s);
/* Drops the waiting answers; closed() is called later. */
void answers_close(struct answers *a, void (*closed)(struct store *s));

/* Takes ownership of the data. */
void answers_add(struct answers *a, struct answer x);

/* Common answers. Texts are copied; if out of memory, the answer is a failure. */
void answers_put_done(struct answers *a, uint64_t token, enum put_status status, struct span record);
void answers_got(struct answers *a, uint64_t token, enum get_status status, struct span record);
void answers_claimed(struct answers *a, uint64_t token, enum claim_status status, struct span holder);
void answers_call_written(struct answers *a, uint64_t token, enum call_result result);
/* A failed scan. */
void answers_not_scanned(struct answers *a);
void answers_call_not_got(struct answers *a, uint64_t token);
void answers_no_call_keys(struct answers *a, uint64_t token);
void answers_not_archived(struct answers *a, uint64_t token);

#endif
