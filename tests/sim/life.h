/* One life of a cluster, and what must be true of it. */
#ifndef KAMSYNC_SIM_LIFE_H
#define KAMSYNC_SIM_LIFE_H

#include "phones.h"

#define CALLS 60
#define WELL_MS 12000 /* after an accident: time enough for all to be settled */

struct life {
    uint64_t seed;
    size_t nodes; /* 0: three, or four in two sites */
    struct cluster *c;
    struct phones phones;
    const char *without;                    /* names of what does not happen, "": everything does */
    bool quiet;                             /* failures are expected, and not printed */
    int64_t sited_ms;                       /* from then on all nodes know the site of each */
    int64_t well_ms[SITES_MAX];             /* since when the node has had no trouble, */
    int64_t way_ms[SITES_MAX][MASTERS_MAX]; /* and none with its connection to that master */
    int64_t touch_ms[SITES_MAX]; /* since when it has heard and said all that it should, dead Kamailios excepted */
    bool fails_over;             /* its store does so often */
    bool contested[CALLS];       /* when the store forgot who has claimed it: two may have it from then on */
    size_t archived;             /* entries that have been looked at */
    unsigned entries[CALLS];
    int64_t lost_ms[CALLS];        /* since when its caller is, it says, and its far end still speaks; 0: not so */
    bool ended[CALLS];             /* its end stood in a store that has forgotten it, and all nodes knew */
    bool unanswered[CALLS];        /* it was answered, but a store that went back in time has it ringing again */
    bool alive[CALLS];             /* when all hung up */
    unsigned answers[CANCELS_MAX]; /* to each CANCEL, that have been looked at */
};

__attribute__((format(printf, 2, 3))) void complain(const struct life *l, const char *fmt, ...);

#define check(what, ...)                                                                                               \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            complain(l, __VA_ARGS__);                                                                                  \
            return false;                                                                                              \
        }                                                                                                              \
    } while (0)

/* Lives it; false when something was not as it should be. `broken`: as in struct cluster. */
bool life_live(struct life *l, int steps, const char *broken);

/* Far more CANCELs in one moment than may wait. */
bool life_storm(struct life *l);

/* Whether that is to happen at all (--without). */
bool happens(const struct life *l, const char *what);

/* stores.c: what kind of store it is; what befalls it, or the node's connections to it; one of its masters. */
void stores_begin(struct life *l);
void accident_of_the_store(struct life *l, size_t n);
void accident_of_a_master(struct life *l, size_t n, size_t master);
void masters_are_well(struct cluster *c);
void forget(struct life *l);
bool has_near(const struct life *l);
void accident_near(struct life *l, size_t n);
void move_unseen(struct life *l);

bool only_kamsyncds(const struct life *l);
unsigned dice(struct cluster *c, unsigned sides);

/* invariants.c: after each step; when all have long been well; and when everybody has hung up. */
bool holds_always(struct life *l);
bool holds_when_well(struct life *l);
bool holds_at_the_end(struct life *l);
bool all_answered(struct life *l);

/* Two may have it: the store has forgotten who does, from then on; or another node has routed its INVITE as well, and
 * there was no time yet to learn of the first. */
bool is_contested(const struct life *l, int call);
/* Whether the store says that the call's transaction still goes on: only then can anybody know of it. */
bool is_alive(struct life *l, int call);
bool is_known(struct cluster *c, int call);

#endif
