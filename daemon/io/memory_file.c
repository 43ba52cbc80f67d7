#include "memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROW_MIN (8 << 20) /* bytes: a small file may grow to this */
#define PAIRS_MAX 256      /* of a line: more than any call has fields */

struct memory_file {
    struct store_events on;
    char *path, *fresh_path;
    int fd, fresh_fd; /* -1: not open */
    bool broken;      /* it lacks something: to be rewritten as soon as possible */
    bool complained;
    off_t size, grow_at;
    char *line; /* being assembled */
    size_t len, room;
};

static void complain(struct memory_file *f, const char *path)
{
    char text[400];

    snprintf(text, sizeof(text), "state_file '%s': %s; what it lacks would be lost with this kamsyncd", path,
             strerror(errno));
    f->broken = true;
    if (!f->complained)
        f->on.log(f->on.ctx, LOG_LEVEL_ERROR, text);
    f->complained = true;
}

static int64_t wall_ms(void)
{
    uv_timeval64_t clock = {0};

    uv_gettimeofday(&clock);
    return clock.tv_sec * 1000 + clock.tv_usec / 1000;
}

struct memory_file *memory_file_new(const char *path, const struct store_events *on)
{
    struct memory_file *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    *f = (struct memory_file){.on = *on, .fd = -1, .fresh_fd = -1, .broken = true};
    f->path = strdup(path);
    if (!f->path || asprintf(&f->fresh_path, "%s.new", path) < 0) {
        f->fresh_path = NULL;
        memory_file_free(f);
        return NULL;
    }
    return f;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void memory_file_free(struct memory_file *f)
{
    if (!f)
        return;
    shut(&f->fd);
    shut(&f->fresh_fd);
    free(f->path);
    free(f->fresh_path);
    free(f->line);
    free(f);
}

/* ---- writing ---- */

static bool make_room(struct memory_file *f, size_t more)
{
    size_t room = 2 * (f->len + more) + 256;
    char *bigger;

    if (f->len + more <= f->room)
        return true;
    bigger = realloc(f->line, room);
    if (!bigger)
        return false;
    f->line = bigger;
    f->room = room;
    return true;
}

/* A blank and the word. */
static bool add_word(struct memory_file *f, struct span s)
{
    static const char hex[] = "0123456789ABCDEF";

    if (!make_room(f, 3 * s.n + 3))
        return false;
    f->line[f->len++] = ' ';
    if (!s.n)
        f->line[f->len++] = '%';
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c > ' ' && c != '%' && c < 127) {
            f->line[f->len++] = (char)c;
        } else {
            f->line[f->len++] = '%';
            f->line[f->len++] = hex[c >> 4];
            f->line[f->len++] = hex[c & 15];
        }
    }
    return true;
}

static bool make_line(struct memory_file *f, const struct memory_line *line)
{
    char head[80];
    bool good;

    snprintf(head, sizeof(head), "%c %" PRId64 " %" PRIu64 " %" PRIu64, line->kind, wall_ms() + line->ends, line->id[0],
             line->id[1]);
    f->len = 0;
    good = make_room(f, sizeof(head) + 2);
    if (good)
        f->len = (size_t)sprintf(f->line, "%s", head);
    good = good && add_word(f, span_of(line->key));
    for (size_t i = 0; good && i < line->count; i++)
        good = add_word(f, line->pairs[i].name) && add_word(f, line->pairs[i].value);
    if (good)
        f->line[f->len++] = '\n'; /* the last word had room for it */
    return good;
}

void memory_file_add(struct memory_file *f, const struct memory_line *line)
{
    bool fresh = f && f->fresh_fd >= 0;
    int fd = fresh ? f->fresh_fd : f ? f->fd : -1;
    bool good;
    ssize_t n;

    if (fd < 0 || (f->broken && !fresh))
        return;
    errno = ENOMEM;
    good = make_line(f, line);
    n = good ? write(fd, f->line, f->len) : -1;
    if (n > 0)
        f->size += n;
    if (n == (ssize_t)f->len)
        return;
    if (n >= 0)
        errno = ENOSPC;
    complain(f, fresh ? f->fresh_path : f->path);
    if (fresh)
        shut(&f->fresh_fd); /* given up: retried in a moment */
}

bool memory_file_wants(const struct memory_file *f)
{
    return f && (f->broken || f->size > f->grow_at);
}

void memory_file_begin(struct memory_file *f)
{
    f->fresh_fd = open(f->fresh_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    f->size = 0;
    if (f->fresh_fd < 0)
        complain(f, f->fresh_path);
}

void memory_file_end(struct memory_file *f)
{
    if (f->fresh_fd < 0)
        return;
    if (rename(f->fresh_path, f->path) < 0) {
        complain(f, f->path);
        shut(&f->fresh_fd);
        return;
    }
    shut(&f->fd);
    f->fd = f->fresh_fd;
    f->fresh_fd = -1;
    f->broken = f->complained = false;
    f->grow_at = 2 * f->size + GROW_MIN;
}

/* ---- reading ---- */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* In place; false when the word is not of our form. */
static bool decode(char *word, struct span *out)
{
    char *to = word;

    *out = (struct span){word, 0};
    if (strcmp(word, "%") == 0)
        return true;
    for (const char *p = word; *p; p++) {
        if (*p != '%') {
            *to++ = *p;
            continue;
        }
        if (digit(p[1]) < 0 || digit(p[2]) < 0)
            return false;
        *to++ = (char)(digit(p[1]) << 4 | digit(p[2]));
        p += 2;
    }
    out->n = (size_t)(to - word);
    return true;
}

/* False when a name lacks its value, or there are too many. */
static bool read_pairs(char *rest, struct pair *pairs, size_t *count)
{
    char *name, *value;

    for (*count = 0; *count < PAIRS_MAX && (name = strsep(&rest, " ")) != NULL; (*count)++) {
        value = strsep(&rest, " ");
        if (!value || !decode(name, &pairs[*count].name) || !decode(value, &pairs[*count].value))
            return false;
    }
    return !rest && *count > 0;
}

/* A non-negative integer. */
static bool read_number(const char *word, uint64_t *out)
{
    char *end = NULL;

    *out = word ? strtoull(word, &end, 10) : 0;
    return end && *word >= '0' && *word <= '9' && !*end;
}

static bool read_line(char *text, struct memory_line *line, struct pair *pairs)
{
    char *rest = text, *kind = strsep(&rest, " "), *key;
    struct span name;
    uint64_t ends;

    *line = (struct memory_line){.kind = *kind, .pairs = pairs};
    if (!*kind || kind[1] || !strchr("scae", *kind) || !read_number(strsep(&rest, " "), &ends) ||
        !read_number(strsep(&rest, " "), &line->id[0]) || !read_number(strsep(&rest, " "), &line->id[1]))
        return false;
    key = strsep(&rest, " ");
    if (!key || !rest || !decode(key, &name) || memchr(name.p, '\0', name.n))
        return false;
    key[name.n] = '\0';
    line->key = key;
    line->ends = (int64_t)ends - wall_ms();
    return read_pairs(rest, pairs, &line->count) && (line->kind == 'a' || name.n);
}

void memory_file_read(struct memory_file *f, void *ctx, void (*on_line)(void *ctx, const struct memory_line *line))
{
    struct pair pairs[PAIRS_MAX];
    FILE *in = fopen(f->path, "re");
    struct memory_line line;
    char *text = NULL;
    size_t room = 0;
    ssize_t n;

    if (!in && errno != ENOENT)
        complain(f, f->path);
    while (in && (n = getline(&text, &room, in)) > 0) {
        if (text[n - 1] != '\n' || strlen(text) != (size_t)n)
            continue;
        text[n - 1] = '\0';
        if (read_line(text, &line, pairs))
            on_line(ctx, &line);
    }
    free(text);
    if (in)
        fclose(in);
}
