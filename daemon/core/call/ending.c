/* The end of a call, on whichever node its BYE is seen.
 *
 *     BYE, sent on ▶ waits for its final reply, which must accept it ▶ the call's record: do the tags match? ▶ end it
 *
 * This node knows the tags of its own calls, so it need not read their records.
 *
 * The end is one atomic step in the store, and the first one wins: so there is one entry in the archive, however often
 * and on however many nodes a BYE is seen. The time is that of the request. */
#include "call_impl.h"
#include "calls_list.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#include "call.h"
#include "count.h"
#include "key.h"

#define ENDINGS_MAX 65536
#define REPLY_MS 32000  /* a BYE without any reply has timed out (RFC 3261 timer F), which ends the call */
#define GONE_MS 10000   /* a BYE of a node that died, or was restarted, may be answered this late */
#define EARLY_MS 3000   /* the answer to the INVITE may be reported later than the BYE */
#define ABSENT_MS 10000 /* the store may have lost the call, and its node writes it again */
#define AGAIN_MS 250
#define LOOKS_SOON 3         /* quick lookups of an unknown call, */
#define LATE_MS 4750         /* and the delay of the later ones */
#define ASKED_MAX 1024       /* lookups under way */
#define BYTES_MAX (64 << 20) /* of all texts */
#define VICTIMS_MAX 64       /* entries checked when there is no room */

struct ending {
    struct ending *prev, *next; /* in the list of its place, ordered by due time or token */
    enum ending_place place;
    UT_hash_handle hh; /* by name */
    char *name;        /* of the dialog; owned: the next three are parts of it */
    const char *call_id;
    const char *from_tag, *to_tag; /* of the BYE; the caller's is one of them */
    bool turned;                   /* assume the second */
    bool both;                     /* the other one was tried before */
    bool weak;                     /* it timed out, or its far end has no such dialog (any more) */
    int64_t at;                    /* of the BYE, ms since 1970 */
    int64_t joined;                /* when this node first handled the call */
    int64_t begun_ms, due_ms;
    int64_t tried_ms; /* since when the store is asked; 0: not yet */
    bool failed;      /* it gave no answer: that time does not count */
    uint64_t token;   /* of the lookup under way; 0: none */
    bool proxy;       /* Kamailio's dialog module ended it, without a BYE */
    const char *by;
    int tell;       /* the node that has to know of its end; 0: all */
    bool writing;   /* the write of the end is under way */
    bool known;     /* this node knows its call */
    unsigned looks; /* lookups that did not find it */
    size_t bytes;   /* of its name */
};

static void ending_free(struct ending *x)
{
    if (!x)
        return;
    free(x->name);
    free(x);
}

/* It waits for its reply, or for its call to become known, and is not of this node's own calls. */
static bool is_stranger(const struct ending *x)
{
    return (x->place == ENDING_UNANSWERED || x->looks > 0) && !x->known;
}

/* Appends to the list, which stays in order, as each entry is due at the time of its entry plus a constant. */
static void move(struct engine *e, struct ending *x, enum ending_place place, int64_t due_ms)
{
    DL_DELETE(e->endings.place[x->place], x);
    e->endings.asked += (place == ENDING_ASKED) - (x->place == ENDING_ASKED);
    x->place = place;
    x->due_ms = due_ms;
    DL_APPEND(e->endings.place[place], x);
}

static void finish(struct engine *e, struct ending *x)
{
    DL_DELETE(e->endings.place[x->place], x);
    e->endings.asked -= x->place == ENDING_ASKED;
    e->endings.bytes -= x->bytes;
    HASH_DELETE(hh, e->endings.by_name, x); /* NOLINT(clang-analyzer-*): uthash */
    ending_free(x);
}

/* Whether the tag of To stands before that of From in the dialog's name, which is the same whichever side sent it. */
static bool has_to_first(const struct event *ev)
{
    struct span a = ev->from_tag, b = ev->to_tag;

    return a.n != b.n ? a.n > b.n : a.n && memcmp(a.p, b.p, a.n) > 0;
}

/* Call-ID and both tags, each with a NUL: a BYE with other tags must not hide the call's own. */
static char *name_of(const struct event *ev, size_t *n)
{
    struct span a = ev->from_tag, b = ev->to_tag;
    bool turn = has_to_first(ev);
    struct span parts[] = {ev->call_id, turn ? b : a, turn ? a : b};
    char *name = malloc(ev->call_id.n + a.n + b.n + 3), *end = name;

    for (size_t i = 0; name && i < 3; i++) {
        if (parts[i].n)
            memcpy(end, parts[i].p, parts[i].n);
        end += parts[i].n;
        *end++ = '\0';
    }
    *n = (size_t)(end - name);
    return name;
}

static struct ending *find_name(const struct engine *e, const struct event *ev)
{
    struct ending *x = NULL;
    size_t n;
    char *name = name_of(ev, &n);

    if (name)
        HASH_FIND(hh, e->endings.by_name, name, n, x);
    free(name);
    return x;
}

/* Keeps real work: drops the oldest of those without a known call, or without their reply. */
static bool drop_stranger(struct engine *e)
{
    static const enum ending_place places[] = {ENDING_LATE, ENDING_AGAIN, ENDING_UNANSWERED};
    struct ending *x;
    int n;

    for (size_t i = 0; i < COUNT(places); i++) {
        n = 0;
        DL_FOREACH(e->endings.place[places[i]], x)
        {
            if (is_stranger(x) || ++n == VICTIMS_MAX)
                break;
        }
        if (x && is_stranger(x)) {
            e->count.byes_shed++;
            finish(e, x);
            return true;
        }
    }
    return false;
}

static bool make_room(struct engine *e, const struct event *ev)
{
    size_t bytes = ev->call_id.n + ev->from_tag.n + ev->to_tag.n + 3; /* as in name_of() */

    while (HASH_COUNT(e->endings.by_name) >= ENDINGS_MAX || e->endings.bytes + bytes > BYTES_MAX)
        if (!drop_stranger(e))
            return false;
    return true;
}

/* Its texts; returns the length of its name, 0 when out of memory. */
static size_t fill(struct ending *x, const struct event *ev)
{
    bool turn = has_to_first(ev);
    const char *tags;
    size_t n;

    x->name = name_of(ev, &n);
    if (!x->name)
        return 0;
    x->call_id = x->name;
    tags = x->name + ev->call_id.n + 1;
    x->from_tag = turn ? tags + ev->to_tag.n + 1 : tags;
    x->to_tag = turn ? tags : tags + ev->from_tag.n + 1;
    return n;
}

static struct ending *ending_new(struct engine *e, const struct event *ev, int64_t now)
{
    struct ending *x = make_room(e, ev) ? calloc(1, sizeof(*x)) : NULL;
    size_t n = x ? fill(x, ev) : 0;

    if (!x)
        return NULL;
    x->at = calls_time(e, ev);
    x->weak = true; /* until it is accepted */
    x->proxy = ev->by && strcmp(ev->by, "kamailio") == 0;
    x->begun_ms = now;
    x->known = calls_of_event(e, ev) != NULL;
    if (n)
        HASH_ADD_KEYPTR(hh, e->endings.by_name, x->name, n, x); /* NOLINT(clang-analyzer-*): uthash */
    if (x->hh.tbl) {
        x->bytes = n;
        e->endings.bytes += x->bytes;
        return x;
    }
    ending_free(x);
    return NULL;
}

static struct ending *add(struct engine *e, const struct event *ev, int64_t now)
{
    struct ending *x = ending_new(e, ev, now);

    if (!x) {
        e->count.byes_shed++;
        return NULL;
    }
    x->place = x->proxy ? ENDING_READY : ENDING_UNANSWERED;
    x->due_ms = x->proxy ? now : now + REPLY_MS;
    DL_APPEND(e->endings.place[x->place], x);
    return x;
}

/* Without the BYE's transaction a reply is believed only if that died with its Kamailio: anybody can forge one. */
static bool is_believed(const struct engine *e, const struct event *ev)
{
    const struct node *n = nodes_find(&e->nodes, (int)ev->id);
    int64_t started = strtoll(e->self.inc, NULL, 10) * 1000;

    if (ev->id == e->self.id)
        return calls_time(e, ev) - started < GONE_MS;
    return !ev->id || (n && !node_is_alive(n, n->inc) && e->turn_ms - n->seen_ms < GONE_MS);
}

/* The far end's reply to a BYE: a 2xx, or one that says that the dialog does not exist, ends the call. No other does,
 * and a BYE that only this proxy has rejected was never sent on. */
static void replied(struct engine *e, const struct event *ev, struct ending *x, int64_t now)
{
    bool accepted = ev->code < 300, over = accepted || ev->code == 481 || ev->code == 408;

    if (!x && over && is_believed(e, ev))
        x = add(e, ev, now);
    if (!x || x->tried_ms)
        return;
    x->weak = !accepted;
    if (over) {
        move(e, x, ENDING_READY, now);
        return;
    }
    e->count.byes_refused++;
    engine_trace(e, span_of(x->call_id), "BYE: its far end has refused it, %d", (int)ev->code);
    finish(e, x);
}

void ending_bye(struct engine *e, const struct event *ev, int64_t now)
{
    struct ending *x = find_name(e, ev);

    e->count.events_bye++;
    if (ev->code)
        replied(e, ev, x, now);
    else if (!x)
        add(e, ev, now);
}

/* ---- the store ---- */

static uint64_t await(struct engine *e, struct ending *x, bool writing)
{
    x->token = engine_token(e);
    x->writing = writing;
    move(e, x, ENDING_ASKED, 0);
    return x->token;
}

static void later(struct engine *e, struct ending *x, int64_t now)
{
    x->token = 0;
    move(e, x, ENDING_AGAIN, now + AGAIN_MS);
}

/* The key of the call, assuming that this tag is the caller's. */
static char *key_of(const struct ending *x, bool turned)
{
    return key_call(span_of(x->call_id), span_of(turned ? x->to_tag : x->from_tag));
}

static void ask(struct engine *e, struct ending *x, int64_t now)
{
    char *key = key_of(x, x->turned), *other = key_of(x, !x->turned);

    if (key && other)
        e->io.call_get(e->io.ctx, key, other, await(e, x, false));
    else
        later(e, x, now); /* out of memory */
    free(key);
    free(other);
}

/* The callee's tag. */
static const char *dialog_of(const struct ending *x)
{
    return x->turned ? x->from_tag : x->to_tag;
}

/* The entry for the archive, if the store has all that this node knows of the call, and perhaps nothing more. */
static void add_entry(const struct engine *e, struct call_write *w, struct call_pairs *out, struct call *c,
                      const struct call *end)
{
    struct call whole = *c;

    if (c->place != CALL_IDLE || c->dialogs || !c->alone)
        return;
    whole.ended = end->ended;
    whole.how = end->how;
    whole.by = end->by;
    call_pairs(out, &whole, &e->self, true);
    w->tx = c->tx;
    w->known = KNOWN_OURS;
    w->entry = out->list;
    w->entry_count = call_entry(out, &whole);
    c->alone = false;
}

/* c: the call if it is this node's own, else NULL. */
static void write_end(struct engine *e, struct ending *x, struct call *c, int64_t now)
{
    struct call end = {.ended = x->at, .how = "completed", .by = x->by, .joined = x->joined};
    struct call_write w = {.node = e->self.id, .ttl_ms = e->conf.ended_ttl_ms};
    struct call_pairs p, entry;
    char *key = key_of(x, x->turned);

    if (!key) {
        later(e, x, now);
        return;
    }
    w.key = key;
    w.dialog = span_of(dialog_of(x));
    call_pairs(&p, &end, &e->self, true);
    w.pairs = p.list;
    w.count = p.count;
    if (c)
        add_entry(e, &w, &entry, c, &end);
    /* or was its answer never reported? */
    w.mode = x->weak || now - x->tried_ms < EARLY_MS ? CALL_END_ANSWERED : CALL_END;
    e->io.call_write(e->io.ctx, &w, await(e, x, true));
    free(key);
}

/* The store is away, for as long as that may take, or has just come back. */
static void failed(struct engine *e, struct ending *x, int64_t now)
{
    x->failed = true;
    later(e, x, now);
}

/* Nearly all answers come in the order of the lookups: so it is the first one, or one of the first. */
static struct ending *find_token(const struct engine *e, uint64_t token)
{
    struct ending *x = e->endings.place[ENDING_ASKED];

    while (x && x->token < token)
        x = x->next;
    return x && x->token == token ? x : NULL;
}

static void late(struct engine *e, struct ending *x)
{
    e->count.byes_late++;
    engine_trace(e, span_of(x->call_id), "BYE: the call had ended before");
    finish(e, x);
}

/* The call is unknown: not this cluster's, or no longer. */
static void unknown(struct engine *e, struct ending *x, int64_t now)
{
    if (now - x->tried_ms < ABSENT_MS) {
        later(e, x, now);
        /* What a store has lost is written again soon: by this node, or by others while they are in doubt. */
        if (++x->looks >= LOOKS_SOON && !x->known && now >= e->store.doubt_ms)
            move(e, x, ENDING_LATE, now + LATE_MS);
        return;
    }
    e->count.byes_unknown++;
    finish(e, x);
}

static void settle(struct ending *x, int tell, int64_t joined)
{
    x->by = x->proxy ? "kamailio" : x->turned ? "callee" : "caller";
    x->tell = tell;
    x->joined = joined;
}

static struct span call_of(const struct ending *x)
{
    return call_name(span_of(x->call_id), span_of(x->turned ? x->to_tag : x->from_tag));
}

/* A far end that answers 481 before the dialog has begun does not end it. */
static bool is_too_weak(const struct ending *x, int64_t answered)
{
    return x->weak && !x->proxy && answered && x->at < answered;
}

/* The answered call of this node's that it ends, or NULL. */
static struct call *own_call(struct engine *e, struct ending *x)
{
    for (int i = 0; i < 2; i++, x->turned = !x->turned) {
        struct span name = call_of(x);
        struct call *c = calls_known(e, name);

        free((char *)name.p);
        if (c && c->role != CALL_GUEST && c->answered && c->to_tag && call_has_dialog(c, span_of(dialog_of(x))) &&
            !is_too_weak(x, c->answered)) {
            settle(x, call_has_moved(c) ? 0 : e->self.id, c->joined);
            return c;
        }
    }
    return NULL;
}

/* Who else has to know of the end: the call's node; or all, if others may think that they own it. */
static int whom(const struct engine *e, const struct pair *pairs, size_t count)
{
    int node = (int)pairs_number(pairs, count, "node");

    return pairs_joined_by_others(pairs, count, node, e->self.id) ? 0 : node;
}

static void pass_over(struct engine *e, struct ending *x)
{
    e->count.byes_foreign++;
    engine_trace(e, span_of(x->call_id), "BYE with other tags than the call's: passed over");
    finish(e, x);
}

/* Its tags are not those of the call that was found. Each order of tags may name a call; and the answer that began the
 * dialog may be reported later than the BYE. */
static void foreign(struct engine *e, struct ending *x, int64_t now)
{
    bool both = x->both;

    x->both = !both;
    x->turned = !x->turned;
    if (!both)
        ask(e, x, now);
    else if (now - x->tried_ms < EARLY_MS)
        later(e, x, now);
    else
        pass_over(e, x);
}

static void on_call(struct engine *e, struct ending *x, const struct pair *pairs, size_t count, int64_t now)
{
    struct span caller = pairs_text(pairs, count, "from_tag");

    if (span_eq(caller, span_of(x->turned ? x->from_tag : x->to_tag)))
        x->turned = !x->turned;
    if (pairs_number(pairs, count, "ended")) {
        late(e, x);
    } else if (!caller.n && !pairs_text(pairs, count, "tx").n) {
        x->looks = 0;
        unknown(e, x, now); /* only variables so far: its node is writing it, maybe again */
    } else if (!span_eq(caller, span_of(x->turned ? x->to_tag : x->from_tag)) ||
               !pairs_have_dialog(pairs, count, span_of(dialog_of(x)))) {
        foreign(e, x, now);
    } else if (is_too_weak(x, pairs_number(pairs, count, "answered"))) {
        pass_over(e, x);
    } else {
        settle(x, whom(e, pairs, count), pairs_joined(pairs, count, e->self.id, x->at));
        write_end(e, x, NULL, now);
    }
}

bool ending_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now)
{
    struct ending *x = find_token(e, token);

    if (!x || x->writing)
        return false;
    if (status == GET_FOUND)
        on_call(e, x, pairs, count, now);
    else if (status == GET_ABSENT)
        unknown(e, x, now);
    else
        failed(e, x, now);
    return true;
}

static void ended(struct engine *e, struct ending *x)
{
    struct span name = call_of(x);

    if (name.p) {
        calls_over(e, name);
        message_over(e, x->tell, name);
    }
    free((char *)name.p);
    finish(e, x);
}

/* Two phones had answered, and the other dialog goes on. */
static void dialog_ended(struct engine *e, struct ending *x)
{
    struct span name = call_of(x);

    engine_trace(e, span_of(x->call_id), "BYE: one of the call's dialogs has ended, by %s", x->by);
    if (name.p)
        calls_dialog_over(e, name, span_of(dialog_of(x)), x->at);
    free((char *)name.p);
    finish(e, x);
}

bool ending_written(struct engine *e, uint64_t token, enum call_result result, int64_t now)
{
    struct ending *x = find_token(e, token);

    if (!x || !x->writing)
        return false;
    if (result == CALL_WRITTEN || result == CALL_OTHER) {
        e->count.calls_ended++;
        if (x->tell != e->self.id) /* else its record says so, and decisions would soon be pushed out of the trace */
            engine_trace(e, span_of(x->call_id), "BYE: the call has ended, by %s", x->by);
        ended(e, x);
    } else if (result == CALL_GOES_ON) {
        dialog_ended(e, x);
    } else if (result == CALL_FOREIGN) {
        foreign(e, x, now);
    } else if (result == CALL_OVER) {
        late(e, x);
    } else if (result == CALL_ABSENT || (result == CALL_EARLY && x->weak)) {
        unknown(e, x, now);
    } else if (result == CALL_EARLY) {
        later(e, x, now);
    } else {
        failed(e, x, now);
    }
    return true;
}

/* ---- time ---- */

static void attempt(struct engine *e, struct ending *x, int64_t now)
{
    struct call *c;

    if (!x->tried_ms || x->failed)
        x->tried_ms = now;
    x->failed = false;
    c = own_call(e, x);
    if (c)
        write_end(e, x, c, now);
    else
        ask(e, x, now);
}

void ending_tick(struct engine *e, int64_t now)
{
    struct ending *x;

    for (int place = 0; place < ENDING_ASKED && e->store.up; place++)
        while (e->endings.asked < ASKED_MAX && (x = e->endings.place[place]) != NULL && now >= x->due_ms)
            attempt(e, x, now);
}

size_t ending_count(const struct engine *e)
{
    return HASH_COUNT(e->endings.by_name);
}

int64_t ending_due(const struct engine *e)
{
    int64_t due = INT64_MAX;

    for (int place = 0; place < ENDING_ASKED && e->store.up && e->endings.asked < ASKED_MAX; place++)
        if (e->endings.place[place] && e->endings.place[place]->due_ms < due)
            due = e->endings.place[place]->due_ms;
    return due;
}

void ending_clear(struct engine *e)
{
    for (int place = 0; place < ENDING_PLACES; place++)
        while (e->endings.place[place])
            finish(e, e->endings.place[place]); /* NOLINT(clang-analyzer-*): utlist */
}
