/* One request: what is refused, who answers it, and how the answer is sent.
 *
 *     the request line has come ▶ exchange_begin()
 *     its headers have come     ▶ exchange_go_on(): refused, or
 *     it is complete            ▶ exchange_go_on(): answered; or asked, and suspended until http_answer()
 *     resumed                   ▶ exchange_go_on(): answered
 *     sent, or gone             ▶ exchange_end() */
#include "http_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <utlist.h>

#include "count.h"
#include "page.h"
#include "routes.h"

#define JSON_TYPE "application/json"
#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8" /* Prometheus' */

/* What questions may cost: each one uses up so many ms, and for each ten rows one more; up to a second in advance. */
#define QUESTION_MS 20
#define ROWS_PER_MS 10
#define AHEAD_MS 1000

/* What comes with each answer. A browser lets the page run its own files only, and only ask here; nobody may frame or
 * embed an answer, take it for something else, or learn from where one came. Trusted types: no text becomes markup. */
static const char *const headers[][2] = {
    {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
    {MHD_HTTP_HEADER_X_CONTENT_TYPE_OPTIONS, "nosniff"},
    {MHD_HTTP_HEADER_X_FRAME_OPTIONS, "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
     "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"},
};

/* ---- sending ---- */

static int add(const char *p, size_t n, void *body)
{
    buffer_put(body, p, n);
    return 0;
}

/* In one line, in ASCII, so that whoever looks at it in a terminal sees no control characters. */
static void put_json(struct exchange *x, const json_t *json)
{
    json_dump_callback(json, add, &x->body, JSON_COMPACT | JSON_ENSURE_ASCII);
    buffer_text(&x->body, "\n");
}

static enum MHD_Result send_body(struct exchange *x, const char *type)
{
    struct MHD_Response *r;
    enum MHD_Result result;

    if (x->body.failed || !x->body.p)
        return MHD_NO; /* closes the connection */
    r = MHD_create_response_from_buffer(x->body.n, x->body.p, MHD_RESPMEM_MUST_FREE);
    if (!r)
        return MHD_NO;
    x->body = (struct buffer){0}; /* the response's now */
    MHD_add_response_header(r, "Content-Type", type);
    for (size_t i = 0; i < COUNT(headers); i++)
        MHD_add_response_header(r, headers[i][0], headers[i][1]);
    if (x->code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    if (x->code == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(r, "Retry-After", "1");
    x->http->figures.requests++;
    x->http->figures.refused += x->code >= MHD_HTTP_BAD_REQUEST;
    result = MHD_queue_response(x->connection, x->code, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result send_json(struct exchange *x, unsigned code, json_t *json)
{
    x->code = code;
    put_json(x, json);
    json_decref(json);
    return send_body(x, JSON_TYPE);
}

static enum MHD_Result refuse(struct exchange *x, unsigned code, const char *reason, const char *error)
{
    return send_json(x, code, json_pack("{s:b,s:s,s:s}", "ok", 0, "reason", reason, "error", error));
}

/* ---- what is refused at once ---- */

static const char *header(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* A page in a browser on this host may ask here by a name of its own that leads to 127.0.0.1, and read the answer. So a
 * loopback address is answered for by number or as localhost. */
static bool is_named_by_others(const struct exchange *x)
{
    const char *host = header(x, "Host");
    char name[64] = "";
    unsigned char number[sizeof(struct in6_addr)];
    int n = 0;

    if (!x->http->local || !host)
        return false;
    if (sscanf(host, "[%63[^]]]%n", name, &n) == 1 && n)
        return inet_pton(AF_INET6, name, number) != 1;
    return sscanf(host, "%63[^:]", name) != 1 ||
           (strcasecmp(name, "localhost") != 0 && inet_pton(AF_INET, name, number) != 1);
}

static bool has_body(const struct exchange *x)
{
    const char *length = header(x, "Content-Length");

    return header(x, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
}

/* Sends a refusal, or (MHD_YES) lets libmicrohttpd read on. */
static enum MHD_Result look(struct exchange *x, const char *method)
{
    x->seen = true;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return refuse(x, MHD_HTTP_METHOD_NOT_ALLOWED, "wrong", "only GET and HEAD are served here");
    if (has_body(x))
        return refuse(x, 413, "wrong", "a request has no body here");
    if (is_named_by_others(x))
        return refuse(x, MHD_HTTP_FORBIDDEN, "wrong", "ask for localhost, or by the address as a number");
    if (x->url_rc == -ENAMETOOLONG)
        return refuse(x, MHD_HTTP_URI_TOO_LONG, "wrong", "the URL has more than 4,095 characters");
    if (x->url_rc < 0)
        return refuse(x, MHD_HTTP_BAD_REQUEST, "wrong", "the URL is not well-formed");
    return MHD_YES;
}

/* ---- questions ---- */

static bool may_ask(struct http *h, const json_t *request)
{
    uint64_t now = uv_now(h->loop);

    if (h->ahead_ms > now + AHEAD_MS)
        return false;
    h->ahead_ms = (h->ahead_ms > now ? h->ahead_ms : now) + QUESTION_MS + (uint64_t)route_rows(request) / ROWS_PER_MS;
    return true;
}

static unsigned code_of(const json_t *answer)
{
    const char *reason = json_string_value(json_object_get(answer, "reason"));

    if (json_is_true(json_object_get(answer, "ok")))
        return MHD_HTTP_OK;
    if (reason && strcmp(reason, "absent") == 0)
        return MHD_HTTP_NOT_FOUND;
    return reason && strcmp(reason, "wrong") == 0 ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_SERVICE_UNAVAILABLE;
}

/* The answer to a question that waits, or that asks for one part of it. */
static void take_answer(struct exchange *x, const json_t *answer)
{
    json_t *part = x->part ? json_object_get(answer, x->part) : NULL;

    DL_DELETE(x->http->waiting, x);
    x->waiting = false;
    x->code = code_of(answer);
    if (part)
        part = json_pack("{s:b,s:O}", "ok", 1, x->part, part);
    put_json(x, part ? part : answer);
    json_decref(part);
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
    http_wake(x->http);
}

void http_answer(struct http *h, uint64_t client, json_t *answer)
{
    struct exchange *x = NULL;

    if (h)
        DL_SEARCH_SCALAR(h->waiting, x, id, client);
    if (x)
        take_answer(x, answer);
    json_decref(answer);
}

static enum MHD_Result ask(struct exchange *x, const struct route *r)
{
    struct http *h = x->http;
    const char *error;
    json_t *request = route_request(r, &x->url, &error);

    if (!request)
        return refuse(x, MHD_HTTP_BAD_REQUEST, "wrong", error);
    if (!may_ask(h, request)) {
        json_decref(request);
        return refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "busy", "too many questions: ask again in a second");
    }
    x->id = HTTP_CLIENT | ++h->last;
    x->part = r->part;
    x->waiting = true;
    DL_APPEND(h->waiting, x);
    h->on.request(h->on.ctx, x->id, request);
    json_decref(request);
    if (x->code)
        return send_body(x, JSON_TYPE);
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    return MHD_YES;
}

static enum MHD_Result say_ready(struct exchange *x)
{
    const char *why = x->http->on.unready(x->http->on.ctx);

    return send_json(x, why ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK,
                     json_pack("{s:b,s:s*}", "ok", !why, "reason", why));
}

static enum MHD_Result show(struct exchange *x, const struct page *p)
{
    x->code = MHD_HTTP_OK;
    buffer_put(&x->body, p->p, p->n);
    return send_body(x, p->type);
}

static enum MHD_Result carry_out(struct exchange *x)
{
    const struct route *r = route_find(&x->url);

    for (const struct page *p = page_files; p->path; p++)
        if (span_eq(x->url.path, span_of(p->path)))
            return show(x, p);
    if (!r)
        return refuse(x, MHD_HTTP_NOT_FOUND, "absent",
                      "there is nothing: /, /metrics, /healthz, /readyz, /v1/status, /v1/nodes, /v1/calls and so on");
    if (r->kind == ROUTE_QUESTION)
        return ask(x, r);
    if (r->kind == ROUTE_HEALTH)
        return send_json(x, MHD_HTTP_OK, json_pack("{s:b}", "ok", 1));
    if (r->kind == ROUTE_READY)
        return say_ready(x);
    x->code = MHD_HTTP_OK;
    x->http->on.metrics(x->http->on.ctx, &x->body);
    return send_body(x, TEXT_TYPE);
}

/* ---- libmicrohttpd's callbacks ---- */

void *exchange_begin(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct exchange *x = calloc(1, sizeof(*x));

    (void)connection;
    if (!x)
        return NULL;
    x->http = cls;
    x->url_rc = url_read(&x->url, uri);
    return x;
}

enum MHD_Result exchange_go_on(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_size, void **state)
{
    struct exchange *x = *state;

    (void)cls, (void)url, (void)version, (void)upload;
    if (!x)
        return MHD_NO; /* memory is short: closes the connection */
    x->connection = connection;
    *upload_size = 0;
    if (!x->seen)
        return look(x, method);
    return x->code ? send_body(x, JSON_TYPE) : carry_out(x);
}

void exchange_end(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct visit *v = info ? info->socket_context : NULL;
    struct exchange *x = *state;
    struct http *h = cls;

    (void)why;
    if (v)
        v->since_ms = uv_now(h->loop);
    if (x && x->waiting) /* only at the end: libmicrohttpd leaves it alone otherwise, and an answer always comes */
        DL_DELETE(h->waiting, x);
    if (x)
        free(x->body.p);
    free(x);
    *state = NULL;
}
