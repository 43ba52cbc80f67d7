/* Calls in Redis; and messages between nodes, by pub/sub.
 *
 * A script writes and reads a call's record, in one atomic step (call.lua). The ordinary write of a node's own call
 * needs none: as long as nobody else has written the record, it is a text with all of it, which the node writes anew,
 *
 *     SET key text NX PX …          the first time: written, if nothing was there
 *     SET key text XX GET KEEPTTL   later on: written, if that goes over such a text of the node's own
 *
 * and anything else makes it a hash, which these commands leave alone: then the script gets what they were to write.
 * The end of such a call is a small script (end.lua), which adds a second text to the first; if the record is no such
 * text, it writes nothing, and call.lua does. That goes over nothing, and nothing goes over it unseen: the node has had
 * the answers to all its writes before (KNOWN_OURS), and makes no other while it waits for this one's.
 *
 * Concurrent writes to one call are executed in the order of their sending, unless an administrator flushes the scripts
 * between them: what is sent behind a plain command, or such an end, waits for its answer, and is call.lua's then. */
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "count.h"
#include "escape.h"
#include "hash.h"
#include "redis_command.h"
#include "redis_impl.h"

#define TRIM_EACH 32

/* ---- writing ---- */

static const char *const modes[] = {[CALL_ADD] = "add",
                                    [CALL_BEGIN] = "begin",
                                    [CALL_TAKE] = "take",
                                    [CALL_END] = "end",
                                    [CALL_END_ANSWERED] = "end-answered"};

static const char *const results[] = {
    [CALL_WRITTEN] = "written", [CALL_OTHER] = "other",     [CALL_OVER] = "over",      [CALL_ABSENT] = "absent",
    [CALL_EARLY] = "early",     [CALL_FOREIGN] = "foreign", [CALL_GOES_ON] = "goes-on"};

/* A script call that waits for its answer, with all that is needed to repeat it: the words after the script. */
struct job {
    uint64_t token;
    bool reads;           /* the job reads the record */
    bool whole;           /* sent with the whole script, not its hash */
    size_t key_at, key_n; /* in the words */
    size_t count;
    struct buffer words;
    struct buffer end; /* the words for end.lua, which tries it first; empty: it does not */
    size_t end_count;
    /* Or a plain command does. */
    enum call_known plain;  /* which; KNOWN_NOTHING: none */
    size_t text_at, text_n; /* in the words: the record */
    size_t own_n;           /* so much of its end tells whose it is */
    int64_t ttl_ms;
    UT_hash_handle hh;  /* by its key */
    struct job *behind; /* these wait for its answer, in order */
    struct job *next;   /* in such a list */
};

static void job_free(struct job *j)
{
    if (j) {
        buffer_free(&j->words);
        buffer_free(&j->end);
    }
    free(j);
}

/* more: NULL for none. A script with one key is never told to try again while its slot goes to another master. */
static void put_keys(struct job *j, const char *key, const char *more)
{
    command_word(&j->words, span_of(more ? "2" : "1"));
    command_word(&j->words, span_of(key));
    j->key_n = strlen(key);
    j->key_at = j->words.n - j->key_n - 2;
    if (more)
        command_word(&j->words, span_of(more));
}

/* Of each archive. */
static int64_t cdr_max(const struct redis *s)
{
    return (s->conf.cdr_max + key_archives() - 1) / key_archives();
}

static void put_pairs(struct job *j, const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        command_word(&j->words, pairs[i].name);
        command_word(&j->words, pairs[i].value);
    }
    j->count += 2 * count;
}

/* How a record ends that only this node has written: with whose it is. */
static void put_owner(struct buffer *b, const struct call_write *w)
{
    buffer_text(b, "\"node\",\"");
    buffer_number(b, w->node);
    buffer_text(b, "\",\"tx\",");
    escape_bytes(b, span_of(w->tx));
    buffer_put(b, "]", 1);
}

bool redis_is_owner(struct span name)
{
    return span_eq(name, (struct span)SPAN("node")) || span_eq(name, (struct span)SPAN("tx"));
}

static void put_text(struct buffer *b, const struct call_write *w)
{
    buffer_put(b, "[", 1);
    for (size_t i = 0; i < w->count; i++) {
        if (redis_is_owner(w->pairs[i].name))
            continue;
        escape_bytes(b, w->pairs[i].name);
        buffer_put(b, ",", 1);
        escape_bytes(b, w->pairs[i].value);
        buffer_put(b, ",", 1);
    }
}

/* The whole record as a text. */
static void put_record(struct job *j, const struct call_write *w)
{
    struct buffer text = {0};

    put_text(&text, w);
    j->own_n = text.n;
    put_owner(&text, w);
    j->own_n = text.n - j->own_n;
    j->text_n = text.n;
    command_word(&j->words, (struct span){text.p, text.n});
    j->text_at = j->words.n - j->text_n - 2;
    j->count++;
    j->plain = w->known;
    j->ttl_ms = w->ttl_ms;
    j->words.failed = j->words.failed || text.failed;
    free(text.p);
}

/* To trim an archive with each entry would cost Redis more. */
static bool trims(struct redis *s, const char *key)
{
    unsigned char *count = &s->untrimmed[key_bucket(key)];

    *count = (unsigned char)((*count + 1) % TRIM_EACH);
    return *count == 0;
}

static struct job *job_new(struct redis *s, const struct call_write *w, uint64_t token)
{
    const int64_t numbers[] = {w->node, w->ttl_ms, cdr_max(s), (int64_t)w->weak};
    const bool ends = w->mode == CALL_END || w->mode == CALL_END_ANSWERED;
    char archive[KEY_SHORT_MAX];
    const char *more = ends ? key_archive(archive, w->key) : w->other;
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->token = token;
    j->whole = !*s->script[SCRIPT_CALL] || !*s->script[SCRIPT_END];
    j->count = 4 + ends + (more != NULL) + COUNT(numbers);
    put_keys(j, w->key, more);
    command_word(&j->words, span_of(w->mode == CALL_BEGIN && w->first ? "first" : modes[w->mode]));
    for (size_t i = 0; i < COUNT(numbers); i++)
        command_number(&j->words, numbers[i]);
    command_word(&j->words, span_of(w->tx ? w->tx : ""));
    if (ends)
        command_word(&j->words, w->dialog);
    if (ends && w->known == KNOWN_OURS)
        j->end_count = redis_put_end(&j->end, w, more, cdr_max(s), trims(s, w->key));
    if (w->mode == CALL_BEGIN && w->known != KNOWN_NOTHING)
        put_record(j, w);
    else
        put_pairs(j, w->pairs, w->count);
    return j;
}

static void on_written(struct redis *s, const redisReply *r, void *data);

static bool send_job(struct redis *s, struct job *j)
{
    struct buffer command = {0};

    if (j->words.failed)
        return false;
    command_begin(&command, 2 + j->count);
    redis_put_script(s, &command, SCRIPT_CALL, j->whole);
    buffer_put(&command, j->words.p, j->words.n);
    return redis_send(s, (struct span){j->words.p + j->key_at, j->key_n}, &command, on_written, j);
}

static enum call_result result_of(const redisReply *r)
{
    for (size_t i = 0; r && r->type == REDIS_REPLY_STRING && i < COUNT(results); i++)
        if (strcmp(r->str, results[i]) == 0)
            return (enum call_result)i;
    return redis_is_own(r) ? CALL_REFUSED : CALL_FAILED;
}

bool redis_read_pairs(const redisReply *r, struct pair **pairs, size_t *count)
{
    *pairs = NULL;
    if (!r || r->type != REDIS_REPLY_ARRAY || r->elements % 2)
        return false;
    for (size_t i = 0; i < r->elements; i++)
        if (r->element[i]->type != REDIS_REPLY_STRING)
            return false;
    *count = r->elements / 2;
    *pairs = calloc(*count ? *count : 1, sizeof(**pairs));
    for (size_t i = 0; *pairs && i < *count; i++) {
        const redisReply *name = r->element[2 * i], *value = r->element[2 * i + 1];

        (*pairs)[i] = (struct pair){{name->str, (size_t)name->len}, {value->str, (size_t)value->len}};
    }
    return *pairs;
}

/* The record, which may be absent. */
static void got(struct redis *s, uint64_t token, const redisReply *r)
{
    struct pair *pairs;
    size_t count = 0;
    enum get_status status = redis_is_none(r) ? GET_ABSENT : GET_FAILED;

    if (redis_read_pairs(r, &pairs, &count))
        status = count ? GET_FOUND : GET_ABSENT;
    s->store.on.call_got(s->store.on.ctx, token, status, pairs, count);
    free(pairs);
}

/* NOSCRIPT: the scripts were flushed. EVAL loads it again for all later calls. */
static bool needs_whole(struct job *j, const redisReply *r)
{
    bool needs = !j->whole && redis_has_no_script(r);

    j->whole = j->whole || needs;
    return needs;
}

static void on_written(struct redis *s, const redisReply *r, void *data)
{
    struct job *j = data;
    uint64_t token = j->token;
    bool reads = j->reads;

    if (needs_whole(j, r) && send_job(s, j))
        return;
    redis_complain(s, r);
    job_free(j);
    if (reads)
        got(s, token, r);
    else
        s->store.on.call_written(s->store.on.ctx, token, result_of(r));
}

/* ---- by a plain command, or end.lua ---- */

static struct span in_words(const struct job *j, size_t at, size_t n)
{
    return (struct span){j->words.p + at, n};
}

static void on_tried(struct redis *s, const redisReply *r, void *data);

static bool send_try(struct redis *s, struct job *j)
{
    struct span key = in_words(j, j->key_at, j->key_n);
    struct buffer command = {0};

    if (j->end.n) {
        command_begin(&command, 2 + j->end_count);
        redis_put_script(s, &command, SCRIPT_END, j->whole);
        buffer_put(&command, j->end.p, j->end.n);
    } else if (j->plain == KNOWN_NEW) {
        command_set(&command, key, in_words(j, j->text_at, j->text_n), "NX", false, j->ttl_ms);
    } else {
        command_set(&command, key, in_words(j, j->text_at, j->text_n), "XX", true, 0);
    }
    return redis_send(s, key, &command, on_tried, j);
}

static bool try_first(struct redis *s, struct job *j)
{
    HASH_ADD_KEYPTR(hh, s->tried, j->words.p + j->key_at, j->key_n, j); /* NOLINT(clang-analyzer-*): uthash */
    if (!j->hh.tbl)
        return false;
    if (send_try(s, j))
        return true;
    HASH_DEL(s->tried, j);
    return false;
}

/* False: it was not sent, and is still the caller's. */
static bool give(struct redis *s, struct job *j)
{
    struct job *before = NULL;

    if (j->words.failed || j->end.failed)
        return false;
    HASH_FIND(hh, s->tried, j->words.p + j->key_at, j->key_n, before);
    if (!before)
        return j->plain || j->end.n ? try_first(s, j) : send_job(s, j);
    LL_APPEND(before->behind, j);
    return true;
}

static bool is_text(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING;
}

static bool is_written(const struct job *j, const redisReply *r)
{
    const char *own = j->words.p + j->text_at + j->text_n - j->own_n;

    if (j->end.n)
        return result_of(r) == CALL_WRITTEN;
    if (j->plain == KNOWN_NEW)
        return r && r->type == REDIS_REPLY_STATUS;
    return is_text(r) && (size_t)r->len >= j->own_n && memcmp(r->str + (size_t)r->len - j->own_n, own, j->own_n) == 0;
}

/* Something else stands there, or nothing: the script is to decide. */
static bool is_for_script(const redisReply *r)
{
    return is_text(r) || redis_is_none(r);
}

static bool hand_to_script(struct redis *s, struct job *j, const redisReply *r)
{
    if (is_text(r) && j->plain == KNOWN_OURS) { /* it has gone over that */
        command_word(&j->words, (struct span){r->str, (size_t)r->len});
        j->count++;
    }
    return send_job(s, j);
}

/* By the script: it knows what the record has become meanwhile. */
static void send_behind(struct redis *s, struct job *list)
{
    struct job *j, *next;

    LL_FOREACH_SAFE(list, j, next)
    {
        j->next = NULL;
        if (!send_job(s, j))
            on_written(s, NULL, j);
    }
}

/* What waits behind it is sent before the answer, upon which more may be written. */
static void on_tried(struct redis *s, const redisReply *r, void *data)
{
    struct job *j = data, *behind = j->behind;
    bool written = is_written(j, r), for_script = !written && is_for_script(r);
    enum call_result result = written ? CALL_WRITTEN : for_script ? CALL_FAILED : result_of(r);
    uint64_t token = j->token;
    bool sent;

    if (needs_whole(j, r) && send_try(s, j))
        return;
    HASH_DEL(s->tried, j); /* NOLINT(clang-analyzer-*): uthash */
    j->behind = NULL;
    sent = for_script && hand_to_script(s, j, r);
    send_behind(s, behind);
    if (sent)
        return;
    if (!for_script)
        redis_complain(s, r);
    job_free(j);
    s->store.on.call_written(s->store.on.ctx, token, result);
}

void redis_call_write(struct store *store, const struct call_write *w, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    struct job *j = job_new(s, w, token);

    if (j && give(s, j))
        return;
    job_free(j);
    answers_call_written(&s->answers, token, CALL_FAILED);
}

/* ---- reading ---- */

static struct job *reading_new(const struct redis *s, const char *key, const char *other, uint64_t token)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    *j = (struct job){.token = token, .reads = true, .whole = !*s->script[SCRIPT_CALL], .count = other ? 4 : 3};
    put_keys(j, key, other);
    command_word(&j->words, span_of("get"));
    return j;
}

/* The script knows a text from a hash, and chooses the key. */
void redis_call_get(struct store *store, const char *key, const char *other, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    struct job *j = reading_new(s, key, other, token);

    if (j && give(s, j))
        return;
    job_free(j);
    answers_call_not_got(&s->answers, token);
}

static void on_keys(struct redis *s, const redisReply *r, void *data)
{
    uint64_t token = (uintptr_t)data;
    bool ok = redis_is_scan(r);

    redis_complain(s, r);
    for (size_t i = 0; ok && i < r->element[1]->elements; i++)
        if (redis_scanned_key(r, i))
            s->store.on.call_key(s->store.on.ctx, token, redis_scanned_key(r, i));
    s->store.on.call_keys(s->store.on.ctx, token, ok, ok ? strtoull(r->element[0]->str, NULL, 10) : 0);
}

void redis_call_keys(struct store *store, struct span call_id, uint64_t cursor, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    char *pattern = key_call_pattern(call_id);

    if (!pattern || !redis_ask(s, span_of(pattern), on_keys, (void *)(uintptr_t)token, SCAN_FORMAT,
                               (unsigned long long)cursor, pattern, SCAN_COUNT))
        answers_no_call_keys(&s->answers, token);
    free(pattern);
}

/* ---- messages between nodes ---- */

/* The channel of a node, or of all (0). */
static const char *message_channel(const struct redis *s, char out[CHANNEL_MAX], int node)
{
    char name[KEY_SHORT_MAX];

    return redis_channel(s, out, node ? key_short(name, KEY_TO, node) : key_short(name, KEY_TO_ALL));
}

void redis_tell(struct store *store, int node, const char *text)
{
    struct redis *s = (struct redis *)store;
    char channel[CHANNEL_MAX];

    redis_ask(s, NO_KEY, redis_on_done, NULL, "PUBLISH %s %s", message_channel(s, channel, node), text);
}

/* A node whose id has changed stays subscribed to its old channel until the next connection. */
static bool is_for_us(const struct redis *s, const redisReply *channel)
{
    char all[CHANNEL_MAX], own[CHANNEL_MAX];

    return channel->type == REDIS_REPLY_STRING && (strcmp(channel->str, message_channel(s, all, 0)) == 0 ||
                                                   strcmp(channel->str, message_channel(s, own, s->id)) == 0);
}

static void on_told(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;

    (void)data;
    if (r && r->type == REDIS_REPLY_ARRAY && r->elements == 3 && r->element[2]->type == REDIS_REPLY_STRING &&
        is_for_us(s, r->element[1]))
        s->store.on.told(s->store.on.ctx, (struct span){r->element[2]->str, (size_t)r->element[2]->len});
}

static void subscribe_own(struct redis *s)
{
    char channel[CHANNEL_MAX];

    if (s->id && s->listener.is_ready)
        redisAsyncCommand(s->listener.ac, on_told, NULL, "SUBSCRIBE %s", message_channel(s, channel, s->id));
}

void redis_listen(struct redis *s)
{
    char channel[CHANNEL_MAX];

    redisAsyncCommand(s->listener.ac, on_told, NULL, "SUBSCRIBE %s", message_channel(s, channel, 0));
    subscribe_own(s);
}

void redis_hear(struct redis *s, int id)
{
    if (id == s->id)
        return;
    s->id = id;
    subscribe_own(s);
}
