/* Assembles a command in Redis' protocol (RESP: "*<words>", then each word after "$<length>") word by word, for
 * redisAsyncFormattedCommand(). Used for the frequent commands of each call: hiredis takes 700
 * instructions for a word, which was a third of kamsyncd's time. */
#ifndef KAMSYNC_REDIS_COMMAND_H
#define KAMSYNC_REDIS_COMMAND_H

#include <hiredis/async.h>

#include "buffer.h"

static inline void command_begin(struct buffer *b, size_t words)
{
    buffer_put(b, "*", 1);
    buffer_number(b, (int64_t)words);
    buffer_put(b, "\r\n", 2);
}

static inline void command_word(struct buffer *b, struct span word)
{
    buffer_put(b, "$", 1);
    buffer_number(b, (int64_t)word.n);
    buffer_put(b, "\r\n", 2);
    buffer_put(b, word.p, word.n);
    buffer_put(b, "\r\n", 2);
}

static inline void command_number(struct buffer *b, int64_t number)
{
    char digits[DECIMAL_SIZE];

    command_word(b, (struct span){digits, decimal(digits, number)});
}

/* Frees the command. False when out of memory, or the connection takes none: then the callback is never called. */
static inline bool command_send(struct buffer *b, redisAsyncContext *ac, redisCallbackFn *fn, void *data)
{
    bool sent = !b->failed && redisAsyncFormattedCommand(ac, fn, data, b->p, b->n) == REDIS_OK;

    free(b->p);
    *b = (struct buffer){0};
    return sent;
}

#endif
