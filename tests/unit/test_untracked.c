/* Calls whose transaction is not kept: each leaves one entry that says so. */
#include "fake.h"
#include "sip.h"

TestSuite(untracked, .fini = no_leaks);

static struct fake *ready(struct leg *c)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    return f;
}

/* The script tells of the leg's INVITE, or of another one. */
static void tell(struct fake *f, const char *why, const char *invite)
{
    const char *msg = base64_of(invite);

    fake_say(f,
             "{\"t\":\"events\",\"n\":%lld}{\"t\":\"untracked\",\"why\":\"%s\",\"src\":\"tcp:198.51.100.9:40000\","
             "\"at\":1800000010.5,\"msg\":%zu}%s",
             f->events + 1, why, strlen(msg), msg);
    fake_turn(f);
}

static char *replaced(const char *text, const char *part, const char *by)
{
    const char *at = strstr(text, part);

    cr_assert_not_null(at);
    return scratch("%.*s%s%s", (int)(at - text), text, by, at + strlen(part));
}

static void expect_entry(struct fake *f, const char *why, size_t ends)
{
    fake_pass(f, 12000);
    cr_expect(fake_writes(f, CALL_END) == ends, "%zu ends", fake_writes(f, CALL_END));
    expect_text(f, "how", "untracked");
    expect_text(f, "untracked", why);
    expect_text(f, "by", "(none)");
    cr_expect(engine_counters(f->e)->frames_bad == (strcmp(why, "unreadable") == 0));
}

Test(untracked, the_script_says_so)
{
    struct leg c;
    struct fake *f = ready(&c);

    tell(f, "large", sip_request(&c, "INVITE"));
    cr_expect(f->call_count == 1 && f->calls[0].mode == CALL_BEGIN && f->calls[0].node == 1);
    expect_text(f, "untracked", "large");
    expect_entry(f, "large", 1);
    expect_text(f, "call_id", c.call_id);
    expect_text(f, "from_tag", "a1");
    expect_text(f, "caller", "sip:alice@example.org");
    expect_text(f, "callee", "sip:bob@example.org");
    expect_text(f, "ruri", "sip:bob@192.0.2.10");
    expect_text(f, "source", "tcp:198.51.100.9:40000");
    expect_text(f, "trying", scratch("%lld", (long long)AT(10) + 500));
    expect_text(f, "ended", scratch("%lld", (long long)AT(10) + 500));
    fake_free(f);
}

Test(untracked, more_than_txns_max)
{
    struct leg c, second = call_make(2);
    struct fake *f = ready(&c);

    f->conf.txns_max = 1;
    engine_configure(f->e, &f->conf, f->now);
    fake_invite(f, &c, NULL, AT(10));
    fake_invite(f, &second, NULL, AT(11));
    expect_entry(f, "full", 1);
    expect_text(f, "call_id", second.call_id);
    cr_expect(engine_counters(f->e)->txns_shed == 1 && engine_counters(f->e)->calls_untracked == 1);
    fake_free(f);
}

Test(untracked, no_branch)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_invite(f, &c, replaced(sip_request(&c, "INVITE"), ";branch=", ";b="), AT(10));
    expect_entry(f, "unreadable", 1);
    expect_text(f, "call_id", c.call_id);
    fake_free(f);
}

/* Empty lines before it: Kamailio reads over them, and so does kamsyncd. */
Test(untracked, behind_empty_lines_it_is_tracked)
{
    struct leg c;
    struct fake *f = ready(&c);

    fake_invite(f, &c, scratch("\r\n\r\n%s", sip_request(&c, "INVITE")), AT(10));
    fake_turn(f);
    expect_text(f, "untracked", "(none)");
    expect_text(f, "call_id", c.call_id);
    cr_expect(strncmp(json_string_value(fake_put_field(f, "req")), "INVITE ", 7) == 0);
    fake_free(f);
}

/* A re-INVITE begins no call. */
Test(untracked, within_a_call)
{
    struct leg c;
    struct fake *f = ready(&c);

    tell(f, "transport", replaced(sip_request(&c, "INVITE"), "To: <sip:bob@example.org>", "To: <sip:bob@x>;tag=b1"));
    fake_pass(f, 12000);
    cr_expect(f->call_count == 0);
    fake_free(f);
}

/* A fork whose first branch went over TCP; or a caller who comes again with a shorter INVITE. */
Test(untracked, a_branch_that_is_tracked)
{
    struct leg c;
    struct fake *f = ready(&c);

    tell(f, "transport", sip_request(&c, "INVITE"));
    fake_invite(f, &c, NULL, AT(11));
    fake_pass(f, 12000);
    expect_text(f, "untracked", "(none)");
    expect_text(f, "state", "trying");
    cr_expect(fake_writes(f, CALL_END) == 0);
    fake_free(f);
}

/* One entry of both; told twice it is one INVITE. */
Test(untracked, challenged)
{
    struct leg c, again;
    struct fake *f = ready(&c);

    again = c;
    again.cseq = 2;
    again.branch = "z9hG4bK-again";
    for (int i = 0; i < 2; i++)
        tell(f, "large", sip_request(&c, "INVITE"));
    cr_expect(f->call_count == 1);
    fake_pass(f, 5000);
    tell(f, "large", sip_request(&again, "INVITE"));
    expect_entry(f, "large", 1);
    expect_text(f, "tx", "kamsync:tx:{call-1@caller.example}:2:z9hG4bK-again:198.51.100.9:5060:untracked");
    fake_free(f);
}

/* Each is a call. */
Test(untracked, without_a_name)
{
    struct leg c;
    struct fake *f = ready(&c);

    for (size_t i = 1; i <= 2; i++) {
        tell(f, "shed", "INVITE sip:bob@192.0.2.10 SIP/2.0\r\nX-Long: xxx\r\nCall-ID: cut o");
        expect_entry(f, "shed", i);
        expect_text(f, "ruri", "sip:bob@192.0.2.10");
        expect_text(f, "source", "tcp:198.51.100.9:40000");
    }
    fake_free(f);
}

Test(untracked, for_no_known_reason)
{
    struct leg c;
    struct fake *f = ready(&c);

    tell(f, "whim", sip_request(&c, "INVITE"));
    cr_expect(f->call_count == 0 && engine_counters(f->e)->frames_bad == 1);
    fake_free(f);
}

/* ---- what can be read ---- */

Test(untracked, whatever_there_is)
{
    static const char text[] =
        "INVITE  sip:b@x SIP/2.0\nv : SIP/2.0/UDP h\nf:\"A\" <sip:a@x>\n ;tag=1\nt: b\nFrom: <sip:no>\n"
        "Call-ID:\r\n\tfolded\r\nCSeq: 7 INVITE\r\nTo: cut";
    struct sip_id id;

    sip_glean(&id, scratch_exact(span_of(text)));
    assert_span(id.ruri, "sip:b@x");
    assert_span(id.call_id, "folded");
    assert_span(id.from_uri, "sip:a@x");
    assert_span(id.from_tag, "1");
    assert_span(id.to_uri, "b");
    cr_expect(id.cseq == 7 && !id.branch.n);
    sip_glean(&id, (struct span){0});
    cr_expect(!id.ruri.n && !id.call_id.n && !id.to_tag.n);
}
