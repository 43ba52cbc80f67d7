/* The settings that tests give an engine, unless they say otherwise: the daemon's defaults. A new one is one line here.
 */
#ifndef KAMSYNC_TEST_CONF_H
#define KAMSYNC_TEST_CONF_H

#include "engine.h"

static inline struct engine_conf conf_default(void)
{
    return (struct engine_conf){
        .name = "n",
        .site = "",
        .secret = "0123456789abcdef",
        .old_secret = "",
        .heartbeat_ms = 1000,
        .node_ttl_ms = 3000,
        .hang_ms = 1500,
        .lookup_ms = 200,
        .store_wait_ms = 250,
        .caller_wait_ms = 5000,
        .tx_ttl_ms = 300000,
        .done_ttl_ms = 32000,
        .tx_max_ms = 900000,
        .txns_max = 500000,
        .call_max_ms = 43200000,
        .ended_ttl_ms = 300000,
        .takeover = true,
    };
}

#endif
