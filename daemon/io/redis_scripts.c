/* The scripts that Redis runs for kamsyncd, each atomically. They are loaded once per connection, and again if Redis
 * has dropped them, then called by hash. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_command.h"
#include "redis_impl.h"

extern const char put_lua[], call_lua[], end_lua[];
static const char *const texts[SCRIPTS] = {[SCRIPT_PUT] = put_lua, [SCRIPT_CALL] = call_lua, [SCRIPT_END] = end_lua};

/* If Redis does not return the hash, for want of a right, it gets the whole script each time. */
static void on_loaded(struct redis *s, const redisReply *r, void *data)
{
    char *name = s->script[(enum script)(uintptr_t)data];

    redis_on_done(s, r, NULL);
    if (r && r->type == REDIS_REPLY_STRING)
        snprintf(name, sizeof(s->script[0]), "%s", r->str);
}

void redis_load_script(struct redis_conn *c, enum script which)
{
    struct redis *s = c->data;
    struct buffer command = {0};

    if (!s->cluster) /* else some master has it, and the others are told when they lack it (redis_route.c) */
        *s->script[which] = '\0';
    if (redis_format(&command, "SCRIPT LOAD %s", texts[which]))
        redis_conn_send_once(c, &command, on_loaded, (void *)(uintptr_t)which);
}

void redis_load_scripts(struct redis_conn *c)
{
    for (int i = 0; i < SCRIPTS; i++)
        redis_load_script(c, (enum script)i);
}

/* "*6", "EVALSHA", the hash and the others. */
bool redis_make_whole(const struct redis *s, struct buffer *command)
{
    static const char name[] = "\r\n$7\r\nEVALSHA\r\n$40\r\n";
    const char *at = command->n ? strstr(command->p, "\r\n") : NULL;
    struct buffer whole = {0};
    size_t which = 0;

    if (!at || strncmp(at, name, sizeof(name) - 1) != 0)
        return false;
    at += sizeof(name) - 1;
    while (which < SCRIPTS && strncmp(at, s->script[which], 40) != 0)
        which++;
    if (which == SCRIPTS)
        return false;
    command_begin(&whole, (size_t)atoi(command->p + 1));
    redis_put_script(s, &whole, (enum script)which, true);
    buffer_put(&whole, at + 42, command->n - (size_t)(at + 42 - command->p));
    if (whole.failed) {
        free(whole.p);
        return false;
    }
    free(command->p);
    *command = whole;
    return true;
}

void redis_put_script(const struct redis *s, struct buffer *command, enum script which, bool whole)
{
    command_word(command, span_of(whole ? "EVAL" : "EVALSHA"));
    command_word(command, span_of(whole ? texts[which] : s->script[which]));
}

bool redis_has_no_script(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOSCRIPT", 8) == 0;
}
