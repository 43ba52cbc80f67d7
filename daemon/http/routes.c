#include "routes.h"

#include <stdint.h>
#include <stdlib.h>

#include "base64.h"
#include "cdr_id.h"
#include "count.h"

#define ROWS_MAX 1000
#define DIGITS_MAX 9

static const struct route routes[] = {
    {"/healthz", ROUTE_HEALTH, NULL, false, NULL},
    {"/readyz", ROUTE_READY, NULL, false, NULL},
    {"/metrics", ROUTE_METRICS, NULL, false, NULL},
    {"/v1/status", ROUTE_QUESTION, "status", false, NULL},
    {"/v1/counters", ROUTE_QUESTION, "status", false, "counters"},
    {"/v1/nodes", ROUTE_QUESTION, "nodes", false, NULL},
    {"/v1/views", ROUTE_QUESTION, "views", false, NULL},
    {"/v1/calls", ROUTE_QUESTION, "calls", false, NULL},
    {"/v1/call/", ROUTE_QUESTION, "call", true, NULL},
    {"/v1/tx/", ROUTE_QUESTION, "tx", true, NULL},
    {"/v1/trace/", ROUTE_QUESTION, "trace", true, NULL},
    {"/v1/cdr", ROUTE_QUESTION, "cdr", false, NULL},
};

enum kind { KIND_TEXT, KIND_NUMBER, KIND_ROWS, KIND_ID };

static const struct {
    const char *cmd, *name;
    enum kind kind;
} parameters[] = {
    {"calls", "node", KIND_NUMBER}, {"calls", "state", KIND_TEXT}, {"calls", "caller", KIND_TEXT},
    {"calls", "callee", KIND_TEXT}, {"calls", "party", KIND_TEXT}, {"calls", "order", KIND_TEXT},
    {"calls", "limit", KIND_ROWS},  {"cdr", "count", KIND_ROWS},   {"cdr", "after", KIND_ID},
};

static bool leads_to(const struct route *r, struct span path)
{
    size_t n = strlen(r->path);

    return r->call_id ? path.n > n && strncmp(path.p, r->path, n) == 0 : span_eq(path, span_of(r->path));
}

const struct route *route_find(const struct url *u)
{
    for (size_t i = 0; i < COUNT(routes); i++)
        if (leads_to(&routes[i], u->path))
            return &routes[i];
    return NULL;
}

/* SIP may hold bytes that JSON cannot: these go as kamsyncctl sends them. */
static json_t *text_json(struct span s)
{
    json_t *text = json_stringn(s.p ? s.p : "", s.n);
    char *base64 = text ? NULL : base64_text(s);

    if (base64)
        text = json_pack("{s:s}", "base64", base64);
    free(base64);
    return text;
}

/* A number from least on; NULL if it is none. */
static json_t *number_json(struct span s, int64_t least, int64_t most)
{
    int64_t number = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || s.n > DIGITS_MAX)
            return NULL;
        number = 10 * number + s.p[i] - '0';
    }
    return s.n && number >= least && number <= most ? json_integer(number) : NULL;
}

static json_t *value_json(enum kind kind, struct span s, const char **error)
{
    json_t *value = NULL;
    struct cdr_id id;

    *error = "memory is short";
    if (kind == KIND_TEXT)
        return text_json(s);
    if (kind == KIND_NUMBER && !(value = number_json(s, 1, INT32_MAX)))
        *error = "'node' must be a number from 1";
    else if (kind == KIND_ROWS && !(value = number_json(s, 1, ROWS_MAX)))
        *error = "'limit' and 'count' must be from 1 to 1000";
    else if (kind == KIND_ID && !(value = cdr_id_read(&id, s) ? json_stringn(s.p, s.n) : NULL))
        *error = "'after' must be the id of an entry of the archive";
    return value;
}

/* Adds one argument to the request. */
static bool take(json_t *request, const char *cmd, const struct url_argument *a, const char **error)
{
    json_t *value = NULL;
    size_t i = 0;

    while (i < COUNT(parameters) &&
           (strcmp(parameters[i].cmd, cmd) != 0 || !span_eq(a->name, span_of(parameters[i].name))))
        i++;
    if (i == COUNT(parameters))
        *error = "an argument that is not known here: see proto/http.json";
    else if (json_object_get(request, parameters[i].name))
        *error = "an argument stands there twice";
    else if ((value = value_json(parameters[i].kind, a->value, error)))
        json_object_set_new(request, parameters[i].name, value);
    return value;
}

json_t *route_request(const struct route *r, const struct url *u, const char **error)
{
    json_t *request = json_pack("{s:s}", "cmd", r->cmd);
    size_t n = strlen(r->path);

    *error = "memory is short";
    if (r->call_id)
        json_object_set_new(request, "call_id", text_json((struct span){u->path.p + n, u->path.n - n}));
    for (size_t i = 0; i < u->count; i++) {
        if (!take(request, r->cmd, &u->arguments[i], error)) {
            json_decref(request);
            return NULL;
        }
    }
    return request;
}

int64_t route_rows(const json_t *request)
{
    const char *cmd = json_string_value(json_object_get(request, "cmd"));
    const char *name = strcmp(cmd, "calls") == 0 ? "limit" : strcmp(cmd, "cdr") == 0 ? "count" : NULL;
    const json_t *rows = name ? json_object_get(request, name) : NULL;

    return !name ? 0 : rows ? json_integer_value(rows) : 100;
}
