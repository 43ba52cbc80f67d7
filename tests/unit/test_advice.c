/* What the log says of a wrong configuration of Kamailio: in its own words, and once. */
#include "fake.h"
#include "nodes.h"

TestSuite(advice, .fini = no_leaks);

static size_t count(const struct fake *f, const char *text)
{
    size_t n = 0;

    for (const char *p = f->logs; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

static void hello_at(struct fake *f, const char *sip)
{
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello_at(f, 1, "100.1", sip);
    fake_turn(f);
}

/* A single node needs none. */
Test(advice, kamsync_sip_left_at_its_default)
{
    static const char *const addresses[] = {"127.0.0.1:5060", "[::1]:5060", "0.0.0.0:5060"};

    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct fake *f = fake_ready();

        hello_at(f, addresses[i]);
        cr_expect(count(f, "KAMSYNC_SIP") == 0);
        for (int beat = 1; beat < 10; beat++) {
            fake_node(f, 2, beat, "200.1", true);
            fake_pass(f, 1000);
        }
        cr_expect(count(f, "put #!define KAMSYNC_SIP \"<this node's own address>:<port>\"") == 1, "%s", f->logs);
        fake_free(f);
    }
}

Test(advice, kamsync_sip_of_a_node_that_comes_later)
{
    struct fake *f = fake_peers();

    cr_expect(count(f, "KAMSYNC_SIP") == 0);
    hello_at(f, "127.0.0.1:5060");
    cr_expect(count(f, "KAMSYNC_SIP") == 1);
    fake_free(f);
}

Test(advice, server_id_0)
{
    struct fake *f = fake_new();

    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_hello(f, 0, "100.1");
    cr_expect(count(f, "set server_id in kamailio.cfg") == 1, "%s", f->logs);
    fake_hello_at(f, 1, "100.1", "");
    cr_expect(count(f, "KAMSYNC_SIP must be this node's own address and port") == 1, "%s", f->logs);
    fake_free(f);
}

static void announce(struct fake *f, int64_t beat, const char *secret)
{
    struct node n = {.id = 2, .name = "x", .sip = "192.0.2.66:5060", .inc = "9.9", .beat = beat, .up = true};
    char *record = node_record(&n, secret ? secret : ""), *proof = strstr(record, ",\"proof\"");

    if (!secret)
        memcpy(proof, "}", 2);
    engine_announced(f->e, span_of(record), f->now);
    free(record);
    fake_turn(f);
}

/* Or of a kamsyncd that is so old that it proves nothing. */
Test(advice, announcements_of_another_cluster)
{
    static const char *const secrets[] = {"a secret of another cluster", "", NULL};
    struct fake *f = fake_peers();
    size_t told = fake_count(f, "node");

    for (int i = 0; i < 9; i++) {
        announce(f, (1 << 30) + i, secrets[i % 3]);
        cr_expect(engine_counters(f->e)->nodes_foreign == (uint64_t)i + 1);
    }
    cr_expect(fake_count(f, "node") == told, "nobody goes there");
    cr_expect(count(f, "what node 2 (x) at 192.0.2.66:5060 announces is not proven") == 1, "%s", f->logs);
    announce(f, (1 << 30) + 9, f->conf.old_secret);
    announce(f, (1 << 30) + 10, f->conf.secret);
    cr_expect(engine_counters(f->e)->nodes_foreign == 9 + !*f->conf.old_secret && fake_count(f, "node") == told + 1);
    fake_free(f);
}

Test(advice, node_of_another_version)
{
    struct fake *f = fake_ready();

    fake_version(f, 6, NODE_VERSION);
    cr_expect(count(f, "another version") == 0, "%s", f->logs);
    fake_version(f, 7, NODE_VERSION + 1);
    fake_version(f, 8, NODE_VERSION + 1);
    cr_expect(count(f, "node 7 (x) runs another version of kamsync") == 1 && count(f, "node 8 (x) runs") == 0, "%s",
              f->logs);
    fake_free(f);
}

static void other_beat(struct fake *f, const char *name, const char *sip, const char *inc, int beat)
{
    char *record = scratch("{\"id\":1,\"name\":\"%s\",\"sip\":\"%s\",\"inc\":\"%s\",\"beat\":%d,\"up\":true}", name,
                           sip, inc, 9000 + beat);

    engine_node(f->e, span_of(record), f->now);
}

Test(advice, server_id_that_is_used_twice)
{
    struct fake *f = fake_peers();

    for (int beat = 0; beat < 5; beat++)
        other_beat(f, "fra1", "192.0.2.9:5060", "900.1", beat);
    cr_expect(count(f, "node id 1 is used twice: here and at 192.0.2.9:5060 (fra1): set server_id in kamailio.cfg") ==
              1);
    fake_free(f);
}

/* Both have left KAMSYNC_SIP at its default, too. */
Test(advice, server_id_that_is_used_twice_with_one_address)
{
    struct fake *f = fake_peers();

    other_beat(f, "fra1", "192.0.2.1:5060", "900.1", 1);
    cr_expect(count(f, "used twice") == 1);
    fake_free(f);
}

Test(advice, own_record_of_before_is_no_other_node)
{
    struct fake *f = fake_peers();

    other_beat(f, "ams1", "192.0.2.1:5060", "99.1", 1);
    cr_expect(count(f, "used twice") == 0);
    fake_free(f);
}

/* evapi_relay() gives the script's own messages to kamsyncd as well. */
Test(advice, relays_for_another_client)
{
    struct fake *f = fake_ready();

    for (int i = 0; i < 1000; i++) {
        fake_say(f, "{\"event\":\"call-start\",\"n\":%d}", i);
        fake_say(f, "call %d has ended", i);
        fake_pass(f, 10);
    }
    cr_expect(count(f, "not understood") == 1 && count(f, "evapi_multicast()") == 1, "%s", f->logs);
    cr_expect(engine_counters(f->e)->frames_bad == 2000);
    fake_free(f);
}
