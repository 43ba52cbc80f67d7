/* The requests that an adoption sends: made of the caller's own, line by line, so that nothing else changes. */
#include "sip.h"

#include <stdio.h>

/* The end of the header that begins at p: its line and the folded ones behind it. */
static const char *header_end(const char *p, const char *end)
{
    const char *lf;

    do {
        lf = memchr(p, '\n', (size_t)(end - p));
        p = lf ? lf + 1 : end;
    } while (p < end && (*p == ' ' || *p == '\t'));
    return p;
}

static bool is_route(const char *p, const char *end)
{
    size_t n = strlen("Route");

    if ((size_t)(end - p) <= n || strncasecmp(p, "Route", n) != 0)
        return false;
    for (p += n; p < end && (*p == ' ' || *p == '\t'); p++)
        ;
    return p < end && *p == ':';
}

/* Copies headers and body, without Route headers. */
static char *copy_rest(char *out, const char *p, const char *end)
{
    while (p < end && *p != '\r' && *p != '\n') {
        const char *next = header_end(p, end);

        if (!is_route(p, end))
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
