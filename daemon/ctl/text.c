#include "text.h"

#include <stdarg.h>
#include <stdint.h>

#include "count.h"

struct range {
    uint32_t from, to;
    unsigned width;
};

/* Left-to-right letters and symbols that stand alone, sorted. Left out on purpose: combining marks, right-to-left
 * scripts, format and variation characters, blanks other than the ASCII one, private use. */
static const struct range letters[] = {
    {0x00A1, 0x00AC, 1}, {0x00AE, 0x02FF, 1}, {0x0370, 0x0482, 1}, {0x048A, 0x052F, 1}, {0x0531, 0x058A, 1},
    {0x10A0, 0x10FF, 1}, {0x1E00, 0x1FFE, 1}, {0x2010, 0x2027, 1}, {0x2030, 0x205E, 1}, {0x20A0, 0x20C0, 1},
    {0x3041, 0x3096, 2}, {0x30A1, 0x30FF, 2}, {0x3400, 0x4DBF, 2}, {0x4E00, 0x9FFF, 2}, {0xAC00, 0xD7A3, 2},
};

static bool is_utf8;

void text_set_utf8(bool utf8)
{
    is_utf8 = utf8;
}

void *grow(void *p, size_t size)
{
    void *grown = realloc(p, size);

    if (!grown) {
        fputs("kamsyncctl: memory is short\n", stderr);
        exit(EXIT_FAILURE);
    }
    return grown;
}

/* Never NULL, not even for nothing. */
static char *room(struct buf *b, size_t n)
{
    if (b->size - b->n <= n) {
        b->size = b->n + n + b->size + 64;
        b->p = grow(b->p, b->size);
    }
    return b->p + b->n;
}

void buf_own(struct buf *b, struct span s, size_t width)
{
    memcpy(room(b, s.n), s.p, s.n);
    b->n += s.n;
    b->width += width;
}

/* Length of a character with this first byte; 0 when invalid. */
static size_t utf8_length(unsigned char first)
{
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if (first >= 0xE0 && first <= 0xEF)
        return 3;
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

/* The character at p; *len is its length, 0 when it is not UTF-8. Four bytes beyond the range, and surrogates, need no
 * check here, as the table of letters has neither, and overlong forms are rejected below. */
static uint32_t utf8_read(struct span s, size_t *len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c;

    *len = utf8_length((unsigned char)s.p[0]);
    if (*len == 0 || *len > s.n) {
        *len = 0;
        return 0;
    }
    c = (unsigned char)s.p[0] & (0x7FU >> *len);
    for (size_t i = 1; i < *len; i++) {
        if (((unsigned char)s.p[i] & 0xC0) != 0x80) {
            *len = 0;
            return 0;
        }
        c = c << 6 | ((unsigned char)s.p[i] & 0x3F);
    }
    if (c < least[*len])
        *len = 0;
    return c;
}

/* Columns of a letter; 0 for any other character. */
static unsigned letter_width(uint32_t c)
{
    for (size_t i = 0; i < COUNT(letters) && letters[i].from <= c; i++)
        if (c <= letters[i].to)
            return letters[i].width;
    return 0;
}

/* Adds the letter at the beginning of s; returns its length, or 0 when there is none to show. */
static size_t add_letter(struct buf *b, struct span s)
{
    size_t len = 0;
    uint32_t c = is_utf8 ? utf8_read(s, &len) : 0;
    unsigned width = len ? letter_width(c) : 0;

    if (!width)
        return 0;
    buf_own(b, (struct span){s.p, len}, width);
    return len;
}

/* A backslash before an x is written as \x5c, so that each \xNN shown stands for one byte. */
static bool is_plain(struct span s)
{
    unsigned char c = (unsigned char)s.p[0];

    return c >= 0x20 && c < 0x7F && !(c == '\\' && s.n > 1 && s.p[1] == 'x');
}

void buf_safe(struct buf *b, struct span s)
{
    while (s.n) {
        size_t len = 0;

        while (len < s.n && is_plain((struct span){s.p + len, s.n - len}))
            len++;
        if (len)
            buf_own(b, (struct span){s.p, len}, len);
        else if ((len = add_letter(b, s)) == 0) {
            buf_printf(b, "\\x%02x", (unsigned char)s.p[0]);
            len = 1;
        }
        s.p += len;
        s.n -= len;
    }
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    size_t size = 128;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(room(b, size), size, fmt, ap);
    va_end(ap);
    if (n >= (int)size) {
        size = (size_t)n + 1;
        va_start(ap, fmt);
        n = vsnprintf(room(b, size), size, fmt, ap);
        va_end(ap);
    }
    if (n > 0) {
        b->n += (size_t)n;
        b->width += (size_t)n;
    }
}

void buf_pad(struct buf *b, size_t n)
{
    if (n) {
        memset(room(b, n), ' ', n);
        b->n += n;
        b->width += n;
    }
}

void buf_put(struct buf *b, FILE *out)
{
    if (b->n)
        fwrite(b->p, 1, b->n, out);
    buf_free(b);
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}
