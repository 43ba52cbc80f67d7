/* The requests that an adoption sends: built from the caller's own, line by line, so that nothing else changes. */
#include "sip.h"

#include <stdio.h>

#include "count.h"
#include "sip_head.h"

const char *sip_header_end(const char *p, const char *end)
{
    const char *lf;

    do {
        lf = memchr(p, '\n', (size_t)(end - p));
        p = lf ? lf + 1 : end;
    } while (p < end && (*p == ' ' || *p == '\t'));
    return p;
}

bool sip_is_header(const char *p, const char *end, const char *name)
{
    size_t n = strlen(name);

    if ((size_t)(end - p) <= n || strncasecmp(p, name, n) != 0)
        return false;
    for (p += n; p < end && (*p == ' ' || *p == '\t'); p++)
        ;
    return p < end && *p == ':';
}

/* Copies headers and body without the Route headers. */
static char *copy_rest(char *out, const char *p, const char *end)
{
    while (p < end && *p != '\r' && *p != '\n') {
        const char *next = sip_header_end(p, end);

        if (!sip_is_header(p, end, "Route"))
            out = (char *)memcpy(out, p, (size_t)(next - p)) + (next - p);
        p = next;
    }
    return (char *)memcpy(out, p, (size_t)(end - p)) + (end - p);
}

char *sip_adopted(struct span request, const char *ruri, const char *via, const char *route, size_t *len)
{
    const char *end = request.p + request.n, *space = memchr(request.p, ' ', request.n);
    const char *lf = memchr(request.p, '\n', request.n);
    size_t size = request.n + strlen(ruri) + strlen(via) + (route ? strlen(route) : 0) + 64;
    char *out = space && lf && space < lf ? malloc(size) : NULL, *to = out;

    if (!out)
        return NULL;
    to += sprintf(to, "%.*s %s SIP/2.0\r\nVia: %s\r\n", (int)(space - request.p), request.p, ruri, via);
    if (route)
        to += sprintf(to, "Route: %s\r\n", route);
    to = copy_rest(to, lf + 1, end);
    *len = (size_t)(to - out);
    return out;
}

#define HEAD_MAX 2048

static bool tells_how_to_go_on(const char *p, const char *end)
{
    static const char *const names[] = {"Contact",         "m",       "WWW-Authenticate", "Proxy-Authenticate",
                                        "Unsupported",     "Accept",  "Accept-Encoding",  "Allow",
                                        "Accept-Language", "Require", "Min-Expires",      "Min-SE",
                                        "Retry-After",     "Reason",  "Warning",          "Error-Info"};

    for (size_t i = 0; i < COUNT(names); i++)
        if (sip_is_header(p, end, names[i]))
            return true;
    return false;
}

bool sip_is_head(const char *text)
{
    const char *p = text, *line = text, *end = text + strlen(text);

    for (; *line; line = p + 2) {
        bool folded = line > text && (*line == ' ' || *line == '\t');

        p = line + strcspn(line, "\r\n");
        if (p == line || strncmp(p, "\r\n", 2) != 0 || !(folded || tells_how_to_go_on(line, end)))
            return false;
    }
    return p > text && p - text < HEAD_MAX;
}

char *sip_reply_head(struct span reply)
{
    const char *end, *p, *next;
    char *out = reply.n ? malloc(HEAD_MAX) : NULL, *to = out;

    if (!out)
        return NULL;
    end = reply.p + reply.n;
    for (p = sip_header_end(reply.p, end); p < end && *p != '\r' && *p != '\n'; p = next) {
        next = sip_header_end(p, end);
        if (!tells_how_to_go_on(p, end))
            continue;
        if (next - p >= HEAD_MAX - (to - out))
            break;
        to = (char *)memcpy(to, p, (size_t)(next - p)) + (next - p);
    }
    *to = '\0';
    if (p < end && (*p == '\r' || *p == '\n') && strlen(out) == (size_t)(to - out) && sip_is_head(out))
        return out;
    free(out);
    return NULL;
}

char *sip_without(struct span request, enum sip_credentials name, size_t *len)
{
    const char *start = name == SIP_AUTHORIZATION ? "Authorization:" : "Proxy-Authorization:", *next;
    const char *end = request.p + request.n, *p = request.p;
    char *out = malloc(request.n + 1), *to = out;
    size_t n = strlen(start);

    for (; out && p < end && *p != '\r' && *p != '\n'; p = next) {
        next = sip_header_end(p, end);
        if ((size_t)(end - p) < n || memcmp(p, start, n) != 0)
            to = (char *)memcpy(to, p, (size_t)(next - p)) + (next - p);
    }
    if (!out)
        return NULL;
    to = (char *)memcpy(to, p, (size_t)(end - p)) + (end - p);
    *to = '\0';
    *len = (size_t)(to - out);
    return out;
}

char *sip_vias(struct span msg, size_t *len)
{
    const char *end = msg.p + msg.n, *p = msg.n ? sip_header_end(msg.p, end) : end, *next;
    char *out = malloc(msg.n + 1), *to = out;

    for (; out && p < end && *p != '\r' && *p != '\n'; p = next) {
        next = sip_header_end(p, end);
        if (sip_is_header(p, end, "Via") || sip_is_header(p, end, "v"))
            to = (char *)memcpy(to, p, (size_t)(next - p)) + (next - p);
    }
    *len = (size_t)(to - out);
    return out;
}
