/* Calls in the store of the cluster, and what nodes tell each other. */
#include "cluster_impl.h"
#include "pairs.h"

/* ---- what a write does ---- */

static bool is_other(json_t *record, int node)
{
    const char *owner = json_string_value(json_object_get(record, "node"));

    return owner && strcmp(owner, "-1") != 0 && strcmp(owner, scratch("%d", node)) != 0;
}

static bool ends(enum call_mode mode)
{
    return mode == CALL_END || mode == CALL_END_ANSWERED;
}

static const char *text_of(json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    return text ? text : "";
}

static bool begins(enum call_mode mode)
{
    return mode == CALL_BEGIN || mode == CALL_TAKE;
}

/* It is written for another INVITE than the one that the record lives by. */
static bool is_leg(json_t *record, enum call_mode mode, json_t *pairs)
{
    const char *tx = text_of(pairs, "tx"), *was = text_of(record, "tx");

    return *tx && *was && mode != CALL_ADD && strcmp(tx, was) != 0;
}

static bool begins_anew(json_t *record, json_t *pairs)
{
    return (*text_of(pairs, "answered") && !*text_of(record, "answered")) ||
           (*text_of(pairs, "trying") && atoll(text_of(pairs, "trying")) >= atoll(text_of(record, "ended")));
}

static bool goes_on(json_t *pairs)
{
    return atoi(text_of(pairs, "node")) > 0 && strcmp(text_of(pairs, "state"), "ended") != 0;
}

static const char *mark_of(int node)
{
    return scratch("leg.%d", node);
}

/* It came before the other one, and goes on. */
static bool is_first(json_t *record, json_t *pairs)
{
    long long from = atoll(text_of(pairs, "trying"));

    return from && from < atoll(text_of(record, "trying")) && goes_on(pairs);
}

static enum call_result of_leg(json_t *record, enum call_mode mode, int node, json_t *pairs)
{
    bool other = is_other(record, node);

    if (*text_of(record, "answered") || (ends(mode) && other))
        return CALL_FOREIGN;
    return other && !*text_of(pairs, "answered") && !is_first(record, pairs) ? CALL_OTHER : CALL_WRITTEN;
}

/* Nobody has left a mark of that transaction, which the writer has now. */
static void forget_its_mark(json_t *record, json_t *pairs)
{
    const char *name;
    json_t *of;

    json_object_foreach(record, name, of)
    {
        if (strncmp(name, "leg.", 4) == 0 && json_equal(of, json_object_get(pairs, "tx")))
            json_string_set(of, "");
    }
}

/* Leaves the mark of a leg, which goes on or is over, in another node's record. */
static bool leave_mark(json_t *record, int node, json_t *pairs)
{
    forget_its_mark(record, pairs);
    json_object_set_new(record, mark_of(node), json_string(goes_on(pairs) ? text_of(pairs, "tx") : ""));
    return true;
}

/* Whether it is among these, each behind a newline. */
static bool is_among(const char *names, const char *name)
{
    const char *at = strstr(names, name);

    while (at && at[strlen(name)] && at[strlen(name)] != '\n')
        at = strstr(at + 1, name);
    return at;
}

/* Whether another node's leg goes on, by its mark; then the record is nobody's. */
static bool is_awaited(json_t *record, int node, const char *own)
{
    const char *name;
    json_t *of;

    json_object_foreach(record, name, of)
    {
        if (strncmp(name, "leg.", 4) != 0 || strcmp(name, mark_of(node)) == 0 || is_among(own, json_string_value(of)))
            continue;
        json_object_set_new(record, "node", json_string("-1"));
        json_object_set_new(record, "state", json_string(*text_of(record, "ringing") ? "ringing" : "trying"));
        return true;
    }
    return false;
}

/* Why nothing is written, or CALL_WRITTEN. */
static enum call_result refusal(json_t *record, enum call_mode mode, int node, json_t *pairs, const char *dialog)
{
    const char *to_tag = json_string_value(json_object_get(record, "to_tag"));
    json_t *tx = json_object_get(record, "tx");
    bool same = tx && json_equal(tx, json_object_get(pairs, "tx")) && !json_object_get(record, "answered");
    bool leg = is_leg(record, mode, pairs);

    if (json_object_get(record, "ended"))
        return !begins(mode) || !leg ? CALL_OVER : begins_anew(record, pairs) ? CALL_WRITTEN : CALL_FOREIGN;
    if (leg)
        return of_leg(record, mode, node, pairs);
    if (ends(mode) && json_object_size(record) == 0)
        return CALL_ABSENT;
    if (mode == CALL_END_ANSWERED && !json_object_get(record, "answered"))
        return CALL_EARLY;
    if (ends(mode) && to_tag && dialog && *dialog && strcmp(to_tag, dialog) != 0 &&
        !json_object_get(record, scratch("dialog.%s", dialog)))
        return CALL_FOREIGN;
    return mode == CALL_BEGIN && is_other(record, node) && !same ? CALL_OTHER : CALL_WRITTEN;
}

static void set_duration(json_t *record, const char *name, const char *from, const char *to)
{
    const char *a = json_string_value(json_object_get(record, from)),
               *b = json_string_value(json_object_get(record, to));
    long long begin, end;

    if (!a || !b || !*a || !*b || strspn(a, "0123456789") != strlen(a) || strspn(b, "0123456789") != strlen(b) ||
        strlen(a) > 15 || strlen(b) > 15)
        return;
    begin = atoll(a);
    end = atoll(b);
    json_object_set_new(record, name, json_string(scratch("%lld", end > begin ? end - begin : 0)));
}

enum call_result model_write(json_t **record, json_t *archive, enum call_mode mode, int node, json_t *pairs,
                             json_t *weak, const char *dialog)
{
    enum call_result result = refusal(*record, mode, node, pairs, dialog);

    if (result != CALL_WRITTEN)
        return result;
    if (json_object_get(*record, "ended"))
        json_object_clear(*record);
    if (begins(mode) && is_leg(*record, mode, pairs)) {
        forget_its_mark(*record, pairs);
        json_object_del(*record, "ringing");
        json_object_del(*record, "code");
        json_object_del(*record, mark_of(node));
        if (is_other(*record, node) && !*text_of(pairs, "answered") && *text_of(pairs, "state"))
            json_object_set_new(*record, scratch("leg.%s", text_of(*record, "node")),
                                json_deep_copy(json_object_get(*record, "tx")));
    }
    if (!*record)
        *record = json_object();
    json_object_update(*record, pairs);
    json_object_update_missing(*record, weak);
    if (ends(mode)) {
        bool rang = json_object_get(*record, "ringing");

        set_duration(*record, "duration_ms", "answered", "ended");
        set_duration(*record, "pdd_ms", "trying", rang ? "ringing" : "answered");
        json_array_append_new(archive,
                              json_pack("[s,o]", scratch("%lld-0", EPOCH + (long long)json_array_size(archive)),
                                        json_deep_copy(*record)));
    }
    return is_other(*record, node) ? CALL_OTHER : CALL_WRITTEN;
}

static long long ms_of_id(const char *id)
{
    long long ms = 0;
    int n = 0, rest = 0;

    return id && sscanf(id, "%lld-%d%n", &ms, &rest, &n) == 2 && !id[n] ? ms : -1;
}

json_t *model_archive(json_t *archive, const char *after, int count)
{
    size_t n = json_array_size(archive), i = n > (size_t)count ? n - (size_t)count : 0;
    json_t *list = json_array();

    if (after && ms_of_id(after) < 0) {
        json_decref(list);
        return NULL;
    }
    if (after)
        for (i = 0;
             i < n && ms_of_id(json_string_value(json_array_get(json_array_get(archive, i), 0))) <= ms_of_id(after);)
            i++;
    for (; i < n && count > 0; i++, count--)
        json_array_append(list, json_array_get(archive, i));
    return list;
}

/* ---- tasks ---- */

/* The first write of a call does not go over another node's record, whatever transaction that lives by. */
static bool is_foreign(json_t *record, const struct task *t)
{
    return t->mode == CALL_BEGIN && t->first && is_other(record, t->node) && !json_object_get(record, "ended") &&
           !is_leg(record, t->mode, t->json);
}

/* Its own node ends the call, which was not answered. */
static bool is_last(json_t *record, const struct task *t)
{
    return !*text_of(record, "answered") && !*text_of(record, "ended") && !is_leg(record, t->mode, t->json);
}

static void apply_write(struct cluster *c, struct task *t)
{
    struct data *d = data_of(c, t);
    struct entry *x = entry_find(c, d, t->key);
    json_t *record = x ? json_deep_copy(x->fields) : NULL; /* a replica may have it as it was */
    enum call_result result;
    bool written;

    if (record && c->broken && strcmp(c->broken, "end") == 0)
        json_object_del(record, "ended");
    if (c->broken && strcmp(c->broken, "same") == 0)
        json_object_del(t->json, "tx");
    result = is_refused(c, t)        ? CALL_FAILED
             : is_foreign(record, t) ? CALL_OTHER
             : t->mode == CALL_END && t->own && is_last(record, t) && is_awaited(record, t->node, t->own)
                 ? CALL_GOES_ON
                 : model_write(&record, d->archive, t->mode, t->node, t->json, t->weak, t->value);
    if (json_array_size(d->archive) > json_array_size(d->archived_ms))
        json_array_append_new(d->archived_ms, json_integer(c->now));
    written = result == CALL_WRITTEN || result == CALL_GOES_ON ||
              (result == CALL_OTHER &&
               (!begins(t->mode) || (is_leg(record, t->mode, t->json) && leave_mark(record, t->node, t->json))));

    cluster_note(&c->site[t->site], "* store: write %s: mode %d, result %d", t->key, (int)t->mode, (int)result);
    if (written)
        entry_add(c, d, t->key, NULL, t->ttl_ms)->fields = json_incref(record);
    json_decref(record);
    if (!t->adrift)
        store_answer_to(c, t)->status = result;
}

/* The second one, if the call has begun there. */
static struct entry *either(struct entry *x, struct entry *y)
{
    return y && json_object_get(y->fields, "tx") ? y : x;
}

void store_apply_call(struct cluster *c, struct task *t)
{
    struct entry *x = t->key ? entry_find(c, data_of(c, t), t->key) : NULL;
    struct task *a;

    if (t->kind == APPLY_CALL) {
        apply_write(c, t);
    } else if (t->kind == APPLY_TELL) {
        store_publish(c, t, t->status ? ANNOUNCE : TOLD, t->node);
    } else if (t->kind == APPLY_CALL_GET) {
        if (t->value && !(x && json_object_get(x->fields, "tx")))
            x = either(x, entry_find(c, data_of(c, t), t->value));
        a = store_answer_to(c, t);
        a->status = x && x->fields ? GET_FOUND : GET_ABSENT;
        a->json = x ? json_deep_copy(x->fields) : NULL;
    } else {
        a = store_answer_to(c, t);
        a->json = model_archive(data_of(c, t)->archive, t->value, t->node);
        a->status = a->json != NULL;
    }
}

static void answer_archive(struct site *s, const struct task *t, bool ok)
{
    json_t *each;
    size_t i, count;

    if (ok)
        json_array_foreach(t->json, i, each)
        {
            struct pair *pairs = pairs_of_json(json_array_get(each, 1), &count);

            engine_archived(s->e, t->token, json_string_value(json_array_get(each, 0)), pairs, count, true, s->c->now);
            free(pairs);
        }
    engine_archived(s->e, t->token, NULL, NULL, 0, ok, s->c->now);
}

void store_answer_call(struct site *s, enum kind of, const struct task *t, bool failed)
{
    size_t count;

    if (of == APPLY_CALL) {
        engine_call_written(s->e, t->token, failed ? CALL_FAILED : (enum call_result)t->status, s->c->now);
    } else if (of == APPLY_CALL_GET) {
        struct pair *pairs = pairs_of_json(failed ? NULL : t->json, &count);

        engine_call_got(s->e, t->token, failed ? GET_FAILED : (enum get_status)t->status, pairs, count, s->c->now);
        free(pairs);
    } else if (of == APPLY_ARCHIVE) {
        answer_archive(s, t, !failed && t->status);
    }
}

/* ---- what the engine asks for ---- */

static void io_call_write(void *ctx, const struct call_write *w, uint64_t token)
{
    struct task *t = store_ask(ctx, APPLY_CALL, w->key, w->dialog.p, w->ttl_ms, token);

    if (!t)
        return;
    t->mode = w->mode;
    t->node = w->node;
    t->json = json_of_pairs(w->pairs, w->count - w->weak);
    t->first = w->first;
    t->own = w->tx ? strdup(w->tx) : NULL;
    t->weak = json_of_pairs(w->pairs + w->count - w->weak, w->weak);
}

static void io_call_get(void *ctx, const char *key, const char *other, uint64_t token)
{
    store_ask(ctx, APPLY_CALL_GET, key, other, 0, token);
}

static void io_archive(void *ctx, const char *after, int count, uint64_t token)
{
    struct task *t = store_ask(ctx, APPLY_ARCHIVE, NULL, after, 0, token);

    if (t)
        t->node = count;
}

static void io_tell(void *ctx, int node, const char *text)
{
    struct task *t = store_ask(ctx, APPLY_TELL, NULL, text, 0, 0);

    if (t)
        t->node = node;
}

static int64_t io_wall(void *ctx)
{
    return EPOCH + ((struct site *)ctx)->c->now;
}

void store_calls_io(struct engine_io *io)
{
    io->call_write = io_call_write;
    io->call_get = io_call_get;
    io->archive = io_archive;
    io->tell = io_tell;
    io->wall = io_wall;
}

json_t *cluster_call_record(const struct cluster *c, const char *key)
{
    struct entry *x = entry_find(c, &c->store, key);

    return x ? json_deep_copy(x->fields) : NULL;
}
