/* One running kamsyncd: the engine, its sockets, and the loop that carries data between them. */
#ifndef KAMSYNC_DAEMON_H
#define KAMSYNC_DAEMON_H

#include "config.h"

/* Runs until SIGTERM or SIGINT. The configuration is taken over; path is where SIGHUP reads it again (NULL: nowhere).
 * Returns the exit status: 0 after an orderly end. */
int daemon_run(struct config *config, const char *path);

#endif
