/* Whether this node should get new calls: the ready file (ready_file) exists while it should, and its time is refreshed
 * every second, so that one whose kamsyncd is gone or hangs can be told. A drain file beside it exists while an
 * administrator has drained the node, so that a restart does not undo that. */
#ifndef KAMSYNC_READINESS_H
#define KAMSYNC_READINESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/engine.h"

struct readiness {
    char file[4096]; /* "": none */
    char drain_file[4096];
    bool ready;      /* the file exists */
    bool drained;    /* the node should get no new calls */
    bool wanted;     /* what was last tried: to have the file, or not */
    int failed;      /* errno of that try; 0: it succeeded */
    int64_t look_ms; /* time of the next check */
    int64_t up_ms;   /* since when Kamailio answers; 0: it does not */
    bool settled;    /* and whether this node has settled since, or was given up waiting for */
};

/* Removes a file left by an earlier kamsyncd. The drain file is beside the ready file; without one, beside
 * the control socket. */
void readiness_start(struct readiness *r, const char *ready_file, const char *control);
void readiness_drain(struct readiness *r, bool drained);
/* Call it before the two below with what may have changed. */
void readiness_see(struct readiness *r, const struct engine_status *s, int64_t now);
/* Why the node should get no new calls, a constant text; NULL: it should. stopping: an orderly shutdown has begun. */
const char *readiness_lack(const struct readiness *r, const struct engine_status *s, bool stopping);
/* Call it often: makes the file exist if the node should get new calls, and removes it otherwise. Refreshes its time,
 * or tries again what failed, every second. */
void readiness_show(struct readiness *r, bool wanted, int64_t now);

#endif
