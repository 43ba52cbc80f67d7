/* What daemon.c, serve.c and wiring.c share. */
#ifndef KAMSYNC_DAEMON_IMPL_H
#define KAMSYNC_DAEMON_IMPL_H

#include <uv.h>

#include "config.h"
#include "core/engine.h"
#include "hep/hep.h"
#include "http/http.h"
#include "io/control.h"
#include "io/evapi.h"
#include "io/store.h"
#include "readiness.h"

enum { SIGNALS = 5 };

struct daemon {
    uv_loop_t loop;
    struct config config;
    const char *path;
    struct engine *engine;
    struct evapi *evapi;
    struct store *store;
    struct control *control; /* NULL: none */
    struct http *http;       /* NULL: none */
    struct hep *hep;         /* NULL: none */
    uv_prepare_t prepare;
    uv_timer_t timer;
    uv_signal_t signals[SIGNALS];
    struct readiness readiness;
    int64_t started_ms; /* since 1970 */
    int64_t stop_ms;    /* when an orderly shutdown stops waiting; 0 while running */
    bool closed;
};

/* The engine's time: ms of the loop. */
static inline int64_t now(struct daemon *d)
{
    return (int64_t)uv_now(&d->loop);
}

/* ms since 1970; ctx is not used. */
int64_t wiring_wall(void *ctx);
/* What the engine asks of the world, by the sockets of that daemon. */
struct engine_io wiring_io(struct daemon *d);
/* Opens these sockets, whose input goes to the engine. 0, or negative when out of memory. */
int wiring_start(struct daemon *d);

/* Why this node should get no new calls; NULL: it should. */
const char *daemon_unready(struct daemon *d);
/* Serves HTTP, if it is configured. */
void daemon_start_http(struct daemon *d);

#endif
