/* A transaction that the script reports before it has a branch (KAMSYNC_PENDING). */
#include "base64.h"
#include "fake_takeover.h"

TestSuite(pending, .fini = no_leaks);

#define BRANCH "z9hG4bK-kamsync-pending.0123"

static const char *pending(const struct leg *c)
{
    return branch_text("INVITE sip:bob@x SIP/2.0\r\nVia: SIP/2.0/UDP kamsync;branch=" BRANCH ".0\r\n\r\n",
                       sip_request(c, "INVITE"), "");
}

static struct fake *begun(struct leg *c)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    f->state = 100;
    fake_say(f, "{\"t\":\"events\",\"n\":%lld}%s", (long long)++f->events, pending(c));
    fake_turn(f);
    return f;
}

static const char *via_of(const struct fake *f)
{
    return json_string_value(json_object_get(json_array_get(fake_put_field(f, "branches"), 0), "via"));
}

Test(pending, its_first_branch_takes_its_place)
{
    struct leg c;
    struct fake *f = begun(&c);

    cr_expect(fake_status(f).txns == 1 && strstr(via_of(f), BRANCH));
    fake_branch(f, ++f->events, &c, "0", true);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && json_array_size(fake_put_field(f, "branches")) == 1);
    cr_expect(strstr(via_of(f), c.tm) && json_integer_value(fake_put_field(f, "epoch")) == 1);
    fake_reply(f, ++f->events, &c, "0", 180);
    fake_turn(f);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "state")), "ringing");
    fake_free(f);
}

/* And if tm does not have it any more. */
Test(pending, the_scripts_own_answer_ends_it)
{
    struct leg c;

    for (int code = 0; code <= 486; code += 486) {
        struct fake *f = begun(&c);

        fake_pass(f, 20000);
        cr_expect(!json_is_true(fake_put_field(f, "done")));
        f->state = code;
        fake_pass(f, 20000);
        cr_expect(json_is_true(fake_put_field(f, "done")));
        cr_expect(json_integer_value(fake_put_field(f, "code")) == (code ? code : 408));
        fake_free(f);
    }
}

static const char *orphan(const struct leg *c)
{
    return fake_whole(c, 2, "200.1",
                      "{\"i\":0,\"code\":0,\"via\":\"SIP/2.0/UDP kamsync;branch=" BRANCH
                      ".0\",\"to\":\"udp:127.0.0.1:9\",\"sock\":\"udp:192.0.2.10:5060\",\"ruri\":\"sip:x\"}");
}

static struct fake *found_dead(struct leg *c)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    fake_answer(f, orphan(c));
    return f;
}

/* The branch may be reported before the takeover is. */
Test(pending, a_survivor_routes_it_anew)
{
    struct leg c;
    char *list;

    for (int first = 0; first < 2; first++) {
        struct fake *f = found_dead(&c);

        fake_put_done(f, 1, true);
        f->found = fake_epoch(orphan(&c), 2, true);
        fake_turn(f);
        fake_token(f, &list);
        cr_expect(strncmp(list, "|0 0 udp:127.0.0.1:9 ", 21) == 0, "%s", list);
        if (first)
            fake_branch(f, ++f->events, &c, "0", true);
        fake_taken(f, ++f->events, 1);
        if (!first)
            fake_branch(f, ++f->events, &c, "0", true);
        fake_turn(f);
        cr_expect(fake_status(f).txns == 1 && fake_status(f).takeovers == 0 && strstr(via_of(f), c.tm));
        cr_expect(json_integer_value(fake_put_field(f, "epoch")) == 2);
        fake_free(f);
    }
}

/* There is nobody to whom it could be sent. */
Test(pending, an_adoption_sends_nothing)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);

    f->conf.takeover = false;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, orphan(&c));
    fake_turn(f);
    cr_expect_null(fake_sent(f, "CANCEL sip:x", 0, NULL));
    fake_free(f);
}
