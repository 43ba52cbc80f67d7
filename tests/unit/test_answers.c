/* No store answers before the call that asked has returned, whatever it is asked, and however it fails. */
#include "stores.h"

TestSuite(answers, .fini = no_leaks, .timeout = 60);

enum { PUT, GOT, CLAIMED, NAMES, SCANNED, NODES, WRITTEN, CALL, KEYS, ARCHIVED, KINDS };

/* What came, in which order, and how. */
struct heard {
    struct store *store;
    unsigned count[KINDS];
    int status[KINDS];
    char *text;  /* of the last record or holder */
    char *stays; /* the record that fences the last put */
    unsigned fenced;
    bool again; /* it asks once more, from within an answer */
};

static bool is_quiet(const struct heard *h)
{
    for (int i = 0; i < KINDS; i++)
        if (h->count[i])
            return false;
    return true;
}

static void hear(struct heard *h, int kind, int status)
{
    h->count[kind]++;
    h->status[kind] = status;
}

static void on_change(void *ctx)
{
    (void)ctx;
}

static void on_put(void *ctx, uint64_t token, enum put_status status, struct span record)
{
    struct heard *h = ctx;

    cr_expect(token == 6);
    if (status == PUT_FENCED)
        h->stays = scratch("%.*s", (int)record.n, record.p);
    h->fenced += status == PUT_FENCED;
    cr_expect(status == PUT_FENCED || !record.n);
    hear(h, PUT, (int)status);
}

static void on_got(void *ctx, uint64_t token, enum get_status status, struct span record)
{
    struct heard *h = ctx;
    unsigned before = h->count[GOT];

    cr_expect(token == 7);
    h->text = scratch("%.*s", (int)record.n, record.n ? record.p : "");
    hear(h, GOT, (int)status);
    if (h->again)
        h->store->ops->get(h->store, "k", 7);
    h->again = false;
    cr_expect(h->count[GOT] == before + 1, "answered from within the call");
}

static void on_claimed(void *ctx, uint64_t token, enum claim_status status, struct span holder)
{
    struct heard *h = ctx;

    cr_expect(token == 8);
    h->text = scratch("%.*s", (int)holder.n, holder.n ? holder.p : "");
    hear(h, CLAIMED, (int)status);
}

static void on_name(void *ctx, const char *key)
{
    (void)key;
    hear(ctx, NAMES, 0);
}

static void on_scanned(void *ctx, bool ok, uint64_t next)
{
    (void)next;
    hear(ctx, SCANNED, ok);
}

static void on_nodes(void *ctx, bool ok)
{
    hear(ctx, NODES, ok);
}

static void on_written(void *ctx, uint64_t token, enum call_result result)
{
    cr_expect(token == 9);
    hear(ctx, WRITTEN, (int)result);
}

static void on_call(void *ctx, uint64_t token, enum get_status status, const struct pair *pairs, size_t count)
{
    cr_expect(token == 10 && (count == 1) == (status == GET_FOUND));
    cr_expect(!count || span_eq(pairs->value, span_of("y")));
    hear(ctx, CALL, (int)status);
}

static void on_key(void *ctx, uint64_t token, const char *key)
{
    (void)ctx;
    cr_expect(false, "%d: no call has the name %s", (int)token, key);
}

static void on_keys(void *ctx, uint64_t token, bool ok, uint64_t next)
{
    cr_expect(token == 12 && !next);
    hear(ctx, KEYS, ok);
}

static void on_archived(void *ctx, uint64_t token, const char *id, const struct pair *pairs, size_t count,
                        enum archive_status status)
{
    (void)pairs, (void)count;
    cr_expect(token == 11 && !id);
    hear(ctx, ARCHIVED, (int)status);
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static struct store_events events(struct heard *h)
{
    return (struct store_events){.ctx = h,
                                 .up = on_change,
                                 .down = on_change,
                                 .put_done = on_put,
                                 .got = on_got,
                                 .claimed = on_claimed,
                                 .scan_key = on_name,
                                 .scanned = on_scanned,
                                 .nodes_read = on_nodes,
                                 .call_written = on_written,
                                 .call_got = on_call,
                                 .call_key = on_key,
                                 .call_keys = on_keys,
                                 .archived = on_archived,
                                 .log = on_log};
}

static void ask_all(struct store *s)
{
    const struct pair x = {span_of("x"), span_of("y")};
    const struct call_write w = {.key = "c", .mode = CALL_ADD, .node = 1, .pairs = &x, .count = 1, .ttl_ms = 60000};

    s->ops->put(s, "k", "v", 60000, 6);
    s->ops->get(s, "k", 7);
    s->ops->claim(s, "k", "w", 60000, 8);
    s->ops->scan(s, 0);
    s->ops->read_nodes(s);
    s->ops->call_write(s, &w, 9);
    s->ops->call_get(s, "c", NULL, 10);
    s->ops->call_keys(s, span_of("c"), 0, 12);
    s->ops->archive(s, NULL, 5, 11);
}

static bool has_all(void *arg)
{
    return ((struct heard *)arg)->count[ARCHIVED] > 0;
}

static void end(uv_loop_t *loop, struct store *s)
{
    s->ops->close(s);
    uv_run(loop, UV_RUN_DEFAULT);
    cr_expect(uv_loop_close(loop) == 0, "something is open");
}

Test(answers, memory_gives_them_at_the_next_turn)
{
    uv_loop_t loop;
    struct heard h = {0};
    struct store_events on = events(&h);

    uv_loop_init(&loop);
    h.store = store_memory(&loop, 0, "", &on);
    h.again = true;
    ask_all(h.store);
    cr_expect(is_quiet(&h), "answered from within a call");
    cr_assert(wait_until(&loop, has_all, &h));
    cr_expect(h.status[PUT] == PUT_DONE && h.status[GOT] == GET_FOUND && h.status[CLAIMED] == CLAIM_LOST &&
              h.status[SCANNED]);
    cr_expect(h.status[NODES] && h.status[WRITTEN] == CALL_WRITTEN && h.status[CALL] == GET_FOUND && h.status[KEYS] &&
              h.status[ARCHIVED]);
    cr_expect_str_eq(h.text, "v");
    cr_expect(h.count[GOT] == 2 && h.count[CLAIMED] == 1 && h.count[NAMES] == 2, "one asked again, two names");
    end(&loop, h.store);
}

Test(answers, redis_that_is_not_there_fails_at_the_next_turn)
{
    uv_loop_t loop;
    struct heard h = {0};
    struct store_events on = events(&h);
    const struct redis_conf conf = {
        .name = {.hosts = {{"127.0.0.1", 1}}}, .login = {"", ""}, .sentinel_login = {"", ""}, .timeout_ms = 2000};

    uv_loop_init(&loop);
    h.store = store_redis(&loop, &conf, &on);
    h.again = true;
    ask_all(h.store);
    cr_expect(is_quiet(&h), "answered from within a call");
    cr_assert(wait_until(&loop, has_all, &h));
    cr_expect(h.status[PUT] == PUT_FAILED && h.status[GOT] == GET_FAILED && h.status[CLAIMED] == CLAIM_FAILED &&
              !h.status[SCANNED]);
    cr_expect(h.status[WRITTEN] == CALL_FAILED && h.status[CALL] == GET_FAILED && !h.status[KEYS] &&
              !h.status[ARCHIVED]);
    end(&loop, h.store);
}

Test(answers, what_waits_when_a_store_is_closed_is_freed)
{
    uv_loop_t loop;
    struct heard h = {0};
    struct store_events on = events(&h);

    uv_loop_init(&loop);
    h.store = store_memory(&loop, 0, "", &on);
    ask_all(h.store);
    end(&loop, h.store);
    cr_expect(is_quiet(&h));
}

/* The record that stays is the answer's own: whatever becomes of it in the store before the answer is given. */
Test(answers, record_that_fences_is_kept_until_the_answer)
{
    static const char newer[] = "{\"epoch\":2,\"owner\":2,\"inc\":\"2\"}";
    uv_loop_t loop;
    struct heard h = {0};
    struct store_events on = events(&h);

    uv_loop_init(&loop);
    h.store = store_memory(&loop, 0, "", &on);
    h.store->ops->put(h.store, "k", newer, 60000, 6);
    h.store->ops->put(h.store, "k", "{\"epoch\":1,\"owner\":1,\"inc\":\"1\"}", 60000, 6);
    cr_expect(is_quiet(&h), "answered from within a call");
    h.store->ops->put(h.store, "k", "{\"epoch\":3,\"owner\":3,\"inc\":\"3\",\"from\":\"2 2 2\"}", 60000, 6);
    h.store->ops->archive(h.store, NULL, 1, 11);
    cr_assert(wait_until(&loop, has_all, &h));
    cr_expect(h.count[PUT] == 3 && h.fenced == 1);
    cr_expect_str_eq(h.stays, newer);
    end(&loop, h.store);
}

/* More than there is room for at first, so that it has to grow. */
Test(answers, many_are_all_given)
{
    uv_loop_t loop;
    struct heard h = {0};
    struct store_events on = events(&h);

    uv_loop_init(&loop);
    h.store = store_memory(&loop, 0, "", &on);
    for (int i = 0; i < 40000; i++)
        h.store->ops->get(h.store, "k", 7);
    h.store->ops->archive(h.store, NULL, 1, 11);
    cr_assert(wait_until(&loop, has_all, &h));
    cr_expect(h.count[GOT] == 40000 && h.status[GOT] == GET_ABSENT);
    end(&loop, h.store);
}
