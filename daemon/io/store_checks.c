/* What may be wrong with Redis: a row each, for kamsyncctl doctor, from what redis_facts.c has seen. A Redis that does
 * not tell, as a managed one, is not at fault. */
#include <inttypes.h>
#include <stdio.h>

#include "count.h"
#include "finding.h"
#include "key.h"
#include "store.h"

#define FRESH_MS 60000 /* what was refused so lately would be so again */
#define BEHIND_MS 5000 /* in steps of a heartbeat */
#define FULL 80        /* per cent of the memory */

/* How it is named. */
static const char *where(const struct store_name *n, char *out, size_t size)
{
    if (*n->path)
        snprintf(out, size, "%s", n->path);
    else if (n->kind == STORE_SENTINEL)
        snprintf(out, size, "what the Sentinels call %s", n->master);
    else if (n->kind == STORE_CLUSTER)
        snprintf(out, size, "the cluster of %.60s:%d", n->hosts[0].name, n->hosts[0].port);
    else
        snprintf(out, size, "%.60s:%d", n->hosts[0].name, n->hosts[0].port);
    return out;
}

const char *store_advice(const char *error)
{
    static const struct {
        const char *error, *write;
    } known[] = {
        {"READONLY", "'store' must name the primary, not a replica"},
        {"MASTERDOWN", "'store' must name the primary, not a replica"},
        {"OOM", "give Redis memory (maxmemory), or trim the archive (cdr_max)"},
        {"MISCONF", "its disk is full or not writable: see its log"},
        {"NOREPLICAS", "its replicas are away (min-replicas-to-write)"},
        {"max number of clients", "more maxclients in redis.conf, or see who has so many connections (CLIENT LIST)"},
        {"DENIED", "by its protected-mode Redis takes other hosts only with a password: a user with the rights in "
                   "docs/security.md; redis_user and redis_password_file in kamsyncd.conf"},
        {"LOADING", "it reads its file: nothing, or see its log if that takes long"},
        {"BUSY", "somebody's script runs for too long in Redis: SCRIPT KILL"},
        {"AUTH", "redis_user and redis_password_file in kamsyncd.conf must be what Redis knows (ACL LIST)"},
        {"NOPERM", "docs/security.md has all rights, keys and channels"},
    };

    for (size_t i = 0; i < COUNT(known); i++)
        if (strstr(error, known[i].error))
            return known[i].write;
    return NULL;
}

static bool is_away(const struct store_facts *s, int64_t now, struct finding *f)
{
    const char *advice = store_advice(s->trouble);
    char at[120];

    (void)now;
    FINDING(f, "Redis (%s) is away%s%s: calls go on, but strays and dead nodes' calls are not looked up",
            where(&s->conf->name, at, sizeof(at)), *s->trouble ? ": " : "", s->trouble);
    WRITE(f, "%s",
          advice ? advice
                 : "start it; 'store' in kamsyncd.conf says where it is, and the firewall must let TCP there pass");
    return !s->ready;
}

/* What follows from a right that is missing has a row of its own. */
static bool refuses(const struct store_facts *s, int64_t now, struct finding *f)
{
    const char *advice = store_advice(s->refused);

    FINDING(f, "Redis refuses: %s", s->refused);
    WRITE(f, "%s", advice ? advice : "see Redis' log");
    return s->ready && *s->refused && now - s->refused_ms < FRESH_MS && strncmp(s->refused, "NOPERM", 6) != 0;
}

/* The other connection has lived on, so Redis and the way to it are well. */
static bool is_cut_off(const struct store_facts *s, int64_t now, struct finding *f)
{
    FINDING(f, "Redis has ended the connection for announcements alone: what nodes told this one meanwhile is lost");
    WRITE(f,
          "if it comes again: more client-output-buffer-limit pubsub in redis.conf, or a longer idle timeout of what "
          "is between");
    return s->ready && s->cut_off_ms && now - s->cut_off_ms < FRESH_MS;
}

static bool lacks_rights(const struct store_facts *s, int64_t now, struct finding *f)
{
    const char *user = *s->conf->login.user ? s->conf->login.user : "default";
    bool missing = *s->missing != '\0';

    FINDING(f, "user %s lacks rights in Redis: %s", user, missing ? s->missing : s->refused);
    WRITE(f, "ACL SETUSER %.64s %s (docs/security.md has all rights, keys and channels)", user,
          missing ? s->missing : "...");
    return s->ready && (missing || (strncmp(s->refused, "NOPERM", 6) == 0 && now - s->refused_ms < FRESH_MS));
}

static bool has_another_layout(const struct store_facts *s, int64_t now, struct finding *f)
{
    char name[KEY_SHORT_MAX];

    (void)now;
    FINDING(f,
            "the names in Redis are of layout %s, and this node's of layout %s: it finds none of the others' records",
            s->layout, key_layout());
    WRITE(f, "one kind of 'store' on all nodes, after the move in docs/redis-keys.md; then DEL %s",
          key_short(name, KEY_LAYOUT));
    return s->ready && *s->layout;
}

/* Only "noeviction" is right: it refuses writes, so that kamsyncd keeps its records, says so, and writes them when
 * there is room. Any other policy silently evicts records of live calls. */
static bool evicts(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "with a full memory Redis would throw records of live calls away");
    WRITE(f, "set maxmemory-policy noeviction, not %s", s->policy);
    return s->ready && *s->policy && strcmp(s->policy, "noeviction") != 0;
}

static bool is_nearly_full(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "Redis' memory is nearly full: %" PRId64 " of %" PRId64 " MB", s->used >> 20, s->limit >> 20);
    WRITE(f, "CONFIG SET maxmemory to more, or cdr_max to less: docs/operate.md, Sizing");
    return s->ready && s->limit > 0 && s->used > s->limit / 100 * FULL;
}

static bool cannot_save(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "Redis could not write to its disk the last time");
    WRITE(f, "see its log: is the disk full? By default it takes no writes then (MISCONF)");
    return s->ready && s->disk_fails;
}

static bool has_no_file(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "Redis keeps no append-only file: if it ends, the archive of ended calls is lost");
    WRITE(f, "appendonly yes in redis.conf, if the archive is your bill; all else the nodes write again");
    return s->ready && s->info && s->aof == 0;
}

static bool is_on_this_host(const struct store_facts *s)
{
    const char *host = s->conf->name.hosts[0].name;

    return *s->conf->name.path || strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           strncmp(host, "127.", 4) == 0;
}

static bool is_open(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "Redis asks no password, and is on another host: whoever reaches it is one of the cluster");
    WRITE(f, "a user with the rights in docs/security.md; redis_user and redis_password_file in kamsyncd.conf");
    return s->ready && !*s->conf->login.password && !is_on_this_host(s);
}

static bool is_in_clear(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "all goes to Redis in clear text");
    WRITE(f, "rediss:// in 'store', if Redis has TLS; else a network that nobody else can read");
    return s->ready && !s->conf->name.tls && !is_on_this_host(s);
}

static bool tells_nothing(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "what Redis does with a full memory, and what it keeps on disk, cannot be seen: %s", s->info_error);
    WRITE(f, "see to it yourself that maxmemory-policy is noeviction; or ACL SETUSER %s +info",
          *s->conf->login.user ? s->conf->login.user : "default");
    return s->ready && *s->info_error;
}

static bool near_is_away(const struct store_facts *s, int64_t now, struct finding *f)
{
    char at[120];

    (void)now;
    FINDING(f, "the near replica (%s) is away%s%s: all is asked of 'store'", where(&s->conf->near, at, sizeof(at)),
            *s->near.trouble ? ": " : "", s->near.trouble);
    WRITE(f, "start it; store_near, near_user and near_password_file in kamsyncd.conf say where it is, and who asks");
    return store_has_near(s->conf) && !s->near.ready;
}

static bool near_refuses(const struct store_facts *s, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "the near replica refuses: %s", s->near.refused);
    WRITE(f, "a user there with the rights in docs/security.md: the primary's users are not its own");
    return s->near.ready && *s->near.refused;
}

static bool near_is_behind(const struct store_facts *s, int64_t now, struct finding *f)
{
    bool known = s->near.lag_ms >= 0;

    (void)now;
    if (known)
        FINDING(f, "the near replica is %" PRId64 " s behind: what it says is of little use", s->near.lag_ms / 1000);
    else
        FINDING(f, "the near replica does not have the record of this node, or one that is minutes old");
    WRITE(f, "%s",
          known ? "INFO replication there and on the primary: the network between them, or too much to do"
                : "REPLICAOF there must name what 'store' names, and its link must be up (INFO replication)");
    return s->ready && s->near.ready && s->near.looked && (!known || s->near.lag_ms >= BEHIND_MS);
}

static const struct {
    const char *name;
    enum severity severity;
    bool (*wrong)(const struct store_facts *s, int64_t now, struct finding *f);
    size_t logged; /* its place in struct store_facts; 0: the log has it by other ways */
} checks[] = {
    {"redis", SEVERITY_ERROR, is_away, 0},
    {"redis_refuses", SEVERITY_ERROR, refuses, 0},
    {"redis_announcements", SEVERITY_WARNING, is_cut_off, 4},
    {"redis_rights", SEVERITY_ERROR, lacks_rights, 1},
    {"redis_layout", SEVERITY_ERROR, has_another_layout, 5},
    {"redis_policy", SEVERITY_WARNING, evicts, 2},
    {"redis_memory", SEVERITY_WARNING, is_nearly_full, 0},
    {"redis_disk", SEVERITY_WARNING, cannot_save, 0},
    {"redis_archive", SEVERITY_ADVICE, has_no_file, 0},
    {"redis_password", SEVERITY_ADVICE, is_open, 0},
    {"redis_tls", SEVERITY_ADVICE, is_in_clear, 0},
    {"redis_info", SEVERITY_ADVICE, tells_nothing, 3},
    {"near", SEVERITY_WARNING, near_is_away, 0},
    {"near_refuses", SEVERITY_WARNING, near_refuses, 0},
    {"near_behind", SEVERITY_WARNING, near_is_behind, 0},
};

void store_checks(const struct store_facts *s, int64_t now, int node, json_t *found)
{
    struct finding f;

    for (size_t i = 0; s->conf && i < COUNT(checks); i++)
        if (checks[i].wrong(s, now, &f))
            json_array_append_new(found, finding_json(node, checks[i].name, checks[i].severity, &f));
}

static void log_once(struct store *s, const struct finding *f, enum severity severity, char *said, size_t size)
{
    char line[sizeof(*f) + 16];

    if (strncmp(said, f->write, size - 1) == 0)
        return;
    snprintf(said, size, "%.*s", (int)size - 1, f->write);
    snprintf(line, sizeof(line), "%s: %s", f->what, f->write);
    s->on.log(s->on.ctx, severity == SEVERITY_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, line);
}

void store_checks_log(struct store *s)
{
    struct finding f;

    for (size_t i = 0; i < COUNT(checks); i++)
        if (checks[i].logged && checks[i].wrong(&s->facts, 0, &f))
            log_once(s, &f, checks[i].severity, s->facts.said[checks[i].logged - 1], sizeof(s->facts.said[0]));
}
