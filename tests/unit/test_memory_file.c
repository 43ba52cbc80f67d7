/* The memory store's file: what stood in a store that was killed is there in the next one. */
#include <sys/stat.h>
#include <unistd.h>

#include "pairs.h"
#include "stores.h"

TestSuite(memory_file, .fini = no_leaks, .timeout = 60);

#define KEY "kamsync:call:{x}"

static char path[64];
static uv_loop_t loop;

static struct client *open_store(void)
{
    memory_state_file = path;
    uv_loop_init(&loop);
    return client_new(&loop, NULL, 3, "");
}

static struct client *first_store(void)
{
    snprintf(path, sizeof(path), "/tmp/kamsync-test-%d", (int)getpid());
    unlink(path);
    return open_store();
}

static void shut(struct client *c)
{
    clients_free(&loop, &c, 1);
}

static void finish(struct client *c)
{
    shut(c);
    unlink(path);
}

static off_t size(void)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void add_text(const char *text)
{
    FILE *f = fopen(path, "ae");

    fputs(text, f);
    fclose(f);
}

static bool is_scanned(void *arg)
{
    return ((struct client *)arg)->scanned;
}

static void expect_record(struct client *c, const char *want)
{
    json_t *json = want ? json_loads(want, JSON_ALLOW_NUL, NULL) : NULL;

    cr_expect(client_get(c, KEY) == (want ? GET_FOUND : GET_ABSENT));
    cr_expect(want ? json_equal(c->record, json) : !c->record);
    json_decref(json);
}

static size_t archived(struct client *c)
{
    cr_assert(client_archive(c, NULL, 100));
    return json_array_size(c->archive);
}

Test(memory_file, calls_and_archive_are_there_again)
{
    struct client *c = first_store();

    client_write(c, KEY, CALL_BEGIN, 1, "{\"node\":\"1\",\"x\":\"% \\u0000\\n\\u00e4\",\"empty\":\"\"}");
    shut(c);
    c = open_store();
    expect_record(c, "{\"node\":\"1\",\"x\":\"% \\u0000\\n\\u00e4\",\"empty\":\"\"}");
    cr_expect(client_write(c, KEY, CALL_END, 1, "{\"ended\":\"5\"}") == CALL_WRITTEN);
    shut(c);
    c = open_store();
    cr_expect(archived(c) == 1);
    cr_expect(client_write(c, KEY, CALL_END, 1, "{\"ended\":\"6\"}") == CALL_OVER, "it has ended once");
    cr_expect(archived(c) == 1);
    finish(c);
}

Test(memory_file, archive_stays_short_and_its_ids_go_up)
{
    struct client *c = first_store();
    char *last;

    for (int i = 0; i < 5; i++)
        client_write(c, scratch("kamsync:call:{%d}", i), CALL_ADD, 1, "{\"node\":\"1\"}");
    for (int i = 0; i < 5; i++)
        client_write(c, scratch("kamsync:call:{%d}", i), CALL_END, 1, "{\"ended\":\"5\"}");
    cr_expect(archived(c) == 3);
    last = scratch("%s", json_string_value(json_array_get(json_array_get(c->archive, 2), 0)));
    shut(c);
    c = open_store();
    cr_expect(archived(c) == 3);
    cr_expect_str_eq(json_string_value(json_array_get(json_array_get(c->archive, 2), 0)), last);
    client_write(c, KEY, CALL_ADD, 1, "{\"node\":\"1\"}");
    client_write(c, KEY, CALL_END, 1, "{\"ended\":\"7\"}");
    cr_expect(client_archive(c, last, 100) && json_array_size(c->archive) == 1, "behind the last one");
    finish(c);
}

Test(memory_file, half_a_line_and_garbage_are_passed_over)
{
    static const char *const garbage[] = {"c 99999999999999 0 0 k%",
                                          "\n",
                                          "c\n",
                                          "x 1 2 3 k a b\n",
                                          "c 99999999999999 0 0 k a\n",
                                          "c 99999999999999 0 0 k a %zz\n",
                                          "c 99999999999999 0 0 k\n",
                                          "c -1 0 0 k a b\n",
                                          "s 99999999999999 0 0 % % v\n",
                                          "c 99999999999999 0 0 k%00k a b\n",
                                          "cc 99999999999999 0 0 k a b\n"};
    struct client *c = first_store();

    client_write(c, KEY, CALL_ADD, 1, "{\"a\":\"b\"}");
    shut(c);
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        add_text(garbage[i]);
        if (i == 0)
            continue; /* the line goes on */
        c = open_store();
        expect_record(c, "{\"a\":\"b\"}");
        c->store->ops->scan(c->store, 0);
        cr_assert(wait_until(c->loop, is_scanned, c));
        cr_expect(json_array_size(c->keys) == 1, "garbage %zu", i);
        client_write(c, KEY, CALL_ADD, 1, "{\"a\":\"b\"}"); /* behind the garbage, were that still there */
        shut(c);
    }
    c = open_store();
    expect_record(c, "{\"a\":\"b\"}");
    finish(c);
}

Test(memory_file, every_prefix_of_the_file_is_a_state_that_was)
{
    struct client *c = first_store();
    char *text = NULL;
    size_t n = 0;
    FILE *f;

    client_write(c, KEY, CALL_ADD, 1, "{\"n\":\"1\"}");
    client_write(c, KEY, CALL_ADD, 1, "{\"n\":\"2\"}");
    client_write(c, KEY, CALL_END, 1, "{\"ended\":\"3\"}");
    shut(c);
    f = fopen(path, "re");
    cr_assert(getdelim(&text, &n, '\0', f) > 0);
    fclose(f);
    n = strlen(text);
    for (size_t cut = 0; cut <= n; cut += cut < n - 3 ? 3 : 1) {
        bool over;

        cr_assert(truncate(path, 0) == 0);
        add_text(scratch("%.*s", (int)cut, text));
        c = open_store();
        over = client_get(c, KEY) == GET_FOUND && json_object_get(c->record, "ended");
        cr_expect(archived(c) == (over ? 1 : 0), "cut at %zu", cut);
        shut(c);
    }
    free(text);
    unlink(path);
}

static bool is_small(void *arg)
{
    (void)arg;
    return size() < 5000;
}

Test(memory_file, it_does_not_grow_for_ever)
{
    struct client *c = first_store();
    char *big = scratch("{\"x\":\"%01000d\"}", 0);

    cr_assert(wait_until(&loop, is_small, c));
    for (int i = 0; i < 9000; i++) {
        client_ask_write(c, KEY, CALL_ADD, 1, big, 60000);
        c->answers[c->token--]--; /* tokens are few, and this store answers at once */
    }
    cr_expect(size() > 8 << 20);
    cr_expect(wait_until(&loop, is_small, c), "%ld bytes", (long)size());
    shut(c);
    c = open_store();
    cr_expect(client_get(c, KEY) == GET_FOUND);
    finish(c);
}

Test(memory_file, a_place_that_cannot_be_written_is_said_once)
{
    struct client *c;

    snprintf(path, sizeof(path), "/nonexistent/state");
    c = open_store();
    for (int i = 0; i < 3; i++)
        client_write(c, KEY, CALL_ADD, 1, "{\"a\":\"b\"}");
    expect_record(c, "{\"a\":\"b\"}");
    cr_expect(strstr(c->logs, "state_file") && !strstr(strstr(c->logs, "state_file") + 1, "state_file"), "%s", c->logs);
    shut(c);
}
