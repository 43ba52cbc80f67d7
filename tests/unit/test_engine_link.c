/* The engine's two neighbours: its Kamailio on the link, and the other nodes. */
#include "fake.h"
#include "link.h"

TestSuite(engine, .fini = no_leaks);

Test(engine, says_hello_and_learns_who_it_is)
{
    struct fake *f = fake_new();
    json_t *hello;

    engine_store_up(f->e, f->now);
    fake_pass(f, 3000);
    cr_expect(json_array_size(f->frames) == 0 && f->beat_count == 0, "nobody yet");
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    hello = fake_last(f, "hello");
    cr_assert(json_array_size(f->frames) == 1 && hello);
    cr_expect_str_eq(fake_text(hello, "tag"), "tag-1");
    cr_expect(json_object_size(hello) == 2, "no key, and nothing that follows from it");
    cr_expect(fake_status(f).node == 0 && !fake_status(f).link);
    fake_hello(f, 1, "100.1");
    cr_expect(f->beat_count == 1 && f->beats[0].announce && f->beats[0].ttl_ms == 86400000);
    cr_expect(strstr(f->beats[0].record, "\"up\":true") && strstr(f->beats[0].record, "\"beat\":5001"));
    cr_expect(fake_status(f).node == 1 && fake_status(f).link);
    fake_free(f);
}

Test(engine, hears_nothing_before_hello)
{
    struct fake *f = fake_new();
    struct leg c = call_make(1);

    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_branch(f, 1, &c, "0", true);
    fake_stray(f, 1, &c, "CANCEL");
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0 && f->get_count == 0 && fake_count(f, "ack") == 0);
    fake_free(f);
}

Test(engine, beats_as_often_as_it_should)
{
    struct fake *f = fake_ready();

    fake_pass(f, 10000);
    cr_expect(f->beat_count >= 10 && f->beat_count <= 11, "%zu beats", f->beat_count);
    cr_expect(f->node_reads >= 10 && f->node_reads <= 11);
    cr_expect(!f->beats[3].announce);
    fake_free(f);
}

Test(engine, tells_all_at_once_when_kamailio_goes)
{
    struct fake *f = fake_ready();

    engine_link_down(f->e, f->now);
    cr_expect(f->beat_count == 1 && f->beats[0].announce && strstr(f->beats[0].record, "\"up\":false"));
    fake_pass(f, 2500);
    cr_expect(strstr(f->beats[f->beat_count - 1].record, "\"up\":false"), "and beats on");
    cr_expect(!fake_status(f).link);
    fake_free(f);
}

static void expect_node(struct fake *f, int id, const char *inc, int up)
{
    json_t *node;

    fake_turn(f);
    node = fake_last(f, "node");
    cr_assert(fake_count(f, "node") == 1, "%zu node frames", fake_count(f, "node"));
    cr_expect(fake_int(node, "id") == id && fake_int(node, "up") == up);
    cr_expect_str_eq(fake_text(node, "sip"), scratch("192.0.2.%d:5060", id));
    cr_expect_str_eq(fake_text(node, "inc"), inc);
    fake_ack_all(f);
    fake_forget(f);
}

Test(engine, tells_kamailio_of_other_nodes)
{
    struct fake *f = fake_ready();

    fake_node(f, 2, 1, "200.1", true);
    expect_node(f, 2, "200.1", 1);
    fake_node(f, 2, 2, "200.1", true);
    fake_turn(f);
    cr_expect(fake_count(f, "node") == 0, "a beat is no news");
    fake_node(f, 2, 3, "200.2", true);
    expect_node(f, 2, "200.2", 1);
    fake_node(f, 2, 4, "200.2", false);
    expect_node(f, 2, "200.2", 0);
    cr_expect(fake_status(f).nodes == 0);
    fake_node(f, 2, 5, "200.2", true);
    expect_node(f, 2, "200.2", 1);
    cr_expect(fake_status(f).nodes == 1 && engine_counters(f->e)->nodes_changed == 4);
    fake_free(f);
}

/* Reads the nodes each second, as long as there is nothing new. */
static void read_for(struct fake *f, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        fake_pass(f, 1000);
        engine_nodes_read(f->e, true, f->now);
    }
}

Test(engine, node_whose_beats_end_and_that_does_not_answer_is_lost_and_may_come_back)
{
    struct fake *f = fake_ready();

    fake_node(f, 2, 1, "200.1", true);
    expect_node(f, 2, "200.1", 1);
    f->unreachable = true;
    read_for(f, 2);
    expect_node(f, 2, "200.1", 0); /* out of reach: no handover to it */
    read_for(f, 1);
    cr_expect(fake_count(f, "node") == 0);
    read_for(f, 2);
    expect_node(f, 2, "200.1", 0);
    cr_expect(strstr(f->logs, "is lost"));
    f->unreachable = false;
    fake_node(f, 2, 2, "200.1", true);
    expect_node(f, 2, "200.1", 1);
    fake_free(f);
}

/* Its way to the store is cut, it lives: it goes on owning what it owns. */
Test(engine, node_whose_beats_end_but_that_answers_is_not_lost)
{
    struct fake *f = fake_ready();

    fake_node(f, 2, 1, "200.1", true);
    expect_node(f, 2, "200.1", 1);
    read_for(f, 30);
    cr_expect(!strstr(f->logs, "is lost") && fake_status(f).nodes == 1);
    fake_free(f);
}

Test(engine, node_out_of_reach_comes_back_with_its_answer)
{
    struct fake *f = fake_ready();

    fake_node(f, 2, 1, "200.1", true);
    expect_node(f, 2, "200.1", 1);
    f->unreachable = true;
    for (int beat = 2; beat < 5; beat++) {
        fake_pass(f, 1000);
        fake_node(f, 2, beat, "200.1", true);
    }
    expect_node(f, 2, "200.1", 0);
    cr_expect(fake_status(f).nodes == 0);
    f->unreachable = false;
    fake_pass(f, 600);
    expect_node(f, 2, "200.1", 1);
    fake_free(f);
}

/* While the store cannot be read no beat can be seen. */
Test(engine, store_that_was_away_is_nobodys_death)
{
    struct fake *f = fake_ready();

    fake_node(f, 2, 1, "200.1", true);
    expect_node(f, 2, "200.1", 1);
    f->unreachable = true;
    for (int i = 0; i < 20; i++) {
        fake_pass(f, 1000);
        engine_nodes_read(f->e, false, f->now);
    }
    expect_node(f, 2, "200.1", 0);
    cr_expect(!strstr(f->logs, "is lost"));
    engine_nodes_read(f->e, true, f->now);
    read_for(f, 3);
    fake_turn(f);
    cr_expect(fake_count(f, "node") == 0, "a full time to live from the first reading on");
    read_for(f, 2);
    expect_node(f, 2, "200.1", 0);
    cr_expect(strstr(f->logs, "is lost"));
    fake_free(f);
}

Test(engine, new_connection_hears_of_all_nodes)
{
    struct fake *f = fake_ready();

    fake_node(f, 2, 1, "200.1", true);
    fake_node(f, 3, 1, "300.1", false);
    fake_pass(f, 100);
    fake_ack_all(f);
    engine_link_down(f->e, f->now);
    fake_forget(f);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_expect(fake_count(f, "hello") == 1 && fake_count(f, "node") == 2);
    cr_expect(fake_int(json_array_get(f->frames, 2), "id") == 2 && fake_int(json_array_get(f->frames, 2), "up") == 1);
    cr_expect(fake_int(json_array_get(f->frames, 3), "id") == 3 && fake_int(json_array_get(f->frames, 3), "up") == 0);
    fake_free(f);
}

static void see_self(struct fake *f, const char *sip)
{
    char *record = scratch("{\"id\":1,\"name\":\"ams1\",\"sip\":\"%s\",\"inc\":\"99.9\",\"beat\":77,\"up\":true}", sip);

    engine_node(f->e, span_of(record), f->now);
    engine_nodes_read(f->e, true, f->now);
    fake_turn(f);
}

Test(engine, own_record_is_no_other_node)
{
    struct fake *f = fake_ready();

    see_self(f, "192.0.2.1:5060");
    cr_expect(fake_status(f).nodes == 0 && fake_count(f, "node") == 0 && !strstr(f->logs, "used twice"));
    fake_free(f);
}

Test(engine, node_id_that_is_used_twice_is_logged)
{
    struct fake *f = fake_ready();

    see_self(f, "192.0.2.77:5060");
    cr_expect(strstr(f->logs, "node id 1 is used twice: here and at 192.0.2.77:5060 (ams1)"), "%s", f->logs);
    cr_expect(fake_status(f).nodes == 0 && fake_count(f, "node") == 0);
    fake_free(f);
}

/* kamsyncd restarts: its own record of before is still in the store, and is read before Kamailio says who it is. */
Test(engine, own_record_read_before_hello_is_no_other_node)
{
    struct fake *f = fake_new();

    engine_store_up(f->e, f->now);
    see_self(f, "192.0.2.1:5060");
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_expect(fake_status(f).nodes == 0);
    cr_expect(fake_count(f, "node") == 0, "Kamailio is told of itself");
    fake_free(f);
}

Test(engine, node_record_that_is_none_is_logged)
{
    struct fake *f = fake_ready();

    engine_node(f->e, span_of("garbage"), f->now);
    cr_expect(strstr(f->logs, "not understood"));
    fake_free(f);
}

#define ACK_MS 1000 /* how long an ack for few frames may wait */
#define ACK_STRAY_MS 100

static void say_events(struct fake *f, int n)
{
    fake_say(f, "{\"t\":\"events\",\"n\":%d}", n);
    fake_turn(f);
    fake_pass(f, ACK_MS);
}

Test(engine, credit_for_few_frames_waits)
{
    struct fake *f = fake_ready();
    int64_t n = 0;

    while (++n < 16) {
        fake_say(f, "{\"t\":\"events\",\"n\":%d}", (int)n);
        fake_turn(f);
    }
    cr_expect(fake_count(f, "ack") == 0);
    fake_pass(f, ACK_MS - 1);
    cr_expect(fake_count(f, "ack") == 0);
    fake_pass(f, 1);
    cr_expect(fake_count(f, "ack") == 1 && fake_int(fake_last(f, "ack"), "events") == 15);
    fake_ack_all(f);
    for (int i = 0; i < 16; i++, n++) {
        fake_say(f, "{\"t\":\"events\",\"n\":%d}", (int)n);
        fake_turn(f);
    }
    cr_expect(fake_count(f, "ack") == 2 && fake_int(fake_last(f, "ack"), "events") == 31, "so many do not");
    fake_free(f);
}

Test(engine, credit_for_answers_to_probes_waits_for_more)
{
    struct fake *f = fake_ready();

    for (int n = 1; n < 16; n++)
        fake_say(f, "{\"t\":\"events\",\"n\":%d}{\"t\":\"alive\",\"id\":2}", n);
    fake_turn(f);
    fake_pass(f, 10 * ACK_MS);
    cr_expect(fake_count(f, "ack") == 0, "nobody keeps them");
    fake_say(f, "{\"t\":\"events\",\"n\":16}{\"t\":\"alive\",\"id\":2}");
    fake_turn(f);
    cr_expect(fake_count(f, "ack") == 1 && fake_int(fake_last(f, "ack"), "events") == 16);
    fake_ack_all(f);
    fake_say(f, "{\"t\":\"events\",\"n\":17}{\"t\":\"alive\",\"id\":2}{\"t\":\"mark\",\"id\":1}");
    fake_turn(f);
    fake_pass(f, ACK_MS);
    cr_expect(fake_count(f, "ack") == 2 && fake_int(fake_last(f, "ack"), "events") == 17,
              "with another event it is kept");
    fake_free(f);
}

Test(engine, at_most_one_credit_is_under_way)
{
    struct fake *f = fake_ready();

    f->deaf = true; /* who acknowledges a ping has acknowledged all before it */
    say_events(f, 1);
    cr_expect(fake_count(f, "ack") == 1 && fake_int(fake_last(f, "ack"), "events") == 1);
    say_events(f, 2);
    say_events(f, 3);
    cr_expect(fake_count(f, "ack") == 1);
    fake_ack_all(f);
    fake_turn(f);
    cr_expect(fake_count(f, "ack") == 2 && fake_int(fake_last(f, "ack"), "events") == 3, "the newest");
    fake_ack_all(f);
    fake_turn(f);
    cr_expect(fake_count(f, "ack") == 2, "nothing new to say");
    fake_free(f);
}

Test(engine, credit_counts_strays_too)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);

    fake_stray(f, 4, &c, "CANCEL");
    fake_turn(f);
    cr_expect(fake_count(f, "ack") == 0, "in front of the answer to it");
    fake_pass(f, ACK_STRAY_MS);
    cr_expect(fake_int(fake_last(f, "ack"), "strays") == 4 && fake_int(fake_last(f, "ack"), "events") == 0);
    fake_ack_all(f);
    fake_stray(f, 20, &c, "CANCEL");
    fake_turn(f);
    cr_expect(fake_int(fake_last(f, "ack"), "strays") == 20, "many do not wait");
    fake_free(f);
}

/* Frames of the old connection wait for the new one. Its hello and its credits must not: they say what is no longer
 * so, and events are counted anew since hello. */
Test(engine, new_connection_gets_one_hello_and_no_old_credit)
{
    struct fake *f = fake_ready();

    say_events(f, 57);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now + 50);
    engine_link_down(f->e, f->now + 60);
    fake_forget(f);
    engine_link_up(f->e, "tag-3", f->now + 100);
    fake_turn(f);
    cr_expect(fake_count(f, "hello") == 1, "%zu hellos", fake_count(f, "hello"));
    cr_expect_str_eq(fake_text(fake_last(f, "hello"), "tag"), "tag-3");
    cr_expect(fake_count(f, "ack") == 0, "credit for events=%d", (int)fake_int(fake_last(f, "ack"), "events"));
    fake_free(f);
}

/* For strays of any length. */
static void say_stray(struct fake *f, int k, const char *msg)
{
    char *text = stray_text(k, msg, ""), *frame = scratch("%zu:%s,", strlen(text), text);

    cr_assert(engine_link_data(f->e, frame, strlen(frame), f->now) == 0);
}

/* Kamailio stalls until the queue overflows; the credit is among the frames that go. Later all is read. */
Test(engine, credit_survives_a_full_queue)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);

    engine_store_down(f->e, f->now); /* each stray comes back at once */
    c.call_id = scratch("%012000d", 1);
    for (int i = 1; i <= 2; i++) /* they fill the window */
        say_stray(f, i, sip_request(&c, "CANCEL"));
    fake_turn(f);
    c = call_make(2);
    for (int i = 3; i < LINK_QUEUE_MAX + 10; i++)
        fake_stray(f, i, &c, "CANCEL");
    fake_turn(f);
    cr_assert(engine_counters(f->e)->frames_shed > 0);
    for (int i = 0; i < 2000 && json_array_size(f->frames); i++) {
        fake_ack_all(f);
        fake_forget(f);
        fake_turn(f);
    }
    fake_stray(f, 9000, &c, "CANCEL");
    fake_turn(f);
    cr_expect(fake_count(f, "ack") > 0 && fake_int(fake_last(f, "ack"), "strays") == 9000, "no credit any more");
    fake_free(f);
}

Test(engine, reload_has_the_keys_read_again)
{
    struct fake *f = fake_ready();

    f->conf.old_secret = f->conf.secret;
    f->conf.secret = "a-new-secret-0123";
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_turn(f);
    cr_expect(json_object_size(fake_last(f, "keys")) == 2 && fake_count(f, "hello") == 0);
    fake_free(f);
}

Test(engine, what_is_not_understood_is_counted_and_costs_only_itself)
{
    struct fake *f = fake_ready();

    fake_say(f, "[]");
    fake_say(f, "{\"t\":\"what\"}");
    fake_say(f, "garbage");
    say_events(f, 1);
    cr_expect(engine_counters(f->e)->frames_bad == 3);
    cr_expect(fake_int(fake_last(f, "ack"), "events") == 1);
    fake_free(f);
}

Test(engine, lost_framing_ends_the_connection_and_the_next_one_starts_clean)
{
    struct fake *f = fake_ready();

    cr_expect(engine_link_data(f->e, "5:abc", 5, f->now) == 0);
    cr_expect(engine_link_data(f->e, "deXX", 4, f->now) < 0);
    cr_expect(engine_counters(f->e)->frames_bad == 1);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    cr_expect(fake_status(f).link);
    fake_free(f);
}

Test(engine, half_a_frame_of_the_old_connection_is_forgotten)
{
    struct fake *f = fake_ready();

    cr_expect(engine_link_data(f->e, "100:{\"t\"", 8, f->now) == 0);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    cr_expect(fake_status(f).link && engine_counters(f->e)->frames_bad == 0);
    fake_free(f);
}

/* The fake asserts after each turn that nothing is due at once. Here: and that it does wake. */
Test(engine, wait_is_until_the_next_thing_to_do)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);
    int64_t wait;

    fake_turn(f);
    wait = engine_wait(f->e, f->now);
    cr_expect(wait > 0 && wait <= 1000);
    fake_stray(f, 1, &c, "CANCEL");
    fake_turn(f);
    wait = engine_wait(f->e, f->now);
    cr_expect(wait > 0 && wait <= 250);
    fake_answer(f, NULL);
    cr_expect(engine_wait(f->e, f->now) == 5, "it asks again in a moment");
    f->found = "";
    fake_pass(f, 14);
    engine_tick(f->e, f->now += 1);
    fake_settle(f);
    cr_expect(engine_wait(f->e, f->now) == 0, "it raises a barrier at once");
    cr_expect(engine_wait(f->e, f->now + 100000) == 0, "late is now, never negative");
    fake_free(f);
}

Test(engine, long_silence_is_quiet)
{
    struct fake *f = fake_ready();
    int turns = 0;

    for (int64_t end = f->now + 60000; f->now < end; turns++) {
        f->now += engine_wait(f->e, f->now);
        fake_turn(f);
    }
    cr_expect(turns <= 121, "%d turns a minute", turns);
    fake_free(f);
}
