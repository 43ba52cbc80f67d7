/* One running kamsyncd: the engine, its sockets, and the loop that carries data between them. */
#ifndef KAMSYNC_DAEMON_H
#define KAMSYNC_DAEMON_H

#include "config.h"

/* Runs until SIGTERM or SIGINT. Takes ownership of the configuration; SIGHUP reads it again from path (NULL: does not).
 * Returns the exit status: 0 after an orderly shutdown. */
int daemon_run(struct config *config, const char *path);

#endif
