/* The configuration file: one table row per option (config.c), which also generates --help and the man page. */
#ifndef KAMSYNC_CONFIG_H
#define KAMSYNC_CONFIG_H

#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "io/store.h"

struct config {
    char *kamailio, *store, *store_near, *cluster, *name, *site, *log_level, *log_format; /* owned */
    char *secret_file, *old_secret_file;
    char *redis_user, *redis_password_file, *sentinel_user, *sentinel_password_file, *near_user, *near_password_file;
    char *redis_ca_file, *redis_cert_file, *redis_key_file, *redis_server_name;
    char *keys_file;
    char *ready_file, *state_file;
    int64_t redis_timeout_ms;
    int64_t heartbeat_ms, node_ttl_ms, hang_ms;
    int64_t lookup_ms, store_wait_ms;
    int64_t caller_wait_ms;
    int64_t tx_ttl_s, done_ttl_s, tx_max_s, txns_max;
    char *control, *http_listen;
    char *hep, *hep_password_file;
    int64_t hep_id;
    int64_t call_max_s, ended_ttl_s, cdr_max;
    int64_t takeover, claim_strict;
    /* Owned: read from their files, "" without one. The two secrets are specific to this cluster: see config.c. */
    char *secret, *old_secret, *redis_password, *sentinel_password, *near_password, *hep_password;
    struct sockaddr_storage kamailio_addr; /* parsed `kamailio` */
    struct sockaddr_storage http_addr;     /* parsed `http_listen`, if that is not empty */
    struct sockaddr_storage hep_addr;      /* parsed `hep`, if that is not empty */
    bool clustered;                        /* `store` is a Redis */
    struct redis_conf redis;               /* its strings are those of this struct */
};

/* Reads the file (NULL: defaults only) and the secrets that it names. 0, and the caller ends with config_clear(); or -1
 * with why: file, line, option and error. */
int config_read(struct config *c, const char *path, char *why, size_t why_size);
void config_clear(struct config *c);

/* The name of an option that differs but cannot be changed by a reload; NULL when there is none. */
const char *config_needs_restart(const struct config *old, const struct config *fresh);

/* Prints every option: name, default, meaning. */
void config_help(FILE *out);

/* The same, with the limits, as roff for kamsyncd.conf(5). */
void config_man(FILE *out);

#endif
