/* Log lines on standard error, as text (time, level, text) or as one JSON object each; with the priority in front if
 * standard error is the journal. Never blocks: lines that no reader takes are dropped and counted. */
#ifndef KAMSYNC_LOG_H
#define KAMSYNC_LOG_H

#include "engine.h"

/* Lines of a lower level are dropped. JSON has the name of this node. */
void log_configure(enum log_level level, bool json, const char *name);

/* "error", "warn", "info", "debug" to a level; -1 for anything else. */
int log_level_of(const char *name);

void log_write(const struct log_entry *line);
__attribute__((format(printf, 2, 3))) void log_printf(enum log_level level, const char *fmt, ...);

#endif
