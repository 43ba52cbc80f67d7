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

static void io_call_write(void *ctx, const struct call_write *w, uint64_t token)
{
    struct fake *f = ctx;

    cr_assert(f->call_count < FAKE_MAX);
    f->calls[f->call_count++] = (struct fake_call){
        scratch("%s", w->key), w->mode, w->node, json_of_pairs(w->pairs, w->count), w->ttl_ms, token};
    if (!f->mute_calls)
        engine_call_written(f->e, token, CALL_WRITTEN, f->now);
}

static void io_call_get(void *ctx, const char *key, uint64_t token)
{
    struct fake *f = ctx;

    cr_assert(f->call_get_count < FAKE_MAX);
    f->call_gets[f->call_get_count++] = (struct fake_get){scratch("%s", key), token};
    if (!f->mute_calls)
        answer_got(f, token, f->call_found);
}

static void io_archive(void *ctx, const char *after, int count, uint64_t token)
{
    struct fake *f = ctx;

    f->archive_count++;
    f->archive_after = after ? scratch("%s", after) : NULL;
    f->archive_wanted = count;
    f->archive_token = token;
    if (!f->mute_calls)
        engine_archived(f->e, token, NULL, NULL, 0, true, f->now);
}

static void io_tell(void *ctx, int node, const char *text)
{
    struct fake *f = ctx;

    cr_assert(f->tell_count < FAKE_MAX);
    f->tells[f->tell_count++] = (struct fake_tell){node, scratch("%s", text)};
}

static int64_t io_wall(void *ctx)
{
    return FAKE_EPOCH + ((struct fake *)ctx)->now;
}

void fake_calls_io(struct engine_io *io)
{
    io->call_write = io_call_write;
    io->call_get = io_call_get;
    io->archive = io_archive;
    io->tell = io_tell;
    io->wall = io_wall;
}

void fake_forget_calls(struct fake *f)
{
    while (f->call_count > 0)
        json_decref(f->calls[--f->call_count].pairs);
    f->call_get_count = f->tell_count = f->archive_count = 0;
}

void fake_call_written(struct fake *f, enum call_result result)
{
    cr_assert(f->call_count > 0);
    engine_call_written(f->e, f->calls[f->call_count - 1].token, result, f->now);
}

void fake_call_got(struct fake *f, const char *json)
{
    cr_assert(f->call_get_count > 0);
    answer_got(f, f->call_gets[f->call_get_count - 1].token, json);
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

void fake_told(struct fake *f, const char *text)
{
    engine_told(f->e, span_of(text), f->now);
}

const char *fake_call_text(const struct fake *f, const char *name)
{
    cr_assert(f->call_count > 0);
    return fake_text(f->calls[f->call_count - 1].pairs, name);
}
