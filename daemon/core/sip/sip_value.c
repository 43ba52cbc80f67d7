#include "sip_value.h"

#include <ctype.h>

#include "plain.h"
#include "sip_head.h"

#define DIGITS_MAX 9 /* so that any number fits */

/* ---- plain values ---- */

/* What is left of s behind its first n bytes. */
static struct span after(struct span s, size_t n)
{
    return (struct span){s.n ? s.p + n : s.p, s.n - n};
}

static const char *find(struct span s, char c)
{
    return s.n ? memchr(s.p, c, s.n) : NULL;
}

/* s up to the first c, or all of it. */
static struct span until(struct span s, char c)
{
    const char *end = find(s, c);

    return (struct span){s.p, end ? (size_t)(end - s.p) : s.n};
}

/* A parameter's value in ";name=value;name…"; empty: none, or none with a value. */
static struct span param(struct span params, struct span name)
{
    while (params.n) {
        struct span one = until(after(params, 1), ';');

        if (one.n > name.n + 1 && one.p[name.n] == '=' && strncasecmp(one.p, name.p, name.n) == 0)
            return after(one, name.n + 1);
        params = after(params, 1 + one.n);
    }
    return (struct span){0};
}

static bool is_transport(struct span s)
{
    size_t i = 0;

    while (i < s.n && s.p[i] >= 'A' && s.p[i] <= 'Z')
        i++;
    return i && i == s.n;
}

/* "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1": one blank, and a branch. */
bool sip_plain_hop(struct sip_hop *hop, struct span value)
{
    static const char start[] = "SIP/2.0/";
    const size_t n = strlen(start);
    struct span transport, rest;

    if (value.n <= n || memcmp(value.p, start, n) != 0 || !plain_all(value))
        return false;
    transport = until(after(value, n), ' ');
    rest = after(value, n + transport.n);
    if (!is_transport(transport) || rest.n < 2 || rest.p[1] == ':')
        return false;
    rest = after(rest, 1);
    hop->sent_by = until(rest, ';');
    hop->branch = param(after(rest, hop->sent_by.n), (struct span)SPAN("branch"));
    return hop->sent_by.n && hop->branch.n && !find(rest, ' ');
}

/* Nothing, words, or a quoted text; blanks may follow. */
static bool is_plain_name(struct span name)
{
    if (!name.n || *name.p != '"')
        return plain_all(name);
    name = after(name, 1);
    name = after(name, plain_run(name)); /* from the quote that ends it */
    while (name.n > 1 && name.p[name.n - 1] == ' ')
        name.n--;
    return name.n == 1 && *name.p == '"';
}

/* A scheme, and a host that begins as one, be it a name or an address. */
static bool is_plain_uri(struct span uri)
{
    struct span scheme = until(uri, ':'), host = after(uri, scheme.n);

    if (!scheme.n || !host.n)
        return false;
    host = after(host, find(host, '@') ? until(host, '@').n + 1 : 1);
    return host.n && (isalnum((unsigned char)*host.p) || *host.p == '[');
}

/* "\"Alice\" <sip:alice@example.org>;tag=a1": no blanks but in and after the name. */
bool sip_plain_party(struct sip_party *party, struct span value)
{
    struct span name = until(value, '<'), rest = after(value, name.n), params;

    if (!rest.n || !is_plain_name(name) || !plain_all(rest) || find(rest, ' '))
        return false;
    party->uri = until(after(rest, 1), '>');
    params = after(rest, 1 + party->uri.n);
    if (!params.n || !is_plain_uri(party->uri))
        return false;
    params = after(params, 1);
    party->tag = param(params, (struct span)SPAN("tag"));
    return !params.n || *params.p == ';';
}

/* "1 INVITE". */
bool sip_plain_sequence(struct sip_sequence *seq, struct span value)
{
    size_t i = 0;

    seq->number = 0;
    for (; i < value.n && i < DIGITS_MAX && value.p[i] >= '0' && value.p[i] <= '9'; i++)
        seq->number = seq->number * 10 + (uint32_t)(value.p[i] - '0');
    if (i == 0 || i + 1 >= value.n || value.p[i] != ' ')
        return false;
    seq->method = after(value, i + 1);
    return plain_all(seq->method) && !find(seq->method, ' ');
}

/* ---- everything else ---- */

bool sip_any_hop(struct sip_hop *hop, struct span value)
{
    const struct pl pl = {value.p, value.n};
    struct sip_via via;

    if (!value.n || sip_via_decode(&via, &pl) != 0)
        return false;
    *hop = (struct sip_hop){sip_span(&via.sentby), sip_span(&via.branch)};
    return true;
}

bool sip_any_party(struct sip_party *party, struct span value)
{
    const struct pl pl = {value.p, value.n};
    struct sip_addr addr;
    struct pl tag = PL_INIT;

    if (!value.n || sip_addr_decode(&addr, &pl) != 0)
        return false;
    *party = (struct sip_party){.uri = sip_span(&addr.auri)};
    if (msg_param_decode(&addr.params, "tag", &tag) == 0)
        party->tag = sip_span(&tag);
    return true;
}

bool sip_any_sequence(struct sip_sequence *seq, struct span value)
{
    const struct pl pl = {value.p, value.n};
    struct sip_cseq cseq;

    if (!value.n || sip_cseq_decode(&cseq, &pl) != 0)
        return false;
    *seq = (struct sip_sequence){cseq.num, sip_span(&cseq.met)};
    return true;
}

bool sip_read_hop(struct sip_hop *hop, struct span value)
{
    return sip_plain_hop(hop, value) || sip_any_hop(hop, value);
}

bool sip_read_party(struct sip_party *party, struct span value)
{
    return sip_plain_party(party, value) || sip_any_party(party, value);
}

bool sip_read_sequence(struct sip_sequence *seq, struct span value)
{
    return sip_plain_sequence(seq, value) || sip_any_sequence(seq, value);
}
