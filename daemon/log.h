/* Log lines on standard error: time, level, text. Never blocks: lines that no reader takes are dropped and counted. */
#ifndef KAMSYNC_LOG_H
#define KAMSYNC_LOG_H

#include "engine.h"

/* Lines of a lower level are dropped. */
void log_set_level(enum log_level level);

/* "error", "warn", "info", "debug" to a level; -1 for anything else. */
int log_level_of(const char *name);

void log_line(enum log_level level, const char *line);
__attribute__((format(printf, 2, 3))) void log_printf(enum log_level level, const char *fmt, ...);

#endif
