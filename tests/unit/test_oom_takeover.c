/* Memory that is short for a moment, just when a takeover is to be written. */
#include "fake.h"
#include "oom.h"

TestSuite(oom_takeover, .init = oom_setup, .fini = no_leaks);

/* fake_turn() sees to it that the engine does not run in circles meanwhile. */
Test(oom_takeover, record_is_written_a_moment_later)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->polite = f->mute_nodes = true;
    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    cr_assert(f->asked == 1);
    oom_begin(1, false);
    engine_got(f->e, f->node_token, GET_ABSENT, (struct span){0}, f->now);
    cr_assert(oom_end() && f->put_count == 0);
    fake_pass(f, 199);
    cr_expect(f->put_count == 0);
    fake_pass(f, 1);
    cr_expect(f->put_count == 1);
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover") == 1);
    fake_free(f);
}

/* A failed takeover, whose record is read once more: it is this node's still, but the n-th allocation fails. Whether
 * the release waited for that. */
static bool is_released_late(unsigned n)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();
    bool late;

    fake_death(f);
    fake_pass(f, 250); /* so that no beat is due when it is released */
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, fake_orphan(&c, 2, "200.1"));
    fake_turn(f);
    fake_taken(f, 1, 0);
    fake_turn(f);
    oom_begin(n, false);
    engine_got(f->e, f->gets[f->get_count - 1].token, GET_FOUND, span_of(f->puts[0].value), f->now);
    cr_assert(oom_end());
    late = f->put_count == 1;
    fake_pass(f, 199);
    cr_expect(!late || f->put_count == 1);
    fake_pass(f, 1);
    cr_expect(f->put_count == 2 && json_integer_value(fake_put_field(f, "owner")) == 0, "without allocation %u", n);
    fake_free(f);
    return late;
}

/* Else the record would say for long that a living node is taking it. */
Test(oom_takeover, record_is_released_at_once_or_a_moment_later)
{
    unsigned n = 1;

    while (!is_released_late(n)) /* up to the first allocation for what is written */
        n++;
    cr_expect(n > 2, "reading the record allocates as well");
}

/* Of a call whose script had hidden who calls; without the n-th allocation. Whether there was one. */
static bool is_hidden(unsigned n)
{
    struct leg c = call_make(1);
    const char *record = fake_orphan(&c, 2, "200.1");
    struct fake *f = fake_peers();
    char *got;
    bool failed;

    record = scratch("%.*s,\"far_from\":\"<sip:no>;tag=1\"}", (int)strlen(record) - 1, record);
    f->conf.takeover = false;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    oom_begin(n, false);
    engine_got(f->e, f->gets[f->get_count - 1].token, GET_FOUND, span_of(record), f->now);
    failed = oom_end();
    fake_turn(f);
    got = fake_sent(f, "CANCEL sip:bob0", 0, NULL);
    cr_expect(got ? !strstr(got, "alice") : failed, "without allocation %u: %s", n, got);
    fake_free(f);
    return failed;
}

Test(oom_takeover, what_is_adopted_is_hidden_or_not_sent)
{
    unsigned n = 1;

    while (is_hidden(n))
        n++;
    cr_expect(n > 2);
}
