/* Callers on connections: each ends with the Kamailio that it leads to, and only that one can send anything over it.
 * What kamsyncd says to their far ends counts; to the others tm says the same. */
#include "cluster_impl.h"

bool cluster_is_connected(const struct cluster *c, int call)
{
    return c->connects && call % 4 == 1;
}

bool cluster_connection(const struct cluster *c, int call, size_t *node)
{
    const struct site *s = &c->site[c->at_node[call]];

    *node = c->at_node[call];
    return c->at_start[call] && c->at_start[call] == s->starts && !s->dead;
}

void cluster_connect(struct cluster *c, size_t node, int call)
{
    c->cut[call] = c->cut[call] || c->at_start[call];
    c->at_node[call] = node;
    c->at_start[call] = c->site[node].starts;
    c->connections[call]++;
}

char *connected_text(const struct cluster *c, int call, const char *text)
{
    static const char address[] = "udp:198.51.100.9:5060";
    const char *at = call >= 0 && cluster_is_connected(c, call) ? strstr(text, address) : NULL;

    return at ? scratch("%.*stcp:198.51.100.9:%u%s", (int)(at - text), text, 40000 + c->connections[call],
                        at + sizeof(address) - 1)
              : (char *)text;
}

void final_is_asked(struct site *s, int call)
{
    size_t master;

    if (s->connected && !s->deaf && way_of(s, APPLY_GET, cluster_key(call), &master))
        s->c->said_ms[call] = s->c->now;
}

void far_end_hears(struct site *s, const char *msg)
{
    struct cluster *c = s->c;
    int call = call_of(msg);

    if (call < 0 || !cluster_is_connected(c, call) || re_of(msg))
        return;
    if (strncmp(msg, "CANCEL ", 7) == 0 && !c->final[call]) {
        cluster_note(s, "* far end: call %d is cancelled by kamsyncd", call);
        c->final[call] = 487;
        if (c->hear)
            c->hear(c, &(struct heard){.what = HEARD_CANCEL, .call = call});
    } else if (strncmp(msg, "ACK ", 4) == 0 && c->hear) {
        c->hear(c, &(struct heard){.what = HEARD_ACK, .call = call});
    } else if (strncmp(msg, "BYE ", 4) == 0) {
        c->hung_up[call] = true;
    }
}
