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

#define COMMAND_AROUND (DECIMAL_SIZE + sizeof("$\r\n\r\n")) /* bytes of a word but its own */

static inline void command_word(struct buffer *b, struct span word)
{
    char *to;

    if ((!b->p || b->size < b->n + word.n + COMMAND_AROUND) && !buffer_grow(b, word.n + COMMAND_AROUND))
        return;
    to = b->p + b->n;
    *to++ = '$';
    to += decimal(to, (int64_t)word.n);
    to = (char *)memcpy(to, "\r\n", 2) + 2;
    if (word.n)
        memcpy(to, word.p, word.n);
    memcpy(to + word.n, "\r\n", 3); /* and the NUL */
    b->n = (size_t)(to - b->p) + word.n + 2;
}

static inline void command_number(struct buffer *b, int64_t number)
{
    char digits[DECIMAL_SIZE];

    command_word(b, (struct span){digits, decimal(digits, number)});
}

/* SET, when: "NX" writes only if nothing stands there, "XX" only if something does. With `get` (Redis 7.0) the answer
 * is what stood there, and "XX" goes over no hash. ttl_ms: 0: what is left of its life. */
static inline void command_set(struct buffer *b, struct span key, struct span value, const char *when, bool get,
                               int64_t ttl_ms)
{
    command_begin(b, (size_t)5 + get + (ttl_ms > 0));
    command_word(b, (struct span)SPAN("SET"));
    command_word(b, key);
    command_word(b, value);
    command_word(b, span_of(when));
    if (get)
        command_word(b, (struct span)SPAN("GET"));
    command_word(b, span_of(ttl_ms ? "PX" : "KEEPTTL"));
    if (ttl_ms)
        command_number(b, ttl_ms);
}

#endif
