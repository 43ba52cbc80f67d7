/* Whether this node should get new calls: a file that is there while it should (ready_file), and one beside it that is
 * there while somebody has drained the node, so that a restart does not undo that. */
#ifndef KAMSYNC_READINESS_H
#define KAMSYNC_READINESS_H

#include <stdbool.h>
#include <stdint.h>

struct readiness {
    char file[4096]; /* "": none */
    char drain_file[4096];
    bool ready;      /* the file is there */
    bool drained;    /* no new calls, please */
    bool wanted;     /* what was last tried: that the file is there, or not; */
    int failed;      /* and why that went wrong, as errno; 0: it did not */
    int64_t look_ms; /* when it is looked at again */
};

/* Removes a file that an earlier kamsyncd left behind. The drain file stands beside the ready file; without one, beside
 * the control socket. */
void readiness_start(struct readiness *r, const char *ready_file, const char *control);
void readiness_drain(struct readiness *r, bool drained);
/* To be called often: sees to it that the file is there if the node is well and not drained, else not. What went wrong
 * is tried again every second. */
void readiness_show(struct readiness *r, bool well, int64_t now);

#endif
