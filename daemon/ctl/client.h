/* One question to kamsyncd and its answer (proto/control.md): connects, sends a line, reads a line. Blocks for at most
 * 3 s, and reads at most 64 MB. */
#ifndef KAMSYNCCTL_CLIENT_H
#define KAMSYNCCTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "text.h"

/* Longest path that fits into an address. */
#define CLIENT_PATH_MAX 107

/* The answer, an object that the caller derefs, "ok" or not; NULL with one sentence in *why, which says
 * what to do and is safe for a terminal. */
json_t *client_ask(const char *path, const json_t *request, struct buf *why);

/* Whether the request is short enough to be sent. */
bool client_fits(const json_t *request);

#endif
