/* What http.c (the loop, connections) and exchange.c (one request and its answer) share. */
#ifndef KAMSYNC_HTTP_IMPL_H
#define KAMSYNC_HTTP_IMPL_H

#include <microhttpd.h>

#include "http.h"
#include "url.h"

/* One connection. */
struct visit {
    struct visit *prev, *next;
    struct MHD_Connection *connection;
    uint64_t since_ms; /* when it came, or its last answer was sent */
};

/* One request. */
struct exchange {
    struct exchange *prev, *next; /* of those that wait for an answer */
    struct http *http;
    struct MHD_Connection *connection;
    uint64_t id;
    bool seen;      /* its headers were looked at */
    bool waiting;   /* for http_answer() */
    bool suspended; /* libmicrohttpd leaves it alone meanwhile */
    int url_rc;     /* of url_read() */
    struct url url;
    const char *part; /* only that field of the answer is wanted; NULL: all of it */
    unsigned code;    /* of the answer; 0: there is none yet */
    struct buffer body;
};

struct http {
    uv_loop_t *loop;
    struct http_events on;
    struct MHD_Daemon *mhd;
    uv_poll_t poll;
    uv_timer_t timer;
    bool local; /* listens on a loopback address */
    bool woken; /* a suspended connection was resumed */
    bool closing;
    int open; /* handles */
    struct visit *visits;
    struct exchange *waiting;
    uint64_t last;     /* question */
    uint64_t ahead_ms; /* until when the allowed questions are used up */
    struct http_figures figures;
};

/* Lets libmicrohttpd work soon: without threads of its own it does not notice that a connection was resumed. */
void http_wake(struct http *h);

/* libmicrohttpd's callbacks. */
void *exchange_begin(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result exchange_go_on(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_size, void **state);
void exchange_end(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why);

#endif
