#include "log.h"

#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/ascii.h"
#include "core/base/count.h"

/* A pipe that poll() reports as ready accepts this much at once (PIPE_BUF), any other file more. Longer than any JSON
 * line: a text, six times as long when it is all control characters, a Call-ID of 200 and a name of 64, twice as long
 * when they are all quotes. */
#define LINE_MAX_BYTES 4096
#define TEXT_MAX_BYTES 512

/* As sd-daemon(3) has them. */
static const struct {
    const char *name;
    int priority;
} levels[] = {{"error", 3}, {"warn", 4}, {"info", 6}, {"debug", 7}};

static struct {
    enum log_level limit;
    bool json, journal;
    char name[64];
} conf = {.limit = LOG_LEVEL_INFO};

/* Whether standard error is the journal: then it has the device and inode in JOURNAL_STREAM (systemd.exec(5)). */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void log_configure(enum log_level level, bool json, const char *name)
{
    conf.limit = level;
    conf.json = json;
    conf.journal = is_journal();
    snprintf(conf.name, sizeof(conf.name), "%s", name);
}

int log_level_of(const char *name)
{
    for (size_t i = 0; i < COUNT(levels); i++)
        if (strcmp(levels[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* RFC 3339, in UTC. */
static void stamp(char out[40])
{
    struct timespec now;
    struct tm utc;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, 40 - n, ".%03ldZ", now.tv_nsec / 1000000);
}

/* Any bytes as JSON, which is UTF-8: those that are not, or were cut off within a character, as ASCII. */
static json_t *json_of(const char *text)
{
    char copy[TEXT_MAX_BYTES];
    json_t *s;

    snprintf(copy, sizeof(copy), "%s", text);
    s = json_string(copy);
    if (s)
        return s;
    ascii_clean(copy);
    return json_string(copy);
}

/* Writes at most size bytes; returns the length of the whole line, which may be greater. */
static size_t put_json(char *out, size_t size, const char *at, const struct log_entry *line)
{
    json_t *all = json_pack("{s:s, s:s, s:s, s:o, s:s*, s:s*}", "time", at, "level", levels[line->level].name, "name",
                            conf.name, "text", json_of(line->text), "call_id", line->call_id, "verdict", line->verdict);
    size_t n;

    if (line->node)
        json_object_set_new(all, "node", json_integer(line->node));
    if (line->verdict && line->owner)
        json_object_set_new(all, "owner", json_integer(line->owner));
    n = json_dumpb(all, out, size, JSON_COMPACT);
    json_decref(all);
    return n;
}

/* The same as text. */
static size_t put_text(char *out, size_t size, const char *at, const struct log_entry *line)
{
    return (size_t)snprintf(out, size, "%s %-5s %s", at, levels[line->level].name, line->text);
}

static bool put_line(const struct log_entry *line)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    char at[40], out[LINE_MAX_BYTES];
    size_t n = 0, room = sizeof(out) - 1; /* for its end */

    if (poll(&fd, 1, 0) <= 0)
        return false;
    stamp(at);
    if (conf.journal)
        n = (size_t)snprintf(out, sizeof(out), "<%d>", levels[line->level].priority);
    n += (conf.json ? put_json : put_text)(out + n, room - n, at, line);
    n = n < room ? n : room;
    out[n++] = '\n';
    return write(STDERR_FILENO, out, n) == (ssize_t)n;
}

void log_write(const struct log_entry *line)
{
    static unsigned long lost;
    char text[80];

    if (line->level > conf.limit)
        return;
    if (lost) {
        snprintf(text, sizeof(text), "%lu lines of the log are lost: nobody read them", lost);
        lost = put_line(&(struct log_entry){.level = LOG_LEVEL_WARN, .text = text}) ? 0 : lost;
    }
    lost += lost || !put_line(line);
}

void log_printf(enum log_level level, const char *fmt, ...)
{
    char text[TEXT_MAX_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_write(&(struct log_entry){.level = level, .text = text});
}
