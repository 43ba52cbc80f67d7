/* Bytes as a JSON string. */
#ifndef KAMSYNC_ESCAPE_H
#define KAMSYNC_ESCAPE_H

#include "buffer.h"
#include "plain.h"

/* Writes an ASCII byte that is not plain (plain.h). Returns how many bytes it has taken: a line's end goes at once. */
static inline size_t escape_one(struct buffer *t, struct span s)
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt", hex[] = "0123456789ABCDEF";
    const char c = *s.p, *at = letters;
    char code[6] = "\\u00";

    if (s.n > 1 && memcmp(s.p, "\r\n", 2) == 0) {
        buffer_text(t, "\\r\\n");
        return 2;
    }
    while (*at && *at != c)
        at += 2;
    code[1] = *at ? at[1] : 'u';
    code[4] = hex[(unsigned)c >> 4];
    code[5] = hex[(unsigned)c & 15];
    buffer_put(t, code, *at ? 2 : 6);
    return 1;
}

/* A string of any bytes. Those above 127 stand in it as they are, be they UTF-8 or not: cjson in Redis takes them so.
 */
static inline void escape_bytes(struct buffer *t, struct span s)
{
    size_t i = 0;

    buffer_put(t, "\"", 1);
    while (i < s.n) {
        size_t run = plain_run((struct span){s.p + i, s.n - i});

        while (i + run < s.n && (unsigned char)s.p[i + run] > 127)
            run++;
        if (run)
            buffer_put(t, s.p + i, run);
        i += run;
        if (!run)
            i += escape_one(t, (struct span){s.p + i, s.n - i});
    }
    buffer_put(t, "\"", 1);
}

#endif
