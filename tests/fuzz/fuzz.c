#include "fuzz.h"

#include <ctype.h>
#include <stdarg.h>

unsigned input_byte(struct input *in)
{
    if (!in->n)
        return 0;
    in->n--;
    return *in->p++;
}

struct span input_chunk(struct input *in)
{
    size_t n = input_byte(in);
    struct span s;

    n += 256 * (size_t)input_byte(in);
    s = (struct span){(const char *)in->p, n < in->n ? n : in->n};
    in->p += s.n;
    in->n -= s.n;
    return s;
}

char *input_text(struct input *in)
{
    char *text = span_dup(input_chunk(in));

    must(text);
    return text;
}

struct span exact(struct span s)
{
    char *copy = malloc(s.n ? s.n : 1);

    must(copy);
    if (s.n)
        memcpy(copy, s.p, s.n);
    return (struct span){copy, s.n};
}

void exact_free(struct span s)
{
    free((char *)(uintptr_t)s.p);
}

bool is_graphic(const char *text)
{
    for (; *text; text++)
        if (!isgraph((unsigned char)*text) || *text == '"')
            return false;
    return true;
}

bool is_printable(const char *text)
{
    for (; *text; text++)
        if (!isprint((unsigned char)*text))
            return false;
    return true;
}

char *text_of(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    must(vasprintf(&text, fmt, ap) >= 0);
    va_end(ap);
    return text;
}
