#include "url.h"

#include <errno.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place. False for a bad "%xx", and for a NUL. */
static bool decode(struct span *s, char *p)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        int high, low;

        if (p[i] != '%') {
            p[n++] = p[i];
            continue;
        }
        high = i + 2 < s->n ? digit(p[i + 1]) : -1;
        low = high >= 0 ? digit(p[i + 2]) : -1;
        if (low < 0 || high * 16 + low == 0)
            return false;
        p[n++] = (char)(high * 16 + low);
        i += 2;
    }
    *s = (struct span){p, n};
    return true;
}

/* The text up to that byte, or to its end; *rest is what comes behind that byte, NULL when it is not there. */
static struct span cut(char *text, char at, char **rest)
{
    char *end = strchr(text, at);
    struct span s = {text, end ? (size_t)(end - text) : strlen(text)};

    *rest = end ? end + 1 : NULL;
    return s;
}

static bool read_argument(struct url *u, char *text, size_t n)
{
    struct url_argument *a = &u->arguments[u->count];
    char *value;

    if (!n)
        return true; /* "a=1&&b=2" */
    if (u->count == URL_ARGUMENTS)
        return false;
    text[n] = '\0';
    a->name = cut(text, '=', &value);
    a->value = span_of(value);
    u->count++;
    return decode(&a->name, text) && decode(&a->value, value);
}

int url_read(struct url *u, const char *text)
{
    size_t n = strlen(text);
    char *rest, *next;

    u->count = 0;
    u->path = (struct span){0};
    if (n >= URL_MAX)
        return -ENAMETOOLONG;
    memcpy(u->text, text, n + 1);
    u->path = cut(u->text, '?', &rest);
    if (*text != '/' || !decode(&u->path, u->text))
        return -EINVAL;
    for (; rest; rest = next) {
        struct span argument = cut(rest, '&', &next);

        if (!read_argument(u, rest, argument.n))
            return -EINVAL;
    }
    return 0;
}
