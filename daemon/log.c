#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "core/count.h"

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

void log_line(enum log_level level, const char *line)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];

    if (level > limit)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(stderr, "%s.%03ldZ %-5s %s\n", stamp, now.tv_nsec / 1000000, names[level], line);
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
