/* All calls of this node by name, each in one list:
 *
 *     idle ▶ dirty ▶ writing ▶ idle, or dirty again if it changed meanwhile
 *                            ▶ held: another node has it, and may be about to leave it; or its caller may come back */
#include "calls_list.h"

#include <utlist.h>

#include "count.h"

#define CALLS_MAX 1000000      /* calls in memory, */
#define CALLS_BYTES (1L << 30) /* and bytes of their texts, whose length callers choose */

static struct call **list_of(struct engine *e, enum call_place place)
{
    struct call **const lists[] = {NULL, &e->calls.dirty, &e->calls.writing, &e->calls.held};

    return lists[place];
}

void calls_move(struct engine *e, struct call *c, enum call_place place)
{
    struct call **list = list_of(e, c->place);

    if (list)
        DL_DELETE(*list, c);
    e->calls.at[c->place]--;
    c->place = place;
    e->calls.at[place]++;
    list = list_of(e, place);
    if (list)
        DL_APPEND(*list, c);
}

void calls_mark(struct engine *e, struct call *c)
{
    if (c->role == CALL_AWAY)
        return; /* the node that has taken it over writes it */
    if (c->place == CALL_WRITING)
        c->changed = true;
    else if (c->place != CALL_DIRTY)
        calls_move(e, c, CALL_DIRTY);
}

void calls_hold(struct engine *e, struct call *c, int64_t until)
{
    calls_move(e, c, CALL_HELD);
    c->hold_ms = until;
}

struct call *calls_known(const struct engine *e, struct span name)
{
    struct call *c;

    HASH_FIND(hh, e->calls.by_name, name.p, name.n, c);
    return c;
}

/* The INVITE's transaction may live on, and begins no new call; once it was answered, it notes that. */
void calls_part(const struct engine *e, const struct call *c)
{
    struct txn *t = c->role != CALL_GUEST && c->tx && !c->answered ? txns_by_key(&e->txns, c->tx) : NULL;

    if (t)
        t->call_told = TOLD_OVER;
}

void calls_drop(struct engine *e, struct call *c)
{
    calls_part(e, c);
    calls_move(e, c, CALL_IDLE);
    e->calls.at[CALL_IDLE]--;
    DL_DELETE2(e->calls.oldest, c, older, newer);
    HASH_DELETE(hh, e->calls.by_name, c); /* NOLINT(clang-analyzer-*): uthash */
    e->calls.count--;
    e->calls.bytes -= c->bytes;
    call_free(c);
}

void calls_measure(struct engine *e, struct call *c)
{
    const char *const texts[] = {c->caller, c->callee, c->ruri, c->source, c->tx};
    size_t bytes = c->name.n;

    for (size_t i = 0; i < COUNT(texts); i++)
        bytes += texts[i] ? strlen(texts[i]) : 0;
    e->calls.bytes += bytes - c->bytes;
    c->bytes = bytes;
}

struct call *calls_add(struct engine *e, struct span name, int64_t at, int64_t now)
{
    bool full = e->calls.count >= CALLS_MAX || e->calls.bytes >= CALLS_BYTES;
    struct call *c = full ? NULL : call_new(name);

    if (c)
        HASH_ADD_KEYPTR(hh, e->calls.by_name, c->name.p, name.n, c); /* NOLINT(clang-analyzer-*): uthash */
    if (!c || !c->hh.tbl) {
        e->count.calls_shed++;
        call_free(c);
        return NULL;
    }
    calls_measure(e, c);
    c->joined = at;
    c->begun_ms = c->checked_ms = c->refreshed_ms = now;
    DL_APPEND2(e->calls.oldest, c, older, newer);
    e->calls.at[CALL_IDLE]++;
    e->calls.count++;
    return c;
}

struct call *calls_find_or_add(struct engine *e, struct span name, int64_t at, int64_t now)
{
    struct call *c = calls_known(e, name);

    return c ? c : calls_add(e, name, at, now);
}

int64_t calls_time(const struct engine *e, const struct event *ev)
{
    return ev && ev->at ? ev->at : e->io.wall(e->io.ctx);
}

const struct call *calls_find(const struct engine *e, struct span name)
{
    return calls_known(e, name);
}

/* It stays another node's call; this node has only added variables. */
static void leave(struct engine *e, struct call *c)
{
    char **const texts[] = {&c->caller, &c->callee, &c->ruri, &c->source, &c->to_tag, &c->tx, &c->inc};

    for (size_t i = 0; i < COUNT(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    json_decref(c->legs);
    c->legs = NULL;
    calls_measure(e, c);
    c->node = c->trying = c->ringing = c->answered = c->ended = c->code = 0;
    c->how = c->by = c->untracked = NULL;
    c->role = CALL_GUEST;
    c->write_as = WRITE_NEW;
    c->back_ms = 0;
    calls_move(e, c, CALL_IDLE);
    calls_mark(e, c);
}

void calls_leave(struct engine *e, struct call *c)
{
    leave(e, c);
    if (!json_object_size(c->vars) && !json_object_size(c->dialogs))
        calls_drop(e, c);
}

/* From and To are the caller's claims; the R-URI is whom he reaches, and the source who he is. False when out of
 * memory. */
static bool name_both(struct call *c, const char *src, const struct sip_id *id)
{
    return call_set_text(&c->caller, id->from_uri) == 0 && call_set_text(&c->callee, id->to_uri) == 0 &&
           call_set_text(&c->ruri, id->ruri) == 0 && call_set_text(&c->source, span_of(src)) == 0;
}

/* Drops the dialogs of another INVITE. */
static void forget_dialogs(struct call *c)
{
    free(c->other_tag);
    free(c->to_tag);
    json_decref(c->dialogs);
    c->other_tag = c->to_tag = NULL;
    c->dialogs = NULL;
}

bool calls_follow(struct engine *e, struct call *c, const char *tx, const char *src, const struct sip_id *id,
                  int64_t at)
{
    if (!name_both(c, src, id) || call_set_text(&c->tx, span_of(tx)) < 0 ||
        call_set_text(&c->inc, span_of(e->self.inc)) < 0)
        return false;
    calls_measure(e, c);
    forget_dialogs(c);
    c->trying = at;
    c->ringing = c->answered = c->ended = c->code = 0;
    c->how = c->by = c->untracked = NULL;
    c->tx_absent = false;
    c->role = CALL_OWNER;
    c->write_as = c->write_as == WRITE_TAKE ? WRITE_TAKE : WRITE_NEW;
    c->tries = 0;
    c->back_ms = 0;
    c->node = e->self.id;
    return true;
}

void calls_conclude(struct engine *e, struct call *c, const char *how, const char *by, int64_t at)
{
    if (c->role == CALL_AWAY)
        return;
    c->how = how;
    c->by = by;
    c->ended = at;
    calls_mark(e, c);
}

void calls_clear(struct engine *e)
{
    while (e->calls.oldest)
        calls_drop(e, e->calls.oldest);
}
