/* A call that nobody answered, and whose transaction nobody has: it ends when no transaction can be left. */
#include "cluster.h"
#include "cluster_impl.h"
#include "fake.h"
#include "pairs.h"

TestSuite(lapse, .fini = no_leaks, .timeout = 60);

#define TX "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060"

/* Call 1 of that node, when its record says so. */
static char *record_of(int node, const char *inc, const char *more)
{
    return scratch("{\"call_id\":\"call-1@caller.example\",\"node\":%d,\"inc\":\"%s\",\"from_tag\":\"a1\","
                   "\"tx\":\"" TX "\",\"state\":\"ringing\",\"trying\":1800001010500,\"ringing\":1800001010900%s}",
                   node, inc, more);
}

static void answer(struct fake *f, const char *record)
{
    size_t count;
    json_t *json = json_loads(record, 0, NULL);
    struct pair *pairs = pairs_of_json(json, &count);

    cr_assert(f->call_get_count == 1);
    engine_call_got(f->e, f->call_gets[0].token, GET_FOUND, pairs, count, f->now);
    free(pairs);
    json_decref(json);
    fake_turn(f);
}

/* So many ms, in which node 3 beats; the table of nodes is read, and the link is well. */
static void live(struct fake *f, int64_t ms)
{
    static int beat = 1000;

    for (int64_t end = f->now + ms; f->now < end;) {
        fake_pass(f, 1000);
        fake_node(f, 3, beat++, "300.1", true);
    }
}

/* Node 2 is lost for good, and a search has found that record. */
static struct fake *found(const char *record)
{
    struct fake *f = fake_lost_peer();

    f->unreachable = false;
    for (int i = 0; i < 2; i++) { /* it may be node 3's share */
        engine_scan_key(f->e, "kamsync:call:{call-1@caller.example}:a1");
        fake_scanned(f, 0, 0, true, 0);
        fake_pass(f, 2500);
    }
    f->mute_scans = f->mute_calls = false;
    if (f->call_get_count > 1)
        f->call_get_count = 1;
    answer(f, record);
    return f;
}

/* This node has inherited what it says. */
static struct fake *inherited(const char *more)
{
    struct fake *f = found(record_of(2, "200.1", more));

    cr_assert(fake_status(f).calls == 1 && fake_writes(f, CALL_TAKE) == 1);
    fake_forget(f);
    return f;
}

static size_t looked(const struct fake *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->get_count; i++)
        n += strcmp(f->gets[i].key, TX) == 0;
    return n;
}

Test(lapse, inherited_call_without_a_transaction_has_timed_out)
{
    struct fake *f = inherited("");

    f->found = "";
    live(f, 270000);
    cr_expect(looked(f) == 0 && fake_status(f).calls == 1, "its transaction may still ring");
    live(f, 150000);
    cr_expect(looked(f) == 2 && fake_status(f).calls == 0);
    cr_expect(fake_writes(f, CALL_END) == 1 && fake_writes(f, CALL_TAKE) == 0);
    cr_expect_str_eq(fake_call_text(f, "how"), "timed out");
    cr_expect_str_eq(fake_call_text(f, "by"), "kamsync");
    cr_expect_str_eq(fake_call_text(f, "state"), "ended");
    fake_free(f);
}

/* Whoever has it keeps its record there; one that has just ended is about to say how. */
Test(lapse, call_whose_transaction_somebody_has_goes_on)
{
    struct leg c = call_make(1);

    for (int done = 0; done < 2; done++) {
        struct fake *f = inherited("");

        f->found = fake_record(&c, 3, "300.1", done);
        live(f, 600000);
        cr_expect(looked(f) >= 3 && fake_status(f).calls == 1 && fake_writes(f, CALL_END) == 0);
        fake_free(f);
    }
}

Test(lapse, record_that_is_there_again_is_believed)
{
    struct leg c = call_make(1);
    struct fake *f = inherited("");

    f->found = "";
    live(f, 310000);
    while (looked(f) < 1)
        live(f, 1000);
    for (int i = 0; i < 4; i++) {
        size_t n = looked(f);

        f->found = i % 2 ? "" : fake_record(&c, 3, "300.1", false);
        while (looked(f) == n)
            live(f, 1000);
    }
    cr_expect(fake_status(f).calls == 1 && fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

Test(lapse, store_that_says_nothing_ends_nothing)
{
    struct fake *f = inherited("");

    for (int i = 0; i < 900; i++) {
        size_t n = f->get_count;

        live(f, 1000);
        for (; n < f->get_count; n++)
            engine_got(f->e, f->gets[n].token, GET_FAILED, (struct span){0}, f->now);
    }
    cr_expect(looked(f) > 3 && fake_status(f).calls == 1 && fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

Test(lapse, answered_call_goes_on)
{
    struct fake *f = inherited(",\"answered\":1800001010950");

    f->found = "";
    live(f, 900000);
    cr_expect(looked(f) == 0 && fake_status(f).calls == 1);
    fake_free(f);
}

/* Without takeovers a survivor may pass its answer on, and nobody knows that. */
Test(lapse, without_takeovers_it_goes_on)
{
    struct fake *f = inherited("");

    f->conf.takeover = false;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    f->found = "";
    live(f, 900000);
    cr_expect(looked(f) == 0 && fake_status(f).calls == 1);
    fake_free(f);
}

/* Another node has it by now, and maybe its answer. */
Test(lapse, call_that_another_node_has_is_left_to_it)
{
    struct fake *f = inherited("");

    f->found = "";
    live(f, 290000);
    f->call_result = CALL_OTHER;
    live(f, 150000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 0 && fake_writes(f, CALL_TAKE) == 0);
    fake_free(f);
}

/* ---- a Kamailio that was only restarted ---- */

/* Call 1 rings here; its transaction dies with its Kamailio, or not. */
static struct fake *restarted(const char *inc)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();

    fake_invite(f, &c, sip_request(&c, "INVITE"), FAKE_EPOCH + f->now);
    fake_replied(f, &c, "0", 180, NULL, FAKE_EPOCH + f->now);
    fake_turn(f);
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    f->holder = "";
    f->found = "";
    fake_hello(f, 1, inc);
    live(f, 5000);
    cr_assert(fake_status(f).calls == 1);
    fake_forget(f);
    return f;
}

Test(lapse, call_of_the_kamailio_before_has_timed_out)
{
    struct fake *f = restarted("100.2");

    live(f, 430000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1);
    cr_expect_str_eq(fake_call_text(f, "how"), "timed out");
    fake_free(f);
}

Test(lapse, call_of_which_another_node_has_more_is_not_taken_back)
{
    struct fake *f = restarted("100.2");

    f->call_result = CALL_OTHER;
    live(f, 430000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 0 && fake_writes(f, CALL_TAKE) == 0);
    fake_free(f);
}

Test(lapse, call_of_a_living_kamailio_is_its_transactions)
{
    struct fake *f = restarted("100.1");

    live(f, 430000);
    cr_expect(looked(f) == 0 || fake_status(f).calls == 1);
    cr_expect(fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

/* ---- in a cluster ---- */

/* Its record never reached the store. */
static void lose_record(struct cluster *c, int call)
{
    struct leg k = call_make((unsigned)call);

    entry_add(c, &c->store, scratch("kamsync:tx:{%s}:%u:%s:%s", k.call_id, k.cseq, k.branch, k.sent_by), "", 0);
}

Test(lapse, calls_of_a_dead_node_end_once_each)
{
    struct cluster *c = cluster_new(3);

    for (int i = 0; i < 10; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 500);
    cluster_crash(c, 0);
    cluster_kill(c, 0);
    for (int i = 0; i < 5; i++)
        lose_record(c, i);
    cluster_run(c, 280000);
    cr_expect(json_array_size(c->store.archive) == 0);
    cluster_run(c, 150000);
    cr_expect(json_array_size(c->store.archive) == 5, "%zu", json_array_size(c->store.archive));
    for (int i = 0; i < 10; i++) {
        json_t *r = cluster_call_record(c, scratch("kamsync:call:{call-%d@caller.example}:a1", i));
        const char *how = json_string_value(json_object_get(r, "how"));

        cr_expect(i < 5 ? !r || (how && strcmp(how, "timed out") == 0) : r && !how, "call %d: %s", i, how ? how : "-");
        json_decref(r);
    }
    for (size_t i = 0; i < json_array_size(c->store.archive); i++) {
        json_t *entry = json_array_get(json_array_get(c->store.archive, i), 1);

        cr_expect_str_eq(json_string_value(json_object_get(entry, "how")), "timed out");
        cr_expect_str_eq(json_string_value(json_object_get(entry, "by")), "kamsync");
    }
    cluster_free(c);
}

/* ---- a caller who was challenged, and whom the kamsyncd before this one waited for ---- */

#define CHALLENGED ",\"code\":401,\"at.1\":1800001010500"

static struct fake *started(const char *record)
{
    struct fake *f = fake_started();

    f->answer_puts = true;
    engine_scan_key(f->e, "kamsync:call:{call-1@caller.example}:a1");
    fake_scanned(f, 0, 0, true, 0);
    fake_turn(f);
    answer(f, record);
    f->mute_scans = f->mute_calls = false;
    f->found = f->holder = "";
    fake_forget(f);
    return f;
}

Test(lapse, challenged_caller_who_does_not_come_again_was_rejected)
{
    struct fake *f = started(record_of(-1, "100.1", CHALLENGED));

    live(f, 270000);
    cr_expect(looked(f) == 0 && fake_status(f).calls == 1);
    live(f, 150000);
    cr_expect(looked(f) == 2 && fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1);
    cr_expect_str_eq(fake_call_text(f, "how"), "rejected");
    cr_expect_str_eq(fake_call_text(f, "by"), "callee");
    cr_expect_str_eq(fake_call_text(f, "code"), "401");
    cr_expect_str_eq(fake_call_text(f, "ended"), "1800001010900");
    fake_free(f);
}

/* Here: the call goes on with that. */
Test(lapse, challenged_caller_comes_again)
{
    struct leg c = call_make(1);
    struct fake *f = started(record_of(-1, "100.1", CHALLENGED));

    fake_invite(f, &c, sip_request(&c, "INVITE"), FAKE_EPOCH + f->now);
    fake_replied(f, &c, "0", 180, NULL, FAKE_EPOCH + f->now);
    fake_turn(f);
    cr_expect_str_eq(fake_call_text(f, "node"), "1");
    cr_expect_str_eq(fake_call_text(f, "state"), "ringing");
    live(f, 430000);
    cr_expect(fake_writes(f, CALL_END) == 0 && fake_status(f).calls == 1);
    fake_free(f);
}

/* Another node has had to do with it, and lives: it waits. */
Test(lapse, challenged_caller_of_another_node_is_left_to_that)
{
    struct fake *f = started(record_of(-1, "100.1", CHALLENGED ",\"at.3\":1800001010500"));

    cr_expect(fake_status(f).calls == 0);
    fake_free(f);
    f = started(record_of(-1, "100.1", ",\"at.1\":1800001010500"));
    cr_expect(fake_status(f).calls == 0, "nobody was challenged");
    fake_free(f);
}

Test(lapse, challenged_caller_of_a_node_that_is_lost_was_rejected)
{
    struct fake *f = found(record_of(-1, "200.1", ",\"code\":401,\"at.2\":1800001010500"));

    f->found = "";
    live(f, 430000);
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1);
    cr_expect_str_eq(fake_call_text(f, "how"), "rejected");
    fake_free(f);
}

/* ---- a record as nobody writes it ---- */

Test(lapse, record_that_names_no_transaction)
{
    struct leg c = call_make(1);
    struct fake *f = started("{\"call_id\":\"call-1@caller.example\",\"node\":1,\"inc\":\"100.0\",\"from_tag\":\"a1\","
                             "\"state\":\"ringing\",\"trying\":1800001010500}");

    cr_assert(fake_status(f).calls == 1);
    f->answer_puts = true;
    f->found = fake_orphan(&c, 1, "100.0");
    fake_stray(f, 1, &c, "CANCEL");
    fake_turn(f);
    fake_taken(f, f->events + 1, 1);
    fake_turn(f);
    cr_expect(fake_status(f).calls == 1 && fake_status(f).txns == 1);
    fake_free(f);
}
