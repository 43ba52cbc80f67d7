/* The file in which Kamailio finds the keys that kamsyncd and it share. */
#ifndef KAMSYNC_KEYS_H
#define KAMSYNC_KEYS_H

#include <stdbool.h>

/* Writes it anew, in one step: a line with the key of each secret (proof_key(); the old one's may be empty), to be read
 * by this process' user and group alone. False: it could not, and has said why in the log. */
bool keys_write(const char *path, const char *secret, const char *old_secret);

#endif
