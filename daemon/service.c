#include "service.h"

#include <stdbool.h>
#include <systemd/sd-daemon.h>

void service_turn(int64_t now)
{
    static bool ready;
    static int64_t every_ms, next_ms; /* of the watchdog; 0: none */
    uint64_t usec = 0;

    if (!ready) {
        ready = true;
        if (sd_watchdog_enabled(0, &usec) > 0)
            every_ms = (int64_t)usec / 3000; /* three times as often as needed */
        sd_notify(0, "READY=1");
    }
    if (every_ms && now >= next_ms) {
        next_ms = now + every_ms;
        sd_notify(0, "WATCHDOG=1");
    }
}

void service_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}
