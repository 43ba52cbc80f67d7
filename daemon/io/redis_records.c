/* The records of transactions in Redis. What only its maker has written, of epoch 1, is a string; what another one has
 * taken over, or its maker has reason to doubt, is a hash of one field (put.lua). So the type of the key is the fence,
 * and an ordinary write needs no script, which costs Redis five times a SET:
 *
 *     SET … XX GET ▶ its own record of before: written
 *                  ▶ WRONGTYPE, a hash:     ▶ nothing was written; put.lua says what stays
 *                  ▶ nil, none stands there ▶ nothing was written; put.lua writes it
 *                  ▶ another's record: the store had lost this one, and another node began one. It is put back */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "record.h"
#include "redis_command.h"
#include "redis_impl.h"

static bool is_wrong_type(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "WRONGTYPE ", 10) == 0;
}

bool redis_is_none(const redisReply *r)
{
    return r && (r->type == REDIS_REPLY_NIL || is_wrong_type(r));
}

static struct span text_of(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING ? (struct span){r->str, (size_t)r->len} : (struct span){0};
}

/* ---- by put.lua ---- */

static enum put_status status_of(struct redis *s, const redisReply *r)
{
    enum put_status status = redis_is_error(r) ? PUT_FAILED : PUT_DONE;

    if (redis_has_no_script(r) && !s->cluster) {
        if (*s->script[SCRIPT_PUT]) /* not by an answer before this one */
            redis_load_script(&s->commands, SCRIPT_PUT);
        return status;
    }
    redis_complain(s, r);
    if (r && r->type == REDIS_REPLY_STRING)
        return PUT_FENCED;
    return redis_is_own(r) ? PUT_REFUSED : status;
}

static void on_put(struct redis *s, const redisReply *r, void *data)
{
    s->store.on.put_done(s->store.on.ctx, (uintptr_t)data, status_of(s, r), text_of(r));
}

/* over: the head of the only record that it may go over; NULL: as usual. */
static bool send_put(struct redis *s, const char *key, struct span record, int64_t ttl_ms, const char *over,
                     redis_answer *fn, void *data)
{
    bool whole = over || !*s->script[SCRIPT_PUT]; /* over: nobody would send it again */
    struct buffer command = {0};

    command_begin(&command, over ? 7 : 6);
    redis_put_script(s, &command, SCRIPT_PUT, whole);
    command_number(&command, 1);
    command_word(&command, span_of(key));
    command_word(&command, record);
    command_number(&command, ttl_ms);
    if (over)
        command_word(&command, span_of(over));
    return redis_send(s, span_of(key), &command, fn, data);
}

/* ---- the writes of a record's maker, by SET ---- */

/* Under way, in the order of sending. */
struct redis_write {
    struct redis_write *prev, *next;
    uint64_t token, number;
    int64_t ttl_ms;
    size_t head; /* length of the record's: epoch, owner and incarnation, which no other one has */
    bool passed; /* by a newer write of the same record */
    bool claims;
    const char *record;
    char key[]; /* and the record */
};

/* The length of its epoch, owner and incarnation, if it is one of those that only its maker writes; 0: it is none. */
static size_t makers_head(const char *record)
{
    static const char first[] = "{\"epoch\":1,\"owner\":", inc[] = ",\"inc\":\"", from[] = "\",\"from\":";
    const char *at = strncmp(record, first, sizeof(first) - 1) == 0 ? strstr(record, inc) : NULL;
    const char *end = at ? strchr(at + sizeof(inc) - 1, '"') : NULL;

    return end && strncmp(end, from, sizeof(from) - 1) != 0 ? (size_t)(end + 1 - record) : 0;
}

/* NULL when out of memory. */
static struct redis_write *write_new(struct redis *s, const char *key, const char *record, int64_t ttl_ms,
                                     uint64_t token)
{
    size_t k = strlen(key) + 1, n = strlen(record) + 1;
    struct redis_write *w = malloc(sizeof(*w) + k + n);

    if (!w)
        return NULL;
    *w = (struct redis_write){.token = token, .number = ++s->numbered, .ttl_ms = ttl_ms, .head = makers_head(record)};
    memcpy(w->key, key, k);
    w->record = memcpy(w->key + k, record, n);
    if (ttl_ms > s->longest_ms)
        s->longest_ms = ttl_ms;
    return w;
}

/* Reports how it ended, and frees it. */
static void finish(struct redis *s, struct redis_write *w, enum put_status status, struct span record)
{
    static const enum claim_status of_claim[] = {
        [PUT_DONE] = CLAIM_WON, [PUT_FENCED] = CLAIM_LOST, [PUT_FAILED] = CLAIM_FAILED, [PUT_REFUSED] = CLAIM_REFUSED};

    if (w->claims)
        s->store.on.claimed(s->store.on.ctx, w->token, of_claim[status], record);
    else
        s->store.on.put_done(s->store.on.ctx, w->token, status, record);
    free(w);
}

/* A newer write is sent: it must not be followed by put.lua with an older record. That may be only since put.lua was
 * last sent in the place of a SET, as until then all answers are alike. */
static void pass(struct redis *s, const char *key)
{
    for (struct redis_write *w = s->writes; w && w->number <= s->written_again; w = w->next)
        w->passed = w->passed || strcmp(w->key, key) == 0;
}

static void on_written_again(struct redis *s, const redisReply *r, void *data)
{
    finish(s, data, status_of(s, r), text_of(r));
}

/* SET has written nothing. passed: how it ended if a newer one has been sent, whose answer tells the rest. */
static void write_again(struct redis *s, struct redis_write *w, enum put_status passed)
{
    s->written_again = s->numbered;
    if (w->passed)
        finish(s, w, passed, (struct span){0});
    else if (!send_put(s, w->key, span_of(w->record), w->ttl_ms, NULL, on_written_again, w))
        finish(s, w, PUT_FAILED, (struct span){0});
}

static bool is_own(const struct redis_write *w, struct span was)
{
    return w->head && was.n >= w->head && memcmp(was.p, w->record, w->head) == 0;
}

/* Another's record, over which this one went. How long it was to live is not known: as long as any. Nobody waits for
 * the answer: whoever hears that he is fenced writes over it or leaves it alone, and either is sent after this. */
static void put_back(struct redis *s, const struct redis_write *w, struct span record)
{
    struct holder h = record_holder(span_of(w->record));
    char head[RECORD_HEAD_MAX];

    snprintf(head, sizeof(head), "%" PRId64 " %d %s", h.epoch, h.owner, h.inc);
    send_put(s, w->key, record, s->longest_ms, head, redis_on_done, NULL);
}

/* was: what stood there. */
static void written_over(struct redis *s, struct redis_write *w, struct span was)
{
    if (is_own(w, was) || !record_fences(was, span_of(w->record))) {
        finish(s, w, PUT_DONE, (struct span){0});
        return;
    }
    put_back(s, w, was);
    finish(s, w, PUT_FENCED, was);
}

/* A claim meets what stands there: this node's own record of a moment ago, or another's. */
static void met(struct redis *s, struct redis_write *w, struct span was)
{
    if (is_own(w, was))
        write_again(s, w, PUT_DONE);
    else
        finish(s, w, PUT_FENCED, was);
}

static void on_set(struct redis *s, const redisReply *r, void *data)
{
    struct redis_write *w = data;
    bool none = r && r->type == REDIS_REPLY_NIL;

    DL_DELETE(s->writes, w);
    if (r && r->type == REDIS_REPLY_STRING)
        (w->claims ? met : written_over)(s, w, text_of(r));
    else if (none && w->claims)
        finish(s, w, PUT_DONE, (struct span){0});
    else if (none || (is_wrong_type(r) && w->head))
        write_again(s, w, w->claims ? PUT_FAILED : PUT_DONE);
    else
        finish(s, w, redis_is_error(r) ? status_of(s, r) : PUT_FAILED, (struct span){0});
}

/* NULL is none. */
static bool send_set(struct redis *s, struct redis_write *w)
{
    struct buffer command = {0};

    if (!w)
        return false;
    command_set(&command, span_of(w->key), span_of(w->record), w->claims ? "NX" : "XX", true, w->ttl_ms);
    if (!redis_send(s, span_of(w->key), &command, on_set, w)) {
        free(w);
        return false;
    }
    DL_APPEND(s->writes, w);
    return true;
}

void redis_put(struct store *store, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    bool sent;

    pass(s, key);
    if (makers_head(value))
        sent = send_set(s, write_new(s, key, value, ttl_ms, token));
    else
        sent = send_put(s, key, span_of(value), ttl_ms, NULL, on_put, (void *)(uintptr_t)token);
    if (!sent)
        answers_put_done(&s->answers, token, PUT_FAILED, (struct span){0});
}

void redis_claim(struct store *store, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct redis *s = (struct redis *)store;
    struct redis_write *w = write_new(s, key, value, ttl_ms, token);

    pass(s, key);
    if (w)
        w->claims = true;
    if (!send_set(s, w))
        answers_claimed(&s->answers, token, CLAIM_FAILED, (struct span){0});
}

/* ---- reading ---- */

struct reading {
    redis_sender *send;
    redis_answer *fn;
    void *data;
    bool again; /* by HMGET */
    char key[];
};

static void on_read(struct redis *s, const redisReply *r, void *data);

static bool ask(struct redis *s, struct reading *q)
{
    struct span key = span_of(q->key);
    struct buffer command = {0};

    command_begin(&command, q->again ? 3 : 2);
    command_word(&command, span_of(q->again ? "HMGET" : "GET"));
    command_word(&command, key);
    if (q->again)
        command_word(&command, span_of("record"));
    return q->send(s, key, &command, on_read, q);
}

/* HMGET's list of one is given like GET's answer. */
static void on_read(struct redis *s, const redisReply *r, void *data)
{
    struct reading *q = data;

    if (is_wrong_type(r) && !q->again) {
        q->again = true;
        if (ask(s, q))
            return;
        r = NULL;
    }
    q->fn(s, r && r->type == REDIS_REPLY_ARRAY && r->elements == 1 ? r->element[0] : r, q->data);
    free(q);
}

bool redis_read(struct redis *s, redis_sender *send, const char *key, redis_answer *fn, void *data)
{
    size_t n = strlen(key) + 1;
    struct reading *q = malloc(sizeof(*q) + n);

    if (!q)
        return false;
    *q = (struct reading){.send = send, .fn = fn, .data = data};
    memcpy(q->key, key, n);
    if (ask(s, q))
        return true;
    free(q);
    return false;
}

static void on_get(struct redis *s, const redisReply *r, void *data)
{
    enum get_status status = redis_is_none(r) ? GET_ABSENT : GET_FAILED;

    redis_complain(s, r);
    if (r && r->type == REDIS_REPLY_STRING)
        status = GET_FOUND;
    s->store.on.got(s->store.on.ctx, (uintptr_t)data, status, text_of(r));
}

void redis_get(struct store *store, const char *key, uint64_t token)
{
    struct redis *s = (struct redis *)store;

    if (!redis_read(s, redis_send, key, on_get, (void *)(uintptr_t)token))
        answers_got(&s->answers, token, GET_FAILED, (struct span){0});
}
