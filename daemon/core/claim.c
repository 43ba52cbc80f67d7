/* A claim: a key that can be written once for each incarnation that a transaction is claimed from, with the name of who
 * claims it. */
#include "engine_impl.h"

#include <stdio.h>

#include "key.h"

bool claim_write(struct engine *e, const char *tx_key, const char *inc, int64_t ttl_ms, uint64_t token)
{
    char value[128], *key = key_claim(tx_key, inc);
    bool made = key != NULL;

    snprintf(value, sizeof(value), "%d %s", e->self.id, e->self.inc);
    if (key)
        e->io.claim(e->io.ctx, key, value, ttl_ms, token);
    free(key);
    return made;
}

int claim_holder(struct span holder, char inc[80])
{
    char text[128];
    int id = 0;

    *inc = '\0';
    snprintf(text, sizeof(text), "%.*s", (int)holder.n, holder.n ? holder.p : "");
    return sscanf(text, "%d %79s", &id, inc) == 2 && id > 0 && msg_is_word(inc) ? id : 0;
}
