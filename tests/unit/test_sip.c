/* What is read in SIP messages. libre parses; these cases hold it to what kamsync needs. */
#include <ctype.h>

#include "helper.h"
#include "sip.h"

TestSuite(sip, .fini = no_leaks);

#define VIA "Via: SIP/2.0/UDP 198.51.100.9:5060;branch=z9hG4bK-1\r\n"
#define REST "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n"
#define ID "Call-ID: c@x\r\nCSeq: 7 CANCEL\r\n"
#define LINE "CANCEL sip:b@x SIP/2.0\r\n"

static void expect_id(const char *what, const char *msg, const char *call_id, const char *branch, const char *sent_by,
                      unsigned cseq)
{
    struct sip_id id;
    int rc = sip_read_id(&id, scratch_exact(span_of(msg)));

    cr_expect(rc == 0, "%s: %d", what, rc);
    if (rc == 0) {
        cr_expect(span_eq(id.call_id, span_of(call_id)), "%s: Call-ID '%.*s'", what, (int)id.call_id.n, id.call_id.p);
        cr_expect(span_eq(id.branch, span_of(branch)), "%s: branch '%.*s'", what, (int)id.branch.n, id.branch.p);
        cr_expect(span_eq(id.sent_by, span_of(sent_by)), "%s: sent-by '%.*s'", what, (int)id.sent_by.n, id.sent_by.p);
        cr_expect(id.cseq == cseq, "%s: CSeq %u", what, id.cseq);
    }
}

Test(sip, ids_are_found)
{
    static const struct {
        const char *what, *msg, *call_id, *branch, *sent_by;
        unsigned cseq;
    } cases[] = {
        {"plain", LINE VIA REST ID "\r\n", "c@x", "z9hG4bK-1", "198.51.100.9:5060", 7},
        {"compact",
         LINE
         "v: SIP/2.0/UDP h;branch=b\r\nf: <sip:a@x>;tag=1\r\nt: <sip:b@x>\r\ni: c@x\r\nCSeq: 1 CANCEL\r\nl: 0\r\n\r\n",
         "c@x", "b", "h", 1},
        {"several Vias in a line",
         LINE "Via: SIP/2.0/UDP top:5060;branch=b0, SIP/2.0/UDP low;branch=b1\r\n" REST ID "\r\n", "c@x", "b0",
         "top:5060", 7},
        {"several Via lines", LINE "Via: SIP/2.0/UDP top;branch=b0\r\n" VIA REST ID "\r\n", "c@x", "b0", "top", 7},
        {"Via not first", LINE REST ID VIA "\r\n", "c@x", "z9hG4bK-1", "198.51.100.9:5060", 7},
        {"folded Via", LINE "Via: SIP/2.0/UDP\r\n h:5060\r\n\t;branch=b\r\n" REST ID "\r\n", "c@x", "b", "h:5060", 7},
        {"folded From", LINE VIA "From: \"A\"\r\n <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n" ID "\r\n", "c@x", "z9hG4bK-1",
         "198.51.100.9:5060", 7},
        {"names in any case", LINE "VIA: SIP/2.0/UDP h;BRANCH=b\r\n" REST "CALL-id: c@x\r\ncseq: 7 CANCEL\r\n\r\n",
         "c@x", "b", "h", 7},
        {"blanks around colons",
         LINE "Via \t: SIP/2.0/UDP h ; branch=b\r\n" REST "Call-ID :  c@x \r\nCSeq: 7   CANCEL\r\n\r\n", "c@x", "b",
         "h", 7},
        {"IPv6", LINE "Via: SIP/2.0/UDP [2001:db8::9]:5060;rport;branch=b;i=1\r\n" REST ID "\r\n", "c@x", "b",
         "[2001:db8::9]:5060", 7},
        {"odd Call-ID", LINE VIA REST "Call-ID: a\"b\\c{d}%41'<e>?@[x]\r\nCSeq: 7 CANCEL\r\n\r\n",
         "a\"b\\c{d}%41'<e>?@[x]", "z9hG4bK-1", "198.51.100.9:5060", 7},
        {"quoted blanks in a name",
         LINE VIA "From: \"A \\\" B, ;branch=x\" <sip:a@x>;tag=1\r\nTo: Bob B <sip:b@x>\r\n" ID "\r\n", "c@x",
         "z9hG4bK-1", "198.51.100.9:5060", 7},
        {"largest CSeq", LINE VIA REST "Call-ID: c\r\nCSeq: 4294967295 CANCEL\r\n\r\n", "c", "z9hG4bK-1",
         "198.51.100.9:5060", 4294967295u},
        {"branch without the cookie", LINE "Via: SIP/2.0/UDP h;branch=1\r\n" REST ID "\r\n", "c@x", "1", "h", 7},
        {"body", LINE VIA REST ID "Content-Length: 4\r\n\r\nabcd", "c@x", "z9hG4bK-1", "198.51.100.9:5060", 7},
        {"reply: the caller's Via is the second",
         "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP proxy;branch=p.0\r\n" VIA REST ID "\r\n", "c@x", "z9hG4bK-1",
         "198.51.100.9:5060", 7},
        {"no UTF-8", LINE VIA REST "Call-ID: \xff\xfe@x\r\nCSeq: 7 CANCEL\r\n\r\n", "\xff\xfe@x", "z9hG4bK-1",
         "198.51.100.9:5060", 7},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect_id(cases[i].what, cases[i].msg, cases[i].call_id, cases[i].branch, cases[i].sent_by, cases[i].cseq);
}

Test(sip, method_and_code)
{
    struct sip_id id;

    cr_assert(sip_read_id(&id, span_of(LINE VIA REST ID "\r\n")) == 0);
    assert_span(id.method, "CANCEL");
    cr_expect(id.code == 0);
    cr_assert(sip_read_id(&id, span_of("SIP/2.0 487 No\r\nVia: SIP/2.0/UDP proxy;branch=p.0\r\n" VIA REST ID "\r\n")) ==
              0);
    assert_span(id.method, "CANCEL");
    assert_span(id.via, "p.0");
    cr_expect(id.code == 487);
    cr_expect(sip_read_id(&id, span_of("SIP/2.0 487 No\r\n" VIA REST ID "\r\n")) == -EBADMSG, "no Via of a caller");
}

Test(sip, what_is_no_sip_or_lacks_its_id_is_refused)
{
    static const char *const bad[] = {
        "",
        "\r\n",
        "\r\n\r\n",
        "x",
        "{\"t\":\"ack\"}",
        "CANCEL",
        "CANCEL sip:b@x SIP/2.0",
        LINE,
        LINE "\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        LINE VIA REST ID /* no empty line */,
        LINE REST ID "\r\n" /* no Via */,
        LINE VIA REST "CSeq: 7 CANCEL\r\n\r\n" /* no Call-ID */,
        LINE VIA REST "Call-ID: c@x\r\n\r\n" /* no CSeq */,
        LINE "Via: SIP/2.0/UDP h\r\n" REST ID "\r\n" /* no branch */,
        LINE "Via: SIP/2.0/UDP h;branch=\r\n" REST ID "\r\n",
        LINE "Via: x\r\n" REST ID "\r\n",
        LINE "Via:\r\n" REST ID "\r\n",
        LINE VIA REST "Call-ID:\r\nCSeq: 7 CANCEL\r\n\r\n",
        LINE VIA REST "Call-ID: c\r\nCSeq: CANCEL\r\n\r\n",
        LINE VIA REST "Call-ID: c\r\nCSeq: 7\r\n\r\n",
        LINE VIA REST ID "i: d@x\r\n\r\n" /* two of what there must be one of */,
        LINE " " VIA REST ID "\r\n" /* would go on with a header that is put before it */,
        LINE "\r\n " VIA REST ID "\r\n",
        LINE VIA "Route:\n\r <sip:x>\r\n" REST ID "\r\n" /* a CR alone: where does the line end? */,
        LINE VIA REST ID REST "\r\n",
        "SIP/2.0 000 OK\r\n" VIA VIA REST ID "\r\n",
        "SIP/2.0 700 OK\r\n" VIA VIA REST ID "\r\n",
        "SIP/2.0\r\n" VIA REST ID "\r\n",
        "SIP/2.0 200 SIP/2.0\r\n" VIA REST ID "\r\n" /* a reply, though its line ends as a request's */,
        "CANCEL sip:b@x SIP/3.0\r\n" VIA REST ID "\r\n",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct sip_id id;
        int rc = sip_read_id(&id, scratch_exact(span_of(bad[i])));

        cr_expect(rc == -EBADMSG, "%zu '%.60s': %d", i, bad[i], rc);
    }
}

/* UDP brings messages whole or cut, and a cut one must neither be read past its end nor pass for whole. */
Test(sip, every_beginning_of_a_message_is_refused)
{
    static const char *const msgs[] = {
        LINE "v: SIP/2.0/UDP h:5060;branch=b,SIP/2.0/UDP l;branch=c\r\n" REST ID "Route: <sip:r;lr>\r\n\r\n",
        LINE VIA REST ID "Route: <sip:r;lr>\r\n\r\n",
    };

    for (size_t i = 0; i < COUNT(msgs); i++)
        for (size_t n = 0; n < strlen(msgs[i]); n++) {
            struct span part = scratch_exact((struct span){msgs[i], n});
            struct sip_id id;
            struct sip_sent sent;

            cr_expect(sip_read_id(&id, part) == -EBADMSG, "%zu bytes", n);
            cr_expect(sip_read_sent(&sent, part) == -EBADMSG, "%zu bytes", n);
        }
}

/* Of an ordinary request only some lines are read; a folded one more, and libre reads it whole: nothing may differ. */
static void expect_as_libre_reads_it(struct span msg, size_t wrong)
{
    struct span folded;
    struct sip_id a, b;
    int rc = sip_read_id(&a, msg);

    folded.p = sip_with_header(msg, "X: a\r\n b", &folded.n);
    cr_assert_not_null(folded.p);
    if (wrong == strlen(LINE) && isspace((unsigned char)msg.p[wrong]))
        cr_expect(rc == -EBADMSG, "what stands above would go on with it");
    else if (sip_read_id(&b, folded) == 0)
        cr_expect(rc == 0 && span_eq(a.call_id, b.call_id) && span_eq(a.branch, b.branch) && span_eq(a.via, b.via) &&
                      span_eq(a.sent_by, b.sent_by) && span_eq(a.method, b.method) && a.cseq == b.cseq &&
                      span_eq(a.from_uri, b.from_uri) && span_eq(a.from_tag, b.from_tag) &&
                      span_eq(a.to_uri, b.to_uri) && span_eq(a.to_tag, b.to_tag),
                  "byte %zu", wrong);
    else
        cr_expect(rc == -EBADMSG || wrong < strlen(LINE), "byte %zu: libre would not have it", wrong);
    free((char *)folded.p);
}

Test(sip, lines_are_read_as_libre_reads_the_whole)
{
    static const char msg[] = LINE "m: <sip:c@x>\r\nV:  SIP/2.0/UDP h:5060 ;branch=b;rport\r\n" REST VIA
                                   "i:\tc@x \r\nMax-Forwards: 9\r\nCSeq: 7   CANCEL\r\nRoute: <sip:r>,<sip:s>\r\n\r\n";
    static const char wrong[] = "\r\n\t ;,\"<>:=\xff";
    char copy[sizeof(msg)];

    expect_as_libre_reads_it(scratch_exact(BYTES(msg)), 0);
    for (size_t i = 0; i < sizeof(msg) - 1; i++)
        for (size_t k = 0; k < sizeof(wrong); k++) { /* its NUL, too */
            memcpy(copy, msg, sizeof(msg));
            copy[i] = wrong[k];
            expect_as_libre_reads_it(scratch_exact((struct span){copy, sizeof(msg) - 1}), i);
        }
}

/* Neither crash nor read astray whatever single byte is wrong. */
Test(sip, one_wrong_byte_anywhere)
{
    static const char msg[] =
        LINE "Via: SIP/2.0/UDP h:5060;branch=b,SIP/2.0/UDP l\r\n" REST ID "Route: <sip:r>,<sip:s>\r\n\r\n";
    static const char wrong[] = {'\0', '\r', '\n', ' ', ';', ',', '"', '<', ':', '\xff'};
    char copy[sizeof(msg)];

    for (size_t i = 0; i < sizeof(msg) - 1; i++)
        for (size_t k = 0; k < sizeof(wrong); k++) {
            struct sip_id id;
            struct sip_sent sent;
            struct span s;
            int rc;

            memcpy(copy, msg, sizeof(msg));
            copy[i] = wrong[k];
            s = scratch_exact((struct span){copy, sizeof(msg) - 1});
            rc = sip_read_id(&id, s);
            cr_expect(rc == 0 || rc == -EBADMSG);
            if (rc == 0)
                cr_expect(id.branch.p >= s.p && id.branch.p + id.branch.n <= s.p + s.n);
            rc = sip_read_sent(&sent, s);
            cr_expect(rc == 0 || rc == -EBADMSG);
        }
}

#define INVITE "INVITE sip:bob@203.0.113.5;x=\"y\" SIP/2.0\r\n"
#define INVITE_ID "Call-ID: c@x\r\nCSeq: 7 INVITE\r\n"

Test(sip, sent_request)
{
    struct sip_sent s;

    cr_assert(sip_read_sent(
                  &s, span_of(INVITE "Via: SIP/2.0/UDP 192.0.2.1;branch=b.0;i=1\r\n" VIA REST INVITE_ID
                                     "Route: <sip:r1;lr>, \"R, 2\" <sip:r2;lr>;p=1\r\nRoute: <sip:r3>\r\n\r\n")) == 0);
    assert_span(s.via, "SIP/2.0/UDP 192.0.2.1;branch=b.0;i=1");
    assert_span(s.branch, "b.0");
    assert_span(s.ruri, "sip:bob@203.0.113.5;x=\"y\"");
    cr_assert(s.routes == 3);
    assert_span(s.route[0], "<sip:r1;lr>");
    assert_span(s.route[1], "\"R, 2\" <sip:r2;lr>;p=1");
    assert_span(s.route[2], "<sip:r3>");
}

Test(sip, only_kamailios_own_via_of_several_in_a_line)
{
    struct sip_sent s;

    cr_assert(
        sip_read_sent(&s, span_of(INVITE "v: SIP/2.0/UDP 192.0.2.1;branch=b.0,SIP/2.0/UDP c;branch=x\r\n" REST INVITE_ID
                                         "\r\n")) == 0);
    assert_span(s.via, "SIP/2.0/UDP 192.0.2.1;branch=b.0");
    cr_expect(s.routes == 0);
}

static int routes(int n, struct sip_sent *s)
{
    char *list = scratch("Route: <sip:r0;lr>");

    for (int i = 1; i < n; i++)
        list = scratch("%s%s<sip:r%d;lr>", list, i % 2 ? "," : "\r\nRoute: ", i);
    return sip_read_sent(s, span_of(scratch(INVITE VIA REST INVITE_ID "%s\r\n\r\n", list)));
}

Test(sip, routes_up_to_the_limit)
{
    struct sip_sent s;

    cr_expect(routes(SIP_ROUTES_MAX, &s) == 0);
    cr_expect(s.routes == SIP_ROUTES_MAX);
    cr_expect(routes(SIP_ROUTES_MAX + 1, &s) == -E2BIG);
}

Test(sip, sent_must_be_a_request_with_a_branch)
{
    struct sip_sent s;

    cr_expect(sip_read_sent(&s, span_of("SIP/2.0 200 OK\r\n" VIA REST INVITE_ID "\r\n")) == -EBADMSG);
    cr_expect(sip_read_sent(&s, span_of(INVITE REST INVITE_ID "\r\n")) == -EBADMSG);
    cr_expect(sip_read_sent(&s, span_of(INVITE "Via: SIP/2.0/UDP h\r\n" REST INVITE_ID "\r\n")) == -EBADMSG);
}

/* What the script tells of a branch without Route is read without libre's message parser, and means the same. */
Test(sip, sent_of_a_line_and_a_via)
{
    static const char *const vias[] = {"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1.0",
                                       "SIP/2.0/UDP [::1]:5060;i=1;branch=b.0;srvid=1",
                                       "SIP/2.0/UDP h",
                                       "SIP/2.0/UDP h;branch=",
                                       "SIP/2.0/UDP h;branch=a,SIP/2.0/UDP i;branch=b",
                                       " SIP/2.0/UDP h;branch=a",
                                       "SIP/2.0/UDP h;branch=a ",
                                       "SIP/2.0/UDP h;BRANCH=a",
                                       "SIP/2.0/UDP h; branch=a",
                                       "SIP/2.0/UDP h;branch =a",
                                       "SIP/2.0/UDP h;i=1;branch=a;branch=b",
                                       "SIP/2.0/UDP h;x=\";branch=a\";branch=b",
                                       "SIP/2.0/UDP h;x\t;branch=b",
                                       "SIP/2.0/UDP h;i=;branch=b",
                                       "SIP/2.0/UDP h;branch=;i=1",
                                       "SIP/2.0/UDP ;branch=b",
                                       "SIP/2.0/TCP h;branch=b",
                                       "SIP/2.0/UDP",
                                       "nothing",
                                       ""};

    for (size_t i = 0; i < COUNT(vias); i++) {
        const char *head = scratch("%sVia: %s\r\n", INVITE, vias[i]);
        struct sip_sent a = {0}, b = {0};
        int rc = sip_read_sent(&a, scratch_exact(span_of(scratch("%s\r\n", head))));

        cr_assert(rc == sip_read_sent(&b, span_of(scratch("%s%s\r\n", head, REST))), "'%s': %d", vias[i], rc);
        cr_expect(rc < 0 || (span_eq(a.via, b.via) && span_eq(a.branch, b.branch) && span_eq(a.ruri, b.ruri)), "'%s'",
                  vias[i]);
    }
}

Test(sip, sent_of_an_odd_line)
{
    static const char *const lines[] = {"INVITE  SIP/2.0",
                                        "INVITE SIP/2.0",
                                        "INVITE a b SIP/2.0",
                                        "INVITE a\tb SIP/2.0",
                                        "SIP/2.0 200 SIP/2.0",
                                        "INVITE sip:b SIP/1.0",
                                        "INVITE sip:b\rx SIP/2.0",
                                        "INVITE",
                                        ""};
    struct sip_sent s;

    for (size_t i = 0; i < COUNT(lines); i++)
        cr_expect(sip_read_sent(&s, scratch_exact(span_of(
                                        scratch("%s\r\nVia: SIP/2.0/UDP h;branch=b.0\r\n\r\n", lines[i])))) == -EBADMSG,
                  "'%s'", lines[i]);
}

Test(sip, header_goes_before_the_first_one)
{
    static const struct {
        struct span in, out;
    } cases[] = {
        {BYTES("ACK x SIP/2.0\r\nVia: y\r\n\r\n"), BYTES("ACK x SIP/2.0\r\nX-H: 1\r\nVia: y\r\n\r\n")},
        {BYTES("ACK x SIP/2.0\r\n\r\n"), BYTES("ACK x SIP/2.0\r\nX-H: 1\r\n\r\n")},
        {BYTES("ACK x SIP/2.0\r\n"), BYTES("ACK x SIP/2.0\r\nX-H: 1\r\n")},
        {BYTES("ACK\nVia: y\n\n"), BYTES("ACK\nX-H: 1\r\nVia: y\n\n")},
        {BYTES("A\r\nB: c\r\n\r\n\0\xff\r\n"), BYTES("A\r\nX-H: 1\r\nB: c\r\n\r\n\0\xff\r\n")},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t len = 0;
        char *out = sip_with_header(scratch_exact(cases[i].in), "X-H: 1", &len);

        cr_expect(out && span_eq((struct span){out, len}, cases[i].out), "case %zu", i);
        free(out);
    }
}

Test(sip, no_first_line_no_header)
{
    size_t len = 0;

    cr_expect_null(sip_with_header(BYTES(""), "X-H: 1", &len));
    cr_expect_null(sip_with_header(BYTES("ACK x SIP/2.0"), "X-H: 1", &len));
    cr_expect_null(sip_with_header((struct span){0}, "X-H: 1", &len));
}

static void expect_reply_head(const char *headers, const char *expected)
{
    char *got = sip_reply_head(scratch_exact(span_of(scratch("SIP/2.0 302 x\r\n%s\r\nbody: x\r\n", headers))));

    cr_expect(expected ? got && strcmp(got, expected) == 0 : !got, "'%s': '%s'", headers, got ? got : "NULL");
    free(got);
}

/* Where to go on, and by what right; nothing of who and what it was about, which is made anew. */
Test(sip, headers_of_a_reply_that_the_caller_needs)
{
    expect_reply_head("Via: y\r\nContact: <sip:a>\r\nm: <sip:b>\r\nTo: z\r\nRetry-After: 5\r\n",
                      "Contact: <sip:a>\r\nm: <sip:b>\r\nRetry-After: 5\r\n");
    expect_reply_head("WWW-Authenticate: Digest a,\r\n b\r\nproxy-authenticate : c\r\nContent-Length: 0\r\n",
                      "WWW-Authenticate: Digest a,\r\n b\r\nproxy-authenticate : c\r\n");
    expect_reply_head("Via: y\r\nContacts: x\r\nX-Kamsync: x\r\n", NULL);
    expect_reply_head("Contact: <sip:a>\nReason: x\r\n", NULL);
    expect_reply_head(scratch("Warning: %02100d\r\n", 1), NULL);
    expect_reply_head("", NULL);
    cr_expect_null(sip_reply_head((struct span){0}));
    cr_expect_null(sip_reply_head(BYTES("SIP/2.0 302 x\r\nContact: <sip:a\0>\r\n\r\n")));
    cr_expect_null(sip_reply_head(BYTES("SIP/2.0 302 x\r\nContact: <sip:a>")));
}

static void expect_without(enum sip_credentials name, const char *headers, const char *expected)
{
    size_t len = 0;
    char *got = sip_without(scratch_exact(span_of(scratch("INVITE sip:b SIP/2.0\r\n%s", headers))), name, &len);

    cr_expect_str_eq(got, scratch("INVITE sip:b SIP/2.0\r\n%s", expected));
    cr_expect(len == strlen(got));
    free(got);
}

/* The script has seen no line of that very spelling in what it sent on: another spelling says nothing. */
Test(sip, credentials_are_taken_out)
{
    expect_without(SIP_PROXY_AUTHORIZATION,
                   "Via: v\r\nProxy-Authorization: Digest a,\r\n b\r\nProxy-Authorization: c\r\nTo: t\r\n\r\n"
                   "Proxy-Authorization: body\r\n",
                   "Via: v\r\nTo: t\r\n\r\nProxy-Authorization: body\r\n");
    expect_without(SIP_PROXY_AUTHORIZATION, "Authorization: a\r\nproxy-authorization: b\r\n\r\n",
                   "Authorization: a\r\nproxy-authorization: b\r\n\r\n");
    expect_without(SIP_AUTHORIZATION, "Proxy-Authorization: a\r\nAuthorization: b\r\n\r\n",
                   "Proxy-Authorization: a\r\n\r\n");
    expect_without(SIP_AUTHORIZATION, "To: t\r\nAuthorization: b", "To: t\r\n");
    expect_without(SIP_AUTHORIZATION, "Authorization", "Authorization");
    expect_without(SIP_AUTHORIZATION, "", "");
}
