/* The requests that an adoption sends: built from the caller's own, line by line, so that nothing else changes. */
#include "sip.h"

#include <stdio.h>

#include "count.h"
#include "sip_head.h"

/* Copies headers and body without the Route headers. */
static char *put_rest(char *to, struct span rest)
{
    struct span header;

    while (sip_cut_header(&header, &rest))
        if (!sip_is_header(header, "Route"))
            to = sip_put(to, header);
    return sip_put(to, rest);
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
    to = put_rest(to, (struct span){lf + 1, (size_t)(end - lf - 1)});
    *len = (size_t)(to - out);
    return out;
}

#define HEAD_MAX 2048

static bool tells_how_to_go_on(struct span header)
{
    static const char *const names[] = {"Contact",         "m",       "WWW-Authenticate", "Proxy-Authenticate",
                                        "Unsupported",     "Accept",  "Accept-Encoding",  "Allow",
                                        "Accept-Language", "Require", "Min-Expires",      "Min-SE",
                                        "Retry-After",     "Reason",  "Warning",          "Error-Info"};

    for (size_t i = 0; i < COUNT(names); i++)
        if (sip_is_header(header, names[i]))
            return true;
    return false;
}

bool sip_is_head(const char *text)
{
    const char *p = text, *line = text, *end = text + strlen(text);

    for (; *line; line = p + 2) {
        bool folded = line > text && (*line == ' ' || *line == '\t');

        p = line + strcspn(line, "\r\n");
        if (p == line || strncmp(p, "\r\n", 2) != 0 ||
            !(folded || tells_how_to_go_on((struct span){line, (size_t)(end - line)})))
            return false;
    }
    return p > text && p - text < HEAD_MAX;
}

char *sip_reply_head(struct span reply)
{
    char *out = malloc(HEAD_MAX), *to = out;
    struct span header;
    bool fits = true;

    if (!out)
        return NULL;
    sip_cut_header(&header, &reply); /* the first line */
    while (fits && sip_cut_header(&header, &reply)) {
        if (!tells_how_to_go_on(header))
            continue;
        fits = header.n < (size_t)(HEAD_MAX - (to - out));
        to = fits ? sip_put(to, header) : to;
    }
    *to = '\0';
    if (fits && reply.n && strlen(out) == (size_t)(to - out) && sip_is_head(out))
        return out;
    free(out);
    return NULL;
}

char *sip_without(struct span request, enum sip_credentials name, size_t *len)
{
    const char *start = name == SIP_AUTHORIZATION ? "Authorization:" : "Proxy-Authorization:";
    char *out = malloc(request.n + 1), *to = out;
    size_t n = strlen(start);
    struct span header;

    if (!out)
        return NULL;
    if (sip_cut_header(&header, &request)) /* the first line */
        to = sip_put(to, header);
    while (sip_cut_header(&header, &request))
        if (header.n < n || memcmp(header.p, start, n) != 0)
            to = sip_put(to, header);
    to = sip_put(to, request);
    *to = '\0';
    *len = (size_t)(to - out);
    return out;
}

char *sip_vias(struct span msg, size_t *len)
{
    char *out = malloc(msg.n + 1), *to = out;
    struct span header;

    sip_cut_header(&header, &msg); /* the first line */
    while (out && sip_cut_header(&header, &msg))
        if (sip_is_header(header, "Via") || sip_is_header(header, "v"))
            to = sip_put(to, header);
    *len = (size_t)(to - out);
    return out;
}
