/* The world around one engine, driven by an input: it keeps what the engine asks of the store until the input answers,
 * and holds the engine to what it promises: whole frames to Kamailio, clean log lines, one answer to each question,
 * bounded queues. */
#ifndef KAMSYNC_FUZZ_WORLD_H
#define KAMSYNC_FUZZ_WORLD_H

#include "engine.h"
#include "fuzz.h"

#define WORLD_EPOCH 1800000000000
#define WAITS_MAX 256
#define CLIENTS_MAX 32

/* Questions to the store that are not answered yet; should there be too many, the oldest ones never are. */
struct waits {
    struct wait {
        char *key;
        uint64_t token;
    } list[WAITS_MAX];
    size_t count;
};

struct world {
    struct engine *e;
    int64_t now;
    struct waits puts, gets, claims, writes, readings, listings, archives;
    bool scanning, linked, stored;
    int64_t unacked[WAITS_MAX]; /* frames that Kamailio has got */
    size_t unacked_count;
    char *kept[8][2]; /* the records written last: key and value */
    size_t kept_next;
    unsigned asked[CLIENTS_MAX], answered[CLIENTS_MAX]; /* how often by each client, and how often it was answered */
    char *answer;                                       /* the last one */
};

/* An engine with its default settings, or (strict) with those that do more; both links are away. */
struct world *world_new(bool strict);
/* The same, a copy of one that was made so; Kamailio has said hello as node 1, the store is there, and nodes 2 and 3
 * are up. */
struct world *world_ready(bool strict);
void world_free(struct world *w);

/* One turn of the loop: the tick when it is due, the flush, and a look at the bounds. */
void world_turn(struct world *w);
void world_pass(struct world *w, int64_t ms);
/* Three seconds, after which all that was asked is answered: the first moment is lived through, then few ticks do. */
void world_wait(struct world *w);

/* Kamailio says so: one frame. */
void world_say(struct world *w, const char *text);
/* Its hello, which is good. */
void world_hello(struct world *w, unsigned node, const char *inc);
/* It acknowledges all frames that it has got, but for that one of them. */
void world_ack(struct world *w, size_t but);
void world_node(struct world *w, int id, long beat, const char *inc, bool up);
void world_link(struct world *w, bool up);
/* When it goes, all that it was asked fails first, as with Redis. */
void world_store(struct world *w, bool up);
void world_ask(struct world *w, const char *json, unsigned client);

/* Takes one of those that wait; false when there is none. The key is the caller's. */
bool world_take(struct waits *all, unsigned which, struct wait *out);

#endif
