/* Probes of other nodes, as the script of the modelled Kamailio tells of their answers. */
#include "cluster_impl.h"

#define FEW 15 /* other nodes, which are not probed in turns */

char *kamailio_probes(struct site *s, int id)
{
    size_t others = 0;
    bool was = s->heard[id];

    for (size_t i = 1; i <= SITES_MAX; i++)
        others += *s->knows[i] != '\0';
    s->heard[id] = false;
    s->later[id] = was && others <= FEW;
    return others <= FEW ? scratch(",\"id\":%d,\"alive\":%d", id, was) : NULL;
}

void kamailio_alive(struct site *s, int id)
{
    if (id <= 0 || id > SITES_MAX)
        return;
    s->clock[id] = s->heard[id] = true;
    if (!s->later[id])
        kamailio_event(s, scratch("{\"t\":\"alive\",\"id\":%d}", id));
}
