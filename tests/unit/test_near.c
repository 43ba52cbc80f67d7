/* A near replica, which is asked about a CANCEL first: what it says is enough only if the owner then acts. This is node
 * 1; node 2 lives, node 3 is gone. */
#include "fake.h"

TestSuite(near, .fini = no_leaks);

static struct fake *with_near(void)
{
    struct fake *f = fake_ready();

    for (int beat = 1; beat <= 5; beat++) {
        fake_node(f, 2, beat, "200.1", true);
        fake_node(f, 3, beat, "300.1", false);
        fake_pass(f, 1000);
    }
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
    f->near = true;
    return f;
}

static struct leg stray(struct fake *f, const char *method)
{
    struct leg c = call_make(1);

    fake_stray(f, 1, &c, method);
    fake_turn(f);
    return c;
}

/* A record as a node that holds, is taking or gives the transaction writes it. */
static const char *record(int owner, const char *more)
{
    return scratch("{\"epoch\":2,\"owner\":%d,\"inc\":\"%d00.1\"%s,\"code\":180,\"done\":false}", owner, owner, more);
}

/* The last handover; its header begins so. Returns its time, as it is in all copies. */
static char *expect_sent(struct fake *f, const char *to, const char *header)
{
    char *rest, *got, *at;

    fake_turn(f);
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "to"), to);
    got = fake_handover(f, &rest);
    cr_expect(strncmp(got, header, strlen(header)) == 0, "'%s', not '%s'", got, header);
    at = strstr(got, ";at=") + 4;
    return scratch("%.*s", (int)strcspn(at, "-"), at);
}

#define TO_OWNER "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=perhaps;"

Test(near, living_owner_gets_it_and_nothing_else_is_asked)
{
    struct fake *f = with_near();
    struct leg c = stray(f, "CANCEL");
    char *at;

    cr_expect(f->near_count == 1 && f->get_count == 0 && fake_count(f, "send") == 0);
    cr_expect(strstr(f->near_get.key, c.call_id));
    fake_near_answer(f, GET_FOUND, record(2, ""));
    at = expect_sent(f, TO_OWNER);
    fake_pass(f, f->conf.store_wait_ms - 1);
    fake_message(f, scratch("{\"t\":\"acted\",\"node\":2,\"all\":\"1.%s\"}", at));
    cr_expect(fake_status(f).strays == 0);
    fake_pass(f, 1000);
    cr_expect(f->get_count == 0 && fake_count(f, "send") == 1);
    cr_expect(fake_counters(f)->near_lookups == 1 && fake_counters(f)->near_found == 1);
    cr_expect(fake_counters(f)->verdict_acted == 1 && fake_counters(f)->lookups == 0);
    cr_expect(engine_histograms(f->e)->handover.sum_us == 0, "it was there at once");
    fake_free(f);
}

/* It has lost the transaction, and the replica does not know yet. Of two copies only one may be acted upon. */
Test(near, owner_that_does_not_act_is_no_owner)
{
    struct fake *f = with_near();
    char *at;

    stray(f, "CANCEL");
    fake_near_answer(f, GET_FOUND, record(2, ""));
    at = expect_sent(f, TO_OWNER);
    fake_pass(f, f->conf.store_wait_ms - 1);
    cr_expect(f->get_count == 0);
    fake_pass(f, 1);
    cr_assert(f->get_count == 1 && fake_counters(f)->near_vain == 1);
    fake_pass(f, f->conf.store_wait_ms - 1);
    cr_expect(fake_status(f).strays == 1, "the store has all of its time");
    fake_answer(f, record(2, ""));
    cr_expect_str_eq(expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;"), at);
    cr_expect(fake_count(f, "send") == 2 && fake_status(f).strays == 0 && f->near_count == 1);
    fake_free(f);
}

/* Without a record all get it, and that again is the same CANCEL. */
Test(near, all_get_it_with_the_time_that_its_supposed_owner_knows)
{
    struct fake *f = with_near();
    char *at;

    stray(f, "CANCEL");
    fake_near_answer(f, GET_FOUND, record(2, ""));
    at = expect_sent(f, TO_OWNER);
    f->found = "";
    fake_pass(f, f->conf.store_wait_ms + 50);
    cr_expect(fake_counters(f)->verdict_perhaps == 1 && fake_count(f, "send") == 2);
    cr_expect_str_eq(expect_sent(f, "192.0.2.1:5060", "X-Kamsync: to=1;inc=100.1;why=unavailable;"), at);
    fake_free(f);
}

/* None of this proves anything. */
Test(near, anything_else_leads_to_the_store_at_once)
{
    struct leg c = call_make(1);
    const struct {
        const char *what;
        enum get_status status;
        const char *record;
    } said[] = {
        {"absent", GET_ABSENT, NULL},
        {"an error", GET_FAILED, NULL},
        {"no record", GET_FOUND, "x"},
        {"over", GET_FOUND, fake_record(&c, 2, "200.1", true)},
        {"of an earlier start", GET_FOUND, fake_record(&c, 2, "200.0", false)},
        {"of a node that is gone", GET_FOUND, record(3, "")},
        {"of a node never heard of", GET_FOUND, record(4, "")},
        {"of nobody", GET_FOUND, "{\"epoch\":3,\"owner\":0,\"inc\":\"none\",\"done\":false}"},
        {"of this node", GET_FOUND, record(1, "")},
        {"being taken over", GET_FOUND, record(2, ",\"from\":\"1 3 300.1\",\"taking\":true")},
        {"being given away", GET_FOUND, record(2, ",\"given\":true")},
    };

    for (size_t i = 0; i < COUNT(said); i++) {
        struct fake *f = with_near();

        stray(f, "CANCEL");
        fake_near_answer(f, said[i].status, said[i].record);
        cr_expect(f->get_count == 1 && fake_count(f, "send") == 0, "%s", said[i].what);
        cr_expect(fake_counters(f)->near_found == 0 && fake_status(f).strays == 1, "%s", said[i].what);
        cr_expect(fake_counters(f)->near_failed == (said[i].status == GET_FAILED), "%s", said[i].what);
        fake_answer(f, record(2, ""));
        expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
        fake_free(f);
    }
}

Test(near, out_of_reach_is_for_the_store_too)
{
    struct fake *f = with_near();

    f->unreachable = true;
    fake_pass(f, 1500);
    fake_forget(f);
    stray(f, "CANCEL");
    fake_near_answer(f, GET_FOUND, record(2, ""));
    cr_expect(f->get_count == 1 && fake_count(f, "send") == 0);
    fake_free(f);
}

Test(near, silence_costs_ten_ms)
{
    struct fake *f = with_near();

    stray(f, "CANCEL");
    fake_pass(f, 9);
    cr_expect(f->get_count == 0);
    fake_pass(f, 1);
    cr_expect(f->get_count == 1 && fake_counters(f)->near_failed == 1);
    fake_near_answer(f, GET_FOUND, record(2, ""));
    cr_expect(fake_count(f, "send") == 0, "that came too late");
    fake_answer(f, record(2, ""));
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    fake_near_answer(f, GET_ABSENT, NULL);
    fake_free(f);
}

Test(near, away_is_as_if_there_were_none)
{
    struct fake *f = with_near();

    f->near = false;
    stray(f, "CANCEL");
    cr_expect(f->get_count == 1 && f->near_count == 0 && fake_counters(f)->near_failed == 1);
    fake_answer(f, record(2, ""));
    expect_sent(f, "192.0.2.2:5060", "X-Kamsync: to=2;inc=200.1;why=owner;");
    fake_free(f);
}

Test(near, only_a_cancel_is_looked_up_there)
{
    static const char *const methods[] = {"ACK", "INVITE"};

    for (size_t i = 0; i < COUNT(methods); i++) {
        struct fake *f = with_near();

        stray(f, methods[i]);
        cr_expect(f->near_count == 0 && f->get_count == 1, "%s", methods[i]);
        fake_free(f);
    }
}

/* The store goes away meanwhile: nobody is asked then, and all get it. */
Test(near, store_that_goes_away)
{
    for (int given = 0; given < 2; given++) {
        struct fake *f = with_near();

        stray(f, "CANCEL");
        if (given)
            fake_near_answer(f, GET_FOUND, record(2, ""));
        engine_store_down(f->e, f->now);
        fake_pass(f, 2 * f->conf.store_wait_ms + 20);
        cr_expect(f->get_count == 0 && fake_status(f).strays == 0);
        expect_sent(f, "192.0.2.1:5060", "X-Kamsync: to=1;inc=100.1;why=unavailable;");
        fake_free(f);
    }
}
