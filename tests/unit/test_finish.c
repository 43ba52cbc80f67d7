/* What a dead owner had not finished: a final reply that the caller may not have heard, far ends that ring on. */
#include "base64.h"
#include "fake.h"

TestSuite(finish, .fini = no_leaks);

/* The record of call 1, which is over. */
static char *over(const struct leg *c, const char *state, int code, int64_t last, const char *branches)
{
    char *whole = strstr(fake_whole(c, 2, "200.1", branches), "\"call_id\"");

    return scratch("{\"owner\":2,\"inc\":\"200.1\",\"state\":\"%s\",\"code\":%d,\"done\":true,\"last\":%lld,%s", state,
                   code, (long long)last, whole);
}

/* Node 2 has died, and each record is looked at by all who live. */
static struct fake *searching(bool takeover)
{
    struct fake *f = fake_peers();

    f->conf.takeover = takeover;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    f->mute_scans = true;
    fake_node(f, 2, 9, "200.1", false);
    fake_turn(f);
    fake_scanned(f, 1, 0, true, 0);
    fake_pass(f, 2000);
    return f;
}

/* And its record of call 1 was read. */
static struct fake *found(const struct leg *c, bool takeover, const char *state, int code, int64_t ago,
                          const char *branches)
{
    struct fake *f = searching(takeover);

    f->answer_puts = true;
    f->found = over(c, state, code, FAKE_EPOCH + f->now - ago, branches);
    if (!*state)
        f->found = fake_cancelled(fake_whole(c, 2, "200.1", branches));
    fake_scanned(f, 1, 1, true, 0);
    fake_turn(f);
    f->found = NULL;
    return f;
}

static char *rings(const struct leg *c, int index)
{
    return fake_branch_json(c, index, scratch("%d", index), 180, NULL);
}

static char *said(const struct leg *c, int index, int code)
{
    return fake_branch_json(c, index, scratch("%d", index), code, NULL);
}

/* tm gets it with the request. */
Test(finish, caller_is_told_again)
{
    struct leg c = call_make(1);

    for (int takeover = 0; takeover < 2; takeover++) {
        struct fake *f = found(&c, takeover, "failed", 486, 3000, said(&c, 0, 486));
        char *branches;

        cr_assert(fake_sent_count(f, "why=takeover") == 1);
        cr_expect(fake_token(f, &branches) > 0);
        cr_expect_str_eq(branches, " 486 -");
        fake_taken(f, 1, 1);
        fake_pass(f, 5000);
        cr_expect(fake_sent_count(f, "CANCEL sip:") == 0 && f->call_count == 0, "its call had ended");
        cr_expect(json_is_true(fake_put_field(f, "done")) && json_integer_value(fake_put_field(f, "owner")) == 1);
        cr_expect(json_integer_value(fake_put_field(f, "code")) == 486 && fake_put_field(f, "req"));
        cr_expect(engine_counters(f->e)->finished == 1 && engine_counters(f->e)->takeovers == 0);
        fake_free(f);
    }
}

Test(finish, not_long_afterwards)
{
    struct leg c = call_make(1);
    struct fake *f = found(&c, true, "failed", 486, 20000, said(&c, 0, 486));

    fake_pass(f, 3000);
    cr_expect(fake_sent_count(f, "why=takeover") == 0 && f->put_count == 0);
    fake_free(f);
}

/* Of a 2xx the far end sees to it that the caller hears it. */
Test(finish, other_phones_of_a_fork_are_cancelled)
{
    struct leg c = call_make(1);
    struct fake *f = found(&c, true, "answered", 200, 20000, scratch("%s,%s", said(&c, 0, 200), rings(&c, 1)));

    cr_expect(fake_sent_count(f, "CANCEL sip:bob1@") == 1 && fake_sent_count(f, "CANCEL sip:") == 1);
    fake_pass(f, 2000);
    cr_expect(fake_sent_count(f, "CANCEL sip:bob1@") >= 2, "it may get lost");
    cr_expect(fake_sent_count(f, "why=takeover") == 0 && f->call_count == 0);
    cr_expect(fake_put_field(f, "req") != NULL, "should this node die, too");
    fake_free(f);
}

/* The owner had given it up, and its CANCEL may be lost. To who had never said anything none was due. */
Test(finish, who_rang_and_was_given_up_is_cancelled)
{
    struct leg c = call_make(1);
    char *silent = said(&c, 1, 408), *rang = scratch("{\"rang\":true,%s", said(&c, 0, 408) + 1);
    struct fake *f = found(&c, true, "failed", 408, 2000, scratch("%s,%s", rang, silent));

    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "CANCEL sip:bob0@") == 1 && fake_sent_count(f, "CANCEL sip:") == 1);
    fake_free(f);
}

/* Nothing is taken over, but what had been promised is done. */
Test(finish, cancelled_call_ends_without_a_takeover)
{
    struct leg c = call_make(1);
    struct fake *f = found(&c, false, "", 0, 0, scratch("%s,%s", rings(&c, 0), rings(&c, 1)));
    char *branches;

    fake_token(f, &branches);
    cr_expect_str_eq(branches, " 487 -");
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0, "before it is this node's");
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 2);
    cr_expect_str_eq(fake_call_text(f, "how"), "cancelled");
    fake_free(f);
}

Test(finish, nothing_else_is_taken_over_without_a_takeover)
{
    struct leg c = call_make(1);
    struct fake *f = searching(false);

    f->found = fake_orphan(&c, 2, "200.1");
    fake_scanned(f, 1, 1, true, 0);
    fake_pass(f, 1000);
    cr_expect(f->put_count == 0 && fake_sent_count(f, "why=takeover") == 0);
    fake_free(f);
}
