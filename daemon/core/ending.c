/* The end of a call, on whichever node its BYE is seen.
 *
 *     BYE ▶ waits for its final reply (a challenged BYE ends nothing) ▶ the call's record: are those its tags? ▶ end it
 *
 * Of its own calls this node knows the tags, so their record need not be read.
 *
 * Ending is one atomic step in the store, and the first one wins: so there is one entry in the archive, however often
 * and on how many nodes a BYE is seen. The time is that of the request. */
#include "engine_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#include "call.h"
#include "key.h"

#define ENDINGS_MAX 65536
#define REPLY_MS 3000   /* a BYE without any reply ends the call all the same */
#define EARLY_MS 3000   /* the answer to the INVITE may be reported later than the BYE */
#define ABSENT_MS 10000 /* the store may have forgotten the call, and its node is writing it again */
#define AGAIN_MS 250

struct ending {
    struct ending *prev, *next; /* the list of its place, in the order of due times or of tokens */
    enum ending_place place;
    UT_hash_handle hh; /* by name */
    char *name;        /* of the dialog; all texts are owned */
    char *call_id, *key;
    char *from_tag, *to_tag; /* of the BYE */
    int64_t at;              /* of the BYE, ms since 1970 */
    int64_t joined;          /* when this node first had to do with the call */
    int64_t begun_ms, due_ms;
    int64_t tried_ms; /* since when the store has been asked, 0: not yet */
    uint64_t token;   /* of the question under way, 0: none */
    bool proxy;       /* Kamailio's dialog module ended it, no BYE did */
    const char *by;
    int tell;     /* the node that has to know of its end, 0: all */
    bool writing; /* the question is the end itself */
};

static void ending_free(struct ending *x)
{
    if (!x)
        return;
    free(x->name);
    free(x->call_id);
    free(x->key);
    free(x->from_tag);
    free(x->to_tag);
    free(x);
}

/* To the end of the list: each is in order, since it is entered with the time that it is and one constant more. */
static void move(struct engine *e, struct ending *x, enum ending_place place, int64_t due_ms)
{
    DL_DELETE(e->endings[x->place], x);
    x->place = place;
    x->due_ms = due_ms;
    DL_APPEND(e->endings[place], x);
}

static void finish(struct engine *e, struct ending *x)
{
    DL_DELETE(e->endings[x->place], x);
    HASH_DELETE(hh, e->endings_by_name, x); /* NOLINT(clang-analyzer-*): uthash */
    ending_free(x);
}

/* Call-ID and tags, whichever side sent it: a BYE with other tags must not hide that of the call. */
static char *name_of(const struct event *ev, size_t *n)
{
    struct span a = ev->from_tag, b = ev->to_tag;
    bool turn = a.n != b.n ? a.n > b.n : a.n && memcmp(a.p, b.p, a.n) > 0;
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
        HASH_FIND(hh, e->endings_by_name, name, n, x);
    free(name);
    return x;
}

static struct ending *ending_new(struct engine *e, const struct event *ev, int64_t now)
{
    size_t n;
    struct ending *x = HASH_COUNT(e->endings_by_name) < ENDINGS_MAX ? calloc(1, sizeof(*x)) : NULL;

    if (!x)
        return NULL;
    x->name = name_of(ev, &n);
    x->call_id = span_dup(ev->call_id);
    x->key = key_call(ev->call_id);
    x->from_tag = span_dup(ev->from_tag);
    x->to_tag = span_dup(ev->to_tag);
    x->at = calls_time(e, ev);
    x->proxy = ev->by && strcmp(ev->by, "kamailio") == 0;
    x->begun_ms = now;
    if (x->name && x->call_id && x->key && x->from_tag && x->to_tag)
        HASH_ADD_KEYPTR(hh, e->endings_by_name, x->name, n, x); /* NOLINT(clang-analyzer-*): uthash */
    if (x->hh.tbl)
        return x;
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
    DL_APPEND(e->endings[x->place], x);
    return x;
}

void ending_bye(struct engine *e, const struct event *ev, int64_t now)
{
    bool challenged = ev->code == 401 || ev->code == 407;
    struct ending *x = find_name(e, ev);

    e->count.events_bye++;
    if (x && challenged && !x->tried_ms)
        finish(e, x);
    if (challenged)
        return;
    if (!x)
        x = add(e, ev, now);
    if (x && ev->code && !x->tried_ms)
        move(e, x, ENDING_READY, now);
}

/* ---- the store ---- */

static uint64_t await(struct engine *e, struct ending *x, bool writing)
{
    x->token = ++e->last_token;
    x->writing = writing;
    move(e, x, ENDING_ASKED, 0);
    return x->token;
}

static void ask(struct engine *e, struct ending *x)
{
    uint64_t token = await(e, x, false);

    e->io.call_get(e->io.ctx, x->key, token);
}

static void write_end(struct engine *e, struct ending *x, int64_t now)
{
    struct call end = {.ended = x->at, .how = "completed", .by = x->by, .joined = x->joined};
    struct call_write w = {.key = x->key, .node = e->self.id, .ttl_ms = e->conf.ended_ttl_ms};
    struct call_pairs p;

    call_pairs(&p, &end, e->self.id, true);
    w.pairs = p.list;
    w.count = p.count;
    /* or was its answer never reported? */
    w.mode = now - x->tried_ms < EARLY_MS ? CALL_END_ANSWERED : CALL_END;
    e->io.call_write(e->io.ctx, &w, await(e, x, true));
}

static void later(struct engine *e, struct ending *x, int64_t now)
{
    x->token = 0;
    move(e, x, ENDING_AGAIN, now + AGAIN_MS);
}

/* The store is away, or has just come back: no time has been lost by that. */
static void failed(struct engine *e, struct ending *x, int64_t now)
{
    x->tried_ms = now;
    later(e, x, now);
}

/* Answers come in the order of the questions, so it is the first, or it is none of these. */
static struct ending *find_token(const struct engine *e, uint64_t token)
{
    struct ending *x = e->endings[ENDING_ASKED];

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

/* Nobody knows that call: not this cluster's, or not any more. */
static void unknown(struct engine *e, struct ending *x, int64_t now)
{
    if (now - x->tried_ms < ABSENT_MS) {
        later(e, x, now);
        return;
    }
    e->count.byes_unknown++;
    finish(e, x);
}

static void settle(struct ending *x, bool by_caller, int tell, int64_t joined)
{
    x->by = x->proxy ? "kamailio" : by_caller ? "caller" : "callee";
    x->tell = tell;
    x->joined = joined;
}

/* Whether it ends an answered call of this node's. */
static bool is_ours(struct engine *e, struct ending *x)
{
    const struct call *c = calls_find(e, span_of(x->call_id));
    bool by_caller;

    if (!c || !c->own || !c->answered || !c->from_tag || !c->to_tag ||
        !call_tags_match(span_of(c->from_tag), span_of(c->to_tag), span_of(x->from_tag), span_of(x->to_tag),
                         &by_caller))
        return false;
    settle(x, by_caller, call_has_moved(c) ? 0 : e->self.id, c->joined);
    return true;
}

/* Who else has to know that it has ended: whose it is; or all, since others may think that it is theirs. */
static int whom(const struct engine *e, const struct pair *pairs, size_t count)
{
    int node = (int)pairs_number(pairs, count, "node");

    return pairs_joined_by_others(pairs, count, node, e->self.id) ? 0 : node;
}

static void on_call(struct engine *e, struct ending *x, const struct pair *pairs, size_t count, int64_t now)
{
    bool by_caller;

    if (pairs_number(pairs, count, "ended")) {
        late(e, x);
    } else if (!pairs_text(pairs, count, "from_tag").n) {
        unknown(e, x, now); /* there are only variables: its node is writing it, maybe again */
    } else if (!call_tags_match(pairs_text(pairs, count, "from_tag"), pairs_text(pairs, count, "to_tag"),
                                span_of(x->from_tag), span_of(x->to_tag), &by_caller)) {
        e->count.byes_foreign++;
        engine_trace(e, span_of(x->call_id), "BYE with other tags than the call's: passed over");
        finish(e, x);
    } else {
        settle(x, by_caller, whom(e, pairs, count), pairs_joined(pairs, count, e->self.id, x->at));
        write_end(e, x, now);
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

bool ending_written(struct engine *e, uint64_t token, enum call_result result, int64_t now)
{
    struct ending *x = find_token(e, token);

    if (!x || !x->writing)
        return false;
    if (result == CALL_WRITTEN || result == CALL_OTHER) {
        e->count.calls_ended++;
        engine_trace(e, span_of(x->call_id), "BYE: the call has ended, by %s", x->by);
        calls_over(e, span_of(x->call_id));
        told_over(e, x->tell, x->call_id);
        finish(e, x);
    } else if (result == CALL_OVER) {
        late(e, x);
    } else if (result == CALL_ABSENT) {
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
    if (!x->tried_ms)
        x->tried_ms = now;
    if (is_ours(e, x))
        write_end(e, x, now);
    else
        ask(e, x);
}

void ending_tick(struct engine *e, int64_t now)
{
    struct ending *x;

    for (int place = 0; place < ENDING_ASKED && e->store_up; place++)
        while ((x = e->endings[place]) != NULL && now >= x->due_ms)
            attempt(e, x, now);
}

size_t ending_count(const struct engine *e)
{
    return HASH_COUNT(e->endings_by_name);
}

int64_t ending_due(const struct engine *e)
{
    int64_t due = INT64_MAX;

    for (int place = 0; place < ENDING_ASKED && e->store_up; place++)
        if (e->endings[place] && e->endings[place]->due_ms < due)
            due = e->endings[place]->due_ms;
    return due;
}

void ending_clear(struct engine *e)
{
    for (int place = 0; place < ENDING_PLACES; place++)
        while (e->endings[place])
            finish(e, e->endings[place]); /* NOLINT(clang-analyzer-*): utlist */
}
