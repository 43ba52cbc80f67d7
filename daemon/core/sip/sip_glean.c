/* Reads what it can of an INVITE that cannot be parsed whole, or of which the script reported only the beginning.
 * If Kamailio and libre disagree on a message, Kamailio has relayed it all the same: so nothing is rejected here. */
#include <stdio.h>
#include <string.h>

#include "sip.h"
#include "sip_head.h"
#include "sip_value.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trimmed(struct span s)
{
    for (; s.n && (is_blank(*s.p) || *s.p == '\r' || *s.p == '\n'); s.n--)
        s.p++;
    while (s.n && (is_blank(s.p[s.n - 1]) || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == '\n'))
        s.n--;
    return s;
}

/* The next line with its folded ones; one without an end of line may be truncated, and is not read. */
static bool cut(struct span *line, struct span *rest)
{
    const char *lf = rest->n ? memchr(rest->p, '\n', rest->n) : NULL, *end = lf ? rest->p + rest->n : NULL;

    while (lf && lf + 1 < end && is_blank(lf[1]))
        lf = memchr(lf + 1, '\n', (size_t)(end - lf - 1));
    if (!lf)
        return false;
    *line = (struct span){rest->p, (size_t)(lf - rest->p)};
    *rest = (struct span){lf + 1, (size_t)(end - lf - 1)};
    return true;
}

/* The first header of a name counts. */
static void take_header(struct sip_head *h, struct span line)
{
    const char *colon = memchr(line.p, ':', line.n);
    struct span name = trimmed((struct span){line.p, colon ? (size_t)(colon - line.p) : 0});
    struct span *value = name.n ? sip_head_value(h, name) : NULL;

    if (value && !value->n)
        *value = trimmed((struct span){colon + 1, line.n - (size_t)(colon + 1 - line.p)});
}

/* The second word of the first line. */
static struct span uri_of(struct span line)
{
    const char *space = memchr(line.p, ' ', line.n), *end;
    struct span rest = {0};

    if (space)
        rest = trimmed((struct span){space, line.n - (size_t)(space - line.p)});
    end = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
    return end ? (struct span){rest.p, (size_t)(end - rest.p)} : rest;
}

static void read_address(struct span *uri, struct span *tag, struct span value)
{
    struct sip_party party = {.uri = value};

    if (!sip_read_party(&party, value))
        party = (struct sip_party){.uri = value};
    *uri = party.uri;
    *tag = party.tag;
}

void sip_glean(struct sip_id *id, struct span msg)
{
    struct sip_head h = {0};
    struct sip_sequence seq;
    struct sip_hop hop;
    struct span line;

    for (bool first = true; cut(&line, &msg); first = false) {
        if (!trimmed(line).n)
            break;
        if (first)
            h.ruri = uri_of(trimmed(line));
        else
            take_header(&h, line);
    }
    *id = (struct sip_id){.ruri = h.ruri, .call_id = h.call_id};
    read_address(&id->from_uri, &id->from_tag, h.from);
    read_address(&id->to_uri, &id->to_tag, h.to);
    if (sip_read_sequence(&seq, h.cseq))
        id->cseq = seq.number;
    if (sip_read_hop(&hop, h.via)) {
        id->branch = hop.branch;
        id->sent_by = hop.sent_by;
    }
}
