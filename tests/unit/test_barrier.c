/* The barrier: nobody is told that a transaction does not exist before all kamsyncds have said that they know. */
#include "base64.h"
#include "fake.h"

TestSuite(barrier, .fini = no_leaks, .timeout = 60);

/* Nodes 2 and 3 are up; what they say is up to the test. The store knows nothing. */
static struct fake *with_mute_peers(void)
{
    struct fake *f = fake_peers();

    f->mute_peers = true;
    f->found = "";
    return f;
}

#define NAMED "1800000999.000001.47"

/* A CANCEL that the script has given to all nodes already. It is looked up 20 ms later, and then the roll is called. */
static void cancel(struct fake *f, unsigned number)
{
    struct leg c = call_make(number);

    fake_say(f, "{\"t\":\"events\",\"n\":%u}%s", number, told_text(sip_request(&c, "CANCEL"), NAMED));
    fake_pass(f, 20);
}

/* The same in a larger cluster, where kamsyncd gives it to all when it has no record: 15 ms later. */
static void asked_cancel(struct fake *f, unsigned number)
{
    struct leg c = call_make(number);

    fake_stray(f, number, &c, "CANCEL");
    fake_pass(f, 15);
}

static int64_t called(const struct fake *f)
{
    cr_assert(f->tell_count > 0 && f->tells[f->tell_count - 1].node == 0);
    cr_expect_str_eq(fake_text(fake_tell(f, f->tell_count - 1), "t"), "barrier");
    cr_expect(fake_int(fake_tell(f, f->tell_count - 1), "from") == 1);
    return fake_int(fake_tell(f, f->tell_count - 1), "n");
}

static void here(struct fake *f, int id, const char *inc, int64_t n)
{
    fake_message(f, scratch("{\"t\":\"here\",\"node\":%d,\"inc\":\"%s\",\"n\":%lld}", id, inc, (long long)n));
}

static void expect_said(struct fake *f, const char *why)
{
    char *rest;

    cr_assert(fake_count(f, "send") == 1, "%zu messages", fake_count(f, "send"));
    cr_expect(strstr(fake_handover(f, &rest), scratch("why=%s;", why)) != NULL, "not %s", why);
    fake_free(f);
}

Test(barrier, all_answer_and_nobody_has_it)
{
    struct fake *f = with_mute_peers();

    cancel(f, 1);
    here(f, 2, "200.1", called(f));
    here(f, 3, "300.1", called(f));
    fake_pass(f, 179);
    cr_expect(fake_count(f, "send") == 0);
    fake_pass(f, 1);
    cr_expect(f->get_count == 2, "%zu lookups", f->get_count);
    expect_said(f, "unknown");
}

/* Its kamsyncd is dead, and its beats have not yet stayed away for long. */
Test(barrier, one_does_not_answer_and_all_kamailios_are_asked)
{
    struct fake *f = with_mute_peers();

    cancel(f, 1);
    here(f, 2, "200.1", called(f));
    fake_pass(f, 229);
    cr_expect(fake_count(f, "send") == 0);
    fake_pass(f, 1);
    cr_expect(f->get_count == 3 && fake_counters(f)->barriers == 3, "%zu lookups, %lu barriers", f->get_count,
              (unsigned long)fake_counters(f)->barriers);
    expect_said(f, "unavailable");
}

Test(barrier, answers_that_prove_nothing)
{
    struct fake *f = with_mute_peers();
    int64_t n;

    cancel(f, 1);
    n = called(f);
    here(f, 2, "200.1", n);
    here(f, 3, "300.0", n);     /* an earlier start of its Kamailio */
    here(f, 3, "300.1", n - 1); /* an earlier barrier */
    here(f, 3, "300.1", n + 1); /* none of ours */
    here(f, 4, "400.1", n);
    here(f, -3, "300.1", n);
    fake_message(f, "{\"t\":\"here\"}");
    fake_message(f, "{\"t\":\"barrier\"}");
    fake_pass(f, 250);
    expect_said(f, "unavailable");
}

/* Before the barrier the record was not there; who answers has written it. */
Test(barrier, the_record_is_read_again_behind_the_answers)
{
    struct fake *f = with_mute_peers();

    f->found = NULL;
    cancel(f, 1);
    fake_answer(f, NULL);
    fake_pass(f, 100);
    cr_assert(f->get_count == 2);
    here(f, 2, "200.1", called(f));
    here(f, 3, "300.1", called(f));
    fake_answer(f, NULL); /* asked before they answered: it may have been written since */
    fake_pass(f, 130);
    cr_expect(f->get_count == 3);
    expect_said(f, "unavailable");
}

Test(barrier, who_is_down_or_lost_is_not_waited_for)
{
    struct fake *f = with_mute_peers();

    fake_node(f, 3, 9, "300.1", false);
    fake_turn(f);
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
    cancel(f, 1);
    here(f, 2, "200.1", called(f));
    fake_pass(f, 200);
    expect_said(f, "unknown");
}

/* A start of kamsyncd: which nodes there are is not known. */
Test(barrier, nodes_not_yet_heard_of_may_have_it)
{
    struct fake *f = fake_ready();

    f->found = "";
    cancel(f, 1);
    fake_pass(f, 230);
    expect_said(f, "unavailable");
}

Test(barrier, request_within_a_call)
{
    for (int answers = 1; answers <= 2; answers++) {
        struct fake *f = with_mute_peers();
        struct leg c = call_make(1);
        char *rest, *at, *record;
        size_t n;

        fake_question(f, &c, "call");
        fake_turn(f);
        here(f, 2, "200.1", called(f));
        here(f, answers == 2 ? 3 : 2, "300.1", called(f));
        fake_pass(f, answers == 2 ? 50 : 250);
        cr_assert(fake_count(f, "send") == 1);
        fake_handover(f, &rest);
        at = strstr(rest, "X-Kamsync-Call: ");
        cr_assert_not_null(at);
        at += strlen("X-Kamsync-Call: ");
        record = base64_bytes(span_of(scratch("%.*s", (int)strcspn(at, " "), at)), &n);
        cr_expect(strstr(record, answers == 2 ? "\"unknown\"" : "\"unavailable\"") != NULL, "%s", record);
        free(record);
        fake_free(f);
    }
}

/* However many wait: one barrier now, and one for those that came behind it. */
Test(barrier, many_are_served_by_a_few)
{
    struct fake *f = with_mute_peers();

    f->mute_peers = false;
    for (unsigned i = 1; i <= 300; i++) {
        struct leg c = call_make(i);

        fake_say(f, "{\"t\":\"events\",\"n\":%u}%s", i,
                 told_text(sip_request(&c, "CANCEL"), scratch("1800001000.%u", i)));
        if (i % 3 == 0)
            fake_pass(f, 1); /* 100 ms in all */
    }
    fake_pass(f, 400);
    cr_expect(fake_counters(f)->barriers >= 2 && fake_counters(f)->barriers <= 7, "%lu",
              (unsigned long)fake_counters(f)->barriers);
    cr_expect(fake_counters(f)->verdict_unknown == 300, "%lu", (unsigned long)fake_counters(f)->verdict_unknown);
    fake_free(f);
}

/* ---- what a kamsyncd has that the store has lost ---- */

Test(barrier, asks_about_the_records_that_are_missing)
{
    struct fake *f = with_mute_peers();

    asked_cancel(f, 1);
    called(f);
    json_t *keys = json_object_get(fake_tell(f, f->tell_count - 1), "keys");
    cr_assert(json_array_size(keys) == 1);
    cr_expect_str_eq(json_string_value(json_array_get(keys, 0)),
                     "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060");
    fake_free(f);
}

/* 64; for the others it only tells that all know what is theirs. */
Test(barrier, asks_about_so_many_at_once)
{
    struct fake *f = with_mute_peers();

    for (unsigned i = 1; i <= 100; i++)
        fake_say(f, "{\"t\":\"events\",\"n\":%u}%s", i,
                 told_text(sip_request(&(struct leg){call_make(i).call_id, 1, "z9hG4bKx", "a:1", "z9hG4bKt"}, "CANCEL"),
                           scratch("1800001000.%u", i)));
    fake_pass(f, 20);
    here(f, 2, "200.1", called(f));
    here(f, 3, "300.1", called(f));
    cr_expect(json_array_size(json_object_get(fake_tell(f, f->tell_count - 1), "keys")) == 64);
    fake_pass(f, 230);
    cr_expect(fake_counters(f)->verdict_unknown == 100, "%lu", (unsigned long)fake_counters(f)->verdict_unknown);
    fake_free(f);
}

/* Though node 3 does not answer. */
Test(barrier, who_has_it_is_believed_at_once)
{
    struct fake *f = with_mute_peers();
    struct leg c = call_make(1);
    char *rest;

    asked_cancel(f, 1);
    fake_forget(f);
    f->found = fake_record(&c, 2, "200.1", false);
    fake_message(f,
                 "{\"t\":\"here\",\"node\":2,\"inc\":\"200.1\",\"n\":0,\"has\":[\"kamsync:tx:{call-1@caller.example}:1:"
                 "z9hG4bK-caller-1:198.51.100.9:5060\",7]}");
    fake_turn(f);
    cr_assert(f->get_count == 1 && fake_count(f, "send") == 1);
    cr_expect(strstr(fake_handover(f, &rest), "to=2;inc=200.1;why=owner;") != NULL);
    fake_free(f);
}

/* ---- all Kamailios are given what has no record ---- */

Test(barrier, who_cannot_be_reached_is_given_it_through_the_store)
{
    struct fake *f = with_mute_peers();

    f->mute_peers = false;
    f->unreachable = true;
    fake_pass(f, 1500); /* both */
    fake_forget(f);
    cancel(f, 1);
    cr_assert(f->tell_count == 2 && f->tells[0].node == 2 && f->tells[1].node == 3);
    cr_expect_str_eq(fake_text(fake_tell(f, 1), "t"), "handover");
    fake_free(f);
}

Test(barrier, its_owner_has_acted)
{
    for (int when = 0; when < 3; when++) { /* before it is here; before it is looked up; behind the barrier */
        struct fake *f = with_mute_peers();
        struct leg c = call_make(1);

        if (when == 0)
            fake_message(f, "{\"t\":\"acted\",\"node\":2,\"all\":\"1." NAMED "\"}");
        fake_say(f, "{\"t\":\"events\",\"n\":1}%s", told_text(sip_request(&c, "CANCEL"), NAMED));
        fake_pass(f, when == 2 ? 30 : 10);
        if (when)
            fake_message(f, "{\"t\":\"acted\",\"node\":2,\"all\":\"1." NAMED "\"}");
        fake_pass(f, 300);
        cr_expect(fake_count(f, "send") == 0 && fake_counters(f)->verdict_acted == 1);
        cr_expect(f->get_count == (when == 2));
        fake_free(f);
    }
}

/* Over a connection it waits for a kamsyncd that is away. No node takes a handover with that time any more. */
Test(barrier, one_that_has_waited_long_begins_anew)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);

    fake_say(f, "{\"t\":\"events\",\"n\":1}%s", told_text(sip_request(&c, "CANCEL"), "1800000990.000001.47"));
    fake_turn(f);
    cr_assert(f->get_count == 1, "nobody acts meanwhile");
    fake_answer(f, fake_record(&c, 2, "200.1", false));
    fake_turn(f);
    cr_assert(fake_count(f, "send") == 1);
    cr_expect(!strstr(fake_handover(f, NULL), "at=1800000990"));
    fake_free(f);
}

Test(barrier, another_one_was_acted_upon)
{
    static const char *const names[] = {"2." NAMED, "1." NAMED "1", "1", "x." NAMED, ".", "-1." NAMED};
    struct fake *f = with_mute_peers();

    f->mute_peers = false;
    for (size_t i = 0; i < COUNT(names); i++)
        fake_message(f, scratch("{\"t\":\"acted\",\"node\":2,\"all\":\"%s\"}", names[i]));
    fake_message(f, "{\"t\":\"acted\"}");
    fake_message(f, "{\"t\":\"acted\",\"all\":\"1." NAMED "\"}");
    cancel(f, 1);
    fake_pass(f, 180);
    expect_said(f, "unknown");
}

/* The script names the sender and the time. */
Test(barrier, who_gave_it_to_all_is_told_that_it_was_acted_upon)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);
    const char *event = cancel_event(&c);

    fake_say(f, "{\"t\":\"events\",\"n\":1}%s,\"all\":\"3." NAMED "\"}%s}%s,\"all\":\"x\"}", event, event, event);
    cr_assert(f->tell_count == 1 && f->tells[0].node == 3);
    cr_expect_str_eq(f->tells[0].text, "{\"t\":\"acted\",\"node\":1,\"all\":\"3." NAMED "\"}");
    fake_free(f);
}

/* ---- the node that is asked ---- */

static void roll(struct fake *f, int64_t n)
{
    fake_message(f, scratch("{\"t\":\"barrier\",\"from\":2,\"n\":%lld}", (long long)n));
}

/* The number of the mark that Kamailio was given last. */
static int64_t marked(const struct fake *f)
{
    cr_assert_not_null(fake_last(f, "mark"));
    return fake_int(fake_last(f, "mark"), "id");
}

static void give_back(struct fake *f, int64_t mark)
{
    fake_say(f, "{\"t\":\"events\",\"n\":1}{\"t\":\"mark\",\"id\":%lld}", (long long)mark);
}

Test(barrier, what_is_known_is_written_before_it_is_answered)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);

    f->deaf = true;
    roll(f, 17);
    fake_turn(f);
    cr_assert(f->tell_count == 0, "Kamailio may have told nothing yet of what happened");
    fake_branch(f, 1, &c, "0", true);
    give_back(f, marked(f));
    cr_assert(f->put_count == 1 && f->tell_count == 1 && f->tells[0].node == 2);
    cr_expect_str_eq(f->tells[0].text, "{\"t\":\"here\",\"node\":1,\"inc\":\"100.1\",\"n\":17}");
    fake_free(f);
}

/* The store has evicted it. */
Test(barrier, what_was_asked_about_is_written_again)
{
    static const char key[] = "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060";
    struct leg c;
    struct fake *f = fake_owning(&c);

    fake_message(f, scratch("{\"t\":\"barrier\",\"from\":2,\"n\":17,\"keys\":[\"kamsync:tx:{x}:1:y\",7,\"%s\"]}", key));
    fake_turn(f);
    cr_assert(f->put_count == 2, "at once, and once more behind the mark: %zu", f->put_count);
    cr_expect_str_eq(f->puts[1].key, key);
    cr_assert(f->tell_count == 1);
    cr_expect_str_eq(f->tells[0].text,
                     scratch("{\"t\":\"here\",\"node\":1,\"inc\":\"100.1\",\"n\":17,\"has\":[\"%s\"]}", key));
    fake_free(f);
}

/* One mark for all that wait; who calls while it is under way waits for the next. */
Test(barrier, a_mark_serves_all_who_called_before_it)
{
    struct fake *f = fake_peers();
    int64_t first;

    f->deaf = true;
    roll(f, 17);
    fake_turn(f);
    first = marked(f);
    roll(f, 18);
    fake_message(f, "{\"t\":\"barrier\",\"from\":3,\"n\":5}");
    fake_turn(f);
    cr_expect(fake_count(f, "mark") == 1);
    give_back(f, first + 7);
    give_back(f, first);
    fake_turn(f);
    cr_assert(fake_count(f, "mark") == 2 && f->tell_count == 0, "the later calls were behind it");
    give_back(f, marked(f));
    cr_assert(f->tell_count == 2);
    cr_expect(fake_int(fake_tell(f, 0), "n") == 18 && fake_int(fake_tell(f, 1), "n") == 5);
    give_back(f, marked(f));
    cr_expect(f->tell_count == 2);
    fake_free(f);
}

/* Kamailio's queue was full. */
Test(barrier, a_mark_that_was_lost_is_made_again)
{
    struct fake *f = fake_peers();

    f->deaf = true;
    f->polite = true;
    for (int64_t n = 1; n <= 11; n++) {
        roll(f, n);
        fake_pass(f, 50);
    }
    cr_expect(fake_count(f, "mark") == 1);
    roll(f, 12);
    fake_turn(f);
    cr_assert(fake_count(f, "mark") == 2);
    give_back(f, marked(f));
    cr_assert(f->tell_count == 1 && fake_int(fake_tell(f, 0), "n") == 12);
    fake_free(f);
}

/* Anybody may write to the channel. */
Test(barrier, any_number_may_call)
{
    struct fake *f = fake_peers();

    for (int id = 2; id < 200; id++)
        fake_message(f,
                     scratch("{\"t\":\"barrier\",\"from\":%d,\"n\":1,\"keys\":%s}", id, id % 2 ? "[\"x\"]" : "\"x\""));
    fake_turn(f);
    cr_expect(f->tell_count == 128, "%zu", f->tell_count);
    fake_free(f);
}

Test(barrier, who_is_not_connected_does_not_answer)
{
    struct fake *f = fake_peers();

    f->deaf = true;
    roll(f, 17);
    fake_turn(f);
    engine_link_down(f->e, f->now);
    roll(f, 18);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    roll(f, 19);
    fake_hello(f, 1, "100.1");
    give_back(f, 1);
    fake_turn(f);
    cr_expect(f->tell_count == 0 && fake_count(f, "mark") == 1);
    roll(f, 20);
    fake_turn(f);
    give_back(f, marked(f));
    cr_expect(f->tell_count == 1 && fake_int(fake_tell(f, 0), "n") == 20);
    fake_free(f);
}

/* Its own transactions are being read back from the store. */
Test(barrier, who_is_learning_does_not_answer)
{
    struct fake *f = fake_new();

    f->mute_scans = true;
    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_pass(f, 1500);
    roll(f, 17);
    cr_expect(f->tell_count == 0);
    fake_free(f);
}

Test(barrier, its_own_call_is_not_answered)
{
    struct fake *f = fake_peers();

    fake_message(f, "{\"t\":\"barrier\",\"from\":1,\"n\":17}");
    cr_expect(f->tell_count == 0);
    fake_free(f);
}
