/* What kamsyncctl doctor finds outside the core: on this host, and in Redis. */
#ifndef KAMSYNC_DOCTOR_H
#define KAMSYNC_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "finding.h"
#include "io/store.h"

/* What is looked at; sockets as in /proc/net. */
struct host {
    const struct sockaddr_storage *kamailio_at; /* where kamsyncd looks for evapi */
    const char *sip;                            /* KAMSYNC_SIP; "" while Kamailio is away */
    const char *proc;                           /* "/proc/net" */
};

/* Adds what is wrong on this host, for that node. */
void host_checks(const struct host *h, int node, json_t *found);
void host_checks_names(json_t *names);

#endif
