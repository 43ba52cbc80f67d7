/* From a URL to a question, as HTTP asks it. */
#include <errno.h>

#include "helper.h"
#include "http/routes.h"

TestSuite(http, .fini = no_leaks);

static void read_url(struct url *u, const char *text)
{
    cr_assert(url_read(u, text) == 0, "%s", text);
}

static void expect_question(const char *text, const char *expected)
{
    struct url u;
    const struct route *r;
    const char *error = "";
    json_t *request;
    char *got;

    read_url(&u, text);
    r = route_find(&u);
    request = r ? route_request(r, &u, &error) : NULL;
    got = request ? json_dumps(request, JSON_COMPACT) : NULL;
    cr_expect(got && strcmp(got, expected) == 0, "%s: %s, %s", text, got ? got : "none", error);
    free(got);
    json_decref(request);
}

static void expect_wrong(const char *text, const char *part)
{
    struct url u;
    const struct route *r;
    const char *error = "";

    read_url(&u, text);
    r = route_find(&u);
    cr_assert(r, "%s", text);
    cr_expect(!route_request(r, &u, &error) && strstr(error, part), "%s: %s", text, error);
}

Test(http, url_is_taken_apart)
{
    struct url u;

    read_url(&u, "/a%2fb?x=1&&y=%26%3D%2B+&z=a=b&w&=");
    cr_assert(u.count == 5);
    cr_expect(span_eq(u.path, span_of("/a/b")));
    cr_expect(span_eq(u.arguments[0].name, span_of("x")) && span_eq(u.arguments[0].value, span_of("1")));
    cr_expect(span_eq(u.arguments[1].value, span_of("&=++")), "a plus is a plus");
    cr_expect(span_eq(u.arguments[2].value, span_of("a=b")));
    cr_expect(span_eq(u.arguments[3].name, span_of("w")) && u.arguments[3].value.n == 0);
    cr_expect(u.arguments[4].name.n == 0 && u.arguments[4].value.n == 0);
}

Test(http, bad_urls)
{
    static const char *const bad[] = {"",      "a",       "*",      "http://h/v1", "/%",
                                      "/%4",   "/%4g",    "/%g4",   "/%00",        "/?a=%",
                                      "/?%=a", "/?a=%00", "/a%2 0", "/?a&b=%",     "/?1&2&3&4&5&6&7&8&9"};
    static char longest[URL_MAX + 1];
    struct url u;

    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect(url_read(&u, bad[i]) == -EINVAL, "%s", bad[i]);
    memset(longest, '/', URL_MAX);
    cr_expect(url_read(&u, longest) == -ENAMETOOLONG);
    longest[URL_MAX - 1] = '\0';
    cr_expect(url_read(&u, longest) == 0 && u.path.n == URL_MAX - 1);
}

Test(http, questions)
{
    expect_question("/v1/status", "{\"cmd\":\"status\"}");
    expect_question("/v1/counters", "{\"cmd\":\"status\"}");
    expect_question("/v1/calls?node=2&state=ringing&caller=+49&callee=%C3%BC&limit=1000",
                    "{\"cmd\":\"calls\",\"node\":2,\"state\":\"ringing\",\"caller\":\"+49\",\"callee\":\"\u00fc\","
                    "\"limit\":1000}");
    expect_question("/v1/call/a%2Fb%3f/c@d", "{\"cmd\":\"call\",\"call_id\":\"a/b?/c@d\"}");
    expect_question("/v1/trace/%ff", "{\"cmd\":\"trace\",\"call_id\":{\"base64\":\"/w==\"}}");
    expect_question("/v1/cdr?after=1795239023248-0&count=1",
                    "{\"cmd\":\"cdr\",\"after\":\"1795239023248-0\",\"count\":1}");
}

Test(http, wrong_questions)
{
    expect_wrong("/v1/calls?limit=0", "'limit'");
    expect_wrong("/v1/calls?limit=1001", "'limit'");
    expect_wrong("/v1/calls?limit=", "'limit'");
    expect_wrong("/v1/calls?limit=0000000001", "'limit'");
    expect_wrong("/v1/calls?node=x", "'node'");
    expect_wrong("/v1/calls?node=1&node=1", "twice");
    expect_wrong("/v1/calls?count=1", "not known");
    expect_wrong("/v1/status?a", "not known");
    expect_wrong("/v1/cdr?after=-1", "'after'");
    expect_wrong("/v1/cdr?after=1-", "'after'");
    expect_wrong("/v1/cdr?after=1-1-1-1", "'after'");
    expect_wrong("/v1/cdr?after=", "'after'");
}

Test(http, nothing_else_is_there)
{
    static const char *const none[] = {"/", "/v1", "/v1/call/", "/v1/drain", "/v1/statusx", "/metrics/", "/v1/status/"};
    struct url u;

    for (size_t i = 0; i < COUNT(none); i++) {
        read_url(&u, none[i]);
        cr_expect_null(route_find(&u), "%s", none[i]);
    }
}

Test(http, rows_of_a_question)
{
    static const char *const urls[] = {"/v1/calls", "/v1/calls?limit=7", "/v1/cdr?count=500", "/v1/status"};
    static const int64_t rows[] = {100, 7, 500, 0};

    for (size_t i = 0; i < COUNT(urls); i++) {
        struct url u;
        const char *error;
        json_t *request;

        read_url(&u, urls[i]);
        request = route_request(route_find(&u), &u, &error);
        cr_expect(route_rows(request) == rows[i], "%s", urls[i]);
        json_decref(request);
    }
}
