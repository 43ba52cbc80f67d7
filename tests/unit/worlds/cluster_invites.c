/* The modelled Kamailio: INVITEs that come again, maybe to another node, and those within a call. */
#include "cluster_impl.h"

#include "base64.h"

/* ---- a call's first ---- */

#define KNOWN_MS 1000 /* a record that has stood there for so long is found by whoever asks */

/* Who asks whether its record is there finds it, if it is. */
static bool is_known(const struct site *s, int call)
{
    struct leg k = call_make((unsigned)call);
    const struct entry *x =
        cluster_is_behind(s) ? NULL
                             : entry_find(s->c, &s->c->store,
                                          scratch("kamsync:tx:{%s}:%u:%s:%s", k.call_id, k.cseq, k.branch, k.sent_by));

    return x && s->c->now - x->since_ms > KNOWN_MS;
}

/* Another Kamailio has routed it before, and has it, or whoever takes it over will. That is right only if this one
 * could not know of it. */
static void note_second(struct site *s, int call, bool asked)
{
    struct cluster *c = s->c;
    bool claimed = c->invites == ROUTE_CLAIMED && !c->loose[call];

    if (!c->begun[call])
        return;
    cluster_note(s, "* Kamailio: call %d was another node's", call);
    c->doubled[call] = true;
    c->doubled_ms[call] = c->now;
    c->wrongly[call] =
        c->wrongly[call] || (asked && !c->final[call] && (claimed || (c->invites == ROUTE_ASKED && is_known(s, call))));
}

static void begin(struct site *s, const char *why, int call)
{
    /* a Kamailio that hangs between the answer and the INVITE's routing is beyond anybody's reach */
    bool asked = why && strcmp(why, "unknown") == 0 && s->c->now - s->said_ms < KNOWN_MS / 2;

    cluster_note(s, "* Kamailio: call %d begins%s%s", call, why ? ": " : "", why ? why : "");
    note_second(s, call, asked);
    s->c->loose[call] = s->c->loose[call] || !asked;
    kamailio_call(s, call);
    if (s->c->final[call])
        kamailio_final(s, call, s->c->final[call]); /* to the far end it is a retransmission */
}

void invite_arrives(struct site *s, const char *why, const char *msg)
{
    int call = call_of(msg);
    bool ours = kamailio_has(s, call) || s->left[call];

    if (why && strcmp(why, "lost") == 0) {
        s->left[call] = false; /* t_release() */
        return;
    }

    if (!ours && !why && s->c->invites != ROUTE_AT_ONCE && s->linked && s->hello) {
        kamailio_stray(s, msg);
        return;
    }
    if (!ours)
        begin(s, why, call);
    if (s->holds[call])
        kamailio_hear(s, (struct heard){.what = HEARD_RINGING, .call = call});
    else if (s->c->final[call] >= 300 && kamailio_has(s, call))
        kamailio_hear(s, (struct heard){.what = HEARD_FINAL, .call = call, .code = s->c->final[call]});
}

void cluster_invite(struct cluster *c, size_t node, int call)
{
    struct leg k = call_make((unsigned)call);

    arrive(c, node, sip_request(&k, "INVITE"));
}

/* ---- those within a call ---- */

int re_of(const char *msg)
{
    const char *cseq = strstr(msg, "\nCSeq: ");
    int n = 0;
    char method[16] = "";

    return cseq && sscanf(cseq, "\nCSeq: %d %15s", &n, method) == 2 && strcmp(method, "BYE") != 0 &&
                   call_of(msg) >= 0 && n > 1
               ? n - 1
               : 0;
}

static struct leg re_make(int call, int n)
{
    struct leg k = call_make((unsigned)call);

    k.cseq = (unsigned)n + 1;
    k.branch = scratch("z9hG4bK-re-%d-%d", call, n);
    k.tm = scratch("z9hG4bK%04x.%032x", call & 0xffff, (unsigned)(call + 1000 * n));
    return k;
}

static char *re_request(const struct leg *k, const char *method)
{
    static const char to[] = "To: <sip:bob@example.org>";
    char *msg = sip_request(k, method), *at = strstr(msg, to);

    return scratch("%.*s;tag=b1%s", (int)(at - msg + (long)sizeof(to) - 1), msg, at + sizeof(to) - 1);
}

void cluster_reinvite(struct cluster *c, size_t node, int call, int n)
{
    struct leg k = re_make(call, n);

    arrive(c, node, re_request(&k, "INVITE"));
}

void cluster_re_final(struct cluster *c, size_t node, int call, int n)
{
    struct leg k = re_make(call, n);

    arrive(c, node,
           scratch("SIP/2.0 %d Final\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0\r\n%s", c->re_code[call], k.tm,
                   strstr(re_request(&k, "INVITE"), "Via: ")));
}

void cluster_re_ack(struct cluster *c, size_t node, int call, int n)
{
    struct leg k = re_make(call, n);

    arrive(c, node, re_request(&k, "ACK"));
}

/* Its final reply goes to whoever sent it. */
static void re_final(struct site *s, int call, int n)
{
    struct leg k = re_make(call, n);

    if (s->re[call] == n) {
        kamailio_event(s, kamailio_replied(s, &k, s->c->re_code[call]));
        s->re_done[call] = true;
    }
    kamailio_hear(s, (struct heard){.what = HEARD_RE_FINAL, .call = call, .number = (size_t)n});
}

static void re_begin(struct site *s, const char *msg, int call, int n)
{
    struct leg k = re_make(call, n);

    cluster_note(s, "* Kamailio: re-INVITE %d of call %d", n, call);
    s->re[call] = n;
    s->re_done[call] = false;
    kamailio_event(s, kamailio_branch(s, &k, msg, true));
}

void re_arrives(struct site *s, const char *why, const char *msg)
{
    int call = call_of(msg), n = re_of(msg);
    bool known = s->re[call] == n, linked = s->linked && s->hello;
    size_t node = (size_t)(s - s->c->site);

    if (why && strcmp(why, "lost") == 0)
        return;

    if (strncmp(msg, "INVITE ", 7) == 0) {
        if (!known && !why && s->c->invites != ROUTE_AT_ONCE && linked) {
            kamailio_stray(s, msg);
            return;
        }
        if (!known)
            re_begin(s, msg, call, n);
        kamailio_hear(s, (struct heard){.what = HEARD_RE, .call = call, .number = (size_t)n, .node = node});
    } else if (!known && !why && linked) {
        kamailio_stray(s, msg); /* the reply's owner, or the ACK's, gets it */
    } else if (strncmp(msg, "SIP/2.0 ", 8) == 0) {
        re_final(s, call, n);
    }
}

void re_taken_over(struct site *s, const char *msg, long long token)
{
    int call = call_of(msg), n = re_of(msg);
    struct leg k = re_make(call, n);

    if (s->re[call] == n)
        return;
    cluster_note(s, "* Kamailio: re-INVITE %d of call %d is taken over", n, call);
    s->re[call] = n;
    s->re_done[call] = false;
    kamailio_event(s,
                   scratch("%s{\"t\":\"taken\",\"token\":%lld,\"ok\":1}", kamailio_branch(s, &k, NULL, false), token));
    kamailio_hear(
        s, (struct heard){.what = HEARD_RE, .call = call, .number = (size_t)n, .node = (size_t)(s - s->c->site)});
}
