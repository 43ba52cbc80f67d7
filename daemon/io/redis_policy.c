/* Checks what Redis does when its memory is full. Only "noeviction" is right: it refuses writes, so that kamsyncd keeps
 * its records, says so, and writes them when there is room. Any other policy silently evicts records of live calls.
 * INFO has it as well as CONFIG GET, for which nobody should have the right. */
#include <stdio.h>

#include "redis_impl.h"

#define FIELD "maxmemory_policy:"

static void warn(struct redis *s, const char *what, const char *detail)
{
    char line[800], where[400];

    snprintf(line, sizeof(line), "redis %s: %s%s", redis_conn_where(&s->commands, where, sizeof(where)), what, detail);
    redis_clean(line);
    s->store.on.log(s->store.on.ctx, LOG_LEVEL_WARN, line);
}

/* The policy from INFO's text; false when it is missing, as with a server that is no Redis. */
static bool read_policy(char *out, size_t size, const char *info)
{
    const char *at = strstr(info, FIELD);

    if (!at)
        return false;
    at += strlen(FIELD);
    snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
    return true;
}

static void on_info(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    const redisReply *r = reply;
    char policy[64];

    (void)data;
    redis_conn_answered(&s->commands);
    if (!r)
        return;
    if (redis_is_error(r)) {
        warn(s, "its maxmemory-policy, which must be noeviction, cannot be looked at: ", r->str);
    } else if (r->type == REDIS_REPLY_STRING && read_policy(policy, sizeof(policy), r->str) &&
               strcmp(policy, "noeviction") != 0 && strcmp(policy, s->policy) != 0) {
        warn(s, "with a full memory it would throw records of live calls away; set maxmemory-policy noeviction, not ",
             policy);
        snprintf(s->policy, sizeof(s->policy), "%s", policy);
    }
}

void redis_look_at_policy(struct redis *s)
{
    redis_conn_sent(&s->commands);
    redisAsyncCommand(s->commands.ac, on_info, NULL, "INFO memory");
}
