/* The modelled Kamailio: CANCELs, which only who has the transaction can act upon. */
#include "cluster_impl.h"

#include "base64.h"

#define ALL_MAX 3     /* KAMSYNC_ALL_MAX */
#define YOUNG_MS 5000 /* KAMSYNC_YOUNG_S */

/* The number that the caller put into his CANCEL. */
static int cancel_of(const char *msg)
{
    const char *number = strstr(msg, "X-Number: ");

    return number ? atoi(number + strlen("X-Number: ")) : -1;
}

/* What all copies of one CANCEL have in common: further ones have a '-' behind the time, and a number. */
static char *cancel_id(const struct handed *h)
{
    return scratch("%d.%.*s", h->from, (int)strcspn(h->at, "-"), h->at);
}

bool cancel_is_seen(const struct site *s, const struct handed *h)
{
    return json_object_get(s->seen, cancel_id(h)) != NULL;
}

static void mark(struct site *s, const struct handed *h)
{
    json_object_set_new(s->seen, cancel_id(h), json_true());
}

bool cluster_is_handed(const struct cluster *c, int call)
{
    return c->handed_ms[call] && c->now - c->handed_ms[call] < HANDED_MS;
}

/* Over a connection only the node can answer that has it. */
static bool can_answer(const struct site *s, int call)
{
    size_t node;

    return !cluster_is_connected(s->c, call) || (cluster_connection(s->c, call, &node) && &s->c->site[node] == s);
}

static void answer(struct site *s, const char *msg, int code)
{
    size_t number = (size_t)cancel_of(msg);

    if (!can_answer(s, call_of(msg)))
        return;
    ++*(code == 200 ? &s->c->delivered[number] : &s->c->refused[number]);
    s->c->answered_by[number] |= cluster_bit(s->id);
    s->c->amid[number] = s->c->amid[number] || cluster_is_handed(s->c, call_of(msg));
    if (s->c->astray[number])
        return;
    kamailio_hear(s, (struct heard){.what = HEARD_CANCELLED, .call = call_of(msg), .code = code, .number = number});
}

/* The far end gets its CANCEL, unless it has answered before. Its 487 takes a while, and goes to any node. */
static void cancel_call(struct site *s, const struct handed *h, int call)
{
    struct leg k = call_make((unsigned)call);
    char *all = strcmp(h->why, "perhaps") == 0 ? scratch(",\"all\":\"%s\"", cancel_id(h)) : "";

    kamailio_event(s, scratch("%s,%s%s}", cancel_event(&k), kamailio_now(s), all));
    if (!s->holds[call] || s->c->final[call])
        return;
    cluster_note(s, "* Kamailio: call %d is cancelled", call);
    s->c->final[call] = 487;
    if (s->c->hear)
        s->c->hear(s->c, &(struct heard){.what = HEARD_CANCEL, .call = call});
    else
        cluster_final(s->c, (size_t)(s - s->c->site), call);
}

/* ---- what this node has no transaction for ---- */

static size_t others(const struct site *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->c->count; i++)
        n += *s->knows[i + 1] != '\0';
    return n;
}

/* route[KAMSYNC_TELL_ALL]: how many got it. What came with a header that was not good is never handed on (-1). */
static int tell_all(struct site *s, const struct handed *h, const char *at, const char *msg)
{
    int n = 0;

    if (h->came && !*h->why)
        return -1;
    for (size_t i = 0; i < s->c->count; i++)
        if (*s->knows[i + 1]) {
            hand_over(s, i, "perhaps", at, msg);
            n++;
        }
    return n;
}

/* Just started, and no kamsyncd is here: what belongs to the Kamailio before would get a wrong answer. */
static bool is_young(const struct site *s)
{
    return !(s->linked && s->hello) && s->c->now - s->started_ms < YOUNG_MS;
}

/* route[KAMSYNC_ASK_ALL]: nobody can say who the owner is. */
static void ask_all(struct site *s, const struct handed *h, const char *at, const char *msg)
{
    if (tell_all(s, h, at, msg) != 0 || is_young(s))
        return;
    if (*h->why)
        mark(s, h);
    answer(s, msg, 481);
}

/* The shortest way first, if the owner is one of a few: kamsyncd looks later whether he has acted. */
static void from_network(struct site *s, const struct handed *h, const char *msg)
{
    char *at = handover_at(s);

    bool few = others(s) <= (s->c->large ? 0 : ALL_MAX);

    if (few && tell_all(s, h, at, msg) > 0) {
        if (s->linked && s->hello)
            kamailio_event(s, connected_text(s->c, call_of(msg), told_text(msg, at)));
    } else if (!kamailio_stray(s, msg)) {
        ask_all(s, h, at, msg);
    }
}

/* A header that is not good leaves a CANCEL from the network, and to all it is one of its own: with a time of its own,
 * and an answer of its own, which goes to whoever sent it, and that is the node which wrote the header. */
static char *anew(struct cluster *c, const char *msg)
{
    const char *number = strstr(msg, "X-Number: ");

    cr_assert(c->cancel_count < CANCELS_MAX);
    c->cancel_call[c->cancel_count] = call_of(msg);
    c->astray[c->cancel_count] = true;
    return scratch("%.*sX-Number: %zu%s", (int)(number - msg), msg, c->cancel_count++, strstr(number, "\r\n"));
}

void cancel_arrives(struct site *s, const struct handed *h, const char *msg)
{
    int call = call_of(msg);

    if (strncmp(msg, "CANCEL sip:bob@203", 18) == 0 || cancel_of(msg) < 0)
        return; /* kamsyncd's own, to the far end */
    if (h->came && !*h->why)
        msg = anew(s->c, msg);
    if (kamailio_has(s, call)) {
        if (*h->why)
            mark(s, h);
        answer(s, msg, 200);
        cancel_call(s, h, call);
    } else if (!*h->why) {
        from_network(s, h, msg);
    } else if (strcmp(h->why, "unavailable") == 0) {
        ask_all(s, h, h->at, msg);
    } else if (strcmp(h->why, "perhaps") != 0) {
        mark(s, h);
        answer(s, msg, strcmp(h->why, "acted") == 0 ? 200 : 481);
    }
}
