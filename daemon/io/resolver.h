/* Names of hosts and their addresses. A look-up runs in libuv's threads and cannot be ended, so with a slow name server
 * it outlasts whoever asked: who has waited for long enough leaves, and takes the addresses that the name had before.
 * What comes later is there for the next one. Each name is looked up once at a time, however many ask, so that a slow
 * name server does not take all threads. */
#ifndef KAMSYNC_RESOLVER_H
#define KAMSYNC_RESOLVER_H

#include <uv.h>

#define ADDRESSES_MAX 16 /* of a name; the others are not tried */

struct addresses {
    char ip[ADDRESSES_MAX][64];
    size_t count;
};

struct resolver;
struct resolved_name;

/* One who asks. */
struct asker {
    void (*done)(struct asker *a, int status); /* 0 or an error of libuv; never from within resolver_ask() */
    void *data;
    struct resolved_name *name; /* what is waited for; NULL: nothing */
    struct asker *next;
};

/* NULL when out of memory. */
struct resolver *resolver_new(uv_loop_t *loop);
/* When nobody waits any more. */
void resolver_free(struct resolver *r);
/* 0, and then done() is called unless the asker leaves before; or a negative error of libuv. The asker stays the
 * caller's, who must not free it before one of these. */
int resolver_ask(struct resolver *r, const char *host, struct asker *a);
/* Nothing happens if it does not wait. */
void resolver_leave(struct asker *a);
/* What the last look-up that succeeded has found; NULL: nothing. Borrowed, until the next question. */
const struct addresses *resolver_known(const struct resolver *r, const char *host);

#endif
