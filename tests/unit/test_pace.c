/* The pace of takeovers after a death: it yields to ordinary calls, by what Kamailio and the far ends answer. */
#include "fake.h"

TestSuite(pace, .fini = no_leaks, .timeout = 60);

#define MOST 64

/* Node 2 has died, and this one takes its calls over: which lookup and which INVITE comes next. */
struct mass {
    struct fake *f;
    size_t looked_up, taken;
};

static struct mass mass(size_t calls)
{
    struct mass m = {.f = fake_peers()};

    m.f->mute_scans = true;
    m.f->answer_puts = true;
    fake_node(m.f, 2, 9, "200.1", false);
    fake_node(m.f, 3, 9, "300.1", false);
    fake_turn(m.f);
    fake_scanned(m.f, 0, calls, true, 0);
    fake_turn(m.f);
    return m;
}

static unsigned number(const struct mass *m, size_t n)
{
    unsigned i = 0;

    cr_assert(n < m->f->get_count);
    sscanf(m->f->gets[n].key, "kamsync:tx:{call-%u@", &i);
    return i;
}

/* The store answers all lookups, so that their INVITEs are in Kamailio; how many are new. */
static size_t inject(struct mass *m)
{
    size_t before = m->looked_up;

    while (m->looked_up < m->f->get_count) {
        struct leg c = call_make(number(m, m->looked_up));

        engine_got(m->f->e, m->f->gets[m->looked_up++].token, GET_FOUND, span_of(fake_orphan(&c, 2, "200.1")),
                   m->f->now);
        fake_turn(m->f);
        fake_ack_all(m->f);
        fake_turn(m->f);
    }
    return m->looked_up - before;
}

/* Kamailio has sent the branch of the next one; the far end answers it. */
static void take(struct mass *m)
{
    struct leg c = call_make(number(m, m->taken++));

    fake_branch(m->f, m->f->events + 1, &c, "0", false);
}

static void answer(struct mass *m, size_t n)
{
    struct leg c = call_make(number(m, n));

    fake_reply(m->f, m->f->events + 1, &c, "0", 180);
}

Test(pace, one_that_is_taken_counts_until_the_far_end_has_answered)
{
    struct mass m = mass(300);

    cr_assert(inject(&m) == MOST);
    for (int i = 0; i < 20; i++)
        take(&m);
    fake_turn(m.f);
    cr_expect(inject(&m) == 0, "nobody has answered");
    for (size_t i = 0; i < 7; i++)
        answer(&m, i);
    fake_turn(m.f);
    cr_expect(inject(&m) == 7);
    answer(&m, 0);
    fake_turn(m.f);
    cr_expect(inject(&m) == 0, "once");
    fake_free(m.f);
}

Test(pace, far_ends_that_say_nothing_hold_nobody_up_for_long)
{
    struct mass m = mass(300);

    inject(&m);
    for (int i = 0; i < 20; i++)
        take(&m);
    fake_pass(m.f, 99);
    cr_expect(inject(&m) == 0);
    fake_pass(m.f, 1);
    cr_expect(inject(&m) == 20);
    fake_free(m.f);
}

/* Takes and answers all that are in Kamailio after so many ms; how many follow at once. */
static size_t round_of(struct mass *m, int64_t ms)
{
    fake_pass(m->f, ms);
    while (m->taken < m->looked_up) {
        take(m);
        answer(m, m->taken - 1);
    }
    fake_turn(m->f);
    return inject(m);
}

Test(pace, slow_kamailio_has_fewer_and_more_again_when_it_is_fast)
{
    struct mass m = mass(2000);
    size_t n;

    cr_assert(inject(&m) == MOST);
    cr_expect((n = round_of(&m, 40)) == 16, "%zu", n);
    cr_expect((n = round_of(&m, 40)) == 16, "never none: %zu", n);
    cr_expect((n = round_of(&m, 10)) == 32, "%zu", n);
    cr_expect((n = round_of(&m, 10)) == MOST, "%zu", n);
    cr_expect((n = round_of(&m, 10)) == MOST, "%zu", n);
    fake_free(m.f);
}

/* It is this node's own now: should others have taken it, that shows at once. */
Test(pace, one_that_waits_for_an_answer_is_no_takeover)
{
    struct mass m = mass(1);
    struct engine_status s;

    cr_assert(inject(&m) == 1);
    take(&m);
    fake_turn(m.f);
    engine_status(m.f->e, &s);
    cr_expect(s.takeovers == 0 && s.txns == 1);
    m.f->put_count = 0;
    fake_pass(m.f, 10);
    m.f->now += 2000; /* the host stood still */
    fake_turn(m.f);
    cr_assert(m.f->put_count == 1, "%zu", m.f->put_count);
    cr_expect(json_integer_value(fake_put_field(m.f, "epoch")) == 3, "the takeover had 2");
    fake_free(m.f);
}
