/* Kamailio that hangs: its node says so, and others take over. */
#include "fake.h"

TestSuite(hang, .fini = no_leaks);

#define HANG_MS 1500

static struct fake *watching(struct leg *c)
{
    struct fake *f = fake_owning(c);

    f->conf.hang_ms = HANG_MS;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_pass(f, 1100); /* also the credit for the events is written */
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
    return f;
}

static bool said(const struct fake *f, const char *what)
{
    return f->beat_count && strstr(f->beats[f->beat_count - 1].record, what);
}

static struct fake *hung(struct leg *c)
{
    struct fake *f = watching(c);

    f->deaf = true;
    fake_pass(f, HANG_MS + 1000);
    cr_assert(said(f, "\"up\":false"));
    return f;
}

Test(hang, is_noticed_in_time)
{
    struct leg c;
    struct fake *f = watching(&c);
    int64_t begun = f->now;

    f->deaf = true;
    while (!said(f, "\"up\":false") && f->now < begun + 10000)
        fake_pass(f, 10);
    cr_expect(f->now - begun <= HANG_MS + f->conf.heartbeat_ms + 10, "after %lld ms", (long long)(f->now - begun));
    cr_expect(f->now - begun >= HANG_MS);
    cr_expect(engine_counters(f->e)->hangs == 1 && strstr(f->logs, "does not answer"));
    for (size_t i = 0; i < f->beat_count; i++)
        cr_expect(f->beats[i].announce == (i == f->beat_count - 1), "told to all at once");
    fake_pass(f, 60000);
    cr_expect(engine_counters(f->e)->hangs == 1 && fake_count(f, "ping") == 2, "two pings are enough");
    fake_free(f);
}

Test(hang, what_was_learnt_last_is_written_before)
{
    struct leg c;
    struct fake *f = watching(&c);

    f->deaf = true;
    fake_pass(f, 2000);
    cr_assert(engine_wait(f->e, f->now) > 0);
    f->now += engine_wait(f->e, f->now);
    fake_reply(f, 2, &c, "0", 183);
    f->now += 900;
    fake_turn(f);
    cr_expect(f->put_count == 1 && engine_counters(f->e)->hangs == 1);
    fake_free(f);
}

Test(hang, is_over_when_the_ack_comes)
{
    struct leg c;
    struct fake *f = hung(&c);

    fake_reply(f, 2, &c, "0", 183);
    fake_pass(f, 1000);
    cr_expect(f->put_count == 0, "a node that counts as dead writes nothing");
    f->deaf = false;
    fake_ack_all(f);
    cr_expect(said(f, "\"up\":true") && f->beats[f->beat_count - 1].announce);
    fake_turn(f);
    cr_expect(f->put_count == 1 && json_integer_value(fake_put_field(f, "epoch")) == 2);
    cr_expect(json_integer_value(fake_put_field(f, "code")) == 183 && engine_counters(f->e)->hangs == 1);
    fake_pass(f, 20000);
    cr_expect(engine_counters(f->e)->hangs == 1);
    fake_free(f);
}

Test(hang, can_happen_again)
{
    struct leg c;
    struct fake *f = hung(&c);

    f->deaf = false;
    fake_ack_all(f);
    fake_pass(f, 5000);
    fake_forget(f);
    f->deaf = true;
    fake_pass(f, HANG_MS + 1000);
    cr_expect(said(f, "\"up\":false") && engine_counters(f->e)->hangs == 2);
    fake_free(f);
}

Test(hang, no_false_alarm_while_acks_flow)
{
    struct leg c;
    struct fake *f = watching(&c);

    f->found = "";
    for (int i = 0; i < 300; i++) { /* a busy Kamailio: each ack comes late, never all */
        fake_stray(f, i + 1, &c, "CANCEL");
        fake_pass(f, 100);
        if (i >= 5)
            fake_say(f, "{\"t\":\"ack\",\"n\":%lld}",
                     (long long)fake_int(json_array_get(f->frames, (size_t)i - 5), "n"));
    }
    cr_expect(engine_counters(f->e)->hangs == 0);
    fake_free(f);
}

Test(hang, idle_kamailio_does_not_hang)
{
    struct leg c;
    struct fake *f = watching(&c);

    fake_pass(f, 120000);
    cr_expect(engine_counters(f->e)->hangs == 0 && fake_status(f).link);
    fake_free(f);
}

/* Whoever hangs takes nothing over: what lies in its socket would be carried out when others own it. */
Test(hang, hung_node_takes_nothing_over)
{
    struct leg c;
    struct fake *f = hung(&c);

    fake_forget(f);
    f->mute_scans = true;
    fake_node(f, 2, 1, "200.1", true);
    fake_node(f, 2, 2, "200.2", true);
    fake_turn(f);
    if (f->scanning) {
        fake_scanned(f, 50, 20, true, 0);
        fake_turn(f);
        for (size_t i = f->get_count; i-- > 0;) {
            unsigned number = 0;
            struct leg other;

            sscanf(f->gets[i].key, "kamsync:tx:{call-%u@", &number);
            other = call_make(number);
            engine_got(f->e, f->gets[i].token, GET_FOUND, span_of(fake_orphan(&other, 2, "200.1")), f->now);
        }
    }
    cr_expect(f->put_count == 0, "%zu", f->put_count);
    fake_free(f);
}

Test(hang, link_that_breaks_during_it)
{
    struct leg c;
    struct fake *f = hung(&c);

    engine_link_down(f->e, f->now);
    fake_pass(f, 3000);
    f->deaf = false;
    fake_forget(f);
    engine_link_up(f->e, "tag-2", f->now);
    fake_turn(f);
    fake_ack_all(f);
    fake_hello(f, 1, "100.1");
    fake_pass(f, 5000);
    cr_expect(said(f, "\"up\":true") && f->put_count == 1 && engine_counters(f->e)->hangs == 1);
    fake_free(f);
}
