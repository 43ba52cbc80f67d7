/* An INVITE that a takeover sends as the script had changed it (KAMSYNC_AS_SENT). */
#include "base64.h"
#include "fake_takeover.h"
#include "sip.h"

TestSuite(as_sent, .fini = no_leaks);

#define ID(name) name ": c@x\r\nCSeq: 7 INVITE\r\n"
#define OURS "Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKtm.0\r\n"
#define THEIRS "Via: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK1\r\n"

static void expect_merged(const char *received, const char *sent, const char *expected)
{
    struct sip_as_sent as;

    cr_assert(sip_read_as_sent(&as, scratch_exact(span_of(received)), scratch_exact(span_of(sent))) == 0);
    assert_span(as.req, expected);
    cr_expect(!as.from && !as.to);
    sip_as_sent_clear(&as);
}

Test(as_sent, what_tm_makes_its_branch_of_is_as_received)
{
    expect_merged(
        "INVITE sip:a@x SIP/2.0\r\n" THEIRS "v: SIP/2.0/UDP h;branch=z9hG4bK2\r\nX-Gone: x\r\n"
        "f: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n" ID("i") "Route: <sip:me>\r\nRecord-Route: <sip:h>\r\n\r\nold",
        "INVITE sip:b@y SIP/2.0\r\nRecord-Route: <sip:me;lr>\r\n" OURS
        "Via: SIP/2.0/UDP 198.51.100.9;received=1.2.3.4;branch=z9hG4bK1\r\n"
        "Via: SIP/2.0/UDP h;branch=z9hG4bK2\r\nf: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n" ID(
            "i") "Route: <sip:r>\r\n"
                 "Record-Route: <sip:h>\r\nX-Folded: a,\r\n b\r\nContent-Length: 3\r\n\r\nnew",
        "INVITE sip:a@x SIP/2.0\r\n" THEIRS "v: SIP/2.0/UDP h;branch=z9hG4bK2\r\n"
        "f: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n" ID("i") "Record-Route: <sip:h>\r\nX-Folded: a,\r\n b\r\n"
                                                          "Content-Length: 3\r\n\r\nnew");
}

Test(as_sent, changed_addresses_stand_beside_it)
{
    struct span received =
        span_of("INVITE sip:a@x SIP/2.0\r\n" THEIRS "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n" ID("Call-ID") "\r\n");
    struct span sent = span_of("INVITE sip:b@y SIP/2.0\r\n" OURS THEIRS
                               "To: <sip:nobody>\r\nFrom: \"No\" <sip:no>;tag=1\r\n" ID("Call-ID") "\r\n");
    struct sip_as_sent as;

    cr_assert(sip_read_as_sent(&as, received, sent) == 0);
    assert_span(as.req,
                "INVITE sip:a@x SIP/2.0\r\n" THEIRS "To: <sip:b@x>\r\nFrom: <sip:a@x>;tag=1\r\n" ID("Call-ID") "\r\n");
    cr_expect_str_eq(as.from, "\"No\" <sip:no>;tag=1");
    cr_expect_str_eq(as.to, "<sip:nobody>");
    sip_as_sent_clear(&as);
}

/* Then it stays as received: better that than no call. */
Test(as_sent, one_that_lacks_what_names_it)
{
    const char *whole =
        "INVITE sip:a@x SIP/2.0\r\n" THEIRS "From: <sip:a>;tag=1\r\nTo: <sip:b>\r\n" ID("Call-ID") "\r\n";
    const char *bad[] = {"", "garbage", "INVITE sip:b@y SIP/2.0\r\n\r\n",
                         "INVITE sip:a@x SIP/2.0\r\n" THEIRS "From: <sip:a>;tag=1\r\n" ID("Call-ID") "\r\n"};
    struct sip_as_sent as;

    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect(sip_read_as_sent(&as, span_of(whole), scratch_exact(span_of(bad[i]))) == -EBADMSG, "%zu", i);
}

Test(as_sent, other_addresses_but_the_tag_of_a_dialog_stays)
{
    size_t n = 0;
    char *got = sip_readdressed(span_of("ACK x SIP/2.0\r\nf: a\r\nTo: b;tag=1\r\n\r\nFrom: c"), "F", "T", &n);

    assert_span(((struct span){got, n}), "ACK x SIP/2.0\r\nFrom: F\r\nTo: b;tag=1\r\n\r\nFrom: c");
    free(got);
    got = sip_readdressed(span_of("From: x SIP/2.0\r\nFrom: a\r\n\r\n"), "F", NULL, &n);
    assert_span(((struct span){got, n}), "From: x SIP/2.0\r\nFrom: F\r\n\r\n");
    free(got);
    got = sip_readdressed(span_of("CANCEL x SIP/2.0\r\nt: b\r\nFrom: a\r\n"), NULL, "T", &n);
    assert_span(((struct span){got, n}), "CANCEL x SIP/2.0\r\nTo: T\r\nFrom: a\r\n");
    free(got);
}

/* What was sent on the first branch, and then, as second, by failure_route, or beside it. */
static struct fake *with_second(bool as_sent, bool beside, const char *second)
{
    struct fake *f = fake_ready();
    struct leg c = call_make(1);
    const char *req = sip_request(&c, "INVITE"), *more = as_sent ? ",\"as_sent\":1" : "", *first;
    const char *rest = strchr(sip_sent_on(&c, "0"), '\n') + 1;

    first = scratch("INVITE sip:one SIP/2.0\r\nX-First: 1\r\n%s", rest);
    fake_say(f, "{\"t\":\"events\",\"n\":1}%s", branch_text(first, req, more));
    if (!beside)
        fake_reply(f, 2, &c, "0", 503);
    fake_say(f, "{\"t\":\"events\",\"n\":3}%s",
             branch_text(second, NULL, scratch("%s%s", more, beside ? "" : ",\"step\":1")));
    fake_turn(f);
    return f;
}

static struct fake *with_branches(bool as_sent, bool beside)
{
    struct leg c = call_make(1);

    return with_second(as_sent, beside,
                       scratch("INVITE sip:two SIP/2.0\r\nX-Second: 1\r\n%s", strchr(sip_sent_on(&c, "1"), '\n') + 1));
}

Test(as_sent, without_it_the_record_has_what_was_received)
{
    struct fake *f = with_branches(false, false);
    const char *req = json_string_value(fake_put_field(f, "req"));

    cr_expect(!strstr(req, "X-First") && !strstr(req, "X-Second"), "%s", req);
    fake_free(f);
}

/* failure_route's next gateway would else see the caller's. */
Test(as_sent, one_with_another_from_takes_the_place_of_the_first)
{
    struct leg c = call_make(1);
    const char *text = sip_sent_on(&c, "1"), *from = strstr(text, "\r\nFrom: ") + strlen("\r\nFrom: ");
    struct fake *f =
        with_second(true, false, scratch("%.*s<sip:hidden>;tag=1%s", (int)(from - text), text, strchr(from, '\r')));
    const char *req = json_string_value(fake_put_field(f, "req"));

    cr_expect(!strstr(req, "X-First") && !strstr(req, "192.0.2.10:5060;branch"), "%s", req);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "far_from")), "<sip:hidden>;tag=1");
    fake_free(f);
}

static void expect_own(bool beside)
{
    struct fake *f = with_branches(true, beside);
    const char *req = json_string_value(fake_put_field(f, "req"));
    json_t *branches, *second;

    cr_expect(strstr(req, "X-First") && !strstr(req, "X-Second"), "%s", req);
    branches = fake_put_field(f, "branches");
    cr_expect(!json_object_get(json_array_get(branches, 0), "apart"));
    second = json_array_get(branches, 1);
    req = json_string_value(json_object_get(second, "req"));
    cr_expect(json_is_true(json_object_get(second, "apart")) && strstr(req, "\r\nX-Second: 1\r\n") &&
                  !strstr(req, "X-First"),
              "%s", req);
    fake_free(f);
}

Test(as_sent, a_further_branch_has_its_own)
{
    expect_own(true);
    expect_own(false);
}

/* What sip_apart() tells, one in each line. */
static void note(void *ctx, char what, struct span text)
{
    char **all = ctx;

    *all = scratch("%s%c %.*s\n", *all, what, (int)text.n, text.p);
}

#define FIRST_LINE "INVITE sip:a@x SIP/2.0\r\n" THEIRS

static void expect_apart(const char *was, const char *is, const char *expected)
{
    char *got = scratch("%s", "");

    cr_assert(sip_apart(scratch_exact(span_of(was)), scratch_exact(span_of(is)), note, &got) == (expected != NULL));
    if (expected)
        cr_expect_str_eq(got, expected);
}

Test(as_sent, differences_as_a_script_can_make_them)
{
    expect_apart(FIRST_LINE "From: a\r\nA: 1\r\nl: 0\r\n\r\n", FIRST_LINE "From: a\r\nA: 1\r\nl: 0\r\n\r\n", "");
    expect_apart(FIRST_LINE "From: a\r\nA: 1\r\nB: 1\r\na: 2\r\nl: 0\r\n\r\n",
                 "INVITE sip:a@x SIP/2.0\r\nX: top\r\n" THEIRS
                 "From: a\r\nP: 1,\r\n 2\r\nB: 1\r\nA: 1\r\nl: 0\r\nE: e\r\n\r\n",
                 "r A\nb X: top\r\n\nf P: 1,\r\n 2\r\n\ne A: 1\r\n\ne E: e\r\n\n");
    expect_apart(FIRST_LINE "t: b\r\nCall-ID: c\r\nc: x/y\r\nCSeq: 1 INVITE\r\n\r\nold",
                 FIRST_LINE
                 "t: b\r\nT1: 1\r\nCall-ID: c\r\nI: 1\r\nI: 2\r\nc: x/y\r\nCSeq: 1 INVITE\r\nS: 1\r\n\r\nnew\r\n",
                 "t T1: 1\r\n\ni I: 1\r\nI: 2\r\n\ne S: 1\r\n\nd new\r\n\n");
    expect_apart("INVITE sip:a@x SIP/2.0\nc: x/y\n\nold", "INVITE sip:a@x SIP/2.0\nc: x/y\n\nnew", "d new\n");
}

Test(as_sent, one_more_header_of_a_name)
{
    expect_apart(FIRST_LINE "A: 1\r\nB: 1\r\na: 2\r\n\r\n", FIRST_LINE "A: 1\r\nB: 1\r\na: 2\r\nA: 3\r\n\r\n",
                 "e A: 3\r\n\n");
    expect_apart(FIRST_LINE "A: 1\r\nA: 2\r\n\r\n", FIRST_LINE "A: 1\r\n\r\n", "r A\ne A: 1\r\n\n");
    expect_apart(FIRST_LINE "From: a\r\n\r\n", FIRST_LINE "A: 1\r\nFrom: a\r\nA: 2\r\n\r\n",
                 "e A: 1\r\n\ne A: 2\r\n\n");
}

Test(as_sent, differences_that_no_script_can_make)
{
    char *many = scratch("%s", FIRST_LINE);

    expect_apart(FIRST_LINE "c: x/y\r\n\r\nbody", FIRST_LINE "c: x/y\r\n\r\n", NULL);
    expect_apart(FIRST_LINE "\r\n", FIRST_LINE "\r\nbody", NULL);
    expect_apart(FIRST_LINE "\r\none", FIRST_LINE "\r\ntwo", NULL);
    for (int i = 0; i < 128; i++)
        many = scratch("%sX%d: 1\r\n", many, i);
    expect_apart(FIRST_LINE "\r\n", scratch("%s\r\n", many), NULL);
    many = strstr(many, "X31:");
    expect_apart(scratch(FIRST_LINE "%s\r\n", many), FIRST_LINE "\r\n", NULL);
}

/* A dead node's branches, two of which were sent otherwise than the first one. */
static char *branches_apart(const struct leg *c, const char *second, const char *third)
{
    char *b1 = fake_branch_json(c, 1, "1", 180, NULL), *b2 = fake_branch_json(c, 2, "2", 0, NULL);

    return scratch("%s,%.*s,\"apart\":true%s},%.*s,\"apart\":true%s}", fake_branch_json(c, 0, "0", 180, NULL),
                   (int)strlen(b1) - 1, b1, second, (int)strlen(b2) - 1, b2, third);
}

Test(as_sent, the_takers_script_is_told_of_each_branch)
{
    struct leg c = call_make(1);
    json_t *req = json_string(sip_request(&c, "INVITE"));
    char *text = json_dumps(req, JSON_ENCODE_ANY), *got, *expected;
    struct fake *f = fake_injected(&c, branches_apart(&c, scratch(",\"far_from\":\"<sip:no>\",\"req\":%s", text), ""));

    fake_token(f, &got);
    expected = scratch(" 0 %s,-|2 0 udp:203.0.113.5:5060 - ", base64_of("<sip:no>"));
    cr_expect(strncmp(got, "|0 180 ", strlen("|0 180 ")) == 0 && strstr(got, expected) &&
                  strcmp(got + strlen(got) - strlen(" 0 -"), " 0 -") == 0,
              "%s", got);
    free(text);
    json_decref(req);
    fake_free(f);
}

/* Of a call of a dead node, whose script had hidden who calls. */
static const char *hidden(const struct leg *c)
{
    const char *record = fake_orphan(c, 2, "200.1");

    return scratch("%.*s,\"far_from\":\"<sip:no>;tag=1\"}", (int)strlen(record) - 1, record);
}

Test(as_sent, the_takers_script_is_told_of_addresses)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);
    char *got, *expected = scratch(" 0 - %s -|0 180 ", base64_of("<sip:no>;tag=1"));

    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, hidden(&c));
    fake_put_done(f, 1, true);
    f->found = fake_epoch(hidden(&c), 2, true);
    fake_turn(f);
    fake_token(f, &got);
    cr_expect(strncmp(got, expected, strlen(expected)) == 0, "%s", got);
    fake_free(f);
}

Test(as_sent, an_adoption_hides_them_too)
{
    struct fake *f = fake_peers();
    struct leg c = call_make(1);
    char *got;

    f->conf.takeover = false;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    fake_death(f);
    fake_stray(f, 1, &c, "CANCEL");
    fake_answer(f, hidden(&c));
    fake_turn(f);
    got = fake_sent(f, "CANCEL sip:bob0", 0, NULL);
    cr_assert_not_null(got);
    cr_expect(strstr(got, "\r\nFrom: <sip:no>;tag=1\r\n") && !strstr(got, "alice"), "%s", got);
    fake_free(f);
}
