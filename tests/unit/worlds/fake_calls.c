/* What the engine under test says about calls, and what it gets to hear. */
#include "fake.h"
#include "pairs.h"

static void answer_got(struct fake *f, uint64_t token, const char *text)
{
    json_t *json = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
    size_t count;
    struct pair *pairs = pairs_of_json(json, &count);

    cr_assert(json || !text, "not JSON: %s", text);
    engine_call_got(f->e, token, json ? GET_FOUND : GET_ABSENT, pairs, count, f->now);
    free(pairs);
    json_decref(json);
}

static void say_written(struct fake *f, const struct fake_later *a)
{
    engine_call_written(f->e, a->token, (enum call_result)a->status, f->now);
}

static void say_call(struct fake *f, const struct fake_later *a)
{
    if (a->status == GET_FAILED)
        engine_call_got(f->e, a->token, GET_FAILED, NULL, 0, f->now);
    else
        answer_got(f, a->token, a->text);
}

static void say_keys(struct fake *f, const struct fake_later *a)
{
    if (a->text)
        engine_call_key(f->e, a->token, a->text);
    engine_call_keys(f->e, a->token, a->status, 0, f->now);
}

static void say_archive(struct fake *f, const struct fake_later *a)
{
    engine_archived(f->e, a->token, NULL, NULL, 0, true, f->now);
}

static void io_call_write(void *ctx, const struct call_write *w, uint64_t token)
{
    struct fake *f = ctx;

    cr_assert(f->call_count < FAKE_MAX);
    f->calls[f->call_count++] = (struct fake_call){scratch("%s", w->key),
                                                   w->mode,
                                                   w->node,
                                                   json_of_pairs(w->pairs, w->count),
                                                   w->ttl_ms,
                                                   token,
                                                   scratch("%s", w->tx ? w->tx : ""),
                                                   w->known};
    if (!f->mute_calls)
        fake_add(f, (struct fake_later){say_written, token, (int)f->call_result, NULL});
}

static void io_call_get(void *ctx, const char *key, const char *other, uint64_t token)
{
    struct fake *f = ctx;

    cr_assert(f->call_get_count < FAKE_MAX);
    (void)other;
    f->call_gets[f->call_get_count++] = (struct fake_get){scratch("%s", key), token};
    if (!f->mute_calls)
        fake_add(f, (struct fake_later){say_call, token, f->calls_fail ? GET_FAILED : GET_FOUND, f->call_found});
}

static void io_call_keys(void *ctx, struct span call_id, uint64_t cursor, uint64_t token)
{
    struct fake *f = ctx;

    (void)cursor;
    if (f->mute_calls) {
        f->call_gets[f->call_get_count++] = (struct fake_get){"", token};
        return;
    }
    fake_add(f,
             (struct fake_later){say_keys, token, !f->calls_fail,
                                 f->call_found ? scratch("kamsync:call:{%.*s}:a1", (int)call_id.n, call_id.p) : NULL});
}

static void io_archive(void *ctx, const char *after, int count, uint64_t token)
{
    struct fake *f = ctx;

    f->archive_count++;
    f->archive_after = after ? scratch("%s", after) : NULL;
    f->archive_wanted = count;
    f->archive_token = token;
    if (!f->mute_calls)
        fake_add(f, (struct fake_later){.say = say_archive, .token = token});
}

static void io_tell(void *ctx, int node, const char *text)
{
    struct fake *f = ctx;
    long long n;

    if (!f->mute_peers && node == 0 && sscanf(text, "{\"t\":\"barrier\",\"from\":1,\"n\":%lld}", &n) == 1) {
        f->barrier = n;
        return;
    }
    cr_assert(f->tell_count < FAKE_MAX);
    f->tells[f->tell_count++] = (struct fake_tell){node, scratch("%s", text)};
}

static void io_answer(void *ctx, uint64_t client, json_t *answer)
{
    struct fake *f = ctx;

    cr_assert_not_null(answer);
    if (!f->answers)
        f->answers = json_array();
    json_array_append_new(f->answers, answer);
    f->answered = client;
}

static int64_t io_wall(void *ctx)
{
    return FAKE_EPOCH + ((struct fake *)ctx)->now;
}

void fake_calls_io(struct engine_io *io)
{
    io->call_write = io_call_write;
    io->call_get = io_call_get;
    io->call_keys = io_call_keys;
    io->archive = io_archive;
    io->tell = io_tell;
    io->wall = io_wall;
    io->answer = io_answer;
}

void fake_forget_calls(struct fake *f)
{
    while (f->call_count > 0)
        json_decref(f->calls[--f->call_count].pairs);
    f->call_get_count = f->tell_count = f->archive_count = 0;
    json_decref(f->answers);
    f->answers = NULL;
}

void fake_call_written(struct fake *f, enum call_result result)
{
    cr_assert(f->call_count > 0);
    engine_call_written(f->e, f->calls[f->call_count - 1].token, result, f->now);
    fake_settle(f);
}

void fake_call_got(struct fake *f, const char *json)
{
    cr_assert(f->call_get_count > 0);
    answer_got(f, f->call_gets[f->call_get_count - 1].token, json);
    fake_settle(f);
}

void fake_archived(struct fake *f, const char *id, const char *json)
{
    json_t *entry = json_loads(json, JSON_ALLOW_NUL, NULL);
    size_t count;
    struct pair *pairs = pairs_of_json(entry, &count);

    cr_assert(entry && f->archive_count > 0);
    engine_archived(f->e, f->archive_token, id, pairs, count, true, f->now);
    free(pairs);
    json_decref(entry);
}

void fake_archive_read(struct fake *f, bool ok)
{
    cr_assert(f->archive_count > 0);
    engine_archived(f->e, f->archive_token, NULL, NULL, 0, ok, f->now);
}

void fake_message(struct fake *f, const char *text)
{
    engine_message(f->e, span_of(text), f->now);
    fake_settle(f);
}

const char *fake_call_text(const struct fake *f, const char *name)
{
    cr_assert(f->call_count > 0);
    return fake_text(f->calls[f->call_count - 1].pairs, name);
}

size_t fake_writes(const struct fake *f, enum call_mode mode)
{
    size_t n = 0;

    for (size_t i = 0; i < f->call_count; i++)
        n += f->calls[i].mode == mode;
    return n;
}

json_t *fake_tell(const struct fake *f, size_t n)
{
    static json_t *told;

    json_decref(told);
    told = n < f->tell_count ? json_loads(f->tells[n].text, 0, NULL) : NULL;
    return told;
}

/* ---- what Kamailio says about calls ---- */

static const char *at_field(int64_t at)
{
    return at ? scratch(",\"at\":%lld.%03lld", (long long)at / 1000, (long long)at % 1000) : "";
}

static void event(struct fake *f, const char *text, int64_t at)
{
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{%s%s}", f->events + 1, text, at_field(at));
}

void fake_invite(struct fake *f, const struct leg *c, const char *invite, int64_t at)
{
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}%s", f->events + 1,
             branch_text(sip_sent_on(c, "0"), invite ? invite : sip_request(c, "INVITE"), at_field(at)));
}

void fake_replied(struct fake *f, const struct leg *c, const char *index, int code, const char *to_tag, int64_t at)
{
    event(f,
          scratch("\"t\":\"reply\",\"via\":\"%s\",\"code\":%d,\"to_tag\":\"%s\"",
                  base64_of(scratch("%s.%s", c->tm, index)), code, base64_of(to_tag ? to_tag : "")),
          at);
}

void fake_gave_up(struct fake *f, int64_t n, const struct leg *c, int index, int code)
{
    fake_say(f,
             "{\"t\":\"events\",\"n\":%lld}{\"t\":\"gave_up\",\"call_id\":\"%s\",\"cseq\":%u,\"branch\":\"%s\","
             "\"sent_by\":\"%s\",\"i\":%d,\"code\":%d}",
             (long long)n, base64_of(c->call_id), c->cseq, base64_of(c->branch), base64_of(c->sent_by), index, code);
}

void fake_bye(struct fake *f, const struct leg *c, const char *from_tag, const char *to_tag, int code, int64_t at)
{
    event(f,
          scratch("\"t\":\"bye\",\"call_id\":\"%s\",\"from_tag\":\"%s\",\"to_tag\":\"%s\",\"code\":%d",
                  base64_of(c->call_id), base64_of(from_tag), base64_of(to_tag), code),
          at);
}

void fake_set(struct fake *f, const struct leg *c, const char *name, const char *value)
{
    event(f,
          scratch("\"t\":\"set\",\"call_id\":\"%s\",\"from_tag\":\"YTE=\",\"name\":\"%s\",\"value\":\"%s\"",
                  base64_of(c->call_id), name, base64_of(value)),
          0);
}

void fake_cancel(struct fake *f, const struct leg *c)
{
    event(f, cancel_event(c) + 1, 0);
}

void fake_question(struct fake *f, const struct leg *c, const char *ask)
{
    fake_say(f, "%s", stray_text(1, sip_request(c, "INFO"), scratch(",\"ask\":\"%s\"", ask)));
}

/* ---- kamsyncctl ---- */

void fake_ask(struct fake *f, uint64_t client, const char *request)
{
    json_t *q = json_loads(request, 0, NULL);

    engine_ask(f->e, q, client, f->now);
    json_decref(q);
    fake_settle(f);
}

json_t *fake_answered(const struct fake *f)
{
    size_t n = json_array_size(f->answers);

    return n ? json_array_get(f->answers, n - 1) : NULL;
}
