#include "config_impl.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "core/base/count.h"
#include "core/cluster/nodes.h"
#include "core/txn/key.h"
#include "core/link/proof.h"
#include "io/redis_tls.h"
#include "log.h"

#define SECRET_MIN 16
#define SECRET_MAX 256

/* Versions of clang-format differ on a body in braces. */
/* clang-format off */
#define TEXT(name, fallback, reload, help)                                                                             \
    {#name, KIND_TEXT, offsetof(struct config, name), fallback, 0, 0, reload, help}
#define NUMBER(name, fallback, min, max, help)                                                                         \
    {#name, KIND_NUMBER, offsetof(struct config, name), #fallback, min, max, true, help}
/* clang-format on */

const struct option config_options[] = {
    TEXT(kamailio, "127.0.0.1:8448", false, "address of Kamailio's evapi: numeric, on this host"),
    TEXT(store, "memory://", false,
         "memory:// for a single node without Redis; for a cluster redis://[[user][:password]@]host[:port][/database], "
         "unix:///path, sentinel://host[:port],host,host/name[/database] or cluster://host[:port],host,host; with TLS "
         "rediss://, rediss+sentinel:// or rediss+cluster://. "
         "User and password are percent-encoded, and better in options of their own"),
    TEXT(store_near, "", false,
         "a replica of 'store' beside this node, named likewise (redis://, rediss:// or unix://): is asked first "
         "about a CANCEL whose transaction this node does not have, if 'store' is far away; empty: none"),
    TEXT(cluster, KEY_CLUSTER, false,
         "the same on all nodes of a cluster, and in no other that shares its Redis or its secret: its names in Redis "
         "begin with it, and handovers are proven for it; up to 32 letters, digits, '_', '-', '.'"),
    TEXT(state_file, "", false,
         "with memory://: a file in which records, calls and the archive outlive kamsyncd; empty: they end with it"),
    TEXT(name, "", true, "what people call this node; empty: the host's name"),
    TEXT(site, "", true,
         "where this node stands, if the cluster has several sites: what a dead node had is taken over within its site "
         "first; up to 32 letters, digits, '_', '-', '.'; empty: the cluster has one site"),
    TEXT(secret_file, "", true,
         "file with the cluster's secret, 16 to 256 characters, which not all users may read: proves handovers; needed "
         "with Redis"),
    TEXT(old_secret_file, "", true, "file with the secret before or after, also believed while it is being changed"),
    TEXT(keys_file, "/run/kamsync/keys", false,
         "file that kamsyncd writes for its Kamailio, whose user must be allowed to read it (its group is kamsyncd's): "
         "what handovers are proven with, and by what each of the two knows the other"),
    TEXT(log_level, "info", true, "error, warn, info or debug"),
    TEXT(log_format, "text", true,
         "text, or json: each line is an object with time, level, name, node, text; about a "
         "call also call_id, about a stray also verdict and owner"),
    TEXT(redis_user, "", false, "Redis ACL user; empty: the default user"),
    TEXT(redis_password_file, "", false, "file with the Redis password, which not all users may read"),
    TEXT(redis_ca_file, "", false,
         "with TLS: file with the certificates (PEM) of who signs those of Redis and the Sentinels; empty: the "
         "system's"),
    TEXT(redis_cert_file, "", false, "with TLS: file with our own certificate (PEM), for a Redis that wants one"),
    TEXT(redis_key_file, "", false, "file with its key (PEM), which not all users may read"),
    TEXT(redis_server_name, "", false,
         "with TLS: the name that the certificates of Redis and the Sentinels are for; empty: the name or address that "
         "is connected to"),
    TEXT(sentinel_user, "", false, "ACL user of the Sentinels; empty: the default user"),
    TEXT(sentinel_password_file, "", false,
         "file with the Sentinels' password, which not all users may read; empty: they have none"),
    TEXT(near_user, "", false, "ACL user of the near replica; empty: the default user"),
    TEXT(near_password_file, "", false,
         "file with the near replica's password, which not all users may read; empty: it has none"),
    TEXT(control, "/run/kamsync/control.sock", false, "unix socket on which kamsyncctl asks; empty: none"),
    TEXT(http_listen, "", false,
         "port, or numeric address with port, for /metrics, /healthz, /readyz and /v1; a port alone is one of "
         "127.0.0.1. "
         "Whoever reaches it can read all calls; empty: no HTTP"),
    TEXT(hep, "", false,
         "numeric address with port of a HEP server (HOMER): gets each message that is handed over or taken over, and "
         "each decision about it, over UDP; empty: none"),
    TEXT(hep_password_file, "", false, "file with the password for that server, which not all users may read"),
    {"hep_id", KIND_NUMBER, offsetof(struct config, hep_id), "0", 0, UINT32_MAX, false,
     "capture id that the server knows this node by; 0: the node's id"},
    TEXT(ready_file, "", false,
         "a file that is there while this node should get calls: Kamailio answers, and it is not drained (SIGUSR2); "
         "its time is refreshed every second. Let your routing daemon withdraw the anycast address when it is gone, or "
         "old. That the node is drained outlives a restart, by a file beside it: its name and .drained"),
    {"redis_timeout_ms", KIND_NUMBER, offsetof(struct config, redis_timeout_ms), "1000", 100, 60000, false,
     "no answer from Redis for so long: connect again"},
    NUMBER(heartbeat_ms, 1000, 100, 60000, "how often this node tells the others that it lives"),
    NUMBER(node_ttl_ms, 3000, 300, 300000,
           "a node whose beats stay away for so long is lost; at least twice heartbeat_ms"),
    NUMBER(hang_ms, 1500, 200, 60000, "Kamailio acknowledges nothing for so long: it hangs, and counts as down"),
    NUMBER(lookup_ms, 200, 0, 280, "how long a stray whose record is not there waits for it"),
    NUMBER(store_wait_ms, 250, 10, 290, "a stray about which the store says nothing in this time takes the fallback"),
    NUMBER(
        caller_wait_ms, 5000, 0, 60000,
        "how long a caller whose connection (TCP, TLS, WebSocket) has ended with its node may take to come back; then "
        "his call ends"),
    NUMBER(tx_ttl_s, 300, 10, 86400, "life of a pending transaction's record; its owner renews it"),
    NUMBER(done_ttl_s, 32, 5, 3600, "life of the record of a transaction that is over"),
    NUMBER(tx_max_s, 900, 60, 86400, "a transaction that gets no final reply is given up after this"),
    NUMBER(txns_max, 500000, 1000, 10000000,
           "so many transactions are kept in memory, or 4 kB for each; further ones are not tracked: txns_shed"),
    NUMBER(call_max_s, 43200, 60, 604800, "a call that nobody ends is ended after this"),
    NUMBER(ended_ttl_s, 300, 32, 86400, "life of the record of a call that has ended"),
    {"cdr_max", KIND_NUMBER, offsetof(struct config, cdr_max), "100000", 0, 100000000, false,
     "so many ended calls, or a few more, are kept in the archive; 0: all"},
    NUMBER(claim_strict, 0, 0, 1,
           "with KAMSYNC_CLAIM in Kamailio: 1: each INVITE is claimed in the store before it is routed; 0: it is "
           "looked up"),
    NUMBER(takeover, 1, 0, 1,
           "1: take the transactions of a dead node over, and store each INVITE for that; 0: neither, but what it had "
           "promised is done: a CANCEL that it had accepted, a final reply that was not heard"),
};

#define OPTION_COUNT COUNT(config_options)

const size_t config_option_count = OPTION_COUNT;

struct reading {
    struct config *c;
    const char *path;
    char *why;
    size_t why_size;
    bool failed;
    bool open_to_all; /* the file itself */
};

static int fail(struct reading *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!r->failed)
        vsnprintf(r->why, r->why_size, fmt, ap);
    va_end(ap);
    r->failed = true;
    return 0; /* inih: stop parsing */
}

static char **text_at(const struct config *c, const struct option *o)
{
    return (char **)((char *)(uintptr_t)c + o->at);
}

static int64_t *number_at(const struct config *c, const struct option *o)
{
    return (int64_t *)((char *)(uintptr_t)c + o->at);
}

static bool set(struct config *c, const struct option *o, const char *value)
{
    char *end;

    if (o->kind == KIND_TEXT) {
        free(*text_at(c, o));
        *text_at(c, o) = strdup(value);
        return *text_at(c, o) != NULL;
    }
    errno = 0;
    *number_at(c, o) = strtoll(value, &end, 10);
    return !errno && *value && !*end && *number_at(c, o) >= o->min && *number_at(c, o) <= o->max;
}

static const struct option *find(const char *name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strcmp(config_options[i].name, name) == 0)
            return &config_options[i];
    return NULL;
}

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    const struct option *o = find(name);

    if (*section && strcmp(section, "kamsync") != 0)
        return fail(r, "%s: unknown section [%s]: use [kamsync] or none", r->path, section);
    if (!o)
        return fail(r, "%s: unknown option '%s' (kamsyncd --help lists all)", r->path, name);
    if (set(r->c, o, value))
        return 1;
    if (o->kind == KIND_NUMBER)
        return fail(r, "%s: %s must be a whole number from %lld to %lld, not '%s'", r->path, name, (long long)o->min,
                    (long long)o->max, value);
    return fail(r, "%s: %s: memory is short", r->path, name);
}

/* Opens the file for reading; NULL with the reason in errno (0: see reason()). Only regular files: a pipe or a terminal
 * might block a reload, and with it the daemon, for ever. */
static FILE *open_regular(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), why;
    struct stat st;
    FILE *f;

    if (fd < 0)
        return NULL;
    why = fstat(fd, &st) < 0 ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;
    if (!why && S_ISREG(st.st_mode)) {
        f = fdopen(fd, "r");
        if (f)
            return f;
        why = errno;
    }
    close(fd);
    errno = why;
    return NULL;
}

static const char *reason(void)
{
    return errno ? strerror(errno) : "not a regular file";
}

/* Also true for a file that only its folder keeps others out of: that may change. */
static bool is_open_to_all(FILE *f)
{
    struct stat st = {0};

    return fstat(fileno(f), &st) < 0 || (st.st_mode & S_IRWXO) != 0;
}

/* The file's first line without its end, of at most n - 1 bytes; "" when there is none. */
static void first_line(char *line, int n, FILE *f)
{
    if (!fgets(line, n, f))
        *line = '\0';
    line[strcspn(line, "\r\n")] = '\0';
}

/* The first line of a file without its end; "" when no file is named; NULL with why. */
static char *read_secret(struct reading *r, const char *option, const char *path)
{
    char line[SECRET_MAX + 3] = "";
    FILE *f = *path ? open_regular(path) : NULL;
    size_t n;

    if (*path && !f) {
        fail(r, "%s: cannot read '%s': %s", option, path, reason());
        return NULL;
    }
    if (f && is_open_to_all(f)) {
        fail(r, "%s: '%s' is open to all users of this host: chown kamsync and chmod 400", option, path);
        fclose(f);
        return NULL;
    }
    if (f) {
        first_line(line, sizeof(line), f);
        fclose(f);
    }
    n = strlen(line);
    if (*path && (n == 0 || n > SECRET_MAX)) {
        fail(r, "%s: '%s' must hold one line of 1 to %d characters", option, path, SECRET_MAX);
        return NULL;
    }
    return strdup(line);
}

/* Printable ASCII in one line is the same on all nodes, however it was written. */
static bool good_secret(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if (!isgraph((unsigned char)s[i]))
            return false;
    return n >= SECRET_MIN;
}

/* Makes clusters that share one secret reject each other's proofs: only the cluster of the default name uses
 * the secret itself as the key. False: out of memory. */
static bool make_own(char **secret, const char *cluster)
{
    char *own;

    if (!**secret || strcmp(cluster, KEY_CLUSTER) == 0)
        return true;
    own = proof_make(span_of("cluster"), span_of(cluster), *secret);
    free(*secret);
    *secret = own;
    return own;
}

static void check_secrets(struct reading *r)
{
    struct config *c = r->c;

    if (*c->secret && !good_secret(c->secret))
        fail(r, "secret_file: '%s' must hold at least %d printable characters without blanks", c->secret_file,
             SECRET_MIN);
    else if (*c->old_secret && !good_secret(c->old_secret))
        fail(r, "old_secret_file: '%s' must hold at least %d printable characters without blanks", c->old_secret_file,
             SECRET_MIN);
    else if (!*c->secret && c->clustered)
        fail(r, "secret_file is not set: nodes that share a Redis prove their handovers with a secret "
                "(make one: head -c 32 /dev/urandom | base64)");
}

static void read_secrets(struct reading *r)
{
    struct config *c = r->c;

    c->secret = read_secret(r, "secret_file", c->secret_file);
    c->old_secret = read_secret(r, "old_secret_file", c->old_secret_file);
    c->redis_password = read_secret(r, "redis_password_file", c->redis_password_file);
    c->sentinel_password = read_secret(r, "sentinel_password_file", c->sentinel_password_file);
    c->near_password = read_secret(r, "near_password_file", c->near_password_file);
    c->hep_password = read_secret(r, "hep_password_file", c->hep_password_file);
    if (!r->failed && (!c->secret || !c->old_secret || !c->redis_password || !c->sentinel_password ||
                       !c->near_password || !c->hep_password))
        fail(r, "memory is short");
    if (r->failed || !c->secret || !c->old_secret)
        return;
    check_secrets(r);
    if (!make_own(&c->secret, c->cluster) || !make_own(&c->old_secret, c->cluster))
        fail(r, "memory is short");
}

/* An address; or only a port, of 127.0.0.1. */
static bool read_listen(struct sockaddr_storage *out, const char *text)
{
    char local[32] = "";

    if (text[strspn(text, "0123456789")] || strlen(text) > 5)
        return address_read(out, text);
    snprintf(local, sizeof(local), "127.0.0.1:%s", text);
    return address_read(out, local);
}

/* Stands in the name, or in two options that begin so; each part in one place. */
static void check_login(struct reading *r, const char *what, const struct store_name *name, const char *prefix,
                        const char *user, const char *file)
{
    if (*name->user && *user)
        fail(r, "%s: %s names a user, and %s_user as well: leave one of them out", r->path, what, prefix);
    else if (*name->password && *file)
        fail(r, "%s: %s has a password, and %s_password_file is set as well: leave one of them out", r->path, what,
             prefix);
    else if (*name->password && r->open_to_all)
        fail(r,
             "%s: %s has a password, and the file is open to all users of this host: chmod 640 and chgrp kamsync, or "
             "keep it in %s_password_file",
             r->path, what, prefix);
    else if (name->kind != STORE_MEMORY && (*name->user || *user) && !*name->password && !*file)
        fail(r, "%s: %s has a user and no password: set %s_password_file", r->path, what, prefix);
}

/* A replica has the databases of its primary. */
static void check_near(struct reading *r)
{
    struct config *c = r->c;
    struct store_name *near = &c->redis.near;
    char why[600];

    if (!*c->store_near) {
        if (*c->near_user || *c->near_password_file)
            fail(r, "%s: near_user and near_password_file are for store_near, which is not set", r->path);
    } else if (store_name_read(near, c->store_near, why, sizeof(why)) < 0)
        fail(r, "%s: store_near: %s", r->path, why);
    else if (near->kind != STORE_REDIS)
        fail(r, "%s: store_near names one replica: redis://host:port, rediss://host:port or unix:///path", r->path);
    else if (c->redis.name.kind != STORE_REDIS && c->redis.name.kind != STORE_SENTINEL)
        fail(r, "%s: store_near is for a store like redis://192.0.2.100:6379 or sentinel://192.0.2.1/mymaster",
             r->path);
    else if (near->db && near->db != c->redis.name.db)
        fail(r, "%s: store_near names database %d, and store %d: leave it out, a replica has those of its primary",
             r->path, near->db, c->redis.name.db);
    else
        check_login(r, "store_near", near, "near", c->near_user, c->near_password_file);
}

static void check_store(struct reading *r)
{
    struct config *c = r->c;
    struct store_name *name = &c->redis.name;
    char why[600];
    int rc = store_name_read(name, c->store, why, sizeof(why));

    c->clustered = name->kind != STORE_MEMORY;
    if (rc < 0)
        fail(r, "%s: store: %s", r->path, why);
    else
        check_login(r, "store", name, "redis", c->redis_user, c->redis_password_file);
    if (*c->sentinel_user && !*c->sentinel_password_file)
        fail(r, "%s: sentinel_user is set and sentinel_password_file is not", r->path);
    else if (name->kind != STORE_SENTINEL && (*c->sentinel_user || *c->sentinel_password_file))
        fail(r, "%s: sentinel_user and sentinel_password_file are for a store like sentinel://192.0.2.1/mymaster",
             r->path);
}

/* The key proves who we are, as a secret does. */
static bool is_private(struct reading *r, const char *option, const char *path)
{
    FILE *f = *path ? open_regular(path) : NULL;

    if (*path && !f)
        fail(r, "%s: cannot read '%s': %s", option, path, reason());
    else if (f && is_open_to_all(f))
        fail(r, "%s: '%s' is open to all users of this host: chown kamsync and chmod 400", option, path);
    if (f)
        fclose(f);
    return !r->failed;
}

static void check_tls(struct reading *r)
{
    struct config *c = r->c;
    const bool set = *c->redis_ca_file || *c->redis_cert_file || *c->redis_key_file || *c->redis_server_name;
    const bool uses_tls = c->redis.name.tls || c->redis.near.tls;
    struct redis_tls *tls = NULL;
    char why[500];

    c->redis.tls =
        (struct redis_tls_conf){c->redis_ca_file, c->redis_cert_file, c->redis_key_file, c->redis_server_name};
    if (!uses_tls && set)
        fail(r,
             "%s: redis_ca_file, redis_cert_file, redis_key_file and redis_server_name are for TLS: a store like "
             "rediss://redis.example.com",
             r->path);
    else if (!*c->redis_cert_file != !*c->redis_key_file)
        fail(r, "%s: redis_cert_file and redis_key_file need each other", r->path);
    else if (uses_tls && is_private(r, "redis_key_file", c->redis_key_file)) {
        tls = redis_tls_new(&c->redis.tls, why, sizeof(why));
        if (!tls)
            fail(r, "%s: %s", r->path, why);
        redis_tls_free(tls);
    }
}

static void check_places(struct reading *r)
{
    struct config *c = r->c;

    if (!address_read(&c->kamailio_addr, c->kamailio))
        fail(r, "%s: kamailio '%s' is not a numeric address with port, like 127.0.0.1:8448", r->path, c->kamailio);
    else if (*c->http_listen && !read_listen(&c->http_addr, c->http_listen))
        fail(r, "%s: http_listen '%s' is neither a port nor a numeric address with port, like 127.0.0.1:9190", r->path,
             c->http_listen);
    else if (*c->hep && !address_read(&c->hep_addr, c->hep))
        fail(r, "%s: hep '%s' is not a numeric address with port, like 192.0.2.50:9060", r->path, c->hep);
    else
        check_store(r);
    if (!r->failed)
        check_near(r);
    if (!r->failed)
        check_tls(r);
}

/* The name goes into the node's record, which other nodes must be able to parse. */
static bool good_name(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if (!isprint((unsigned char)s[i]))
            return false;
    return n > 0 && n < 64;
}

static void fill_redis(struct config *c)
{
    c->redis.login = (struct redis_login){c->redis_user, c->redis_password};
    c->redis.sentinel_login = (struct redis_login){c->sentinel_user, c->sentinel_password};
    c->redis.near_login = (struct redis_login){c->near_user, c->near_password};
    c->redis.timeout_ms = c->redis_timeout_ms;
    c->redis.cdr_max = c->cdr_max;
}

static void check(struct reading *r)
{
    struct config *c = r->c;

    check_places(r);
    if (c->node_ttl_ms < 2 * c->heartbeat_ms)
        fail(r, "%s: node_ttl_ms (%lld) must be at least twice heartbeat_ms (%lld)", r->path, (long long)c->node_ttl_ms,
             (long long)c->heartbeat_ms);
    if (!key_is_cluster(c->cluster))
        fail(r, "%s: cluster must have 1 to %d letters, digits, '_', '-' or '.', not '%s'", r->path, KEY_CLUSTER_MAX,
             c->cluster);
    if (!*c->keys_file)
        fail(r, "%s: keys_file must name a file", r->path);
    if (!good_name(c->name))
        fail(r, "%s: name must have 1 to 63 printable ASCII characters", r->path);
    if (!node_is_site(c->site))
        fail(r, "%s: site must have up to %d letters, digits, '_', '-' or '.', not '%s'", r->path, KEY_CLUSTER_MAX,
             c->site);
    if (log_level_of(c->log_level) < 0)
        fail(r, "%s: log_level '%s' is none of error, warn, info, debug", r->path, c->log_level);
    if (strcmp(c->log_format, "text") != 0 && strcmp(c->log_format, "json") != 0)
        fail(r, "%s: log_format '%s' is neither text nor json", r->path, c->log_format);
    if (!r->failed)
        read_secrets(r);
    fill_redis(c);
}

static void read_file(struct reading *r)
{
    FILE *f = open_regular(r->path);
    int line;

    if (!f) {
        fail(r, "cannot read '%s': %s", r->path, reason());
        return;
    }
    r->open_to_all = is_open_to_all(f);
    line = ini_parse_file(f, on_pair, r);
    if (line)
        fail(r, "%s: line %d is not 'option = value'", r->path, line);
    fclose(f);
}

int config_read(struct config *c, const char *path, char *why, size_t why_size)
{
    struct reading r = {c, path ? path : "defaults", why, why_size, false, false};
    char host[64] = "node";

    *c = (struct config){0};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (!set(c, &config_options[i], config_options[i].fallback))
            fail(&r, "memory is short");
    if (!r.failed && path)
        read_file(&r);
    gethostname(host, sizeof(host) - 1);
    if (!r.failed && !*c->name && !set(c, find("name"), host))
        fail(&r, "memory is short");
    if (!r.failed)
        check(&r);
    if (r.failed)
        config_clear(c);
    return r.failed ? -1 : 0;
}

void config_clear(struct config *c)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (config_options[i].kind == KIND_TEXT)
            free(*text_at(c, &config_options[i]));
    free(c->secret);
    free(c->old_secret);
    free(c->redis_password);
    free(c->sentinel_password);
    free(c->near_password);
    free(c->hep_password);
    *c = (struct config){0};
}

const char *config_needs_restart(const struct config *old, const struct config *fresh)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &config_options[i];

        if (!o->reload && (o->kind == KIND_TEXT ? strcmp(*text_at(old, o), *text_at(fresh, o)) != 0
                                                : *number_at(old, o) != *number_at(fresh, o)))
            return o->name;
    }
    return NULL;
}
