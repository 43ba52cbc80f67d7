/* Notifies systemd (sd_notify(3)) that kamsyncd runs, is alive, and ends. Under another supervisor, or none, does
 * nothing. */
#ifndef KAMSYNC_SERVICE_H
#define KAMSYNC_SERVICE_H

#include <stdint.h>

/* Call it in each turn of the loop, with now in ms of a monotonic clock: the first call reports the service as ready,
 * later ones feed the watchdog as often as needed. */
void service_turn(int64_t now);
/* An orderly shutdown has begun. */
void service_stopping(void);

#endif
