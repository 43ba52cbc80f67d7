/* Answers kamsyncctl (proto/control.md). A new command is one row in the table below.
 *
 *     request ▶ answered at once
 *             ▶ or from the store: the record of a call, the archive
 *             ▶ or by all nodes: each adds what it has in memory, within ASK_MS */
#include "ask_impl.h"
#include "cluster_impl.h"

#include <utlist.h>

#include "call.h"
#include "count.h"
#include "key.h"

#define PENDING_MAX 256
#define ASK_MS 150             /* a node that has not answered by then is listed as silent */
#define STORE_MS 2000          /* the same for the store */
#define TOTAL_LIMIT 1000000000 /* calls of one node */
#define CDR_DEFAULT 20
#define CDR_LIMIT 10000

struct inquiry {
    struct inquiry *prev, *next;
    uint64_t client, token;
    const char *list; /* the array that nodes add to; NULL: answered from the store */
    json_t *answer;   /* owned */
    json_t *keys;     /* owned: of the calls still to be read */
    char *call_id;    /* owned: of those */
    size_t most;      /* limit of that array */
    bool newest;      /* the order of that array */
    int64_t due_ms;
};

static void reply(struct engine *e, uint64_t client, json_t *answer)
{
    json_object_set_new(answer, "ok", json_true());
    e->io.answer(e->io.ctx, client, answer);
}

/* The reason, for programs, is one of these words (proto/control.md); the error is for people. */
#define WRONG "wrong"
#define ABSENT "absent"
#define BUSY "busy"
#define AWAY "away"

#define WHICH_CALL "which call? A Call-ID is missing"

static void refuse(struct engine *e, uint64_t client, const char *reason, const char *error)
{
    e->io.answer(e->io.ctx, client, json_pack("{s:b,s:s,s:s}", "ok", 0, "reason", reason, "error", error));
}

static struct inquiry *pend(struct engine *e, uint64_t client, json_t *answer, const char *list, int64_t due_ms)
{
    size_t count = 0;
    struct inquiry *p;

    DL_COUNT(e->pending, p, count);
    p = answer && count < PENDING_MAX ? calloc(1, sizeof(*p)) : NULL;
    if (!p) {
        json_decref(answer);
        refuse(e, client, BUSY, "kamsyncd is busy with other questions: ask again in a moment");
        return NULL;
    }
    *p = (struct inquiry){.client = client, .token = engine_token(e), .list = list, .answer = answer, .due_ms = due_ms};
    DL_APPEND(e->pending, p);
    return p;
}

static struct inquiry *find_token(const struct engine *e, uint64_t token)
{
    struct inquiry *p;

    DL_FOREACH(e->pending, p)
    {
        if (p->token == token)
            return p;
    }
    return NULL;
}

static void discard(struct engine *e, struct inquiry *p)
{
    DL_DELETE(e->pending, p);
    json_decref(p->answer);
    json_decref(p->keys);
    free(p->call_id);
    free(p);
}

/* ---- this node ---- */

static void on_status(struct engine *e, uint64_t client, const json_t *q, int64_t now)
{
    json_t *counters = json_object(), *answer = shown_status(e);

    (void)q, (void)now;
#define SHOW(name, help) json_object_set_new(counters, #name, json_integer((json_int_t)e->count.name));
    COUNTERS(SHOW)
#undef SHOW
    json_object_set_new(answer, "counters", counters);
    reply(e, client, answer);
}

static void on_nodes(struct engine *e, uint64_t client, const json_t *q, int64_t now)
{
    (void)q;
    reply(e, client, json_pack("{s:o}", "nodes", shown_nodes(e, now)));
}

static void on_evacuation(struct engine *e, uint64_t client, const json_t *q, int64_t now)
{
    (void)q;
    reply(e, client, shown_evacuation(e, now));
}

static void on_key(struct engine *e, uint64_t client, const json_t *q, int64_t now)
{
    char *owned, archive[KEY_SHORT_MAX];
    struct span call_id = shown_call_id(q, &owned);
    char *tx = key_tx_pattern(call_id), *call = key_call_pattern(call_id);

    (void)now;
    if (!call_id.n)
        refuse(e, client, WRONG, WHICH_CALL);
    else if (!tx || !call)
        refuse(e, client, BUSY, "kamsyncd's memory is short: ask again in a moment");
    else
        reply(e, client, json_pack("{s:s,s:s,s:s}", "tx", tx, "call", call, "archive", key_archive(archive, call)));
    free(tx);
    free(call);
    free(owned);
}

/* ---- all nodes ---- */

static int by_time(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    const char *name = json_object_get(x, "at") ? "at" : "trying";
    json_int_t left = json_integer_value(json_object_get(x, name)),
               right = json_integer_value(json_object_get(y, name));

    return left < right ? -1 : left > right;
}

static int by_time_backwards(const void *a, const void *b)
{
    return by_time(b, a);
}

/* The earliest or newest entries, up to that many. */
static json_t *sorted(const json_t *list, size_t most, bool newest)
{
    size_t n = json_array_size(list);
    json_t **all = calloc(n + 1, sizeof(json_t *)), *out = json_array();

    for (size_t i = 0; all && i < n; i++)
        all[i] = json_array_get(list, i);
    if (all)
        qsort(all, n, sizeof(json_t *), newest ? by_time_backwards : by_time);
    for (size_t i = 0; all && i < n && i < most; i++)
        json_array_append(out, all[i]);
    free((void *)all);
    return out;
}

static bool is_doctor(const struct inquiry *p)
{
    return p->list && strcmp(p->list, "findings") == 0;
}

static void finish(struct engine *e, struct inquiry *p)
{
    if (is_doctor(p))
        doctor_finish(e, p->answer);
    else if (p->list && strcmp(p->list, "txns") != 0)
        json_object_set_new(p->answer, p->list, sorted(json_object_get(p->answer, p->list), p->most, p->newest));
    reply(e, p->client, json_incref(p->answer));
    discard(e, p);
}

/* The ids of all nodes that should answer: those left when time is up are silent. */
static json_t *others(const struct engine *e)
{
    json_t *ids = json_array();

    for (size_t i = 0; e->store.up && e->self.id && i < e->nodes.count; i++)
        if (!e->nodes.list[i].lost)
            json_array_append_new(ids, json_integer(e->nodes.list[i].id));
    return ids;
}

static void on_shared(struct engine *e, uint64_t client, const json_t *q, int64_t now)
{
    const char *list = NULL;
    json_t *answer = shown_part(e, q, now, &list);
    const json_t *waiting;
    struct inquiry *p;

    json_object_set_new(answer, "silent", others(e));
    waiting = json_object_get(answer, "silent"); /* absent when out of memory */
    p = pend(e, client, answer, list, now + ASK_MS);
    if (!p)
        return;
    p->most = strcmp(list, "calls") == 0 ? shown_limit(q) : SIZE_MAX;
    p->newest = shown_newest(q);
    if (is_doctor(p))
        doctor_begin(e, answer);
    if (json_array_size(waiting))
        message_send(
            e, 0,
            json_pack("{s:s,s:i,s:I,s:O}", "t", "ask", "from", e->self.id, "token", (json_int_t)p->token, "q", q));
    else
        finish(e, p);
}

void admin_asked(struct engine *e, const json_t *message, int64_t now)
{
    const char *list = NULL;
    int from = (int)json_integer_value(json_object_get(message, "from"));
    json_t *token = json_object_get(message, "token");
    json_t *part =
        from > 0 && from != e->self.id && token ? shown_part(e, json_object_get(message, "q"), now, &list) : NULL;

    if (part)
        message_send(e, from,
                     json_pack("{s:s,s:i,s:O,s:o}", "t", "answer", "node", e->self.id, "token", token, "a", part));
}

static bool was_waited_for(json_t *waiting, json_int_t node)
{
    for (size_t i = 0; i < json_array_size(waiting); i++) {
        if (json_integer_value(json_array_get(waiting, i)) == node) {
            json_array_remove(waiting, i);
            return true;
        }
    }
    return false;
}

/* Adds a node's total; anything but a total adds nothing. */
static void add_total(json_t *answer, const json_t *part)
{
    json_t *total = json_object_get(answer, "total");
    json_int_t more = json_integer_value(json_object_get(part, "total"));

    if (total && more > 0 && more < TOTAL_LIMIT)
        json_object_set_new(answer, "total", json_integer(json_integer_value(total) + more));
}

void admin_answered(struct engine *e, const json_t *message, int64_t now)
{
    uint64_t token = (uint64_t)json_integer_value(json_object_get(message, "token"));
    const json_t *part = json_object_get(message, "a");
    json_t *waiting;
    struct inquiry *p = find_token(e, token);

    (void)now;
    if (!p || !p->list)
        return;
    waiting = json_object_get(p->answer, "silent");
    if (!was_waited_for(waiting, json_integer_value(json_object_get(message, "node"))))
        return;
    if (is_doctor(p))
        doctor_add(e, p->answer, part);
    json_array_extend(json_object_get(p->answer, p->list), json_object_get(part, p->list));
    add_total(p->answer, part);
    if (!json_array_size(waiting))
        finish(e, p);
}

/* ---- the store ---- */

static bool store_away(struct engine *e, uint64_t client)
{
    if (!e->store.up)
        refuse(e, client, AWAY, "the store is away: kamsyncctl status tells more");
    return !e->store.up;
}

static void look_on(struct engine *e, struct inquiry *p, uint64_t cursor, int64_t now)
{
    p->due_ms = now + STORE_MS;
    e->io.call_keys(e->io.ctx, span_of(p->call_id), cursor, p->token);
}

static void on_call(struct engine *e, uint64_t client, const json_t *q, int64_t now)
{
    char *owned;
    struct span call_id = shown_call_id(q, &owned);
    struct inquiry *p = NULL;

    if (!call_id.n)
        refuse(e, client, WRONG, WHICH_CALL);
    else if (!store_away(e, client))
        p = pend(e, client, json_pack("{s:[]}", "calls"), NULL, now + STORE_MS);
    if (!p) {
        free(owned);
        return;
    }
    p->call_id = owned;
    p->keys = json_array();
    look_on(e, p, 0, now);
}

static void fail(struct engine *e, struct inquiry *p, const char *reason, const char *error)
{
    uint64_t client = p->client;

    discard(e, p); /* first: the answer may end the client, and with it its inquiries */
    refuse(e, client, reason, error);
}

/* One call after the other. */
static void read_next(struct engine *e, struct inquiry *p)
{
    size_t left = json_array_size(p->keys);
    json_t *key;

    if (left) {
        key = json_incref(json_array_get(p->keys, left - 1));
        json_array_remove(p->keys, left - 1);
        e->io.call_get(e->io.ctx, json_string_value(key), NULL, p->token);
        json_decref(key);
    } else if (json_array_size(json_object_get(p->answer, "calls"))) {
        json_object_set_new(p->answer, "calls", sorted(json_object_get(p->answer, "calls"), CALLS_LIMIT, false));
        finish(e, p);
    } else {
        fail(e, p, ABSENT,
             "no such call: it never was, or it ended a while ago ('kamsyncctl cdr' shows the ended ones)");
    }
}

void engine_call_key(struct engine *e, uint64_t token, const char *key)
{
    struct inquiry *p = find_token(e, token);

    if (p && json_array_size(p->keys) < CALLS_LIMIT)
        json_array_append_new(p->keys, json_string(key));
}

void engine_call_keys(struct engine *e, uint64_t token, bool ok, uint64_t next, int64_t now)
{
    struct inquiry *p = find_token(e, token);

    if (!p)
        return;
    if (!ok)
        fail(e, p, AWAY, "the store does not answer: try again, and see 'kamsyncctl status'");
    else if (next)
        look_on(e, p, next, now);
    else
        read_next(e, p);
}

bool admin_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count)
{
    struct inquiry *p = find_token(e, token);

    if (!p || !p->keys)
        return false;
    if (status == GET_FOUND)
        json_array_append_new(json_object_get(p->answer, "calls"), pairs_json(pairs, count));
    if (status == GET_FAILED)
        fail(e, p, AWAY, "the store does not answer: try again, and see 'kamsyncctl status'");
    else
        read_next(e, p);
    return true;
}

static void on_cdr(struct engine *e, uint64_t client, const json_t *q, int64_t now)
{
    const json_t *count = json_object_get(q, "count");
    json_int_t n = json_is_integer(count) ? json_integer_value(count) : CDR_DEFAULT;
    struct inquiry *p;

    if (n < 1 || n > CDR_LIMIT) {
        refuse(e, client, WRONG, "'count' must be from 1 to 10000");
    } else if (!store_away(e, client)) {
        p = pend(e, client, json_pack("{s:[]}", "cdr"), NULL, now + STORE_MS);
        if (p)
            e->io.archive(e->io.ctx, json_string_value(json_object_get(q, "after")), (int)n, p->token);
    }
}

void engine_archived(struct engine *e, uint64_t token, const char *id, const struct pair *pairs, size_t count,
                     enum archive_status status, int64_t now)
{
    struct inquiry *p = find_token(e, token);
    json_t *row;

    (void)now;
    if (!p)
        return;
    if (id) {
        row = pairs_json(pairs, count);
        json_object_set_new(row, "id", json_string(id));
        json_array_append_new(json_object_get(p->answer, "cdr"), row);
    } else if (status != ARCHIVE_FAILED) {
        if (status == ARCHIVE_GAP)
            json_object_set_new(p->answer, "gap", json_true());
        finish(e, p);
    } else {
        fail(e, p, AWAY, "the store did not give the archive: is 'after' the id of an entry?");
    }
}

/* ---- the commands ---- */

static const struct {
    const char *cmd;
    void (*run)(struct engine *e, uint64_t client, const json_t *q, int64_t now);
} commands[] = {{"status", on_status}, {"nodes", on_nodes},  {"calls", on_shared},
                {"call", on_call},     {"tx", on_shared},    {"trace", on_shared},
                {"cdr", on_cdr},       {"views", on_shared}, {"evacuation", on_evacuation},
                {"doctor", on_shared}, {"key", on_key}};

void engine_ask(struct engine *e, const json_t *request, uint64_t client, int64_t now)
{
    const char *cmd = json_string_value(json_object_get(request, "cmd"));

    for (size_t i = 0; cmd && i < COUNT(commands); i++) {
        if (strcmp(commands[i].cmd, cmd) == 0) {
            commands[i].run(e, client, request, now);
            return;
        }
    }
    refuse(e, client, WRONG, "unknown command: is kamsyncctl of the same version as kamsyncd?");
}

void engine_forget_client(struct engine *e, uint64_t client)
{
    struct inquiry *p, *next;

    DL_FOREACH_SAFE(e->pending, p, next)
    {
        if (p->client == client)
            discard(e, p);
    }
}

void admin_tick(struct engine *e, int64_t now)
{
    struct inquiry *p, *next;

    DL_FOREACH_SAFE(e->pending, p, next)
    {
        if (now >= p->due_ms && p->list)
            finish(e, p);
        else if (now >= p->due_ms)
            fail(e, p, AWAY, "the store does not answer: try again, and see 'kamsyncctl status'");
    }
}

int64_t admin_due(const struct engine *e)
{
    int64_t due = INT64_MAX;
    const struct inquiry *p;

    DL_FOREACH(e->pending, p)
    {
        due = p->due_ms < due ? p->due_ms : due;
    }
    return due;
}

void admin_clear(struct engine *e)
{
    struct inquiry *p, *next;

    DL_FOREACH_SAFE(e->pending, p, next)
    {
        discard(e, p);
    }
}
