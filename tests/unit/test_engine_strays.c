/* Strays: whose is it, and what follows. The node that reports them is number 1; node 2 is their owner where one lives.
 */
#include "fake.h"

TestSuite(strays, .fini = no_leaks);

/* Knows node 2, which is up, and has read the nodes long enough to know that there is no other. */
static struct fake *with_peer(void)
{
    struct fake *f = fake_ready();

    for (int beat = 1; beat <= 5; beat++) {
        fake_node(f, 2, beat, "200.1", true);
        fake_pass(f, 1000);
    }
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
    return f;
}

/* A stray of call 1 that is being looked up. */
static struct fake *with_stray(const char *method, struct leg *c)
{
    struct fake *f = with_peer();

    *c = call_make(1);
    fake_stray(f, 1, c, method);
    cr_assert(f->get_count == 1);
    fake_turn(f);
    return f;
}

/* The one handover that was sent: to this address, with this beginning of its header. */
static void expect_sent(struct fake *f, const char *to, const char *header)
{
    char *got, *rest;
    struct leg c = call_make(1);

    fake_turn(f);
    cr_assert(fake_count(f, "send") == 1, "%zu handovers", fake_count(f, "send"));
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "to"), to);
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "sock"), "udp:192.0.2.1:5060");
    got = fake_handover(f, &rest);
    cr_expect(strncmp(got, header, strlen(header)) == 0, "'%s', not '%s'", got, header);
    cr_expect(strstr(got, ";src=udp:198.51.100.9:5060;dst=udp:192.0.2.10:5060;from=1;at="));
    cr_expect(strcmp(rest, sip_request(&c, "CANCEL")) == 0 || strcmp(rest, sip_request(&c, "ACK")) == 0, "%s", rest);
}

static void expect_back(struct fake *f, const char *why)
{
    expect_sent(f, "192.0.2.1:5060", scratch("X-Kamsync: to=1;inc=100.1;why=%s;", why));
}

/* It had no record, and was given to all Kamailios; then (with ms more) nobody had it. Both bear one time. */
static void expect_unknown(struct fake *f, int64_t ms)
{
    char *rest, *got, *at;

    expect_back(f, "unavailable");
    cr_expect(fake_counters(f)->verdict_perhaps == 1 && fake_counters(f)->verdict_unavailable == 0);
    got = fake_handover(f, &rest);
    at = strstr(got, ";at=");
    at = scratch("%.*s-", (int)strcspn(at, "-"), at);
    json_array_clear(f->frames);
    fake_pass(f, ms);
    expect_back(f, "unknown");
    cr_expect(strstr(fake_handover(f, &rest), at), "not %s", at);
}

/* Nothing more happens to it, however long one waits and whatever the store still says. */
static void expect_over(struct fake *f, const char *late)
{
    struct engine_status s;
    size_t gets = f->get_count, sends = fake_count(f, "send");

    engine_status(f->e, &s);
    cr_expect(s.strays == 0);
    fake_answer(f, late);
    fake_pass(f, 1000);
    cr_expect(f->get_count == gets && fake_count(f, "send") == sends);
    fake_free(f);
}

Test(strays, lookup_is_made_at_once)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    cr_expect_str_eq(f->gets[0].key, "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060");
    cr_expect(fake_count(f, "send") == 0 && fake_counters(f)->strays == 1 && fake_counters(f)->lookups == 1);
    fake_free(f);
}

Test(strays, owner_gets_it)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    fake_answer(f, fake_record(&c, 2, "200.1", false));
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    cr_expect(fake_counters(f)->verdict_owner == 1);
    expect_over(f, fake_record(&c, 2, "200.1", false));
}

Test(strays, time_until_the_owner_gets_it_is_measured)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);
    const struct histogram *took = &engine_histograms(f->e)->handover;

    fake_pass(f, 40);
    cr_expect(took->sum_us == 0);
    fake_answer(f, fake_record(&c, 2, "200.1", false));
    cr_expect(took->sum_us == 40000 && took->count[8] == 1 && histogram_bounds[8] == 50000);
    c = call_make(2);
    fake_stray(f, 2, &c, "CANCEL");
    fake_pass(f, 1000);
    cr_expect(took->sum_us == 40000, "nobody has that one");
    fake_free(f);
}

/* A CANCEL of call 1 that the script has sent to all nodes already, and that is being looked up. */
static struct fake *with_told(struct leg *c)
{
    struct fake *f = with_peer();

    *c = call_make(1);
    fake_say(f, "{\"t\":\"events\",\"n\":1}%s", told_text(sip_request(c, "CANCEL"), "1800000999.000001.47"));
    fake_pass(f, 19);
    cr_expect(f->get_count == 0, "its owner acts in the meantime");
    fake_pass(f, 1);
    cr_assert(f->get_count == 1);
    return f;
}

/* Its owner knows by the time that this is the same CANCEL. */
Test(strays, handover_bears_the_time_that_all_know)
{
    struct leg c;
    struct fake *f = with_told(&c);
    char *rest;

    fake_answer(f, fake_record(&c, 2, "200.1", false));
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    cr_expect(strstr(fake_handover(f, &rest), ";from=1;at=1800000999.000001.47-"));
    fake_free(f);
}

/* The script says when it came, not when its event had waited, and been looked up. */
Test(strays, trace_says_when_it_came)
{
    struct leg c;
    struct fake *f = with_told(&c);
    json_t *list;

    fake_answer(f, fake_record(&c, 2, "200.1", false));
    fake_ask(f, 7, scratch("{\"cmd\":\"trace\",\"call_id\":{\"base64\":\"%s\"}}", base64_of(c.call_id)));
    fake_pass(f, 1000);
    list = json_object_get(fake_answered(f), "trace");
    cr_expect(fake_int(json_array_get(list, 0), "came") == 1800000999000);
    fake_free(f);
}

/* The record of call 1 at a node, whose Kamailio has seen a CANCEL. */
static char *cancelled(const struct leg *c, int owner, const char *inc, bool done)
{
    return fake_cancelled(fake_record(c, owner, inc, done));
}

Test(strays, nothing_is_left_to_do_when_the_owner_has_acted)
{
    struct leg c;
    struct fake *f = with_told(&c);

    fake_answer(f, cancelled(&c, 2, "200.1", false));
    cr_expect(fake_counters(f)->verdict_acted == 1 && fake_counters(f)->verdict_owner == 0);
    expect_over(f, NULL);
}

/* After a second tm may have forgotten the transaction: it is the owner who answers then. */
Test(strays, owner_whose_transaction_is_over_gets_it)
{
    struct leg c;
    struct fake *f = with_told(&c);

    fake_answer(f, cancelled(&c, 2, "200.1", true));
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    fake_free(f);
}

/* A CANCEL that only this kamsyncd knows of, and an owner who died after he had seen one. */
Test(strays, that_the_owner_has_seen_a_cancel_is_no_reason)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    fake_answer(f, cancelled(&c, 2, "200.1", false));
    cr_expect(fake_counters(f)->verdict_owner == 1);
    fake_free(f);
    f = with_told(&c);
    fake_answer(f, cancelled(&c, 3, "300.1", false));
    cr_expect(fake_counters(f)->verdict_acted == 0 && fake_counters(f)->verdict_orphan == 1);
    fake_free(f);
}

/* The owner's Kamailio still has a finished transaction for some seconds. */
Test(strays, living_owner_gets_it_also_when_done)
{
    struct leg c;
    struct fake *f = with_stray("ACK", &c);

    fake_answer(f, fake_record(&c, 2, "200.1", true));
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    expect_over(f, NULL);
}

Test(strays, store_may_answer_within_the_call)
{
    struct leg c = call_make(1);
    struct fake *f = with_peer();

    f->found = fake_record(&c, 2, "200.1", false);
    fake_stray(f, 1, &c, "CANCEL");
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    expect_over(f, NULL);
}

Test(strays, store_that_says_absent_within_the_call_is_asked_now_and_then)
{
    struct leg c = call_make(1);
    struct fake *f = with_peer();

    f->found = "";
    fake_stray(f, 1, &c, "CANCEL");
    fake_pass(f, 14);
    cr_expect(fake_count(f, "send") == 0);
    fake_pass(f, 200);
    cr_expect(f->get_count == 4, "%zu lookups", f->get_count);
    cr_expect(fake_counters(f)->barriers == 1);
    expect_unknown(f, 1);
    cr_expect(fake_counters(f)->verdict_unknown == 1);
    expect_over(f, NULL);
}

Test(strays, unknown_cancel_waits_for_its_record)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    f->found = "";
    fake_answer(f, NULL);
    fake_pass(f, 16);
    cr_expect(f->get_count == 4, "asked again");
    expect_unknown(f, 199);
    expect_over(f, fake_record(&c, 2, "200.1", false));
}

Test(strays, record_that_arrives_during_the_wait)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    fake_answer(f, NULL);
    fake_pass(f, 20);
    cr_assert(f->get_count == 2);
    fake_answer(f, fake_record(&c, 2, "200.1", false));
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    expect_over(f, NULL);
}

/* The script has routed it on already. It may be one to a reply that its owner's script made itself. */
Test(strays, ack_without_record_is_given_to_all_at_once)
{
    struct leg c;
    struct fake *f = with_stray("ACK", &c);

    fake_answer(f, NULL);
    fake_turn(f);
    cr_expect(f->get_count == 1 && fake_counters(f)->barriers == 0 && fake_counters(f)->verdict_perhaps == 1);
    expect_back(f, "unavailable");
    expect_over(f, NULL);
}

/* Each costs all nodes something: real ones come again. */
Test(strays, without_record_only_so_many_are_given_to_all)
{
    struct fake *f = with_peer();

    f->found = "";
    f->polite = true;
    for (unsigned i = 1; i <= 1000; i++) {
        struct leg c = call_make(i);

        fake_stray(f, i, &c, i % 2 ? "ACK" : "CANCEL");
        fake_turn(f);
    }
    fake_pass(f, 1000);
    cr_expect(fake_counters(f)->verdict_perhaps >= 500 && fake_counters(f)->verdict_perhaps <= 520, "%lu",
              (unsigned long)fake_counters(f)->verdict_perhaps);
    cr_expect(fake_counters(f)->verdict_perhaps + fake_counters(f)->strays_dropped == 1000);
    cr_expect(fake_counters(f)->verdict_unknown + fake_counters(f)->verdict_unavailable <= 20);
    fake_free(f);
}

Test(strays, ack_of_an_orphan_or_of_a_finished_one_is_not_given_back)
{
    for (int done = 0; done < 2; done++) {
        struct leg c;
        struct fake *f = with_stray("ACK", &c);

        fake_answer(f, fake_record(&c, 2, "200.0", done));
        fake_turn(f);
        cr_expect(fake_count(f, "send") == 0 && fake_counters(f)->verdict_orphan == !done &&
                  fake_counters(f)->verdict_done == (uint64_t)done);
        expect_over(f, NULL);
    }
}

Test(strays, silent_store)
{
    static const char *const methods[] = {"CANCEL", "ACK"};

    for (size_t i = 0; i < COUNT(methods); i++) {
        struct leg c;
        struct fake *f = with_stray(methods[i], &c);

        fake_pass(f, 249);
        cr_expect(fake_count(f, "send") == 0 && f->get_count == 1, "not asked twice");
        fake_pass(f, 1);
        expect_back(f, "unavailable");
        cr_expect(fake_counters(f)->verdict_unavailable == 1);
        expect_over(f, fake_record(&c, 2, "200.1", false));
    }
}

Test(strays, store_that_fails_is_unavailable_not_unknown)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    for (int i = 0; i < 250; i++) {
        engine_got(f->e, f->gets[f->get_count - 1].token, GET_FAILED, (struct span){0}, f->now);
        fake_pass(f, 1);
    }
    expect_back(f, "unavailable");
    fake_free(f);
}

Test(strays, store_that_is_down_is_unavailable_at_once)
{
    struct leg c = call_make(1);
    struct fake *f = with_peer();

    engine_store_down(f->e, f->now);
    fake_stray(f, 1, &c, "CANCEL");
    cr_expect(f->get_count == 0);
    expect_back(f, "unavailable");
    fake_free(f);
}

Test(strays, store_that_goes_down_during_the_wait_is_not_asked)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    engine_got(f->e, f->gets[0].token, GET_FAILED, (struct span){0}, f->now);
    engine_store_down(f->e, f->now);
    fake_pass(f, 250);
    cr_expect(f->get_count == 1);
    expect_back(f, "unavailable");
    fake_free(f);
}

/* The same Call-ID, CSeq and branch from somebody else is another transaction (RFC 3261 17.2.3). */
Test(strays, another_sent_by_is_another_transaction)
{
    struct leg c, other;
    struct fake *f = with_stray("CANCEL", &c);

    other = c;
    other.sent_by = "198.51.100.10:5060";
    fake_stray(f, 2, &other, "CANCEL");
    cr_assert(f->get_count == 2);
    cr_expect_str_neq(f->gets[0].key, f->gets[1].key);
    fake_free(f);
}

Test(strays, spelling_of_sent_by_does_not_matter)
{
    struct leg c = call_make(1), upper = c;
    struct fake *f = with_peer();

    c.sent_by = "pbx.caller.example";
    upper.sent_by = "PBX.Caller.Example:5060";
    fake_stray(f, 1, &c, "CANCEL");
    fake_stray(f, 2, &upper, "CANCEL");
    cr_assert(f->get_count == 2);
    cr_expect_str_eq(f->gets[0].key, f->gets[1].key);
    fake_free(f);
}

Test(strays, record_that_nobody_understands_is_as_none)
{
    struct leg c;
    struct fake *f = with_stray("CANCEL", &c);

    f->found = "{\"owner\":\"who?\"}";
    fake_answer(f, f->found);
    fake_pass(f, 16);
    expect_unknown(f, 199);
    fake_free(f);
}

static void expect_verdict(const char *what, int owner, const char *inc, bool done, const char *why)
{
    struct leg c = call_make(1);
    struct fake *f = with_peer();

    if (strcmp(what, "down") == 0)
        fake_node(f, 2, 9, "200.1", false);
    f->unreachable = strcmp(what, "lost") == 0;
    for (int i = 0; i < 6 && f->unreachable; i++) {
        fake_pass(f, 1000);
        engine_nodes_read(f->e, true, f->now);
    }
    fake_turn(f);
    fake_ack_all(f);
    fake_forget(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_record(&c, owner, inc, done));
    expect_back(f, why);
    expect_over(f, NULL);
}

Test(strays, owner_that_is_gone)
{
    expect_verdict("restarted", 2, "200.0", false, "orphan");
    expect_verdict("restarted", 2, "200.0", true, "done");
    expect_verdict("never heard of", 9, "900.1", false, "orphan");
    expect_verdict("never heard of", 9, "900.1", true, "done");
    expect_verdict("down", 2, "200.1", false, "orphan");
    expect_verdict("lost", 2, "200.1", false, "orphan");
    expect_verdict("own, of an earlier start", 1, "100.0", false, "orphan");
    expect_verdict("own, of an earlier start", 1, "100.0", true, "done");
}

/* Of a node that this one has not yet heard of one cannot say that it is dead before its beat had time to come. */
Test(strays, node_never_heard_of_is_not_taken_for_dead_at_once)
{
    struct leg c = call_make(1);
    struct fake *f = fake_ready();

    engine_nodes_read(f->e, true, f->now);
    fake_stray(f, 1, &c, "CANCEL");
    f->found = fake_record(&c, 9, "900.1", false);
    fake_answer(f, f->found);
    fake_pass(f, 250);
    expect_back(f, "unavailable");
    fake_free(f);
}

/* Kamailio has it by now, or it ended while the message was under way: to the script both are a handover. */
Test(strays, own_record_is_mine_which_the_script_hears_as_owner)
{
    expect_verdict("own", 1, "100.1", false, "owner");
    expect_verdict("own", 1, "100.1", true, "owner");
}

Test(strays, own_transaction_needs_no_lookup)
{
    struct leg c = call_make(1);
    struct fake *f = with_peer();

    fake_branch(f, 1, &c, "0", true);
    fake_stray(f, 1, &c, "CANCEL");
    cr_expect(f->get_count == 0 && fake_counters(f)->verdict_mine == 1);
    expect_back(f, "owner");
    fake_free(f);
}

Test(strays, own_transaction_of_another_sent_by_is_not_taken_for_it)
{
    struct leg c = call_make(1), other = c;
    struct fake *f = with_peer();

    other.sent_by = "198.51.100.10:5060";
    fake_branch(f, 1, &other, "0", true);
    fake_stray(f, 1, &c, "CANCEL");
    cr_expect(f->get_count == 1 && fake_counters(f)->verdict_mine == 0);
    fake_free(f);
}

Test(strays, several_wait_side_by_side)
{
    struct fake *f = with_peer();
    struct leg c[3];

    for (unsigned i = 0; i < COUNT(c); i++) {
        c[i] = call_make(i + 1);
        fake_stray(f, i + 1, &c[i], "CANCEL");
    }
    cr_assert(f->get_count == 3);
    engine_got(f->e, f->gets[1].token, GET_FOUND, span_of(fake_record(&c[1], 2, "200.1", false)), f->now);
    engine_got(f->e, f->gets[0].token, GET_ABSENT, (struct span){0}, f->now);
    engine_got(f->e, 4711, GET_FOUND, span_of("?"), f->now);
    fake_pass(f, 1000);
    cr_expect(fake_counters(f)->verdict_owner == 1 &&
              fake_counters(f)->verdict_unknown + fake_counters(f)->verdict_unavailable == 2);
    fake_free(f);
}

Test(strays, too_many_are_given_back_at_once)
{
    struct fake *f = with_peer();

    for (unsigned i = 1; i <= 2050; i++) {
        struct leg c = call_make(i);

        fake_stray(f, i, &c, "CANCEL");
    }
    cr_expect(f->get_count == 2048 && fake_counters(f)->strays_shed == 2 && fake_counters(f)->verdict_unavailable == 2);
    fake_free(f);
}

Test(strays, what_is_no_sip_is_only_counted)
{
    struct fake *f = with_peer();

    fake_say(f, "%s", stray_text(1, "x", ""));
    fake_turn(f);
    cr_expect(fake_counters(f)->frames_bad == 1 && fake_count(f, "send") == 0 && f->get_count == 0);
    fake_free(f);
}

Test(strays, call_id_cannot_spoil_the_log)
{
    struct leg c = call_make(1);
    struct fake *f = with_peer();

    c.call_id = "a\x1b[2J\x07\xff%s%n@x";
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_record(&c, 2, "200.1", false)); /* the fake's log refuses control characters */
    cr_expect(strstr(f->logs, "call-id=a?[2J??%s%n@x"), "%s", f->logs);
    fake_free(f);
}

Test(strays, waiting_strays_end_with_the_engine)
{
    struct leg c;

    fake_free(with_stray("CANCEL", &c));
}

/* A cluster may be larger than anybody thought of, and nobody in it is dead for that. */
Test(strays, owner_among_many_nodes)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);

    for (int beat = 1; beat <= 5; beat++) {
        for (int id = 2; id <= 1030; id++)
            fake_node(f, id, beat, scratch("%d.1", id), true);
        fake_pass(f, 1000);
        fake_ack_all(f);
        fake_forget(f);
    }
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_record(&c, 258, "258.1", false));
    fake_turn(f);
    cr_expect(engine_counters(f->e)->verdict_cut == 1, "it lives, and only answers no probes here");
    fake_stray(f, 2, &c, "CANCEL");
    fake_answer(f, fake_record(&c, 1029, "1029.1", false));
    fake_turn(f);
    cr_expect(engine_counters(f->e)->verdict_orphan == 0, "it may live, though there is no room for it");
    fake_free(f);
}

/* Anybody can cause a line for each CANCEL. */
Test(strays, log_is_not_flooded)
{
    struct fake *f = fake_ready();
    size_t lines = 0;

    for (unsigned i = 1; i <= 900; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
        fake_stray(f, i, &c, "CANCEL");
    }
    fake_turn(f);
    for (const char *at = f->logs; (at = strstr(at, "stray CANCEL verdict=")) != NULL; at++)
        lines++;
    cr_expect(lines == 200, "%zu", lines);
    cr_expect(!strstr(f->logs, "held back"));
    fake_pass(f, 2000);
    cr_expect(strstr(f->logs, "700 lines more like the last ones were held back"));
    fake_free(f);
}
