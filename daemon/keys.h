/* The file with the keys that kamsyncd and Kamailio share. */
#ifndef KAMSYNC_KEYS_H
#define KAMSYNC_KEYS_H

#include <stdbool.h>

/* Replaces it atomically: one line with the key of each secret (proof_key(); the old one's may be empty), readable only
 * by this process' user and group. False: failed, with the reason in the log. */
bool keys_write(const char *path, const char *secret, const char *old_secret);

#endif
