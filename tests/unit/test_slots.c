/* The map of a Redis Cluster, from what its nodes answer. */
#include "io/redis_slots.h"

#include <stdarg.h>

#include <criterion/criterion.h>

static const struct store_host asked = {"asked.example.com", 7000};

/* ---- slots ---- */

/* As redis-server's CLUSTER KEYSLOT has them. */
Test(slots, of_keys)
{
    cr_expect(slot_of(span_of("123456789")) == 12739);
    cr_expect(slot_of(span_of("foo")) == 12182);
    cr_expect(slot_of(span_of("kamsync:{foo}:bar")) == 12182, "the part in braces");
    cr_expect(slot_of(span_of("foo{}{bar}")) == 8363, "nothing is in the first braces");
    cr_expect(slot_of(span_of("foo{{bar}}zap")) == slot_of(span_of("{bar")));
    cr_expect(slot_of(span_of("{foo")) != 12182 && slot_of(span_of("}foo{")) != 12182);
    cr_expect(slot_of(span_of("")) == 0);
}

/* ---- CLUSTER SLOTS ---- */

/* In Redis' protocol. */
static redisReply *reply(const char *format, ...)
{
    redisReader *reader = redisReaderCreate();
    char text[1000];
    void *r = NULL;
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    redisReaderFeed(reader, text, strlen(text));
    cr_assert(redisReaderGetReply(reader, &r) == REDIS_OK && r);
    redisReaderFree(reader);
    return r;
}

static bool read_slots(struct slot_map *m, redisReply *r)
{
    bool ok = slots_read(m, r, &asked);

    freeReplyObject(r);
    return ok;
}

#define NODE "*3\r\n$9\r\n192.0.2.1\r\n:6379\r\n$2\r\nid\r\n"
#define HOSTNAME "*4\r\n$10\r\nh2.example\r\n:6380\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n$9\r\n192.0.2.2\r\n"
#define UNKNOWN "*3\r\n$-1\r\n:6381\r\n$2\r\nid\r\n"
#define EMPTY "*3\r\n$0\r\n\r\n:6382\r\n$2\r\nid\r\n"
#define QUESTION "*3\r\n$1\r\n?\r\n:6383\r\n$2\r\nid\r\n"

static bool has(const struct slot_map *m, unsigned slot, const char *name, int port)
{
    const struct store_host *h = m->of[slot] == NO_MASTER ? NULL : &m->masters[m->of[slot]];

    return h && strcmp(h->name, name) == 0 && h->port == port;
}

Test(slots, read_map)
{
    struct slot_map m;

    cr_assert(read_slots(&m, reply("*3\r\n*4\r\n:0\r\n:5460\r\n" NODE HOSTNAME "*3\r\n:5461\r\n:5461\r\n" HOSTNAME
                                   "*3\r\n:16383\r\n:16383\r\n" NODE)));
    cr_expect(m.count == 2, "a replica is no master");
    cr_expect(has(&m, 0, "192.0.2.1", 6379) && has(&m, 5460, "192.0.2.1", 6379) && has(&m, 16383, "192.0.2.1", 6379));
    cr_expect(has(&m, 5461, "h2.example", 6380));
    cr_expect(m.of[5462] == NO_MASTER && m.of[16382] == NO_MASTER);
}

Test(slots, who_does_not_know_its_name_is_the_one_that_was_asked)
{
    struct slot_map m;

    cr_assert(read_slots(
        &m, reply("*3\r\n*3\r\n:0\r\n:0\r\n" UNKNOWN "*3\r\n:1\r\n:1\r\n" EMPTY "*3\r\n:2\r\n:2\r\n" QUESTION)));
    for (unsigned i = 0; i < 3; i++)
        cr_expect(has(&m, i, "asked.example.com", 6381 + (int)i), "%u", i);
}

Test(slots, nonsense_is_no_map)
{
    static const char *const bad[] = {"+OK\r\n",
                                      "-ERR This instance has cluster support disabled\r\n",
                                      "$-1\r\n",
                                      "*1\r\n:1\r\n",
                                      "*1\r\n*0\r\n",
                                      "*1\r\n*2\r\n:0\r\n:1\r\n",
                                      "*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
                                      "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE,
                                      "*1\r\n*3\r\n:-1\r\n:1\r\n" NODE,
                                      "*1\r\n*3\r\n:2\r\n:1\r\n" NODE,
                                      "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n",
                                      "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n",
                                      "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n"};
    struct slot_map m;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect(!read_slots(&m, reply("%s", bad[i])), "%s", bad[i]);
    cr_expect(!slots_read(&m, NULL, &asked));
    cr_expect(read_slots(&m, reply("*0\r\n")) && m.of[0] == NO_MASTER, "a cluster without slots is one");
}

Test(slots, too_many_masters)
{
    struct slot_map m;
    struct store_host h = {"a", 1};

    slots_clear(&m);
    for (h.port = 1; h.port <= MASTERS_MAX; h.port++)
        cr_expect(slots_master(&m, &h) == h.port - 1);
    cr_expect(slots_master(&m, &h) == NO_MASTER);
    h.port = 7;
    cr_expect(slots_master(&m, &h) == 6 && m.count == MASTERS_MAX);
}

/* ---- MOVED and ASK ---- */

static bool redirects(const char *error, struct redirect *to)
{
    redisReply *r = reply("%s\r\n", error);
    bool ok = slots_redirect(to, r, &asked);

    freeReplyObject(r);
    return ok;
}

Test(slots, redirect)
{
    struct redirect to;

    cr_assert(redirects("-MOVED 3999 192.0.2.7:6381", &to));
    cr_expect(!to.ask && to.slot == 3999 && to.host.port == 6381);
    cr_expect_str_eq(to.host.name, "192.0.2.7");
    cr_assert(redirects("-ASK 0 2001:db8::7:6381", &to));
    cr_expect(to.ask && to.slot == 0 && to.host.port == 6381);
    cr_expect_str_eq(to.host.name, "2001:db8::7");
    cr_assert(redirects("-MOVED 16383 :6381", &to), "the same host");
    cr_expect_str_eq(to.host.name, "asked.example.com");
    cr_assert(redirects("-MOVED 1 ?:6381", &to));
    cr_expect_str_eq(to.host.name, "asked.example.com");
}

Test(slots, no_redirect)
{
    static const char *const bad[] = {"-MOVED",        "-MOVED 1",     "-MOVED 1 host",  "-MOVED 16384 h:1",
                                      "-MOVED -1 h:1", "-MOVED 1 h:0", "-ASK 1 h:65536", "-ASKED 1 h:1",
                                      "+MOVED 1 h:1",  "-TRYAGAIN x"};
    struct redirect to;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect(!redirects(bad[i], &to), "%s", bad[i]);
    cr_expect(!slots_redirect(&to, NULL, &asked));
}
