/* The scripts that Redis runs for kamsyncd, each atomically. They are loaded once per connection, and again if Redis
 * has dropped them, then called by hash. */
#include <stdio.h>
#include <string.h>

#include "redis_command.h"
#include "redis_impl.h"

extern const char put_lua[], call_lua[];
static const char *const texts[SCRIPTS] = {[SCRIPT_PUT] = put_lua, [SCRIPT_CALL] = call_lua};

/* If Redis does not return the hash, for want of a right, it gets the whole script each time. */
static void on_loaded(struct redis *s, const redisReply *r, void *data)
{
    char *name = s->script[(enum script)(uintptr_t)data];

    redis_on_done(s, r, NULL);
    if (r && r->type == REDIS_REPLY_STRING)
        snprintf(name, sizeof(s->script[0]), "%s", r->str);
}

void redis_load_script(struct redis *s, enum script which)
{
    void *data = (void *)(uintptr_t)which;

    *s->script[which] = '\0';
    redis_ask(s, NO_KEY, on_loaded, data, "SCRIPT LOAD %s", texts[which]);
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
