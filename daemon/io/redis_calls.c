/* Calls in Redis: a hash each, which a script writes in one atomic step; the archive, a stream; and what nodes tell
 * each other, by pub/sub.
 *
 * Writes to one call that wait for their answers at the same time are done in the order of their sending, except when
 * an administrator flushes the scripts between them. */
#include <stdio.h>
#include <stdlib.h>

#include "count.h"
#include "redis_command.h"
#include "redis_impl.h"

/* ---- writing ---- */

/* KEYS: the call, the archive. ARGV: what to do, the writing node, life of the record in ms, how many entries the
 * archive keeps (0: all), how many of the last pairs go over nothing that is there, then names and values. Only an end
 * reads the whole record. The archive comes first: should it be refused, nothing is written. */
static const char script[] = "local key, mode, node, ttl, keep = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]\n"
                             "local ends = mode == 'end' or mode == 'end-answered'\n"
                             "local was = redis.call('HMGET', key, 'ended', 'node', 'tx', 'answered')\n"
                             "local ended, owner, tx, answered = was[1], was[2], was[3], was[4]\n"
                             "local weak, given = #ARGV - 2 * ARGV[5], {}\n"
                             "for i = 6, #ARGV - 1, 2 do given[ARGV[i]] = ARGV[i + 1] end\n"
                             "local function is_other(id)\n"
                             "  return id and id ~= '-1' and id ~= node\n"
                             "end\n"
                             "local all = ends and redis.call('HGETALL', key)\n"
                             "if ended then return 'over' end\n"
                             "if ends and #all == 0 then return 'absent' end\n"
                             "if mode == 'end-answered' and not answered then return 'early' end\n"
                             "local same = given.tx and tx == given.tx and not answered\n"
                             "if mode == 'begin' and is_other(owner) and not same then return 'other' end\n"
                             "if ends then\n"
                             "  local is, names, entry, more = {}, {}, {}, {}\n"
                             "  local function add(name, value)\n"
                             "    if is[name] == nil then names[#names + 1] = name end\n"
                             "    is[name] = value\n"
                             "  end\n"
                             "  local function ms(text)\n"
                             "    return text and #text < 16 and text:match('^%d+$') and tonumber(text)\n"
                             "  end\n"
                             "  local function took(name, from, to)\n"
                             "    if from and to then\n"
                             "      add(name, string.format('%.0f', math.max(0, to - from)))\n"
                             "      more[#more + 1] = name\n"
                             "      more[#more + 1] = is[name]\n"
                             "    end\n"
                             "  end\n"
                             "  for i = 1, #all, 2 do add(all[i], all[i + 1]) end\n"
                             "  for i = 6, #ARGV - 1, 2 do\n"
                             "    if i < weak or is[ARGV[i]] == nil then add(ARGV[i], ARGV[i + 1]) end\n"
                             "  end\n"
                             "  took('duration_ms', ms(is.answered), ms(is.ended))\n"
                             "  took('pdd_ms', ms(is.trying), ms(is.ringing or is.answered))\n"
                             "  for _, name in ipairs(names) do\n"
                             "    entry[#entry + 1] = name\n"
                             "    entry[#entry + 1] = is[name]\n"
                             "  end\n"
                             "  if keep == '0' then redis.call('XADD', KEYS[2], '*', unpack(entry))\n"
                             "  else redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, '*', unpack(entry)) end\n"
                             "  if #more > 0 then redis.call('HSET', key, unpack(more)) end\n"
                             "end\n"
                             "if weak > 6 then redis.call('HSET', key, unpack(ARGV, 6, weak)) end\n"
                             "for i = weak + 1, #ARGV - 1, 2 do redis.call('HSETNX', key, ARGV[i], ARGV[i + 1]) end\n"
                             "redis.call('PEXPIRE', key, ttl)\n"
                             "if is_other(given.node or owner) then return 'other' end\n"
                             "return 'written'\n";

static const char *const modes[] = {[CALL_ADD] = "add",
                                    [CALL_BEGIN] = "begin",
                                    [CALL_TAKE] = "take",
                                    [CALL_END] = "end",
                                    [CALL_END_ANSWERED] = "end-answered"};

static const char *const results[] = {[CALL_WRITTEN] = "written",
                                      [CALL_OTHER] = "other",
                                      [CALL_OVER] = "over",
                                      [CALL_ABSENT] = "absent",
                                      [CALL_EARLY] = "early"};

/* A write that waits for its answer, with all that is needed to ask again: the words behind the script. */
struct job {
    uint64_t token;
    bool whole; /* sent with the whole script, not with its name */
    size_t count;
    struct buffer words;
};

static void job_free(struct job *j)
{
    if (j)
        free(j->words.p);
    free(j);
}

static struct job *job_new(const struct redis *s, const struct call_write *w, uint64_t token)
{
    const int64_t numbers[] = {w->node, w->ttl_ms, s->conf.cdr_max, (int64_t)w->weak};
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->token = token;
    j->whole = !*s->script;
    j->count = 4 + COUNT(numbers) + 2 * w->count;
    command_word(&j->words, span_of("2"));
    command_word(&j->words, span_of(w->key));
    command_word(&j->words, span_of(KEY_CDR));
    command_word(&j->words, span_of(modes[w->mode]));
    for (size_t i = 0; i < COUNT(numbers); i++)
        command_number(&j->words, numbers[i]);
    for (size_t i = 0; i < w->count; i++) {
        command_word(&j->words, w->pairs[i].name);
        command_word(&j->words, w->pairs[i].value);
    }
    return j;
}

static void on_written(redisAsyncContext *ac, void *reply, void *data);

static bool send_job(struct redis *s, struct job *j)
{
    struct buffer command = {0};

    if (!s->commands.is_ready || j->words.failed)
        return false;
    command_begin(&command, 2 + j->count);
    command_word(&command, span_of(j->whole ? "EVAL" : "EVALSHA"));
    command_word(&command, span_of(j->whole ? script : s->script));
    buffer_put(&command, j->words.p, j->words.n);
    if (!command_send(&command, s->commands.ac, on_written, j))
        return false;
    redis_conn_sent(&s->commands);
    return true;
}

static enum call_result result_of(const redisReply *r)
{
    for (size_t i = 0; r && r->type == REDIS_REPLY_STRING && i < COUNT(results); i++)
        if (strcmp(r->str, results[i]) == 0)
            return (enum call_result)i;
    return CALL_FAILED;
}

/* NOSCRIPT: somebody flushed the scripts. EVAL brings it back for all that come later. */
static void on_written(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;
    struct job *j = data;
    uint64_t token = j->token;

    redis_conn_answered(&s->commands);
    if (r && r->type == REDIS_REPLY_ERROR && !j->whole && strncmp(r->str, "NOSCRIPT", 8) == 0) {
        j->whole = true;
        if (send_job(s, j))
            return;
    }
    redis_complain(s, r);
    job_free(j);
    s->store.on.call_written(s->store.on.ctx, token, result_of(r));
}

void redis_call_write(struct store *store, const struct call_write *w, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    struct job *j = s->commands.is_ready ? job_new(s, w, token) : NULL;

    if (j && send_job(s, j))
        return;
    job_free(j);
    store->on.call_written(store->on.ctx, token, CALL_FAILED);
}

/* A Redis that does not name it, for want of a right, gets the whole script each time. */
static void on_loaded(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    redisReply *r = reply;

    redis_on_done(ac, reply, data);
    if (r && r->type == REDIS_REPLY_STRING)
        snprintf(s->script, sizeof(s->script), "%s", r->str);
}

void redis_load_script(struct redis *s)
{
    *s->script = '\0';
    if (redisAsyncCommand(s->commands.ac, on_loaded, NULL, "SCRIPT LOAD %s", script) == REDIS_OK)
        redis_conn_sent(&s->commands);
}

/* ---- reading ---- */

/* What a reply of name, value, name, value… holds; false when it is none, or memory is short. The caller frees it. */
static bool read_pairs(const redisReply *r, struct pair **pairs, size_t *count)
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

static void on_call(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis *s = redis_of(ac);
    struct pair *pairs;
    size_t count = 0;
    enum get_status status = GET_FAILED;

    redis_conn_answered(&s->commands);
    redis_complain(s, reply);
    if (read_pairs(reply, &pairs, &count))
        status = count ? GET_FOUND : GET_ABSENT;
    s->store.on.call_got(s->store.on.ctx, (uintptr_t)data, status, pairs, count);
    free(pairs);
}

void redis_call_get(struct store *store, const char *key, uint64_t token)
{
    struct redis *s = (struct redis *)store;

    if (!s->commands.is_ready ||
        redisAsyncCommand(s->commands.ac, on_call, (void *)(uintptr_t)token, "HGETALL %s", key) != REDIS_OK)
        store->on.call_got(store->on.ctx, token, GET_FAILED, NULL, 0);
    else
        redis_conn_sent(&s->commands);
}

/* ---- the archive ---- */

static bool deliver(struct redis *s, uint64_t token, const redisReply *entry)
{
    struct pair *pairs;
    size_t count;

    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 || entry->element[0]->type != REDIS_REPLY_STRING ||
        !read_pairs(entry->element[1], &pairs, &count))
        return false;
    s->store.on.archived(s->store.on.ctx, token, entry->element[0]->str, pairs, count, true);
    free(pairs);
    return true;
}

static void on_entries(redisAsyncContext *ac, const redisReply *r, uint64_t token, bool newest_first)
{
    struct redis *s = redis_of(ac);
    bool ok = r && r->type == REDIS_REPLY_ARRAY;

    redis_conn_answered(&s->commands);
    redis_complain(s, r);
    for (size_t i = 0; ok && i < r->elements; i++)
        ok = deliver(s, token, r->element[newest_first ? r->elements - 1 - i : i]);
    s->store.on.archived(s->store.on.ctx, token, NULL, NULL, 0, ok);
}

static void on_newest(redisAsyncContext *ac, void *reply, void *data)
{
    on_entries(ac, reply, (uintptr_t)data, true);
}

static void on_following(redisAsyncContext *ac, void *reply, void *data)
{
    on_entries(ac, reply, (uintptr_t)data, false);
}

static bool ask_archive(struct redis *s, const char *after, int count, uint64_t token)
{
    void *data = (void *)(uintptr_t)token;
    uint64_t id[2];

    if (!s->commands.is_ready || count < 1 || (after && store_cdr_id(after, id) < 0))
        return false;
    if (after)
        return redisAsyncCommand(s->commands.ac, on_following, data, "XRANGE " KEY_CDR " (%s + COUNT %d", after,
                                 count) == REDIS_OK;
    return redisAsyncCommand(s->commands.ac, on_newest, data, "XREVRANGE " KEY_CDR " + - COUNT %d", count) == REDIS_OK;
}

void redis_archive(struct store *store, const char *after, int count, uint64_t token)
{
    struct redis *s = (struct redis *)store;

    if (ask_archive(s, after, count, token))
        redis_conn_sent(&s->commands);
    else
        store->on.archived(store->on.ctx, token, NULL, NULL, 0, false);
}

/* ---- what nodes tell each other ---- */

void redis_tell(struct store *store, int node, const char *text)
{
    struct redis *s = (struct redis *)store;
    char channel[40] = KEY_TO_PREFIX "all";

    if (node)
        snprintf(channel, sizeof(channel), KEY_TO_PREFIX "%d", node);
    if (s->commands.is_ready &&
        redisAsyncCommand(s->commands.ac, redis_on_done, NULL, "PUBLISH %s %s", channel, text) == REDIS_OK)
        redis_conn_sent(&s->commands);
}

/* A node whose id has changed stays subscribed to the channel of the old one until the next connection. */
static bool is_for_us(const struct redis *s, const redisReply *channel)
{
    char own[40];

    snprintf(own, sizeof(own), KEY_TO_PREFIX "%d", s->id);
    return channel->type == REDIS_REPLY_STRING &&
           (strcmp(channel->str, KEY_TO_PREFIX "all") == 0 || strcmp(channel->str, own) == 0);
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
    if (s->id && s->listener.is_ready)
        redisAsyncCommand(s->listener.ac, on_told, NULL, "SUBSCRIBE " KEY_TO_PREFIX "%d", s->id);
}

void redis_listen(struct redis *s)
{
    redisAsyncCommand(s->listener.ac, on_told, NULL, "SUBSCRIBE " KEY_TO_PREFIX "all");
    subscribe_own(s);
}

void redis_hear(struct redis *s, int id)
{
    if (id == s->id)
        return;
    s->id = id;
    subscribe_own(s);
}
