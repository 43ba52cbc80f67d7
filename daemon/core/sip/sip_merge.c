/* The INVITE that a takeover sends again as the script had changed it. tm makes its Via branch of R-URI, Via, From, To,
 * Call-ID and CSeq, so these stay as they were received; changed From and To are put in by the script, or here. */
#include "sip.h"

#include <errno.h>
#include <stdio.h>

#include "count.h"
#include "sip_head.h"

static bool is_named(struct span header, const char *name, const char *compact)
{
    return sip_is_header(header, name) || (*compact && sip_is_header(header, compact));
}

/* All headers of that name. */
static char *put_all(char *to, struct span msg, const char *name, const char *compact)
{
    struct span header;

    sip_cut_header(&header, &msg);
    while (sip_cut_header(&header, &msg))
        if (is_named(header, name, compact))
            to = sip_put(to, header);
    return to;
}

static size_t count(struct span msg, const char *name)
{
    struct span header;
    size_t n = 0;

    sip_cut_header(&header, &msg);
    while (sip_cut_header(&header, &msg))
        n += sip_is_header(header, name);
    return n;
}

/* What stays as received. */
static const char *const names[][2] = {{"Via", "v"}, {"From", "f"}, {"To", "t"}, {"Call-ID", "i"}, {"CSeq", ""}};

/* COUNT(names): another header. */
static size_t name_of(struct span header)
{
    size_t i = 0;

    while (i < COUNT(names) && !is_named(header, names[i][0], names[i][1]))
        i++;
    return i;
}

/* Headers and body: each header that stays, at the place that the first one of that name has in what was sent. Without
 * the proxy's own Record-Route, which the script adds again, and without the Route set, which each branch has of its
 * own. NULL when one that stays is missing. */
static char *put_rest(char *to, struct span received, struct span sent)
{
    size_t before = count(received, "Record-Route"), all = count(sent, "Record-Route");
    size_t own = all > before ? all - before : 0, found = 0;
    bool seen[COUNT(names) + 1] = {false};
    struct span header;

    sip_cut_header(&header, &sent); /* the first line */
    while (sip_cut_header(&header, &sent)) {
        size_t i = name_of(header);

        if (i < COUNT(names) && !seen[i])
            to = put_all(to, received, names[i][0], names[i][1]);
        else if (i == COUNT(names) && sip_is_header(header, "Record-Route") && own > 0)
            own--;
        else if (i == COUNT(names) && !sip_is_header(header, "Route"))
            to = sip_put(to, header);
        found += i < COUNT(names) && !seen[i];
        seen[i] = true;
    }
    return found == COUNT(names) ? sip_put(to, sent) : NULL;
}

/* Whoever calls this frees what is in out in any case. */
static int merge(struct span *out, struct span received, struct span sent)
{
    char *start = malloc(received.n + sent.n + 1), *to = start;
    struct span rest = received, line;

    *out = (struct span){start, 0};
    if (!start)
        return -ENOMEM;
    if (sip_cut_header(&line, &rest))
        to = put_rest(sip_put(to, line), received, sent);
    if (!to)
        return -EBADMSG;
    *to = '\0';
    out->n = (size_t)(to - start);
    return 0;
}

/* False when out of memory. */
static bool keep_changed(char **out, struct span was, struct span is)
{
    *out = span_eq(was, is) ? NULL : span_dup(is);
    return *out || span_eq(was, is);
}

int sip_read_as_sent(struct sip_as_sent *as, struct span received, struct span sent)
{
    struct sip_head was, is;
    int rc = sip_head_read(&was, received);

    *as = (struct sip_as_sent){0};
    if (rc == 0)
        rc = sip_head_read(&is, sent);
    if (rc == 0)
        rc = merge(&as->req, received, sent);
    if (rc == 0 && !(keep_changed(&as->from, was.from, is.from) && keep_changed(&as->to, was.to, is.to)))
        rc = -ENOMEM;
    if (rc < 0)
        sip_as_sent_clear(as);
    return rc;
}

void sip_as_sent_clear(struct sip_as_sent *as)
{
    free((char *)as->req.p);
    free(as->from);
    free(as->to);
    *as = (struct sip_as_sent){0};
}

char *sip_readdressed(struct span request, const char *from, const char *to, size_t *len)
{
    size_t size = request.n + (from ? strlen(from) : 0) + (to ? strlen(to) : 0) + 32;
    char *out = malloc(size), *end = out;
    struct span header;

    if (out && sip_cut_header(&header, &request)) /* the first line, whose method may be "From:" for libre */
        end = sip_put(end, header);
    while (out && sip_cut_header(&header, &request)) {
        if (from && is_named(header, "From", "f"))
            end += sprintf(end, "From: %s\r\n", from);
        else if (to && is_named(header, "To", "t") && !memmem(header.p, header.n, ";tag=", 5))
            end += sprintf(end, "To: %s\r\n", to);
        else
            end = sip_put(end, header);
        from = is_named(header, "From", "f") ? NULL : from;
        to = is_named(header, "To", "t") ? NULL : to;
    }
    if (!out)
        return NULL;
    end = sip_put(end, request);
    *len = (size_t)(end - out);
    return out;
}
