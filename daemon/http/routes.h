/* What is served: from a URL to what is wanted (proto/http.json). A new path is one row of the table in routes.c. */
#ifndef KAMSYNC_ROUTES_H
#define KAMSYNC_ROUTES_H

#include <jansson.h>

#include "url.h"

enum route_kind { ROUTE_HEALTH, ROUTE_READY, ROUTE_METRICS, ROUTE_QUESTION };

struct route {
    const char *path;
    enum route_kind kind;
    const char *cmd;  /* (ROUTE_QUESTION) the command of proto/control.md; nothing here changes anything */
    bool call_id;     /* the rest of the path is a Call-ID */
    const char *part; /* only this field of the answer; NULL: all of it */
};

/* NULL when nothing is there. */
const struct route *route_find(const struct url *u);
/* The request of proto/control.md; NULL with one sentence in *error. The caller derefs it. */
json_t *route_request(const struct route *r, const struct url *u, const char **error);
/* How many rows such a request may be answered with; 0: only a few. */
int64_t route_rows(const json_t *request);

#endif
