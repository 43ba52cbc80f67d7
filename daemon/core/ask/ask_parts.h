/* State of the ask room in struct engine. */
#ifndef KAMSYNC_ASK_PARTS_H
#define KAMSYNC_ASK_PARTS_H

#include "engine.h"

struct inquiry;
struct question;
struct stray;

struct strays {
    struct stray *list, *by_id;
    size_t count, bytes;
};

#define ACTED_MAX 256 /* limit of CANCELs reported by their owners before they are seen here */

/* Recent CANCELs upon which their owners have acted (perhaps.c). */
struct acted {
    char *names[ACTED_MAX]; /* owned, a ring */
    int nodes[ACTED_MAX];   /* the node of each */
    size_t next;
};

/* Rate limit of requests sent to all (perhaps.c). */
struct perhaps {
    int64_t ahead_ms; /* until when the allowed messages are used up */
    struct acted acted;
};

/* In-dialog requests that the script asks about (dialog.c). */
struct questions {
    struct question *list;
    size_t count;
};

#endif
