/* hiredis (to 1.2 at least) asserts that a Redis behaves, and so ends the whole process if the peer is broken or no
 * Redis: on a reply to no command, or on a non-message after SUBSCRIBE. So each part of a reply is checked when
 * hiredis is about to make an object of it; a refusal makes hiredis close the connection.
 *
 *     bytes ▶ hiredis' reader ▶ (guard) ▶ hiredis' objects ▶ hiredis' callbacks, which assert ▶ ours */
#include <strings.h>

#include "poison.h"
#include "redis_conn.h"

#define ELEMENTS_MAX 1000000 /* of an array: hiredis allocates them all before it has read one */

#if HIREDIS_MAJOR > 0
typedef size_t count_t;
#else
typedef int count_t;
#endif

static const redisReplyObjectFunctions *plain;

/* A short reply of one part, as nearly all are: it is over before the next one is read, so one is enough for all
 * connections. hiredis allocates twice for each. */
static struct {
    redisReply r;
    char text[64];
} brief;

/* Whether commands on this connection are now answered by messages, not one by one. */
static bool listens(const redisAsyncContext *ac)
{
    return (ac->c.flags & REDIS_SUBSCRIBED) && !ac->replies.head;
}

/* Whole replies: to a command, or a message, which has three parts. */
static bool is_wanted(const redisAsyncContext *ac, int type, size_t elements)
{
    if (ac->replies.head || type == REDIS_REPLY_ERROR)
        return true;
    return (ac->c.flags & REDIS_SUBSCRIBED) && type == REDIS_REPLY_ARRAY && elements == 3;
}

static bool is_word(const char *p, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(p, word, n) == 0;
}

/* The parts of a message: "message" or "subscribe", the channel, and a text or a number. */
static bool is_message_part(int idx, int type, const char *p, size_t n)
{
    if (idx == 2)
        return type == REDIS_REPLY_STRING || type == REDIS_REPLY_INTEGER;
    if (type != REDIS_REPLY_STRING)
        return false;
    return idx == 1 || is_word(p, n, "message") || is_word(p, n, "subscribe");
}

static bool is_sound(const redisReadTask *task, size_t elements, const char *p, size_t n)
{
    const redisAsyncContext *ac = task->privdata;

    if (elements > ELEMENTS_MAX)
        return false;
    if (!task->parent)
        return is_wanted(ac, task->type, elements);
    return task->parent->parent || !listens(ac) || is_message_part(task->idx, task->type, p, n);
}

/* elements: of an array; p and n: of a string. */
static bool allowed(const redisReadTask *task, size_t elements, const char *p, size_t n)
{
    struct redis_conn *c = ((redisAsyncContext *)task->privdata)->data;

    if (is_sound(task, elements, p, n))
        return true;
    c->odd = true; /* else the log would give hiredis' reason: out of memory */
    return false;
}

static void *make_brief(int type, const char *p, size_t n)
{
    UNPOISON(&brief, sizeof(brief));
    brief.r = (redisReply){.type = type, .str = brief.text, .len = n};
    memcpy(brief.text, p, n);
    brief.text[n] = '\0';
    return &brief.r;
}

static void *make_string(const redisReadTask *task, char *p, size_t n)
{
    if (!allowed(task, 0, p, n))
        return NULL;
    return !task->parent && n < sizeof(brief.text) ? make_brief(task->type, p, n) : plain->createString(task, p, n);
}

static void *make_array(const redisReadTask *task, count_t elements)
{
    return allowed(task, (size_t)elements, NULL, 0) ? plain->createArray(task, elements) : NULL;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    return allowed(task, 0, NULL, 0) ? plain->createInteger(task, value) : NULL;
}

static void *make_nil(const redisReadTask *task)
{
    if (!allowed(task, 0, NULL, 0))
        return NULL;
    return !task->parent ? make_brief(REDIS_REPLY_NIL, "", 0) : plain->createNil(task);
}

static void free_reply(void *reply)
{
    if (reply == &brief.r)
        POISON(&brief, sizeof(brief));
    else
        plain->freeObject(reply);
}

void redis_guard(redisAsyncContext *ac)
{
    static redisReplyObjectFunctions guarded;
    redisReader *reader = ac->c.reader;

    plain = reader->fn;
    guarded = *plain;
    guarded.createString = make_string;
    guarded.createArray = make_array;
    guarded.createInteger = make_integer;
    guarded.createNil = make_nil;
    guarded.freeObject = free_reply;
    reader->fn = &guarded;
    reader->privdata = ac;
}
