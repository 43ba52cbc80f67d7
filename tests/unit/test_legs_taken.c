/* Several INVITEs with one Call-ID and one From tag, of which another node's are taken over. */
#include "fake.h"

TestSuite(legs_taken, .fini = no_leaks);

/* Node 2's leg of call 1, which rang, is back in Kamailio here. */
static void take_over_record(struct fake *f, struct leg *c, char *record)
{
    fake_death(f);
    f->found = record;
    f->answer_puts = true;
    fake_stray(f, 1, c, "CANCEL");
    fake_turn(f);
    fake_taken(f, f->events + 1, 1);
    fake_turn(f);
}

static void take_over(struct fake *f, struct leg *c)
{
    c->call_id = call_make(1).call_id;
    take_over_record(f, c, fake_orphan(c, 2, "200.1"));
}

Test(legs_taken, takeover_of_another_leg_than_the_answered_one)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = call_make(2);

    fake_replied(f, &first, "0", 200, "b1", AT(12));
    fake_turn(f);
    take_over(f, &second);
    cr_expect(fake_writes(f, CALL_TAKE) == 0, "it lives by the first");
    fake_replied(f, &second, "0", 486, NULL, AT(1020));
    fake_pass(f, 3000);
    cr_expect(f->call_count == 0);
    fake_set(f, &first, "x", "1");
    fake_turn(f);
    fake_expect_live(f, LEG_TX(1), "answered");
    fake_free(f);
}

Test(legs_taken, takeover_of_another_leg_than_the_ringing_one)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = call_make(2);

    fake_turn(f);
    take_over(f, &second);
    cr_expect(fake_writes(f, CALL_TAKE) == 0);
    fake_replied(f, &first, "0", 486, NULL, AT(1020));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(2), "ringing");
    fake_free(f);
}

/* It has left its mark in the record, which must not put the end off. */
Test(legs_taken, end_of_a_call_names_the_leg_that_was_taken_over)
{
    struct fake *f = fake_served();
    struct leg first = fake_leg(f, 1), second = call_make(2);

    fake_turn(f);
    take_over(f, &second);
    fake_replied(f, &second, "0", 486, NULL, AT(1020));
    fake_replied(f, &first, "0", 486, NULL, AT(1021));
    fake_pass(f, 12000);
    cr_assert(fake_writes(f, CALL_END) == 1);
    cr_expect(strstr(f->calls[f->call_count - 1].own, "\n" LEG_TX(2)), "%s", f->calls[f->call_count - 1].own);
    fake_free(f);
}

/* A spiral: node 2 had the first leg, by which the call lives, and this one the second. Else nobody would end it. */
Test(legs_taken, takeover_of_the_leg_that_the_call_lives_by)
{
    struct fake *f = fake_served();
    struct leg inner = fake_leg(f, 2), outer = call_make(1);

    f->call_result = CALL_OTHER;
    take_over(f, &outer);
    cr_expect(fake_writes(f, CALL_TAKE) == 1);
    f->call_result = CALL_WRITTEN;
    fake_pass(f, 1000);
    fake_replied(f, &outer, "0", 486, NULL, AT(1020));
    fake_replied(f, &inner, "0", 486, NULL, AT(1021));
    fake_pass(f, 3000);
    fake_expect_end(f, LEG_TX(2), "rejected", "486");
}

/* The same, but this node's leg was reported first, and the store never said that node 2 has taken the record since. */
Test(legs_taken, takeover_of_the_leg_that_came_first)
{
    struct fake *f = fake_served();
    struct leg inner = fake_leg(f, 2), outer = call_make(1);
    char *record = fake_orphan(&outer, 2, "200.1");

    fake_turn(f);
    take_over_record(f, &outer, scratch("%.*s,\"at\":%lld}", (int)strlen(record) - 1, record, (long long)AT(10)));
    cr_expect(fake_writes(f, CALL_TAKE) == 1);
    fake_cancel(f, &outer);
    fake_cancel(f, &inner);
    fake_replied(f, &inner, "0", 487, NULL, AT(1020));
    fake_replied(f, &outer, "0", 487, NULL, AT(1021));
    fake_pass(f, 3000);
    fake_expect_end(f, LEG_TX(1), "cancelled", "487");
}

static void restart(struct fake *f)
{
    f->found = "";
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.2");
    for (int i = 0; i < 10; i++) {
        fake_pass(f, 500);
        engine_nodes_read(f->e, true, f->now);
    }
    fake_forget(f);
}

/* A stray has brought the record. */
static void take(struct fake *f, int k, struct leg *c, const char *record, int64_t at)
{
    f->answer_puts = true;
    f->found = scratch("%.*s,\"at\":%lld}", (int)strlen(record) - 1, record, (long long)at);
    fake_stray(f, k, c, "CANCEL");
    fake_turn(f);
    fake_taken(f, f->events + 1, 1);
    fake_turn(f);
}

/* A spiral through this node, whose Kamailio was restarted when the caller had hung up. */
Test(legs_taken, inner_leg_that_ends_before_the_outer_one_is_taken_over)
{
    struct fake *f = fake_served();
    struct leg outer = fake_leg(f, 1), inner = fake_leg(f, 2);

    fake_cancel(f, &outer);
    fake_cancel(f, &inner);
    fake_turn(f);
    restart(f);
    take(f, 1, &inner, fake_cancelled(fake_orphan(&inner, 1, "100.1")), AT(11));
    fake_replied(f, &inner, "0", 487, NULL, AT(1020));
    fake_pass(f, 1000);
    take(f, 2, &outer, fake_cancelled(fake_orphan(&outer, 1, "100.1")), AT(10));
    fake_replied(f, &outer, "0", 487, NULL, AT(1021));
    fake_pass(f, 3000);
    fake_expect_end(f, LEG_TX(1), "cancelled", "487");
}

/* The same of a node that has died, in the order of its records in the store. */
Test(legs_taken, outer_leg_that_began_in_the_same_ms_as_the_inner_one)
{
    struct fake *f = fake_served();
    struct leg outer = call_make(1), inner = call_make(2);

    inner.call_id = outer.call_id;
    inner.branch = scratch("%s.0", outer.tm);
    fake_death(f);
    f->call_result = CALL_OTHER;
    take(f, 1, &inner, fake_cancelled(fake_orphan(&inner, 2, "200.1")), AT(10));
    take(f, 2, &outer, fake_cancelled(fake_orphan(&outer, 2, "200.1")), AT(10));
    f->call_result = CALL_WRITTEN;
    fake_replied(f, &inner, "0", 487, NULL, AT(1020));
    fake_replied(f, &outer, "0", 487, NULL, AT(1021));
    fake_pass(f, 3000);
    fake_expect_end(f, LEG_TX(1), "cancelled", "487");
}

Test(legs_taken, takeover_of_a_leg_whose_call_another_node_has)
{
    struct fake *f = fake_served();
    struct leg c = call_make(1);

    f->call_result = CALL_FOREIGN;
    take_over(f, &c);
    cr_expect(fake_writes(f, CALL_TAKE) == 1 && f->tell_count == 0, "nobody is told that it was taken");
    fake_free(f);
}

static void message_taken(struct fake *f, const char *tx)
{
    fake_message(f, scratch("{\"t\":\"taken\",\"node\":2,\"call_id\":\"call-1@caller.example\",\"from_tag\":\"a1\"%s}",
                            tx ? scratch(",\"tx\":\"%s\"", tx) : ""));
}

Test(legs_taken, another_node_takes_another_leg_over)
{
    struct fake *f = fake_served();
    struct leg c = fake_leg(f, 1);

    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_pass(f, 10000); /* its transaction is over */
    message_taken(f, LEG_TX(2));
    cr_expect(fake_status(f).calls == 1, "the call lives by the first");
    message_taken(f, LEG_TX(1));
    cr_expect(fake_status(f).calls == 0);
    fake_free(f);
}

/* One of before, who does not say which. */
Test(legs_taken, another_node_takes_a_leg_over)
{
    struct fake *f = fake_served();
    struct leg c = fake_leg(f, 1);

    fake_replied(f, &c, "0", 200, "b1", AT(12));
    fake_pass(f, 10000);
    message_taken(f, NULL);
    cr_expect(fake_status(f).calls == 0);
    fake_free(f);
}

/* Two legs of a fork upstream: after a restart each has come to another node. */
Test(legs_taken, another_node_takes_one_leg_over_and_this_one_the_other)
{
    struct fake *f = fake_served();
    struct leg second;

    fake_leg(f, 1);
    second = fake_leg(f, 2);
    fake_turn(f);
    restart(f);
    take(f, 1, &second, fake_orphan(&second, 1, "100.1"), AT(11));
    f->call_result = CALL_OTHER;
    message_taken(f, LEG_TX(1));
    fake_pass(f, 3000);
    fake_expect_live(f, LEG_TX(2), "ringing");
    fake_free(f);
}
