/* How a store is named: one URL, read into its parts.
 *
 *     memory://
 *     redis://[[user][:password]@]host[:port][/database]                   rediss://… with TLS
 *     unix:///path/of/the/socket
 *     sentinel://[[user][:password]@]host[:port][,host[:port]…]/name[/database]   rediss+sentinel://… with TLS
 *     cluster://[[user][:password]@]host[:port][,host[:port]…]                  rediss+cluster://… with TLS
 *
 * User and password are percent-encoded, and are those for Redis itself: the Sentinels have options of their own. */
#ifndef KAMSYNC_STORE_NAME_H
#define KAMSYNC_STORE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define STORE_HOSTS_MAX 16
#define STORE_WORD_MAX 257 /* of a user or a password, as of what is read from a file */

enum store_kind { STORE_MEMORY, STORE_REDIS, STORE_SENTINEL, STORE_CLUSTER };

struct store_host {
    char name[256]; /* or its address */
    int port;
};

static inline bool store_host_eq(const struct store_host *a, const struct store_host *b)
{
    return a->port == b->port && strcmp(a->name, b->name) == 0;
}

struct store_name {
    enum store_kind kind;
    bool tls;
    struct store_host hosts[STORE_HOSTS_MAX]; /* of Redis itself; its Sentinels; or nodes of a cluster */
    size_t count;
    char path[104];  /* of a Unix socket, in place of hosts; "" for none */
    char master[64]; /* by which the Sentinels know it */
    char user[STORE_WORD_MAX], password[STORE_WORD_MAX];
    int db;
};

/* 0, or -EINVAL with why: the part that is wrong and a right example, never a password. */
int store_name_read(struct store_name *n, const char *url, char *why, size_t size);

/* A URL that store_name_read() has taken, as it may be shown: without user and password. Returns out. */
const char *store_name_show(char *out, size_t size, const char *url);

#endif
