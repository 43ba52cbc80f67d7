/* What the room ask keeps in struct engine. */
#ifndef KAMSYNC_ASK_PARTS_H
#define KAMSYNC_ASK_PARTS_H

#include "engine.h"

struct inquiry;
struct question;
struct stray;

struct strays {
    struct stray *list, *by_token;
    size_t count, bytes;
};

#define ACTED_MAX 256 /* CANCELs at once that may be reported by their owner before they are here */

/* CANCELs upon which their owners have acted, of late (perhaps.c). */
struct acted {
    char *names[ACTED_MAX]; /* owned, a ring */
    int nodes[ACTED_MAX];   /* who has, each */
    size_t next;
};

/* What is given to all (perhaps.c). */
struct perhaps {
    int64_t ahead_ms; /* up to when the messages that may be are spoken for */
    struct acted acted;
};

/* Requests within a call that the script asks about (dialog.c). */
struct questions {
    struct question *list;
    size_t count;
};

#endif
