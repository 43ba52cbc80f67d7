/* The steps of a takeover, up to the INVITE in Kamailio. */
#include "fake_takeover.h"

char *fake_taking_it(const struct leg *c)
{
    return fake_epoch(fake_orphan(c, 1, "100.1"), 2, true);
}

struct fake *fake_taking(struct leg *c, const char *branches)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    cr_assert(f->get_count == 1);
    fake_answer(f, branches ? fake_whole(c, 2, "200.1", branches) : fake_orphan(c, 2, "200.1"));
    cr_assert(f->put_count == 1);
    return f;
}

struct fake *fake_injected(struct leg *c, const char *branches)
{
    struct fake *f = fake_taking(c, branches);

    fake_put_done(f, 1, true);
    f->found = fake_taking_it(c);
    fake_turn(f);
    cr_assert(fake_sent_count(f, "why=takeover") == 1);
    return f;
}

void fake_act(struct fake *f, const struct leg *c, size_t n)
{
    json_t *frame;
    const char *msg = fake_sent(f, "why=perhaps", n, &frame), *at = msg ? strstr(msg, ";at=") : NULL;

    cr_assert_not_null(at);
    at += strlen(";at=");
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}%s,\"all\":\"1.%.*s\"}", f->events + 1, cancel_event(c),
             (int)strcspn(at, "-;"), at);
}
