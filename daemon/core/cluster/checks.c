/* What may be wrong with this node's Kamailio, and between the nodes: a row of a table each. The log has the same words
 * (advice.c). What grows.c counts is told here, too. */
#include <stdio.h>

#include "cluster_impl.h"
#include "count.h"
#include "link_impl.h"

#define LONG_MS 600000 /* as counters that grow (grows.c) */
#define FRESH_MS 3000  /* what was seen so lately, or in the last three beats, is still so */

static bool is_fresh(const struct engine *e, int64_t seen_ms, int64_t now)
{
    int64_t beats_ms = 3 * e->conf.heartbeat_ms;

    return seen_ms && now - seen_ms < (beats_ms > FRESH_MS ? beats_ms : FRESH_MS);
}

/* An address that every node would reach itself by. */
static bool is_local(const char *sip)
{
    static const char *const starts[] = {"127.", "0.0.0.0:", "[::1]:", "[::]:"};

    for (size_t i = 0; i < COUNT(starts); i++)
        if (strncmp(sip, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

/* ---- this node's Kamailio ---- */

/* How kamsync.cfg can be out of force in a Kamailio whose configuration is in order. */
#define NOT_IN_FORCE                                                                                                   \
    "its kamailio.cfg does not include kamsync.cfg, or has the include_file line within an #!ifdef that is off, "      \
    "which "

static bool has_bad_hello(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    const char *why = e->advice.hello;

    (void)n, (void)now;
    FINDING(f, "Kamailio's hello is not understood: %s", why);
    WRITE(f, "%s",
          strstr(why, "'nonce'") || strstr(why, "'proof'") ? "its kamsync.cfg is older than this kamsyncd: take both "
                                                             "of one build, and restart Kamailio"
          : strstr(why, "'node'") ? "set server_id in kamailio.cfg to a number from 1 on that no other node has"
                                  : "KAMSYNC_SIP must be this node's own address and port, like \"192.0.2.11:5060\"");
    return !e->contact.hello && e->contact.greet_ms && *why;
}

static bool cannot_read_keys(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n;
    FINDING(f, "Kamailio cannot read the file of keys");
    WRITE(f, "KAMSYNC_KEYS_FILE in kamailio.cfg must name the keys_file of kamsyncd, and Kamailio's user must be "
             "allowed to read it (usermod -aG kamsync kamailio, and restart Kamailio)");
    return !e->contact.hello && is_fresh(e, e->advice.unread_ms, now);
}

static bool is_a_stranger(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n;
    FINDING(f, "what answers on Kamailio's port does not prove that it is our Kamailio, so it is told nothing");
    WRITE(f, "either another program listens there, or KAMSYNC_KEYS_FILE in kamailio.cfg is not the keys_file of this "
             "kamsyncd");
    return !e->contact.hello && is_fresh(e, e->advice.stranger_ms, now);
}

/* None of the above, which know more. */
static bool is_explained(const struct engine *e, int64_t now)
{
    return e->contact.hello || *e->advice.hello || is_fresh(e, e->advice.unread_ms, now) ||
           is_fresh(e, e->advice.stranger_ms, now);
}

static bool is_silent(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n;
    FINDING(f, "evapi answers, but no kamsync.cfg behind it");
    WRITE(f, NOT_IN_FORCE "kamailio -c does not tell (kamsyncctl doctor --kamailio /etc/kamailio/kamailio.cfg does); "
                          "or it has event routes of evapi of its own, which must call ours (KAMSYNC_OWN_EVAPI)");
    return !is_explained(e, now) && e->contact.greet_ms;
}

static bool is_out_of_reach(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n;
    FINDING(f, "evapi cannot be reached: nobody listens where kamsyncd's option 'kamailio' says");
    WRITE(f, "start Kamailio. If it runs: " NOT_IN_FORCE
             "kamailio -c does not tell (kamsyncctl doctor --kamailio /etc/kamailio/kamailio.cfg does); or "
             "KAMSYNC_EVAPI is another address");
    return !is_explained(e, now) && !e->contact.greet_ms;
}

static bool hangs(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n, (void)now;
    FINDING(f, "Kamailio hangs: it acknowledges nothing");
    WRITE(f, "find out what blocks it (DNS, a database, want of CPU): Kamailio's log, kamcmd core.psx");
    return e->contact.hello && !e->self.up;
}

static bool has_no_address(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n, (void)now;
    FINDING(f, "this node tells the others to reach it at %s, which is each host itself", e->self.sip);
    WRITE(f, "put #!define KAMSYNC_SIP \"<this node's own address>:<port>\" above include_file \"kamsync.cfg\" in "
             "kamailio.cfg, and that address into a listen= line");
    return e->self.id && e->nodes.count && is_local(e->self.sip);
}

/* The others cannot send from there, and far ends compare the Via's sent-by (RFC 3261 17.2.3). */
static bool leave_from_own_address(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n;
    FINDING(
        f, "INVITEs leave from this node's own address, %s: if this node dies, no other can go on with calls that ring",
        e->self.sip);
    WRITE(f, "send them from the anycast address: $fs, as route[FROM_ANYCAST] of node.cfg does");
    return e->nodes.count && e->advice.own_leg_ms && now - e->advice.own_leg_ms < LONG_MS;
}

static bool is_not_understood(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)n;
    FINDING(f, "message from Kamailio not understood: %s", e->advice.frame);
    WRITE(f, "if it is one of your script's own, use evapi_multicast() or evapi_unicast() for your client: "
             "evapi_relay() goes to all. Counted as frames_bad");
    return e->advice.frame_ms && now - e->advice.frame_ms < NEWS_MS;
}

/* ---- the others ---- */

bool check_is_proven(const struct engine *e, const struct node *n)
{
    return node_is_proven(n, e->conf.secret) || (*e->conf.old_secret && node_is_proven(n, e->conf.old_secret));
}

static bool has_twin(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    const struct node *twin = &e->advice.twin;

    (void)n;
    FINDING(f, "node id %d is used twice: here and at %s (%s)", twin->id, twin->sip, twin->name);
    WRITE(f, "set server_id in kamailio.cfg to a number that no other node has, and restart that Kamailio");
    return is_fresh(e, e->advice.twin_ms, now);
}

static bool has_another_secret(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "what node %d (%s) at %s announces is not proven with this cluster's secret", n->id, n->name, n->sip);
    WRITE(f, "write the same line into secret_file on all nodes, and kamsyncctl reload; is it another cluster's, give "
             "each a 'cluster' of its own");
    return !check_is_proven(e, n);
}

static bool is_of_another_version(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)e, (void)now;
    FINDING(f, "node %d (%s) runs another version of kamsync (what nodes write for each other: %d there, %d here)",
            n->id, n->name, n->version, NODE_VERSION);
    WRITE(f, "calls may be lost when one of the two takes over from the other, so give all nodes the same packages");
    return n->version != NODE_VERSION;
}

/* Without a Kamailio of our own, a common secret or its address nobody can answer; each has a row of its own. */
static bool does_not_answer(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)now;
    FINDING(f, "node %d (%s) lives, but its Kamailio does not answer this node's probes at %s", n->id, n->name, n->sip);
    WRITE(f, "its KAMSYNC_SIP must be one of its listen lines; let UDP pass between the nodes' own addresses, both "
             "ways; route(KAMSYNC_REQUEST) comes first in its request_route, route(KAMSYNC_REPLY) in this node's "
             "reply_route");
    return e->contact.hello && e->self.up && check_is_proven(e, n) && !is_local(n->sip) && !is_local(e->self.sip) &&
           n->up && !n->lost && !n->unseen && !n->reached;
}

static bool is_gone(const struct engine *e, const struct node *n, int64_t now, struct finding *f)
{
    (void)e, (void)now;
    FINDING(f, "node %d (%s) is %s", n->id, n->name, node_state(n));
    WRITE(f, "start %s; if it is gone for good, its record ends a day after its last beat",
          n->lost ? "that node" : "its kamsyncd, or give it the Redis of the others");
    return n->lost || n->unseen;
}

/* ---- the table ---- */

static const struct {
    const char *name;
    enum severity severity;
    bool (*wrong)(const struct engine *e, const struct node *other, int64_t now, struct finding *f);
    bool others; /* asked for each other node; else NULL is given */
} checks[] = {
    [CHECK_HELLO] = {"hello", SEVERITY_ERROR, has_bad_hello, false},
    [CHECK_KEYS] = {"keys", SEVERITY_ERROR, cannot_read_keys, false},
    [CHECK_STRANGER] = {"stranger", SEVERITY_ERROR, is_a_stranger, false},
    [CHECK_SCRIPT] = {"script", SEVERITY_ERROR, is_silent, false},
    [CHECK_EVAPI] = {"evapi", SEVERITY_ERROR, is_out_of_reach, false},
    [CHECK_HANGS] = {"kamailio", SEVERITY_ERROR, hangs, false},
    [CHECK_ADDRESS] = {"address", SEVERITY_ERROR, has_no_address, false},
    [CHECK_LEGS] = {"legs", SEVERITY_WARNING, leave_from_own_address, false},
    [CHECK_FRAMES] = {"frames", SEVERITY_WARNING, is_not_understood, false},
    [CHECK_TWICE] = {"server_id", SEVERITY_ERROR, has_twin, false},
    [CHECK_SECRET] = {"secret", SEVERITY_ERROR, has_another_secret, true},
    [CHECK_VERSION] = {"version", SEVERITY_WARNING, is_of_another_version, true},
    [CHECK_PROBES] = {"probes", SEVERITY_ERROR, does_not_answer, true},
    [CHECK_NODES] = {"nodes", SEVERITY_ERROR, is_gone, true},
};

static void look(const struct engine *e, enum check c, const struct node *other, int64_t now, json_t *found)
{
    struct finding f = {0};

    if (checks[c].wrong(e, other, now, &f))
        json_array_append_new(found, finding_json(e->self.id, checks[c].name, checks[c].severity, &f));
}

void checks_run(const struct engine *e, int64_t now, json_t *found)
{
    for (int c = 0; c < CHECKS; c++) {
        if (!checks[c].others)
            look(e, (enum check)c, NULL, now, found);
        for (size_t i = 0; checks[c].others && i < e->nodes.count; i++)
            look(e, (enum check)c, &e->nodes.list[i], now, found);
    }
    grows_run(e, now, found);
}

void checks_names(json_t *names)
{
    for (int c = 0; c < CHECKS; c++)
        json_array_append_new(names, json_string(checks[c].name));
    json_array_append_new(names, json_string("counters"));
}

bool check_log(struct engine *e, enum check c, const struct node *other, int64_t now)
{
    struct finding f = {0};
    bool wrong = checks[c].wrong(e, other, now, &f);

    if (wrong)
        engine_log(e, checks[c].severity == SEVERITY_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "%s: %s", f.what,
                   f.write);
    return wrong;
}
