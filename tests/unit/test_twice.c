/* Answers of the store that come twice, the second time maybe when more has been asked since: each counts once. */
#include "fake.h"
#include "fake_ending.h"

TestSuite(twice, .fini = no_leaks);

static void got_twice(struct fake *f, size_t n, enum get_status status, const char *record)
{
    for (int i = 0; i < 2; i++)
        engine_got(f->e, f->gets[n].token, status, span_of(record), f->now);
}

static void put_twice(struct fake *f, enum put_status status, const char *record)
{
    uint64_t token = f->unanswered[0];

    cr_assert(f->unanswered_count > 0);
    memmove(f->unanswered, f->unanswered + 1, --f->unanswered_count * sizeof(token));
    for (int i = 0; i < 2; i++)
        engine_put_done(f->e, token, status, span_of(record), f->now);
}

/* So many calls have begun, and none of their records is in the store. */
static struct fake *writing(unsigned calls)
{
    struct fake *f = fake_ready();

    f->polite = true;
    for (unsigned i = 1; i <= calls; i++) {
        struct leg c = call_make(i);

        fake_branch(f, i, &c, "0", true);
    }
    fake_turn(f);
    cr_assert(f->unanswered_count == calls && fake_status(f).puts >= calls);
    return f;
}

Test(twice, one_write_is_one_less_under_way)
{
    struct fake *f = writing(2);
    size_t puts = fake_status(f).puts;

    put_twice(f, PUT_DONE, NULL);
    cr_expect(fake_status(f).puts == puts - 1, "%zu of %zu", fake_status(f).puts, puts);
    put_twice(f, PUT_FAILED, NULL);
    cr_expect(fake_status(f).puts == puts - 2);
    fake_free(f);
}

/* Another node has its record: this one's is written over it, once. */
Test(twice, one_fence_is_one_write)
{
    struct fake *f = writing(1);
    struct leg c = call_make(1);
    char *there = fake_epoch(fake_orphan(&c, 0, "none"), 5, false);

    fake_forget(f);
    put_twice(f, PUT_FENCED, there);
    fake_turn(f);
    cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 6);
    put_twice(f, PUT_DONE, NULL);
    fake_pass(f, 1000);
    cr_expect(f->put_count == 1 && fake_status(f).txns == 1);
    fake_free(f);
}

/* It is asked about every few ms: the answer to an earlier question is none to the last one, since it could be older
 * than what proves that nobody has the transaction. */
Test(twice, a_lookup_is_answered_by_its_own_answer)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->polite = true;
    fake_stray(f, 1, &c, "CANCEL");
    engine_got(f->e, f->gets[0].token, GET_ABSENT, span_of(NULL), f->now);
    fake_pass(f, 5);
    cr_assert(f->get_count == 2);
    got_twice(f, 0, GET_ABSENT, NULL);
    fake_pass(f, 25);
    cr_expect(f->get_count == 2, "the second question is still under way");
    got_twice(f, 1, GET_FOUND, fake_record(&c, 2, "200.1", false));
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=owner") == 1 && fake_counters(f)->verdict_owner == 1);
    fake_free(f);
}

Test(twice, a_claim_is_won_once)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();

    f->conf.claim_strict = true;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_stray(f, 1, &c, "INVITE");
    cr_assert(f->claim_count == 1);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=unknown") == 1 && fake_counters(f)->verdict_unknown == 1);
    fake_free(f);
}

/* Node 2 is dead, and call 1 was its: this node reads the record, and asks for node 2 in the store. */
static struct fake *asking(struct leg *c)
{
    struct fake *f = fake_lost_peer();

    *c = call_make(1);
    fake_forget(f);
    f->mute_nodes = true;
    for (unsigned i = 1; i < 20 && f->get_count == 0; i++) { /* some of them are this node's share */
        *c = call_make(i);
        fake_scanned(f, i, 1, true, 1);
        fake_turn(f);
    }
    cr_assert(f->get_count == 1);
    got_twice(f, 0, GET_FOUND, fake_orphan(c, 2, "200.1"));
    return f;
}

Test(twice, a_record_says_nothing_about_its_owner)
{
    struct leg c;
    struct fake *f = asking(&c);

    cr_assert(f->asked > 0);
    cr_expect(f->put_count == 0, "its owner may be back");
    engine_got(f->e, f->node_token, GET_ABSENT, span_of(NULL), f->now);
    engine_got(f->e, f->node_token, GET_ABSENT, span_of(NULL), f->now);
    cr_expect(f->put_count == 1);
    fake_free(f);
}

Test(twice, one_record_is_one_takeover)
{
    struct leg c;
    struct fake *f = asking(&c);
    uint64_t token;

    engine_got(f->e, f->node_token, GET_ABSENT, span_of(NULL), f->now);
    token = f->unanswered[0];
    put_twice(f, PUT_DONE, NULL);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 1);
    f->answer_puts = true;
    fake_taken(f, 1, 1);
    engine_put_done(f->e, token, PUT_DONE, span_of(NULL), f->now); /* and once more */
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && fake_counters(f)->takeovers_done == 1 && fake_counters(f)->takeovers == 1);
    fake_free(f);
}

Test(twice, the_end_of_a_search_is_not_that_of_the_next)
{
    struct fake *f = fake_lost_peer();

    fake_scanned(f, 0, 0, true, 0);
    engine_scanned(f->e, true, 5, f->now);
    fake_turn(f);
    cr_expect(!f->scanning, "there is no further part");
    fake_free(f);
}

Test(twice, a_call_ends_once)
{
    struct leg c;
    struct fake *f = fake_with_call(&c, call_of_2);

    f->mute_calls = true;
    fake_bye(f, &c, "a1", "b1", 0, AT(50));
    fake_bye(f, &c, "a1", "b1", 200, AT(51));
    fake_turn(f);
    fake_call_got(f, call_of_2);
    fake_call_got(f, call_of_2);
    cr_assert(f->call_count == 1);
    fake_call_written(f, CALL_WRITTEN);
    fake_call_written(f, CALL_WRITTEN);
    fake_turn(f);
    cr_expect(f->call_count == 1 && fake_counters(f)->calls_ended == 1);
    fake_free(f);
}
