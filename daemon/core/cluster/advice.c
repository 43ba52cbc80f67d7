/* Reports faults in Kamailio's configuration: once, not with each call or heartbeat. */
#include "cluster_impl.h"
#include "link_impl.h"

#define AGAIN_MS 600000 /* a lasting fault is logged again at this interval */

/* Whether it is time to log it (again). */
static bool is_due(int64_t *said_ms, int64_t now)
{
    if (*said_ms && now - *said_ms < AGAIN_MS)
        return false;
    *said_ms = now;
    return true;
}

/* An address that every node would reach itself by. */
static bool is_local(const char *sip)
{
    static const char *const starts[] = {"127.", "0.0.0.0:", "[::1]:", "[::]:"};

    for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++)
        if (strncmp(sip, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

void advice_address(struct engine *e, int64_t now)
{
    if (e->self.id && e->nodes.count && is_local(e->self.sip) && is_due(&e->advice.address_ms, now))
        engine_log(e, LOG_LEVEL_ERROR,
                   "this node tells the others to reach it at %s, which is each host itself: put #!define KAMSYNC_SIP "
                   "\"<this node's own address>:<port>\" above include_file \"kamsync.cfg\" in kamailio.cfg, and that "
                   "address into a listen= line",
                   e->self.sip);
}

void advice_twice(struct engine *e, const struct node *other, int64_t now)
{
    bool another = strcmp(other->sip, e->self.sip) != 0 ||
                   (strcmp(other->inc, e->self.inc) != 0 && strcmp(other->name, e->self.name) != 0);

    if (another && is_due(&e->advice.twice_ms, now))
        engine_log(e, LOG_LEVEL_ERROR,
                   "node id %d is used twice: here and at %s (%s): set server_id in kamailio.cfg to a number that no "
                   "other node has, and restart that Kamailio",
                   other->id, other->sip, other->name);
}

void advice_version(struct engine *e, const struct node *other, int64_t now)
{
    if (other->version != NODE_VERSION && is_due(&e->advice.version_ms, now))
        engine_log(e, LOG_LEVEL_WARN,
                   "node %d (%s) runs another version of kamsync (what nodes write for each other: %d there, %d here): "
                   "calls may be lost when one of the two takes over from the other, so give all nodes the same",
                   other->id, other->name, other->version, NODE_VERSION);
}

void advice_foreign(struct engine *e, const struct node *other, int64_t now)
{
    if (is_due(&e->advice.foreign_ms, now))
        engine_log(e, LOG_LEVEL_ERROR,
                   "what node %d (%s) at %s announces is not proven with this cluster's secret, and ignored: is it "
                   "another cluster's, give each a 'cluster' of its own; else give it this secret_file, and this "
                   "kamsyncd's version. Counted as nodes_foreign from now on",
                   other->id, other->name, other->sip);
}

void advice_proof(struct engine *e, const char *proof, int64_t now)
{
    if (!is_due(&e->advice.proof_ms, now))
        return;
    if (strcmp(proof, "none") == 0)
        engine_log(
            e, LOG_LEVEL_ERROR,
            "Kamailio cannot read the file of keys: KAMSYNC_KEYS_FILE in kamailio.cfg must name the keys_file of "
            "kamsyncd, and Kamailio's user must be allowed to read it (usermod -aG kamsync kamailio)");
    else
        engine_log(
            e, LOG_LEVEL_ERROR,
            "what answers on Kamailio's port does not prove that it is our Kamailio, so it is told nothing: either "
            "another program listens there, or KAMSYNC_KEYS_FILE in kamailio.cfg is not the keys_file of this "
            "kamsyncd");
}

void advice_frame(struct engine *e, const char *why, int64_t now)
{
    if (strncmp(why, "'hello'", 7) == 0) {
        engine_log(e, LOG_LEVEL_ERROR, "Kamailio's hello is not understood: %s: %s", why,
                   strstr(why, "'nonce'") || strstr(why, "'proof'") ? "its kamsync.cfg is older than this kamsyncd"
                   : strstr(why, "'node'")
                       ? "set server_id in kamailio.cfg to a number from 1 on that no other node has"
                       : "KAMSYNC_SIP must be this node's own address and port, like \"192.0.2.11:5060\"");
        return;
    }
    if (is_due(&e->advice.frame_ms, now))
        engine_log(e, LOG_LEVEL_WARN,
                   "message from Kamailio not understood: %s; if it is one of your script's own, use evapi_multicast() "
                   "or evapi_unicast() for your client: evapi_relay() goes to all. Counted as frames_bad from now on",
                   why);
}
