/* What kamsyncds tell each other past their Kamailios: handovers, ends of calls. */
#include "base64.h"
#include "fake.h"
#include "handover.h"

TestSuite(told, .fini = no_leaks);

/* A handover to this node, as node 2 would make it. */
static char *handover_with(const char *secret)
{
    struct handover h = {1, "100.1", "owner", "udp:198.51.100.9:5060", "udp:192.0.2.2:5060", 2, "1800000001.000.1"};
    struct leg c = call_make(1);
    char *text = handover_make(&h, span_of(sip_request(&c, "CANCEL")), secret), *copy = scratch("%s", text);

    free(text);
    return copy;
}

static void tell(struct fake *f, const char *base64)
{
    fake_message(f, scratch("{\"t\":\"handover\",\"msg\":\"%s\"}", base64));
    fake_turn(f);
}

Test(told, handover_goes_into_this_kamailio_as_it_is)
{
    struct fake *f = fake_peers();
    char *text = handover_with(f->conf.secret);

    tell(f, text);
    cr_assert(fake_count(f, "send") == 1);
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "msg"), text);
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "to"), "192.0.2.1:5060");
    cr_expect(fake_counters(f)->relayed_in == 1 && fake_counters(f)->messages_bad == 0);
    fake_free(f);
}

/* The other way: its owner lives, but does not answer us. */
Test(told, handover_to_a_node_out_of_reach_goes_through_the_store)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();
    char *msg;
    size_t len;

    f->unreachable = f->polite = true;
    for (int beat = 10; beat < 13; beat++) {
        fake_node(f, 2, beat, "200.1", true);
        fake_pass(f, 1000);
    }
    fake_forget(f);
    f->found = fake_record(&c, 2, "200.1", false);
    fake_stray(f, 1, &c, "CANCEL");
    fake_turn(f);
    cr_assert(f->tell_count == 1 && f->tells[0].node == 2 && fake_count(f, "send") == 0);
    cr_expect_str_eq(fake_text(fake_tell(f, 0), "t"), "handover");
    msg = base64_bytes(span_of(fake_text(fake_tell(f, 0), "msg")), &len);
    cr_expect(handover_proven((struct span){msg, len}, f->conf.secret));
    cr_expect(strstr(msg, "X-Kamsync: to=2;inc=200.1;why=owner;src=udp:198.51.100.9:5060;") != NULL);
    cr_expect(fake_counters(f)->relayed_out == 1 && fake_counters(f)->verdict_cut == 1);
    free(msg);
    fake_free(f);
}

static void expect_refused(struct fake *f, const char *base64)
{
    uint64_t bad = fake_counters(f)->messages_bad;

    tell(f, base64);
    cr_assert(fake_count(f, "send") == 0, "taken: %s", base64);
    cr_expect(fake_counters(f)->messages_bad == bad + 1 && fake_counters(f)->relayed_in == 0);
}

Test(told, old_secret_is_believed_only_while_there_is_one)
{
    struct fake *f = fake_peers();
    char *text = handover_with("fedcba9876543210");

    expect_refused(f, text);
    expect_refused(f, handover_with(""));
    f->conf.old_secret = "fedcba9876543210";
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    tell(f, text);
    cr_expect(fake_count(f, "send") == 1 && fake_counters(f)->relayed_in == 1);
    fake_free(f);
}

Test(told, handover_that_is_cut_off_anywhere)
{
    struct fake *f = fake_peers();
    char *text = handover_with(f->conf.secret), *msg;
    size_t len;

    msg = base64_bytes(span_of(text), &len);
    for (size_t n = 0; n < len; n++) {
        char *part = base64_text(scratch_exact((struct span){msg, n}));

        cr_expect(!handover_proven(scratch_exact((struct span){msg, n}), f->conf.secret), "%zu bytes", n);
        expect_refused(f, part);
        free(part);
    }
    free(msg);
    fake_free(f);
}

Test(told, handover_with_one_byte_changed)
{
    struct fake *f = fake_peers();
    char *text = handover_with(f->conf.secret), *msg;
    size_t len;

    msg = base64_bytes(span_of(text), &len);
    for (size_t n = 0; n < len; n++) {
        msg[n] ^= 1;
        cr_expect(!handover_proven((struct span){msg, len}, f->conf.secret), "byte %zu", n);
        msg[n] ^= 1;
    }
    cr_expect(handover_proven((struct span){msg, len}, f->conf.secret));
    free(msg);
    fake_free(f);
}

/* The proof covers what stands before the NUL; a reader of the whole line sees more. */
Test(told, handover_with_a_nul_in_its_header)
{
    struct fake *f = fake_peers();
    char *msg, *proof, *more, *behind;
    size_t len, head;

    msg = base64_bytes(span_of(handover_with(f->conf.secret)), &len);
    proof = strstr(msg, ";proof=");
    behind = strstr(proof, "\r\n");
    more = calloc(1, len + 16);
    head = (size_t)(proof - msg);
    memcpy(more, msg, head);
    memcpy(more + head, "\0;why=call", 10);
    memcpy(more + head + 10, proof, len - head);
    cr_expect(!handover_proven((struct span){more, len + 10}, f->conf.secret));
    head = (size_t)(behind - msg);
    memcpy(more, msg, head);
    memcpy(more + head, "\0x", 2);
    memcpy(more + head + 2, behind, len - head);
    cr_expect(!handover_proven((struct span){more, len + 2}, f->conf.secret));
    free(more);
    free(msg);
    fake_free(f);
}

Test(told, what_is_no_message)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "\"over\"",
                                        "{}",
                                        "{\"t\":1}",
                                        "{\"t\":\"none\"}",
                                        "{\"t\":\"over\",\"t\":\"over\",\"call_id\":\"a\"}",
                                        "{\"t\":\"handover\"}",
                                        "{\"t\":\"handover\",\"msg\":1}",
                                        "{\"t\":\"handover\",\"msg\":\"\"}",
                                        "{\"t\":\"handover\",\"msg\":\"*\"}",
                                        "\xff"};
    struct fake *f = fake_peers();

    for (size_t i = 0; i < COUNT(texts); i++) {
        engine_message(f->e, scratch_exact(span_of(texts[i])), f->now);
        cr_expect(fake_counters(f)->messages_bad == i + 1, "%s", texts[i]);
    }
    fake_message(f, "{\"t\":\"over\"}");
    fake_message(f, "{\"t\":\"over\",\"call_id\":{\"base64\":\"*\"}}");
    fake_turn(f);
    cr_expect(fake_count(f, "send") == 0);
    fake_free(f);
}

Test(told, call_that_is_over_is_forgotten)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();
    struct engine_status s;

    fake_invite(f, &c, NULL, 0);
    f->mute_calls = true; /* also while it is being written */
    fake_turn(f);
    fake_message(f, "{\"t\":\"over\",\"call_id\":\"call-2@caller.example\",\"from_tag\":\"a1\"}");
    engine_status(f->e, &s);
    cr_expect(s.calls == 1);
    fake_message(f,
                 scratch("{\"t\":\"over\",\"call_id\":{\"base64\":\"%s\"},\"from_tag\":\"a1\"}", base64_of(c.call_id)));
    engine_status(f->e, &s);
    cr_expect(s.calls == 0);
    fake_call_written(f, CALL_WRITTEN);
    fake_replied(f, &c, "0", 200, "b1", 0);
    fake_turn(f);
    cr_expect(f->call_count == 1);
    fake_free(f);
}

static void back(struct fake *f, const char *inc)
{
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_hello(f, 1, inc);
    fake_turn(f);
}

static char *taken_by(int node, const struct leg *c)
{
    return scratch("{\"t\":\"taken\",\"node\":%d,\"call_id\":{\"base64\":\"%s\"},\"from_tag\":\"a1\"}", node,
                   base64_of(c->call_id));
}

/* Another node has taken its transaction over. Whether this node's Kamailio still has it shows when that is back. */
Test(told, call_that_is_taken_is_another_nodes)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();
    char *taken = taken_by(2, &c);

    f->polite = true;
    fake_invite(f, &c, NULL, 0);
    fake_turn(f);
    fake_message(f, taken);
    cr_expect(fake_status(f).calls == 1, "this node's living Kamailio has it: the records decide");
    engine_link_down(f->e, f->now);
    fake_message(f, taken_by(1, &c));
    cr_expect(fake_status(f).calls == 1, "its own word");
    fake_message(f, taken);
    back(f, "100.1");
    cr_expect(fake_status(f).calls == 1, "it was only cut off: the records decide");
    engine_link_down(f->e, f->now);
    fake_message(f, taken);
    back(f, "100.2");
    cr_expect(fake_status(f).calls == 0, "restarted");
    fake_message(f, "{\"t\":\"taken\",\"node\":2}");
    fake_message(f, taken);
    cr_expect(fake_counters(f)->messages_bad == 0);
    fake_free(f);
}

static void come_back(struct fake *f)
{
    fake_forget(f);
    engine_store_down(f->e, f->now);
    engine_store_up(f->e, f->now);
    fake_turn(f);
}

/* Only one writes it: else it would stand in a store that has forgotten its end, and end once more. */
Test(told, call_that_is_taken_is_not_written_before_it_is_known_whose_it_is)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();
    char *taken = taken_by(2, &c);

    fake_invite(f, &c, NULL, 0);
    fake_turn(f);
    engine_link_down(f->e, f->now);
    come_back(f);
    cr_expect(fake_writes(f, CALL_BEGIN) == 1, "nobody has said a word");
    fake_message(f, taken);
    come_back(f);
    fake_pass(f, f->conf.call_max_ms / 2);
    cr_expect(f->call_count == 0 && fake_status(f).calls == 1);
    back(f, "100.1");
    cr_expect(fake_writes(f, CALL_BEGIN) == 1, "its record was taken");
    fake_free(f);
}

Test(told, call_that_is_taken_while_it_is_being_written)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->polite = f->mute_calls = true;
    fake_invite(f, &c, NULL, 0);
    fake_turn(f);
    engine_link_down(f->e, f->now);
    fake_message(f, taken_by(2, &c));
    fake_call_written(f, CALL_OTHER);
    fake_pass(f, 5000);
    cr_expect(f->call_count == 1 && fake_status(f).calls == 1);
    fake_pass(f, f->conf.call_max_ms + 120000);
    cr_expect(f->call_count == 1 && fake_status(f).calls == 0, "its end is not this node's to say, either");
    fake_free(f);
}

/* What this node has added to it stays. */
Test(told, call_that_is_taken_keeps_its_variables)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->polite = true;
    fake_invite(f, &c, NULL, 0);
    fake_set(f, &c, "x", "1");
    fake_turn(f);
    engine_link_down(f->e, f->now);
    fake_message(f, taken_by(2, &c));
    back(f, "100.2");
    cr_expect(fake_status(f).calls == 1);
    cr_expect(f->calls[f->call_count - 1].mode == CALL_ADD);
    fake_free(f);
}
