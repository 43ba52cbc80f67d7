/* Events that arrive before their transaction or call is known, and wait for it.
 *
 * A reply, a CANCEL and the branch that they belong to may pass through three SIP workers of one Kamailio. A worker
 * that is interrupted before it has queued its event is overtaken: a reply precedes its branch when the far end
 * repeats it to a survivor, whose tm has the transaction but has not sent the INVITE yet; so does a CANCEL right after
 * the INVITE. And events that nothing repeats have a queue of their own, which is sent first (KAMSYNC_URGENT in
 * kamsync.cfg), and room of their own here.
 *
 *     event of an unknown name ▶ waits under that ▶ it becomes known, or is taken over: handled as if it came now
 *                                                 ▶ too late: it was not ours
 *
 * While own transactions are read back after a start of this kamsyncd, all such events wait until that has ended. */
#include "own_impl.h"
#include "link_impl.h"
#include "call_impl.h"

#include <utlist.h>

#define EARLY_MS 5000       /* events of one moment arrive within this time, even over a slow link */
#define EARLY_BYTES 2097152 /* of all waiting events of each kind: 2 MB */

struct early_name {
    UT_hash_handle hh;
    char *name; /* owned */
    struct early *list;
};

struct early {
    struct early *prev, *next;   /* those of the same name */
    struct early *older, *newer; /* all */
    struct early_name *of;
    struct event ev; /* owned */
    size_t bytes;
    bool urgent;
};

/* Whether nothing repeats the event; events of a transaction are repeated by the store and the far ends. */
static bool is_urgent(const struct event *ev)
{
    return ev->type == EVENT_CANCEL || ev->type == EVENT_SET || ev->type == EVENT_BYE;
}

static struct early_name *find(const struct engine *e, struct span name)
{
    struct early_name *n;

    HASH_FIND(hh, e->early.by_name, name.p, name.n, n);
    return n;
}

static void name_free(struct early_name *n)
{
    free(n->name);
    free(n);
}

static struct early_name *find_or_add(struct engine *e, struct span name)
{
    struct early_name *n = find(e, name);

    if (n)
        return n;
    n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    n->name = span_dup(name);
    if (n->name)
        HASH_ADD_KEYPTR(hh, e->early.by_name, n->name, name.n, n); /* NOLINT(clang-analyzer-*): uthash */
    if (n->hh.tbl)
        return n;
    name_free(n);
    return NULL;
}

/* Removes the name from the table; its events stay in n->list. */
static void forget_name(struct engine *e, struct early_name *n)
{
    HASH_DELETE(hh, e->early.by_name, n); /* NOLINT(clang-analyzer-*): uthash */
}

/* Removes it, and gives the event to the caller, who clears it. */
static struct event take_out(struct engine *e, struct early *x)
{
    struct event ev = x->ev;

    DL_DELETE(x->of->list, x);
    DL_DELETE2(e->early.oldest, x, older, newer);
    e->early.bytes[x->urgent] -= x->bytes;
    e->early.count--;
    free(x);
    return ev;
}

static struct event take_oldest(struct engine *e)
{
    struct early_name *n = e->early.oldest->of;
    struct event ev = take_out(e, e->early.oldest);

    if (!n->list) {
        forget_name(e, n);
        name_free(n);
    }
    return ev;
}

static bool shed(struct engine *e, struct early *x)
{
    free(x);
    e->count.early_shed++;
    return false;
}

bool early_keep(struct engine *e, struct event *ev, struct span name, int64_t now)
{
    size_t bytes = sizeof(struct early) + sizeof(struct early_name) + name.n + ev->size;
    bool urgent = is_urgent(ev);
    struct early *x = e->early.bytes[urgent] + bytes <= EARLY_BYTES ? calloc(1, sizeof(*x)) : NULL;

    if (!x || !event_own(ev))
        return shed(e, x);
    x->of = find_or_add(e, name);
    if (!x->of)
        return shed(e, x);
    ev->at = calls_time(e, ev);
    if (!ev->early_ms)
        ev->early_ms = now;
    x->ev = *ev;
    *ev = (struct event){.type = ev->type};
    x->bytes = bytes;
    x->urgent = urgent;
    DL_APPEND(x->of->list, x);
    DL_APPEND2(e->early.oldest, x, older, newer);
    e->early.bytes[urgent] += bytes;
    e->early.count++;
    return true;
}

void early_take(struct engine *e, struct span name, int64_t now)
{
    struct early_name *n = e->early.count ? find(e, name) : NULL;

    if (!n)
        return;
    forget_name(e, n); /* an event that is still early waits again, under a name that one of these may begin */
    while (n->list) {
        struct event ev = take_out(e, n->list);

        engine_post(e, (struct notice){.type = NOTICE_EVENT, .event = &ev}, now);
        event_clear(&ev);
    }
    name_free(n);
}

void early_learnt(struct engine *e, int64_t now)
{
    e->learning = false;
    for (size_t left = e->early.count; left > 0 && e->early.count > 0; left--) {
        struct event ev = take_oldest(e);

        engine_post(e, (struct notice){.type = NOTICE_EVENT, .event = &ev}, now);
        event_clear(&ev);
    }
}

void early_janitor(struct engine *e, int64_t now)
{
    while (!e->learning && e->early.oldest && now - e->early.oldest->ev.early_ms > EARLY_MS) {
        struct event ev = take_oldest(e);

        e->count.events_foreign++;
        event_clear(&ev);
    }
}

void early_clear(struct engine *e)
{
    while (e->early.oldest) {
        struct event ev = take_oldest(e);

        event_clear(&ev);
    }
}
