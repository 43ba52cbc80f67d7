/* Takeover, seen from one survivor: its name in the record, the INVITE that goes back into its Kamailio, confirmation.
 * Node 2 is the owner that died, node 3 another survivor. */
#include "base64.h"
#include "fake.h"
#include "fake_takeover.h"

TestSuite(takeover, .fini = no_leaks);

Test(takeover, this_nodes_name_goes_into_the_record_first)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    cr_expect_str_eq(f->puts[0].key, "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060");
    cr_expect(strstr(f->puts[0].value,
                     "{\"epoch\":2,\"owner\":1,\"inc\":\"100.1\",\"from\":\"1 2 200.1\",\"taking\":true,") ==
                  f->puts[0].value &&
              f->puts[0].ttl_ms > 0);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "req")), sip_request(&c, "INVITE"), "the next one needs it");
    cr_expect(f->asked == 1, "whether the owner is back");
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 0, "nothing before the store has that");
    fake_free(f);
}

Test(takeover, once_it_is_there_the_invite_goes_back)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);
    json_t *frame = NULL;
    char *msg = fake_sent(f, "why=takeover", 0, &frame), *line;

    cr_expect_str_eq(fake_text(frame, "to"), "192.0.2.1:5060");
    cr_expect_str_eq(fake_text(frame, "sock"), "udp:192.0.2.1:5060");
    cr_expect(strstr(msg, "X-Kamsync: to=1;inc=100.1;why=takeover;src=udp:198.51.100.9:5060;dst=udp:192.0.2.10:5060;"));
    /* Without the two headers it is the INVITE as the caller sent it. */
    line = strstr(msg, "Via: SIP/2.0/UDP 198.51.100.9");
    cr_expect_str_eq(line, strstr(sip_request(&c, "INVITE"), "Via: "));
    cr_expect(strncmp(msg, "INVITE sip:bob@192.0.2.10 SIP/2.0\r\nX-Kamsync", 44) == 0);
    cr_expect(fake_counters(f)->takeovers == 1 && fake_counters(f)->takeovers_done == 0 &&
              fake_status(f).takeovers == 1);
    fake_free(f);
}

Test(takeover, record_says_taking_until_kamailio_has_it)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    fake_pass(f, 400);
    cr_expect(f->put_count == 1 && fake_status(f).txns == 0);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_assert(f->put_count == 2 && fake_status(f).txns == 1 && fake_status(f).takeovers == 0);
    cr_expect_str_eq(f->puts[1].key, f->puts[0].key);
    cr_expect(json_integer_value(fake_put_field(f, "owner")) == 1 && !fake_put_field(f, "taking"));
    cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 2, "its own by then");
    cr_expect_str_eq(json_string_value(fake_put_field(f, "inc")), "100.1");
    cr_expect_str_eq(json_string_value(fake_put_field(f, "req")), sip_request(&c, "INVITE"));
    cr_expect(json_is_false(fake_put_field(f, "done")) && fake_counters(f)->takeovers_done == 1);
    cr_expect(engine_histograms(f->e)->takeover.sum_us >= 400000 && engine_histograms(f->e)->takeover.sum_us < 500000);
    fake_free(f);
}

/* The stray that waited: given to this node's own Kamailio, which has the transaction now, until that has acted. */
static void expect_delivered(struct fake *f, struct leg *c)
{
    char *rest;

    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=perhaps") == 1, "%zu", fake_sent_count(f, "why=perhaps"));
    cr_expect(strstr(fake_handover(f, &rest), "X-Kamsync: to=1;inc=100.1;why=perhaps;"));
    cr_expect_str_eq(rest, sip_request(c, "CANCEL"));
    fake_act(f, c, 0);
    cr_expect(fake_status(f).strays == 0 && fake_counters(f)->verdict_acted == 1);
    fake_pass(f, 5000);
    cr_expect(fake_count(f, "send") == 2 && fake_sent_count(f, "why=orphan") == 0, "the INVITE and the CANCEL");
}

Test(takeover, waiting_cancel_is_delivered_once_it_is_taken)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    fake_pass(f, 300);
    cr_expect(fake_sent_count(f, "why=owner") == 0);
    fake_taken(f, 1, 1);
    expect_delivered(f, &c);
    fake_free(f);
}

/* The INVITE of a call whose dead owner has accepted its CANCEL is back in Kamailio, for the sake of that stray. */
static struct fake *cancelled(struct leg *c, const char *stray)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    fake_death(f);
    fake_stray(f, 1, c, stray);
    fake_answer(f, fake_cancelled(fake_orphan(c, 2, "200.1")));
    fake_put_done(f, 1, true);
    fake_turn(f);
    return f;
}

/* The CANCEL was the dead owner's, the 487 that the far end repeats comes to this node. */
Test(takeover, cancelled_call_ends_as_cancelled)
{
    struct leg c;
    struct fake *f = cancelled(&c, "CANCEL");

    fake_taken(f, 1, 1);
    fake_replied(f, &c, "0", 487, NULL, FAKE_EPOCH + 7000);
    fake_pass(f, 5000);
    cr_expect_str_eq(fake_call_text(f, "how"), "cancelled");
    cr_expect_str_eq(fake_call_text(f, "by"), "caller");
    cr_expect_str_eq(fake_call_text(f, "ended"), scratch("%lld", (long long)FAKE_EPOCH + 7000));
    fake_free(f);
}

/* The dead owner had told the caller that it would cancel. tm is told so until it says that it heard it. */
Test(takeover, cancel_that_was_accepted_goes_to_tm)
{
    struct leg c;
    struct fake *f = cancelled(&c, "INVITE");

    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 1);
    fake_pass(f, 1500);
    cr_expect(fake_sent_count(f, "CANCEL sip:") >= 2 && fake_sent_count(f, "CANCEL sip:") <= 4);
    fake_cancel(f, &c);
    fake_forget(f);
    fake_pass(f, 3000);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0);
    fake_free(f);
}

/* Events come in order: the branch is reported before the transaction is. */
Test(takeover, its_first_branch_confirms_it_too)
{
    struct leg c = call_make(1);
    struct fake *f = fake_injected(&c, fake_branch_json(&c, 0, "0", 0, NULL));

    fake_branch(f, 1, &c, "0", false);
    expect_delivered(f, &c);
    fake_taken(f, 2, 1);
    fake_pass(f, 1000);
    cr_expect(fake_status(f).txns == 1 && fake_counters(f)->takeovers_done == 1 &&
              fake_sent_count(f, "why=perhaps") == 1);
    fake_free(f);
}

/* The script reports a branch before it has sent all, and drops a CANCEL until then: tm would cancel none. With a call
 * that had no branch yet, tm does not even know it. */
Test(takeover, cancel_is_given_again_until_kamailio_has_acted)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);
    char *rest, *name;

    f->polite = f->answer_puts = true;
    f->found = fake_epoch(fake_orphan(&c, 1, "100.1"), 2, false);
    fake_taken(f, 1, 1);
    fake_turn(f);
    name = strstr(fake_handover(f, &rest), ";from=1;at=");
    name = scratch("why=perhaps;src=udp:198.51.100.9:5060;dst=udp:192.0.2.10:5060%.*s-", (int)strcspn(name, "-"), name);
    fake_pass(f, 19);
    cr_expect(fake_sent_count(f, name) == 1);
    fake_pass(f, 1);
    cr_expect(fake_sent_count(f, name) == 2, "copies of one CANCEL: whoever has acted upon one ignores the next");
    fake_pass(f, 40);
    cr_expect(fake_sent_count(f, name) == 3 && fake_status(f).strays == 1);
    fake_act(f, &c, 2);
    fake_pass(f, 5000);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 3 && fake_status(f).strays == 0);
    fake_free(f);
}

/* It has no such transaction any more: then somebody has to say so to the caller. */
Test(takeover, cancel_that_is_never_acted_upon_is_answered)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    f->polite = f->answer_puts = true;
    f->found = fake_epoch(fake_orphan(&c, 1, "100.1"), 2, false);
    fake_taken(f, 1, 1);
    fake_pass(f, 4900);
    cr_expect(fake_sent_count(f, "why=owner") == 0 && fake_status(f).strays == 1);
    fake_pass(f, 300);
    cr_expect(fake_sent_count(f, "to=1;inc=100.1;why=owner;") == 1 && fake_status(f).strays == 0);
    cr_expect(fake_counters(f)->verdict_mine == 1);
    fake_free(f);
}

Test(takeover, several_strays_wait_for_one_takeover)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    for (int k = 2; k <= 4; k++)
        fake_stray(f, k, &c, "CANCEL");
    fake_pass(f, 100);
    cr_expect(f->put_count == 1 && fake_sent_count(f, "why=takeover") == 1);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=perhaps") == 4);
    for (size_t n = 0; n < 4; n++)
        fake_act(f, &c, n);
    cr_expect(fake_status(f).strays == 0);
    fake_free(f);
}

/* It was read before this node's own was written: a second INVITE would be a retransmission to Kamailio, which would
 * not say that it has it, and so the record would be released. */
Test(takeover, record_of_the_dead_owner_that_comes_late_begins_no_second_one)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);
    uint64_t late;

    f->found = NULL;
    fake_stray(f, 2, &c, "CANCEL");
    late = f->gets[f->get_count - 1].token;
    fake_taken(f, 1, 1);
    fake_turn(f);
    f->found = fake_epoch(fake_orphan(&c, 1, "100.1"), 2, false);
    engine_got(f->e, late, GET_FOUND, span_of(fake_orphan(&c, 2, "200.1")), f->now);
    fake_pass(f, 5000);
    cr_expect(f->put_count == 2 && fake_sent_count(f, "why=takeover") == 1);
    cr_expect(fake_status(f).takeovers == 0);
    fake_free(f);
}

/* ---- Kamailio does not want it ---- */

Test(takeover, unconfirmed_is_tried_three_times)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    fake_ack_all(f);
    f->polite = true;
    f->found = ""; /* the record has ended meanwhile: nobody begins anew */
    fake_pass(f, 499);
    cr_expect(fake_sent_count(f, "why=takeover") == 1);
    fake_pass(f, 1);
    cr_expect(fake_sent_count(f, "why=takeover") == 2);
    fake_pass(f, 500);
    cr_expect(fake_sent_count(f, "why=takeover") == 3 && fake_status(f).takeovers == 1);
    fake_pass(f, 500);
    cr_expect(fake_status(f).takeovers == 0 && fake_counters(f)->takeovers_failed == 1 &&
              fake_counters(f)->takeovers == 1);
    fake_pass(f, 5000);
    cr_expect(fake_sent_count(f, "why=takeover") == 3 && fake_status(f).strays == 0 && f->put_count == 1);
    fake_free(f);
}

/* The record names this node, so the stray finds it again and again: that must not begin the takeover anew. */
Test(takeover, given_up_is_not_begun_again_by_the_same_stray)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    fake_ack_all(f);
    f->polite = true;
    fake_pass(f, 4000);
    cr_expect(fake_sent_count(f, "why=takeover") == 3, "%zu INVITEs", fake_sent_count(f, "why=takeover"));
    cr_expect(fake_status(f).strays == 0 && fake_status(f).takeovers == 0);
    fake_free(f);
}

/* What a refused takeover leaves to do is the CANCEL to the far end by adoption (adoption.c says so). */
Test(takeover, refused_is_given_up_at_once_and_adopted)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    fake_taken(f, 1, 0);
    fake_turn(f);
    cr_expect(fake_counters(f)->takeovers_failed == 1);
    fake_put_done(f, 1, true);
    f->found = fake_epoch(fake_orphan(&c, 0, "none"), 3, false);
    for (int i = 0; i < 400; i++) {
        size_t invites = fake_sent_count(f, "why=takeover");

        fake_pass(f, 10);
        if (fake_sent_count(f, "why=takeover") > invites)
            fake_taken(f, 2 + i, 0);
    }
    cr_expect(fake_sent_count(f, "why=takeover") == 1, "%zu INVITEs", fake_sent_count(f, "why=takeover"));
    cr_expect(fake_counters(f)->adoptions == 1 && fake_sent_count(f, "CANCEL sip:bob0@203.0.113.5:5060 SIP/2.0") == 1);
    cr_expect(fake_status(f).strays == 0 && f->put_count == 2, "taken and released");
    fake_free(f);
}

Test(takeover, stray_is_concluded_whatever_happens)
{
    struct leg c;
    struct fake *f = fake_taking(&c, NULL);

    f->found = fake_orphan(&c, 2, "200.1");
    fake_pass(f, 2999); /* the write is never answered */
    cr_expect(fake_count(f, "send") == 0);
    fake_pass(f, 1);
    cr_expect(fake_sent_count(f, "why=orphan") == 1 && fake_status(f).strays == 0 &&
              fake_counters(f)->verdict_orphan == 1);
    fake_free(f);
}

Test(takeover, confirmation_of_what_is_not_waited_for_changes_nothing)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    fake_say(f, "{\"t\":\"events\",\"n\":1}{\"t\":\"taken\",\"token\":4711,\"ok\":1}"
                "{\"t\":\"taken\",\"token\":4711,\"ok\":0}");
    fake_turn(f);
    cr_expect(fake_status(f).takeovers == 1 && fake_status(f).txns == 0 && fake_counters(f)->takeovers_failed == 0);
    fake_taken(f, 2, 1);
    fake_taken(f, 3, 1);
    fake_taken(f, 4, 0);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && f->put_count == 2 && fake_counters(f)->takeovers_failed == 0);
    fake_free(f);
}

/* ---- the link ---- */

Test(takeover, restarted_kamailio_forgets_what_it_was_to_take_over)
{
    struct leg c;
    struct fake *f = fake_injected(&c, NULL);

    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    f->found = "";
    fake_hello(f, 1, "100.2");
    fake_pass(f, 1000);
    cr_expect(fake_status(f).takeovers == 0 && fake_status(f).txns == 0);
    fake_free(f);
}

/* Kamailio has it, and this node counted as dead meanwhile. */
static struct fake *doubtful(struct leg *c)
{
    struct fake *f = fake_injected(c, NULL);

    f->found = NULL;
    engine_link_down(f->e, f->now);
    fake_pass(f, 100);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    fake_ack_all(f);
    fake_branch(f, 1, c, "0", false);
    fake_turn(f);
    return f;
}

/* Another survivor may have taken it from here, with epoch 3: then that is one too many for this node's write. */
Test(takeover, link_that_breaks_half_way_makes_it_doubtful)
{
    struct leg c;
    struct fake *f = doubtful(&c);

    cr_assert(f->put_count == 2 && json_integer_value(fake_put_field(f, "epoch")) == 3);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 3, "300.1"), 3, false));
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 1);
    fake_free(f);
}

Test(takeover, doubtful_one_that_nobody_has_taken_stays)
{
    struct leg c;
    struct fake *f = doubtful(&c);

    fake_put_done(f, 1, true);
    fake_pass(f, 1000);
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}
