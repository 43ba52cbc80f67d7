/* X-Kamsync-Branches: what a survivor's Kamailio is told of the branches that a dead node had sent. */
#include "base64.h"
#include "fake_takeover.h"

TestSuite(branches, .fini = no_leaks);

/* Its INVITE is injected here. */
static struct fake *injected(const char *branches)
{
    struct leg c;

    return fake_injected(&c, branches);
}

static void expect_branches(const char *branches, const char *expected)
{
    char *got;
    struct fake *f = injected(branches);

    fake_token(f, &got);
    cr_expect_str_eq(got, expected);
    fake_free(f);
}

/* As the script reads it: suffix, code, to, sock, R-URI, Route set, headers of the reply, what it kept, srvid, apart.
 */
static char *line_with(int index, const char *suffix, int code, const char *route, const char *rest)
{
    return scratch("|%s %d udp:203.0.113.5:5060 udp:192.0.2.10:5060 %s %s %s", suffix, code,
                   base64_of(scratch("sip:bob%d@203.0.113.5:5060", index)), route ? base64_of(route) : "-", rest);
}

static char *line_of(int index, const char *suffix, int code, const char *route)
{
    return line_with(index, suffix, code, route, "- - 0 -");
}

Test(branches, one_that_rings)
{
    struct leg c = call_make(1);

    expect_branches(fake_branch_json(&c, 0, "0", 180, NULL), line_of(0, "0", 180, NULL));
}

Test(branches, with_route_and_ended_ones_with_their_code)
{
    struct leg c = call_make(1);

    expect_branches(scratch("%s,%s,%s", fake_branch_json(&c, 0, "0", 503, NULL),
                            fake_branch_json(&c, 1, "1", 486, "<sip:r1;lr>, <sip:r2;lr>"),
                            fake_branch_json(&c, 2, "2", 0, "<sip:r3;lr>")),
                    scratch("%s%s%s", line_of(0, "0", 503, NULL), line_of(1, "1", 486, "<sip:r1;lr>, <sip:r2;lr>"),
                            line_of(2, "2", 0, "<sip:r3;lr>")));
}

/* Every index has its place, in order, so that later ones keep theirs. */
Test(branches, with_gaps_and_in_any_order)
{
    struct leg c = call_make(1);
    char *gap = scratch(" -599 udp:127.0.0.1:9 - %s - - - 0 -", base64_of("sip:gap"));

    expect_branches(scratch("%s,%s", fake_branch_json(&c, 4, "4", 0, NULL), fake_branch_json(&c, 1, "1", 404, NULL)),
                    scratch("|0%s%s|2%s|3%s%s", gap, line_of(1, "1", 404, NULL), gap, gap, line_of(4, "4", 0, NULL)));
}

/* The one more field of that branch. */
static char *with_field(const char *json, const char *field)
{
    return scratch("%.*s,%s}", (int)strlen(json) - 1, json, field);
}

/* tm shall not pick what was said before failure_route sent the call on. */
Test(branches, of_an_earlier_step)
{
    struct leg c = call_make(1);

    expect_branches(scratch("%s,%s", with_field(fake_branch_json(&c, 0, "0", 603, NULL), "\"over\":true"),
                            fake_branch_json(&c, 1, "1", 180, NULL)),
                    scratch("%s%s", line_of(0, "0", -603, NULL), line_of(1, "1", 180, NULL)));
}

static char *challenged(const struct leg *c, const char *head)
{
    return with_field(fake_branch_json(c, 0, "0", 407, NULL), scratch("\"head\":\"%s\"", head));
}

Test(branches, with_the_headers_of_their_reply)
{
    struct leg c = call_make(1);
    char *head = scratch("%s - 0 -", base64_of("Proxy-Authenticate: x\r\n"));

    expect_branches(
        scratch("%s,%s", challenged(&c, "Proxy-Authenticate: x\\r\\n"), fake_branch_json(&c, 1, "1", 180, NULL)),
        scratch("%s%s", line_with(0, "0", 407, NULL, head), line_of(1, "1", 180, NULL)));
}

Test(branches, with_what_the_script_keeps)
{
    struct leg c = call_make(1);
    char *kept = scratch("- %s 0 -", base64_of("32 64 a i7 "));

    expect_branches(scratch("%s,%s", fake_branch_json(&c, 0, "0", 503, NULL),
                            with_field(fake_branch_json(&c, 1, "1", 180, NULL), "\"kept\":\"32 64 a i7 \"")),
                    scratch("%s%s", line_of(0, "0", 503, NULL), line_with(1, "1", 180, NULL, kept)));
}

/* The node that sent it first, so that the far end gets the same bytes again. */
Test(branches, with_the_srvid_that_was_sent)
{
    struct leg c = call_make(1);
    const char *params[][2] = {{"0;srvid=7", "7"}, {"0;i=1;srvid=999999999;x=y", "999999999"}, {"0;srvid=x", "0"}};

    for (size_t i = 0; i < COUNT(params); i++)
        expect_branches(fake_branch_json(&c, 0, params[i][0], 180, NULL),
                        line_with(0, "0", 180, NULL, scratch("- - %s -", params[i][1])));
}

/* A record is not believed further than it can harm: what is no header is none. */
Test(branches, with_what_is_no_header)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "x\\n",
                                      "\\r\\n",
                                      "A: b\\r\\n\\r\\nbody\\r\\n",
                                      "A: b\\r\\rB: c\\r\\n",
                                      "A: b\\r\\nB",
                                      "Contact: <sip:a>\\r\\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\\r\\n",
                                      "To: x\\r\\n",
                                      "Record-Route: <sip:h>\\r\\n",
                                      " Contact: x\\r\\n",
                                      "Contact: x\\r\\n y\\n\\r\\n",
                                      "Contact: x\\r\\n\\r\\n y\\r\\n"};
    struct leg c = call_make(1);

    for (size_t i = 0; i < COUNT(bad); i++)
        expect_branches(scratch("%s,%s", challenged(&c, bad[i]), fake_branch_json(&c, 1, "1", 180, NULL)),
                        scratch("%s%s", line_of(0, "0", 407, NULL), line_of(1, "1", 180, NULL)));
}

/* Rather without them than not at all. */
Test(branches, headers_that_do_not_fit_stay_behind)
{
    struct leg c = call_make(1);
    char *head = scratch("Proxy-Authenticate: %01990d\\r\\n", 1), *branches = fake_branch_json(&c, 0, "0", 180, NULL);
    char *expected = line_of(0, "0", 180, NULL);

    for (int i = 1; i < 10; i++) {
        branches =
            scratch("%s,%s", branches,
                    with_field(fake_branch_json(&c, i, scratch("%d", i), 407, NULL), scratch("\"head\":\"%s\"", head)));
        expected = scratch("%s%s", expected, line_of(i, scratch("%d", i), 407, NULL));
    }
    expect_branches(branches, expected);
}

/* tm's own text: hexadecimal, lowest digit first. The script finds the branch of a replay by it. */
Test(branches, have_tms_suffix)
{
    static const char *const suffixes[] = {"0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",  "8",  "9",  "a",
                                           "b",  "c",  "d",  "e",  "f",  "01", "11", "21", "31", "41", "51",
                                           "61", "71", "81", "91", "a1", "b1", "c1", "d1", "e1"};
    struct leg c = call_make(1);
    char *branches = scratch("%s", ""), *expected = scratch("%s", "");

    for (int i = 0; i < (int)COUNT(suffixes); i++) {
        branches =
            scratch("%s%s%s", branches, i ? "," : "", fake_branch_json(&c, i, suffixes[i], i == 30 ? 180 : 503, NULL));
        expected = scratch("%s%s", expected, line_of(i, suffixes[i], i == 30 ? 180 : 503, NULL));
    }
    expect_branches(branches, expected);
}
