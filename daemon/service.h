/* What kamsyncd tells systemd (sd_notify(3)): that it runs, that it still does, and that it ends. Under another
 * supervisor, or none, nothing happens. */
#ifndef KAMSYNC_SERVICE_H
#define KAMSYNC_SERVICE_H

#include <stdint.h>

/* To be called in each turn of the loop, with now in ms of a clock that only goes forward: the first call says that the
 * service is ready, later ones feed the watchdog as often as it wants. */
void service_turn(int64_t now);
/* An orderly end has begun. */
void service_stopping(void);

#endif
