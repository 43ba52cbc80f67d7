/* kamsyncctl's questions: bytes on the real unix socket, through the daemon's line handling into an engine. Whatever
 * was asked, what comes back is nothing, or one JSON object in one line. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/control.h"
#include "world.h"

static uv_loop_t loop;
static struct control *control;
static struct world *world;
static char path[64];

static void on_request(void *ctx, uint64_t client, const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);

    (void)ctx;
    must(text);
    world_ask(world, text, 0);
    world_wait(world);
    must(world->answered[0] == 1);
    control_answer(control, client, json_loads(world->answer, JSON_ALLOW_NUL, NULL));
    free(text);
}

static void on_gone(void *ctx, uint64_t client)
{
    (void)ctx;
    (void)client;
}

static void remove_socket(void)
{
    unlink(path);
}

static void start(void)
{
    const struct control_events on = {NULL, on_request, on_gone};

    snprintf(path, sizeof(path), "/tmp/kamsync-fuzz-%d.sock", (int)getpid());
    must(uv_loop_init(&loop) == 0 && control_new(&control, &loop, path, &on) == 0);
    atexit(remove_socket);
}

static int dial(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    strcpy(to.sun_path, path);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    return fd;
}

static void run(void)
{
    for (int i = 0; i < 4; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static void check(const char *p, size_t n)
{
    json_t *answer;

    must(memchr(p, '\n', n) == p + n - 1);
    answer = json_loadb(p, n, 0, NULL);
    must(json_is_boolean(json_object_get(answer, "ok")));
    json_decref(answer);
}

/* A transaction, a call with a variable, and a stray that was decided about: something to be asked for. */
static void fill(struct world *w)
{
    world_say(w, "{\"t\":\"events\",\"n\":1}{\"t\":\"set\",\"call_id\":\"YzBAeA==\",\"name\":\"a\",\"value\":"
                 "\"djE=\"}{\"t\":\"bye\",\"call_id\":\"YzBAeA==\",\"code\":200}");
    world_pass(w, 20);
}

/* What proto/control.md lets in. */
static bool is_request(const char *p, size_t n)
{
    json_t *json =
        n && n <= 4096 && memchr(p, '\n', n) == p + n - 1 ? json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool is = json_is_object(json);

    json_decref(json);
    return is;
}

/* The first byte says after how many bytes the client makes a pause. */
static void converse(const uint8_t *data, size_t size)
{
    static char answer[1 << 18];
    size_t half = size ? data[0] % size : 0;
    int fd = dial();
    ssize_t n;

    run();
    send(fd, data + (size > 0), half, MSG_NOSIGNAL);
    run();
    if (size > 1 + half)
        send(fd, data + 1 + half, size - 1 - half, MSG_NOSIGNAL);
    run();
    n = recv(fd, answer, sizeof(answer), 0);
    if (n > 0)
        check(answer, (size_t)n);
    must(n > 0 || !size || !is_request((const char *)data + 1, size - 1));
    close(fd);
    run();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!control)
        start();
    world = world_ready(false);
    fill(world);
    converse(data, size);
    world_free(world);
    return 0;
}
