/* Assembles a command in Redis' protocol (RESP: "*<words>", then each word after "$<length>") word by word, for
 * redis_send(). Used for the frequent commands of each call: hiredis takes 700 instructions for a word, which was a
 * third of kamsyncd's time. */
#ifndef KAMSYNC_REDIS_COMMAND_H
#define KAMSYNC_REDIS_COMMAND_H

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

#endif
