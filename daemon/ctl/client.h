/* One question to kamsyncd and its answer (proto/control.md): connects, sends a line, reads a line. Blocks for 3 s at
 * most, and takes 64 MB at most. */
#ifndef KAMSYNCCTL_CLIENT_H
#define KAMSYNCCTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "text.h"

/* Longest path that fits into an address. */
#define CLIENT_PATH_MAX 107

/* The answer, an object that the caller derefs, whether it is "ok" or not; NULL with one sentence in *why, that says
 * what to do and is safe for a terminal. */
json_t *client_ask(const char *path, const json_t *request, struct buf *why);

/* Whether the request is short enough to be sent. */
bool client_fits(const json_t *request);

#endif
