#include "store_name.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "count.h"
#include "span.h"

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
#define DIGITS "0123456789"

struct scheme {
    const char *name;
    enum store_kind kind;
    bool tls;
    int port; /* where none is named; 0: a Unix socket */
    const char *example;
};

static const struct scheme schemes[] = {
    {"memory", STORE_MEMORY, false, 0, "memory://"},
    {"redis", STORE_REDIS, false, 6379, "redis://192.0.2.100:6379"},
    {"rediss", STORE_REDIS, true, 6379, "rediss://redis.example.com:6379"},
    {"unix", STORE_REDIS, false, 0, "unix:///run/redis/redis.sock"},
    {"sentinel", STORE_SENTINEL, false, 26379, "sentinel://192.0.2.1,192.0.2.2,192.0.2.3/mymaster"},
    {"rediss+sentinel", STORE_SENTINEL, true, 26379,
     "rediss+sentinel://s1.example.com,s2.example.com,s3.example.com/mymaster"},
    {"cluster", STORE_CLUSTER, false, 6379, "cluster://192.0.2.1,192.0.2.2,192.0.2.3"},
    {"rediss+cluster", STORE_CLUSTER, true, 6379, "rediss+cluster://r1.example.com,r2.example.com,r3.example.com"},
};

struct reader {
    struct store_name *name;
    const struct scheme *scheme;
    char *why;
    size_t size;
    bool secret; /* there is an '@', so any part of the text may be one of a password: none is shown */
};

/* "<part> '<text>' <what is wrong with it>: write …". Always -EINVAL. */
static int wrong(struct reader *r, const char *part, struct span text, const char *what)
{
    const char *quote = text.n && !r->secret ? "'" : "";

    snprintf(r->why, r->size, "its %s %s%.*s%s%s%s, as in %s", part, quote,
             *quote ? (int)(text.n < 60 ? text.n : 60) : 0, *quote ? text.p : "", quote, *quote ? " " : "", what,
             r->scheme->example);
    return -EINVAL;
}

static struct span upto(struct span s, const char *any)
{
    size_t n = 0;

    while (n < s.n && !strchr(any, s.p[n]))
        n++;
    return (struct span){s.p, n};
}

static struct span after(struct span s, size_t n)
{
    return n < s.n ? (struct span){s.p + n, s.n - n} : (struct span){s.p + s.n, 0};
}

static bool only(struct span s, const char *chars)
{
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(chars, s.p[i]))
            return false;
    return s.n > 0;
}

/* Digits of a number up to most. */
static bool read_number(struct span s, long most, int *number)
{
    long n = 0;

    if (!only(s, DIGITS) || s.n > 10)
        return false;
    for (size_t i = 0; i < s.n; i++)
        n = n * 10 + (s.p[i] - '0');
    *number = (int)n;
    return n <= most;
}

/* The byte that two hex digits stand for, or -1. */
static int hex_pair(const char *p)
{
    const char digits[] = {p[0], p[1], '\0'};

    return isxdigit((unsigned char)p[0]) && isxdigit((unsigned char)p[1]) ? (int)strtol(digits, NULL, 16) : -1;
}

/* Percent-decoded. False: no two digits behind a '%', a line end or a NUL, or too long. */
static bool decode(char out[STORE_WORD_MAX], struct span s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int c = (unsigned char)s.p[i];

        if (c == '%') {
            c = i + 2 < s.n ? hex_pair(s.p + i + 1) : -1;
            i += 2;
        }
        if (c <= 0 || c == '\r' || c == '\n' || n == STORE_WORD_MAX - 1)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

static int read_login(struct reader *r, struct span s)
{
    struct span user = upto(s, ":"), password = after(s, user.n + 1);
    const char *what = "needs '%' before two hex digits only (a '%' itself is %25, '@' %40, ':' %3A, '/' %2F) and at "
                       "most 256 characters";

    if (!decode(r->name->user, user))
        return wrong(r, "user", user, what);
    if (!decode(r->name->password, password))
        return wrong(r, "password", password, what);
    return 0;
}

static int read_port(struct reader *r, struct span s, int *port)
{
    *port = r->scheme->port;
    if (!s.n)
        return 0;
    if (s.p[0] != ':' || !read_number(after(s, 1), 65535, port) || *port == 0)
        return wrong(r, "port", s.p[0] == ':' ? after(s, 1) : s, "must be a number from 1 to 65535");
    return 0;
}

static int read_address(struct reader *r, struct span s, struct store_host *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    struct span inner = upto(after(s, 1), "]");

    if (inner.n + 2 > s.n || inner.n >= sizeof(host->name))
        return wrong(r, "host", s, "lacks the ']' behind an IPv6 address, like [2001:db8::1]:6379");
    snprintf(host->name, sizeof(host->name), "%.*s", (int)inner.n, inner.p);
    if (inet_pton(AF_INET6, host->name, address) != 1)
        return wrong(r, "host", inner, "stands in brackets, so it must be an IPv6 address, like [2001:db8::1]");
    return read_port(r, after(s, inner.n + 2), &host->port);
}

/* "name", "192.0.2.1:6379", "[2001:db8::1]:6379" */
static int read_host(struct reader *r, struct span s, struct store_host *host)
{
    struct span name = upto(s, ":"), rest = after(s, name.n);

    if (!s.n)
        return wrong(r, "host", s, "is missing");
    if (s.p[0] == '[')
        return read_address(r, s, host);
    if (rest.n && memchr(rest.p + 1, ':', rest.n - 1))
        return wrong(r, "host", s, "has several colons: an IPv6 address stands in brackets, like [2001:db8::1]:6379");
    if (!only(name, NAME_CHARS) || name.n >= sizeof(host->name))
        return wrong(r, "host", name, "must be a name of letters, digits, '-', '.', '_', or an address");
    snprintf(host->name, sizeof(host->name), "%.*s", (int)name.n, name.p);
    return read_port(r, rest, &host->port);
}

static int read_hosts(struct reader *r, struct span s)
{
    struct store_name *n = r->name;
    struct span one;

    if (r->scheme->kind == STORE_REDIS && upto(s, ",").n < s.n)
        return wrong(r, "host", s,
                     "is a list: one Redis has one host, or a name of several addresses; for Sentinels "
                     "write sentinel://, for a Redis Cluster cluster://");
    for (;;) {
        one = upto(s, ",");
        if (n->count == STORE_HOSTS_MAX)
            return wrong(r, "list of hosts", s, "is longer than 16");
        if (read_host(r, one, &n->hosts[n->count]) < 0)
            return -EINVAL;
        n->count++;
        if (one.n == s.n)
            return 0;
        s = after(s, one.n + 1);
    }
}

/* "/name" of a Sentinel's master, then "/database" for all. */
static int read_path(struct reader *r, struct span s)
{
    struct store_name *n = r->name;
    struct span name = upto(after(s, 1), "/");

    if (n->kind == STORE_SENTINEL) {
        if (!only(name, NAME_CHARS) || name.n >= sizeof(n->master))
            return wrong(r, "name behind the hosts, by which Sentinels know the master,", name,
                         name.n ? "must have 1 to 63 letters, digits, '-', '.', '_'" : "is missing");
        snprintf(n->master, sizeof(n->master), "%.*s", (int)name.n, name.p);
        s = after(s, name.n + 1);
    }
    if (s.n <= 1)
        return 0;
    if (n->kind == STORE_CLUSTER)
        return wrong(r, "path", s, "must be empty: a Redis Cluster has one database");
    if (!read_number(after(s, 1), INT_MAX, &n->db))
        return wrong(r, "database", after(s, 1), "must be a number, behind the last '/'");
    return 0;
}

static int read_socket(struct reader *r, struct span s)
{
    if (!s.n || s.p[0] != '/')
        return wrong(r, "path", s, "must begin with '/', so that there are three");
    if (s.n >= sizeof(r->name->path))
        return wrong(r, "path", s, "is longer than 103 bytes, which the name of a Unix socket may have");
    snprintf(r->name->path, sizeof(r->name->path), "%.*s", (int)s.n, s.p);
    return 0;
}

static int read_rest(struct reader *r, struct span s)
{
    struct span authority = upto(s, "/"), login = upto(authority, "@"), rest = after(s, authority.n);

    if (upto(s, "?#").n < s.n)
        return wrong(r, "end", after(s, upto(s, "?#").n),
                     "must go: there are no parameters, but options of their own (kamsyncd --help); in a password '?' "
                     "is %3F and '#' is %23");
    if (r->scheme->kind == STORE_MEMORY)
        return s.n ? wrong(r, "name", s, "must be empty") : 0;
    if (r->scheme->port == 0)
        return read_socket(r, s);
    if (upto(rest, "@").n < rest.n)
        return wrong(r, "password", (struct span){0}, "has a '/', which must be written %2F");
    if (login.n == authority.n)
        login.n = 0;
    else if (upto(after(authority, login.n + 1), "@").n < authority.n - login.n - 1)
        return wrong(r, "password", (struct span){0}, "has an '@', which must be written %40");
    else if (read_login(r, login) < 0)
        return -EINVAL;
    else
        authority = after(authority, login.n + 1);
    return read_hosts(r, authority) < 0 ? -EINVAL : read_path(r, rest);
}

static const struct scheme *find_scheme(struct span s)
{
    for (size_t i = 0; i < COUNT(schemes); i++)
        if (span_eq(s, span_of(schemes[i].name)))
            return &schemes[i];
    return NULL;
}

/* All forms, for who has written none of them. */
static int no_scheme(struct reader *r)
{
    size_t n = (size_t)snprintf(r->why, r->size, "it begins with no known word: write one of");

    for (size_t i = 0; i < COUNT(schemes) && n < r->size; i++)
        n += (size_t)snprintf(r->why + n, r->size - n, "%s %s", i ? "," : "", schemes[i].example);
    return -EINVAL;
}

int store_name_read(struct store_name *n, const char *url, char *why, size_t size)
{
    const char *colon = strstr(url, "://");
    struct reader r = {.name = n, .why = why, .size = size, .secret = strchr(url, '@')};

    *n = (struct store_name){0};
    r.scheme = colon ? find_scheme((struct span){url, (size_t)(colon - url)}) : NULL;
    if (!r.scheme)
        return no_scheme(&r);
    n->kind = r.scheme->kind;
    n->tls = r.scheme->tls;
    return read_rest(&r, span_of(colon + 3));
}

const char *store_name_show(char *out, size_t size, const char *url)
{
    const char *colon = strstr(url, "://");
    struct span rest = span_of(colon ? colon + 3 : url), authority = upto(rest, "/"), login = upto(authority, "@");

    if (login.n < authority.n) /* a '@' behind that is one of a path */
        rest = after(rest, login.n + 1);
    snprintf(out, size, "%.*s%s", (int)(colon ? colon + 3 - url : 0), url, rest.p);
    return out;
}
