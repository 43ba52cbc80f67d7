/* A name server that answers when the test says so: getaddrinfo() is the one below, in libuv, too. */
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>

#include "helper.h"
#include "io/resolver.h"

TestSuite(resolver, .fini = no_leaks, .timeout = 60);

static struct {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open, fails;
    unsigned asked;
    const char *ip;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER, .ip = "192.0.2.1"};

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT,
                                                                                                "getaddrinfo");
    int rc = EAI_AGAIN;

    (void)host;
    pthread_mutex_lock(&server.lock);
    server.asked++;
    while (!server.open)
        pthread_cond_wait(&server.opened, &server.lock);
    if (!server.fails)
        rc = real(server.ip, service, hints, found);
    pthread_mutex_unlock(&server.lock);
    return rc;
}

static void set_open(bool open)
{
    pthread_mutex_lock(&server.lock);
    server.open = open;
    pthread_cond_broadcast(&server.opened);
    pthread_mutex_unlock(&server.lock);
}

struct client {
    struct asker asker;
    struct resolver *again; /* done() asks it once more, */
    const char *host;       /* for this name */
    unsigned answers;
    int status;
};

static void on_done(struct asker *a, int status)
{
    struct client *c = a->data;
    struct resolver *again = c->again;

    c->answers++;
    c->status = status;
    c->again = NULL;
    if (again)
        cr_expect(resolver_ask(again, c->host, a) == 0);
}

struct world {
    uv_loop_t loop;
    struct resolver *resolver;
    struct client c[2];
};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));

    uv_loop_init(&w->loop);
    w->resolver = resolver_new(&w->loop);
    for (int i = 0; i < 2; i++)
        w->c[i] = (struct client){.asker = {.done = on_done, .data = &w->c[i]}, .host = "redis.example"};
    return w;
}

static void ask(struct world *w, int i)
{
    cr_expect(resolver_ask(w->resolver, "redis.example", &w->c[i].asker) == 0);
}

/* Until no look-up is under way. */
static void answer(struct world *w)
{
    set_open(true);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    set_open(false);
}

static const char *known(const struct world *w)
{
    const struct addresses *found = resolver_known(w->resolver, "redis.example");

    return found ? found->ip[0] : "";
}

static void world_free(struct world *w)
{
    resolver_free(w->resolver);
    answer(w);
    cr_expect(uv_loop_close(&w->loop) == 0);
    free(w);
}

Test(resolver, who_asks_meanwhile_waits_for_the_same_look_up)
{
    struct world *w = world_new();

    ask(w, 0);
    ask(w, 1);
    answer(w);
    cr_expect(w->c[0].answers == 1 && w->c[1].answers == 1 && server.asked == 1);
    cr_expect_str_eq(known(w), "192.0.2.1");
    world_free(w);
}

Test(resolver, who_leaves_is_not_called_and_what_comes_late_is_for_the_next)
{
    struct world *w = world_new();

    for (int i = 0; i < 3; i++) {
        ask(w, 0);
        resolver_leave(&w->c[0].asker);
    }
    cr_expect_str_eq(known(w), "");
    answer(w);
    cr_expect(w->c[0].answers == 0 && server.asked == 1, "%u look-ups", server.asked);
    cr_expect_str_eq(known(w), "192.0.2.1");
    world_free(w);
}

Test(resolver, addresses_stay_until_there_are_others)
{
    struct world *w = world_new();

    ask(w, 0);
    answer(w);
    server.fails = true;
    ask(w, 0);
    answer(w);
    cr_expect(w->c[0].status == UV_EAI_AGAIN);
    cr_expect_str_eq(known(w), "192.0.2.1");
    server.fails = false;
    server.ip = "192.0.2.2";
    ask(w, 0);
    answer(w);
    cr_expect(w->c[0].status == 0);
    cr_expect_str_eq(known(w), "192.0.2.2");
    world_free(w);
}

Test(resolver, who_asks_again_when_answered_waits_for_the_next_look_up)
{
    struct world *w = world_new();

    w->c[0].again = w->resolver;
    ask(w, 0);
    answer(w);
    cr_expect(w->c[0].answers == 2 && server.asked == 2);
    world_free(w);
}

Test(resolver, its_end_waits_for_nobody)
{
    struct world *w = world_new();

    ask(w, 0);
    resolver_leave(&w->c[0].asker);
    world_free(w);
}

Test(resolver, names_that_nobody_waits_for_are_forgotten_when_they_are_many)
{
    struct world *w = world_new();

    ask(w, 0);
    answer(w);
    for (int i = 0; i < 200; i++) {
        cr_expect(resolver_ask(w->resolver, scratch("h%d", i), &w->c[1].asker) == 0);
        answer(w);
    }
    cr_expect(w->c[1].answers == 200);
    cr_expect_str_eq(known(w), "");
    world_free(w);
}

Test(resolver, nor_is_one_whose_answer_is_being_given)
{
    struct world *w = world_new();

    for (int i = 0; i < 127; i++) {
        cr_expect(resolver_ask(w->resolver, scratch("h%d", i), &w->c[1].asker) == 0);
        answer(w);
    }
    w->c[0].again = w->resolver;
    w->c[0].host = "another.example";
    ask(w, 0);
    answer(w);
    cr_expect(w->c[0].answers == 2);
    cr_expect_str_eq(known(w), "192.0.2.1");
    world_free(w);
}
