/* A store that is not what it was: it takes no beats, or has lost the last ones, or what was claimed. Then this node
 * may have lost its transactions to others, and looks before it writes anything. */
#include "fake.h"

TestSuite(another_store, .fini = no_leaks);

#define CLAIM_OF(inc) "kamsync:claim:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060:" inc

static struct span own_record(int64_t beat)
{
    return span_of(
        scratch("{\"id\":1,\"name\":\"n\",\"sip\":\"192.0.2.1:5060\",\"inc\":\"100.1\",\"beat\":%lld,\"up\":true}",
                (long long)beat));
}

static void see_own(struct fake *f, int64_t beat)
{
    engine_node(f->e, own_record(beat), f->now);
    engine_nodes_read(f->e, true, f->now);
}

/* An engine that owns call 1, written, and has seen its own beat 5. */
static struct fake *owning(struct leg *c)
{
    struct fake *f = fake_owning(c);

    see_own(f, 5);
    fake_forget(f);
    return f;
}

static void pass_reading(struct fake *f, int ms)
{
    for (int i = 0; i < ms / 100; i++) {
        fake_pass(f, 100);
        engine_nodes_read(f->e, true, f->now);
    }
}

Test(another_store, refused_beats)
{
    struct leg c, other = call_make(2);
    struct fake *f = owning(&c);

    pass_reading(f, 1000);
    cr_expect(f->claim_count == 0);
    pass_reading(f, 1500);
    cr_assert(f->claim_count == 1, "%zu", f->claim_count);
    cr_expect_str_eq(f->claims[0].key, CLAIM_OF("100.1"));
    fake_branch(f, 2, &other, "0", true);
    fake_turn(f);
    engine_announced(f->e, own_record(6), f->now); /* a replica takes PUBLISH */
    fake_turn(f);
    cr_expect(f->put_count == 0, "nobody can have seen it alive, and it writes");
    see_own(f, 7);
    fake_turn(f);
    cr_expect(f->put_count == 1, "of the other nobody else can know");
    f->found = "";
    fake_claimed(f, CLAIM_LOST, "2 200.1");
    fake_turn(f);
    cr_expect(f->put_count == 1 && fake_count(f, "lost") == 1);
    fake_free(f);
}

Test(another_store, beats_that_are_gone)
{
    struct leg c;
    struct fake *f = owning(&c);

    f->found = "";
    see_own(f, 3);
    fake_turn(f);
    cr_assert(f->claim_count == 1 && f->put_count == 0);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->put_count == 0, "no beat has been taken yet");
    see_own(f, 6);
    fake_turn(f);
    cr_expect(f->put_count == 1);
    fake_free(f);
}

/* The caller sends his INVITE again, and another node may have routed it and written its record by now. */
Test(another_store, what_has_no_record_there_goes_over_nobody_s)
{
    struct leg c;
    struct fake *f = owning(&c);

    f->found = "";
    see_own(f, 3);
    fake_turn(f);
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    f->record = fake_orphan(&c, 2, "200.1");
    f->answer_puts = false;
    see_own(f, 6);
    fake_turn(f);
    cr_expect(f->put_count == 1 && f->unanswered_count == 1 && f->unanswered[0] > 0, "that is a claim");
    fake_free(f);
}

/* Call 1 was taken over from node 2, whose record the store that comes back has. While that was away, the far end
 * refused it, maybe. Its own claim is won. */
static struct fake *taken_and(struct leg *c, bool refused)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->answer_puts = true;
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    fake_answer(f, fake_orphan(c, 2, "200.1"));
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    fake_taken(f, 1, 1);
    fake_turn(f);
    fake_ack_all(f);
    engine_store_down(f->e, f->now);
    fake_pass(f, 100);
    if (refused) {
        f->state = 486;
        fake_reply(f, 2, c, "0", 486);
        fake_pass(f, 2000);
    }
    fake_forget(f);
    engine_store_up(f->e, f->now);
    fake_turn(f);
    cr_assert(f->claim_count == 1);
    cr_expect_str_eq(f->claims[0].key, CLAIM_OF("100.1"));
    fake_claimed(f, CLAIM_WON, NULL);
    cr_assert(f->get_count == 1);
    return f;
}

static struct fake *taken(struct leg *c)
{
    return taken_and(c, false);
}

Test(another_store, what_was_taken_over_is_claimed_again)
{
    static const struct {
        enum claim_status status;
        const char *holder;
        size_t puts, lost;
    } cases[] = {{CLAIM_WON, NULL, 1, 0}, {CLAIM_LOST, "1 100.1", 1, 0}, {CLAIM_LOST, "3 300.1", 0, 1}};

    for (size_t i = 0; i < COUNT(cases); i++)
        for (int absent = 0; absent < 2; absent++) {
            struct leg c;
            struct fake *f = taken(&c);

            fake_answer(f, absent ? NULL : fake_orphan(&c, 2, "200.1"));
            cr_assert(f->claim_count == 2, "case %zu: %zu claims", i, f->claim_count);
            cr_expect_str_eq(f->claims[1].key, CLAIM_OF("200.1"));
            fake_claimed(f, cases[i].status, cases[i].holder);
            fake_turn(f);
            cr_expect(f->put_count == cases[i].puts && fake_count(f, "lost") == cases[i].lost, "case %zu", i);
            fake_free(f);
        }
}

/* It was not this node's first try that won: node 3 had claimed it before, and let it go. */
Test(another_store, what_was_taken_over_after_another_let_it_go_is_found_so_again)
{
    static const struct {
        const char *holder;
        size_t puts, lost;
    } cases[] = {{"1 100.1", 1, 0}, {"2 200.2", 0, 1}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct leg c;
        struct fake *f = taken(&c);

        fake_node(f, 2, 20, "200.2", true);
        f->left = "0 300.1~1";
        fake_answer(f, fake_orphan(&c, 2, "200.1"));
        fake_claimed(f, CLAIM_LOST, "3 300.1");
        cr_assert(f->claim_count == 3, "case %zu: %zu claims", i, f->claim_count);
        cr_expect_str_eq(f->claims[2].key, CLAIM_OF("300.1~1"));
        f->left = NULL;
        fake_claimed(f, CLAIM_LOST, cases[i].holder);
        fake_turn(f);
        cr_expect(f->put_count == cases[i].puts && fake_count(f, "lost") == cases[i].lost, "case %zu", i);
        fake_free(f);
    }
}

Test(another_store, what_another_has_taken_over_there_is_lost)
{
    struct leg c;
    struct fake *f = taken(&c);

    fake_answer(f, fake_orphan(&c, 3, "300.1"));
    fake_turn(f);
    cr_expect(f->put_count == 0 && fake_count(f, "lost") == 1 && f->claim_count == 1);
    fake_free(f);
}

static bool is_told(const struct fake *f, int node)
{
    for (size_t i = 0; i < f->tell_count; i++)
        if (f->tells[i].node == node && strcmp(fake_text(fake_tell(f, i), "t"), "failed") == 0 &&
            fake_int(fake_tell(f, i), "code") == 486)
            return true;
    return false;
}

/* Its Kamailio would ring on: the caller has had his answer here. */
Test(another_store, who_has_it_there_hears_that_it_has_ended_here)
{
    struct leg c;
    struct fake *f = taken_and(&c, true);

    fake_answer(f, fake_orphan(&c, 3, "300.1"));
    fake_turn(f);
    cr_expect(fake_count(f, "lost") == 1 && is_told(f, 3), "by its record");
    fake_free(f);
    f = taken_and(&c, true);
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_claimed(f, CLAIM_LOST, "3 300.1");
    fake_turn(f);
    cr_expect(fake_count(f, "lost") == 1 && is_told(f, 3), "by its claim");
    fake_free(f);
}

Test(another_store, who_was_taken_from_and_is_back_hears_it_too)
{
    struct leg c;
    struct fake *f = taken_and(&c, true);

    f->node_record = "{\"id\":2,\"name\":\"n\",\"sip\":\"192.0.2.2:5060\",\"inc\":\"200.1\",\"beat\":50,\"up\":true}";
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_turn(f);
    cr_expect(fake_count(f, "lost") == 1 && is_told(f, 2));
    fake_free(f);
}
