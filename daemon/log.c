#include "log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/base/count.h"

/* A pipe that poll() reports as ready accepts this much at once, any other file more. */
#define LINE_MAX_BYTES 1024

static const char *const names[] = {"error", "warn", "info", "debug"};
static enum log_level limit = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    limit = level;
}

int log_level_of(const char *name)
{
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

static bool write_line(enum log_level level, const char *line)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct timespec now;
    struct tm utc;
    char stamp[32], text[LINE_MAX_BYTES];
    int n;

    if (poll(&fd, 1, 0) <= 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    n = snprintf(text, sizeof(text), "%s.%03ldZ %-5s %s\n", stamp, now.tv_nsec / 1000000, names[level], line);
    if (n >= (int)sizeof(text)) {
        n = sizeof(text);
        text[n - 1] = '\n';
    }
    return write(STDERR_FILENO, text, (size_t)n) == n;
}

void log_line(enum log_level level, const char *line)
{
    static unsigned long lost;
    char text[80];

    if (level > limit)
        return;
    if (lost) {
        snprintf(text, sizeof(text), "%lu lines of the log are lost: nobody read them", lost);
        lost = write_line(LOG_LEVEL_WARN, text) ? 0 : lost;
    }
    lost += lost || !write_line(level, line);
}

void log_printf(enum log_level level, const char *fmt, ...)
{
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    log_line(level, line);
}
