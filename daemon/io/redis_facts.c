/* Looks at Redis, on each connection and now and then, for kamsyncctl doctor (store_checks.c): what it does when its
 * memory is full, whether it keeps anything on disk, and what this user may do. INFO has it as well as CONFIG GET, for
 * which nobody should have the right. */
#include <stdio.h>
#include <stdlib.h>

#include "ascii.h"
#include "redis_impl.h"

#define LOOK_MS 10000

/* What kamsyncd does (docs/security.md): the right, and a command that needs it. */
static const char needed[] =
    "ping ping\ninfo info\nset set K x\nget get K\nsadd sadd K x\nsrem srem K x\n"
    "smembers smembers K\nexpire expire K 1\nscan scan 0\npublish publish C x\n"
    "subscribe subscribe C\nscript|load script load x\nevalsha evalsha x 0\neval eval x 0\n"
    "getrange getrange K 0 1\nhgetall hgetall K\nhmget hmget K x\nhset hset K x y\n"
    "hsetnx hsetnx K x y\npexpire pexpire K 1\npttl pttl K\nappend append K x\nxadd xadd K * x y\nxrange xrange K - +\n"
    "xrevrange xrevrange K + -\n";
/* And in a cluster. */
static const char needed_in_cluster[] =
    "time time\nxinfo|stream xinfo stream K\ncluster|slots cluster slots\nasking asking\n";

/* The value of that field in INFO's text, of up to size - 1 bytes; "" when it is missing, as with a server that is no
 * Redis. */
static void read_field(char *out, size_t size, const char *info, const char *field)
{
    const char *at = strstr(info, field);
    int n = at ? (int)strcspn(at += strlen(field), "\r\n") : 0;

    snprintf(out, size, "%.*s", n, at ? at : "");
    ascii_clean(out);
}

static int64_t read_count(const char *info, const char *field)
{
    char text[32];

    read_field(text, sizeof(text), info, field);
    return *text ? strtoll(text, NULL, 10) : -1;
}

void redis_read_info(struct store_facts *f, const char *info)
{
    char last[8];

    read_field(f->policy, sizeof(f->policy), info, "maxmemory_policy:");
    f->used = read_count(info, "used_memory:");
    f->limit = read_count(info, "maxmemory:");
    f->aof = (int)read_count(info, "aof_enabled:");
    read_field(last, sizeof(last), info, "rdb_last_bgsave_status:");
    f->disk_fails = strcmp(last, "err") == 0;
    read_field(last, sizeof(last), info, "aof_last_write_status:");
    f->disk_fails = f->disk_fails || strcmp(last, "err") == 0;
}

static void on_info(struct redis *s, const redisReply *r, void *data)
{
    struct store_facts *f = &s->store.facts;

    (void)data;
    if (!r)
        return;
    f->info = r->type == REDIS_REPLY_STRING;
    snprintf(f->info_error, sizeof(f->info_error), "%s", redis_is_error(r) ? r->str : "");
    ascii_clean(f->info_error);
    if (f->info)
        redis_read_info(f, r->str);
    store_checks_log(&s->store);
}

/* A Redis whose Lua has no acl_check_cmd, such as one that is no Redis, says nothing of rights. */
static void on_rights(struct redis *s, const redisReply *r, void *data)
{
    (void)data;
    if (r && r->type == REDIS_REPLY_STRING) {
        snprintf(s->store.facts.missing, sizeof(s->store.facts.missing), "%s", r->str);
        ascii_clean(s->store.facts.missing);
        if (!r->len && strncmp(s->store.facts.refused, "NOPERM", 6) == 0)
            *s->store.facts.refused = '\0'; /* that right has come since */
    } else if (r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOPERM", 6) == 0) {
        snprintf(s->store.facts.missing, sizeof(s->store.facts.missing), "+eval");
    }
    store_checks_log(&s->store);
}

/* The first node writes it; the layout that was there, if it is another one. */
static void on_layout(struct redis *s, const redisReply *r, void *data)
{
    struct store_facts *f = &s->store.facts;
    bool other = r && r->type == REDIS_REPLY_STRING && strcmp(r->str, key_layout()) != 0;

    (void)data;
    snprintf(f->layout, sizeof(f->layout), "%s", other ? r->str : "");
    ascii_clean(f->layout);
    store_checks_log(&s->store);
}

void redis_look(struct redis *s)
{
    char layout[KEY_SHORT_MAX];

    s->looked_ms = 0;
    key_short(layout, KEY_LAYOUT);
    redis_ask(s, span_of(layout), on_layout, NULL, "SET %s %s NX GET", layout, key_layout());
    redis_ask(s, NO_KEY, on_info, NULL, "INFO memory persistence");
}

void redis_look_again(struct redis *s)
{
    uint64_t now = uv_now(s->loop);

    if (s->looked_ms && now - s->looked_ms < LOOK_MS)
        return;
    redis_look(s);
    s->looked_ms = now;
    redis_ask(s, NO_KEY, on_rights, NULL, "EVAL %s 0 %s %s %s%s", rights_lua, s->cdr, s->nodes_channel, needed,
              key_archives() > 1 ? needed_in_cluster : "");
}
