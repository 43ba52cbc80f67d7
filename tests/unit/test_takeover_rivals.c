/* Takeover, seen from one survivor, when another one is faster, or who looked dead is back. Node 2 is the owner that
 * died, node 3 another survivor. */
#include "fake.h"
#include "fake_takeover.h"

TestSuite(takeover_rivals, .fini = no_leaks);

/* ---- another one was faster ---- */

Test(takeover_rivals, record_of_a_living_node_that_was_faster_stays)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    f->found = fake_epoch(fake_orphan(&c, 3, "300.1"), 2, true);
    fake_put_fenced(f, f->found);
    fake_pass(f, 50);
    cr_expect(fake_sent_count(f, "why=takeover") == 0 && fake_counters(f)->takeovers_lost == 1 &&
              fake_status(f).takeovers == 0);
    cr_expect(fake_count(f, "send") == 0 && fake_status(f).strays == 1, "its Kamailio has the INVITE in a moment");
    f->found = fake_epoch(fake_orphan(&c, 3, "300.1"), 2, false);
    fake_pass(f, 50);
    cr_expect(fake_sent_count(f, "X-Kamsync: to=3;inc=300.1;why=owner;") == 1 && fake_status(f).strays == 0);
    cr_expect(f->put_count == 1);
    fake_free(f);
}

/* This kamsyncd was restarted meanwhile; its Kamailio drops the INVITE if it has it already. */
Test(takeover_rivals, what_it_was_taking_before_is_taken)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_taking_it(&c));
    cr_assert(f->put_count == 1 && f->asked == 0, "nobody else has it");
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 3);
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 1);
    fake_free(f);
}

/* ---- who looks dead may be back ---- */

static char *word_of(int id, int beat, const char *inc, bool up)
{
    return scratch("{\"id\":%d,\"name\":\"n\",\"sip\":\"198.51.100.%d:5060\",\"inc\":\"%s\",\"beat\":%d,\"up\":%s}", id,
                   id, inc, beat, up ? "true" : "false");
}

Test(takeover_rivals, owner_that_is_back_keeps_it)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    f->node_record = word_of(2, 1000, "200.1", true);
    f->found = fake_orphan(&c, 2, "200.1");
    fake_stray(f, 1, &c, "CANCEL");
    fake_pass(f, 100);
    cr_expect(f->asked == 1 && f->put_count == 0 && fake_status(f).takeovers == 0);
    cr_expect(fake_sent_count(f, "X-Kamsync: to=2;inc=200.1;why=owner;") == 1, "it lives, and gets its CANCEL");
    fake_free(f);
}

/* The taker has restarted, taken it at once, and word of that is under way. */
Test(takeover_rivals, taker_that_is_newer_than_what_is_known_is_not_taken_for_dead)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    f->node_record = word_of(3, 1000, "300.2", true);
    f->found = "";
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 3, "300.2"), 2, true));
    fake_turn(f);
    cr_expect(f->asked == 2 && f->put_count == 1 && fake_status(f).takeovers == 0);
    fake_free(f);
}

/* It beats before it writes any record: the store knows. */
Test(takeover_rivals, owner_that_comes_back_just_now_keeps_it)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    f->node_record = word_of(2, 1000, "200.1", true);
    f->found = "";
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false));
    fake_turn(f);
    cr_expect(f->asked == 2 && f->put_count == 1 && fake_status(f).takeovers == 0);
    cr_expect(fake_sent_count(f, "why=takeover") == 0);
    fake_free(f);
}

Test(takeover_rivals, nothing_is_taken_while_the_owner_is_asked_for)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    f->mute_nodes = true;
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_turn(f);
    cr_expect(f->asked == 1 && f->put_count == 0 && fake_status(f).takeovers == 1);
    f->found = fake_orphan(&c, 2, "200.1");
    engine_got(f->e, f->node_token, GET_FAILED, (struct span){0}, f->now);
    fake_pass(f, 199);
    cr_expect(f->asked == 1 && f->put_count == 0, "failed: that is no knowledge");
    fake_pass(f, 1);
    cr_expect(f->asked == 2 && f->put_count == 0, "so it is asked again");
    fake_free(f);
}

/* Kamailio hung until just now: the INVITE lies in its socket, and is carried out in a moment. */
Test(takeover_rivals, not_given_up_right_after_a_silence)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    f->deaf = true;
    fake_pass(f, 20000);
    cr_expect(fake_status(f).takeovers == 1 && fake_counters(f)->takeovers_failed == 0);
    f->deaf = false;
    fake_ack_all(f);
    fake_turn(f);
    cr_assert(fake_status(f).takeovers == 1 && fake_counters(f)->takeovers_failed == 0, "given up as it wakes");
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && f->put_count == 2);
    fake_free(f);
}

Test(takeover_rivals, owners_that_died_one_after_the_other)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 3, "300.0"), 2, true)); /* restarted since */
    cr_assert(f->put_count == 2 && f->asked == 2);
    cr_expect(strstr(f->puts[1].value, "{\"epoch\":3,\"owner\":1,\"inc\":\"100.1\",\"from\":\"2 3 300.0\","));
    /* that was we, before our Kamailio restarted */
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 1, "100.0"), 3, true));
    cr_assert(f->put_count == 3 && f->asked == 2);
    cr_expect(strstr(f->puts[2].value, "{\"epoch\":4,\"owner\":1,\"inc\":\"100.1\",\"from\":\"3 1 100.0\","));
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 0);
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 1);
    fake_free(f);
}

Test(takeover_rivals, it_does_not_run_after_them_for_ever)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    for (int i = 2; i < 20 && fake_status(f).takeovers; i++)
        fake_put_fenced(f, fake_epoch(fake_orphan(&c, 3, "300.0"), i, true));
    cr_expect(f->put_count == 9 && fake_status(f).takeovers == 0, "%zu writes", f->put_count);
    fake_free(f);
}

/* Of nobody, or of another call: it is not touched. */
Test(takeover_rivals, record_that_makes_no_sense_ends_it)
{
    struct leg c, other = call_make(2);
    const char *const there[] = {"", "x", "{}", "{\"epoch\":7}", fake_epoch(fake_orphan(&other, 2, "200.1"), 2, false)};

    for (size_t i = 0; i < COUNT(there); i++) {
        struct fake *f = fake_taking(&c, NULL);

        fake_put_fenced(f, there[i]);
        fake_turn(f);
        cr_expect(fake_status(f).takeovers == 0 && f->put_count == 1 && fake_sent_count(f, "why=takeover") == 0, "'%s'",
                  there[i]);
        fake_free(f);
    }
}

/* The store has something else under that key (put_refused: WRONGTYPE and the like). */
Test(takeover_rivals, store_that_refuses_the_record_ends_it)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    f->found = "";
    fake_put_refused(f);
    fake_pass(f, 1000);
    cr_expect(fake_status(f).takeovers == 0 && f->put_count == 1 && fake_sent_count(f, "why=takeover") == 0);
    fake_free(f);
}

/* A node that never was heard of may be up: its beat had no time to come. */
Test(takeover_rivals, taker_never_heard_of_right_after_start_is_not_dead)
{
    struct leg c = call_make(1);
    struct fake *f = fake_ready();

    fake_node(f, 2, 1, "200.2", true);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    cr_assert(f->put_count == 1);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 3, "300.1"), 2, true));
    fake_turn(f);
    cr_expect(f->put_count == 1 && fake_sent_count(f, "why=takeover") == 0, "taken from a living node");
    fake_free(f);
}

Test(takeover_rivals, switched_off_it_takes_nothing)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->conf.takeover = false;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_pass(f, 1000);
    cr_expect(f->put_count == 0 && fake_counters(f)->adoptions == 1);
    fake_free(f);
}
