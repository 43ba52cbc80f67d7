/* What kamsyncctl makes of answers: pure functions from JSON to a file. tests/system/test_ctl.py has the whole. */
#include "helper.h"
#include "show.h"
#include "text.h"

#define NOW 1795229240000 /* 2026-11-21 02:47:20 UTC */

static void in_utc(void)
{
    setenv("TZ", "UTC", 1);
    text_set_utf8(true);
}

TestSuite(ctl_show, .init = in_utc, .fini = no_leaks);

/* Where a test prints to. */
struct page {
    char *text;
    size_t n;
    FILE *out;
};

static FILE *page_out(struct page *p)
{
    p->out = open_memstream(&p->text, &p->n);
    cr_assert_not_null(p->out);
    return p->out;
}

static json_t *parsed(const char *text)
{
    json_t *json = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);

    cr_assert_not_null(json, "%s", text);
    return json;
}

static void expect_page(struct page *p, const char *text)
{
    fclose(p->out);
    cr_expect_str_eq(p->text, text);
    free(p->text);
}

static void expect_part(struct page *p, const char *text)
{
    fclose(p->out);
    cr_expect_not_null(strstr(p->text, text), "'%s' is not in:\n%s", text, p->text);
    free(p->text);
}

Test(ctl_show, a_call_is_in_its_state_for_so_long)
{
    json_t *json = parsed("{\"calls\": [{\"call_id\": \"a\", \"state\": \"ringing\", \"node\": 1, \"trying\": "
                          "1795229237000, \"ringing\": 1795229239500},"
                          " {\"call_id\": \"b\", \"state\": \"trying\", \"trying\": 1795229999000}]}");
    struct page p;

    show_calls(json, NOW, page_out(&p));
    expect_page(&p, "STARTED              STATE         FOR  NODE  CALLER  CALLEE  CALL-ID\n"
                    "2026-11-21 02:47:17  ringing    500 ms     1  -       -       a\n"
                    "2026-11-21 02:59:59  trying       0 ms     -  -       -       b\n"
                    "2 calls\n");
    json_decref(json);
}

Test(ctl_show, counts_calls)
{
    static const struct {
        const char *json, *text;
    } examples[] = {{"{\"calls\": [], \"total\": 0}", "0 calls\n"},
                    {"{}", "0 calls\n"},
                    {"{\"calls\": [{}], \"total\": 1}", "\n1 call\n"},
                    {"{\"calls\": [{}], \"total\": 30}", "\n1 of 30 calls; --limit N for more\n"}};

    for (size_t i = 0; i < COUNT(examples); i++) {
        json_t *json = parsed(examples[i].json);
        struct page p;

        show_calls(json, NOW, page_out(&p));
        expect_part(&p, examples[i].text);
        json_decref(json);
    }
}

Test(ctl_show, batches_of_ended_calls_are_aligned)
{
    json_t *json = parsed("[{\"ended\": 1795229237000, \"how\": \"timed out\", \"code\": 408, \"by\": \"kamsync\","
                          "\"caller\": \"sip:a@b\", \"callee\": \"sip:c@d\", \"call_id\": \"x\"}]");
    struct page p;

    show_cdr(json, false, page_out(&p));
    expect_page(&p, "2026-11-21 02:47:17         -  timed out   408  kamsync  sip:a@b -> sip:c@d                       "
                    "         x\n");
    json_decref(json);
}

Test(ctl_show, a_timeline_is_in_order_of_time)
{
    json_t *call =
        parsed("{\"trying\": 1000, \"ringing\": 3000, \"ended\": 61000, \"how\": \"cancelled\", \"code\": 487,"
               "\"by\": \"caller\", \"node\": 7}");
    json_t *trace = parsed("{\"trace\": [{\"at\": 60000, \"node\": 2, \"text\": \"later\"}, {\"at\": 900, \"node\": 3, "
                           "\"text\": \"a clock behind\"}, {\"text\": \"never\"}, 5]}");
    struct page p;

    show_call(call, trace, page_out(&p));
    expect_part(&p, "\n\n  00:00:00.900    -100 ms  node 3  a clock behind\n"
                    "  00:00:01.000      +0 ms  node 7  INVITE\n"
                    "  00:00:03.000   +2000 ms  node 7  ringing\n"
                    "  00:01:00.000  +59000 ms  node 2  later\n"
                    "  00:01:01.000  +60000 ms  node 7  ended: cancelled, code 487, by caller\n\n");
    json_decref(call);
    json_decref(trace);
}

/* At two nodes before its end, which a third one saw. */
Test(ctl_show, a_timeline_tells_who_had_a_part)
{
    json_t *call =
        parsed("{\"trying\": 1000, \"ringing\": 1100, \"answered\": 3000, \"ended\": 61000, \"how\": "
               "\"completed\", \"by\": \"callee\", \"node\": 12, \"at.3\": 61000, \"at.12\": 2000, \"at.1\": "
               "990, \"at.x\": 5, \"at.\": 6, \"at.4x\": 7, \"at.5\": \"8\", \"at.1234567890\": 9}");
    struct page p;

    show_call(call, NULL, page_out(&p));
    expect_part(&p, "\n\n  00:00:01.000      +0 ms  node 1   INVITE\n"
                    "  00:00:01.100    +100 ms  -        ringing\n"
                    "  00:00:02.000   +1000 ms  node 12  its first message here\n"
                    "  00:00:03.000   +2000 ms  -        answered\n"
                    "  00:01:01.000  +60000 ms  node 3   ended: completed, by callee\n\n");
    show_call(call, NULL, page_out(&p));
    expect_part(&p, "nodes      1, 12, 3\n");
    json_decref(call);
}

/* Who ended it had to do with it before. */
Test(ctl_show, a_timeline_does_not_guess)
{
    json_t *call = parsed("{\"trying\": 1000, \"ended\": 61000, \"node\": 1, \"at.1\": 1000, \"at.2\": 2000}");
    struct page p;

    show_call(call, NULL, page_out(&p));
    expect_part(&p, "+60000 ms  -       ended: -\n");
    json_decref(call);
}

Test(ctl_show, a_call_of_which_nothing_is_known)
{
    json_t *call = parsed("{}");
    struct page p;

    show_call(call, NULL, page_out(&p));
    expect_page(&p, "Call-ID    -\nstate      -\nstarted    -\n\n"
                    "caller     -\ncallee     -\nR-URI      -\nsource     -\nPDD        -\nduration   -\nended by   "
                    "-\nhow        -\nnode       -\nsite       -\n"
                    "nodes      -\nrecord     -\n");
    json_decref(call);
}

Test(ctl_show, a_request_is_its_first_line)
{
    static const struct {
        const char *json, *text;
    } examples[] = {
        {"{\"txns\": [{\"req\": \"INVITE a\\r\\nVia: b\"}]}", "  request  INVITE a (16 bytes; --json shows it)\n"},
        {"{\"txns\": [{\"req\": {\"base64\": \"/w==\"}}]}", "  request  - (not UTF-8; --json shows it)\n"},
        {"{\"txns\": [{\"done\": true}]}", "  state    -, code -, done\n"},
        {"{\"txns\": [{}]}", "  request  -\n"},
        {"{\"txns\": [{\"branches\": [{\"i\": 0, \"route\": \"<sip:r>\"}]}]}", "  R-URI  ROUTE\n"},
        {"{}", "No transaction"},
    };

    for (size_t i = 0; i < COUNT(examples); i++) {
        json_t *json = parsed(examples[i].json);
        struct page p;

        show_tx(json, page_out(&p));
        expect_part(&p, examples[i].text);
        json_decref(json);
    }
}

Test(ctl_show, json_is_ascii_without_controls)
{
    json_t *json = parsed("{\"a\\u007f\": \"\\u007f\\u001b\\u009b\\u202e\\u00fc\\ud83d\\ude00\\u0000\"}");
    struct page p;

    show_json(json, true, page_out(&p));
    expect_page(&p, "{\"a\\u007f\":\"\\u007f\\u001B\\u009B\\u202E\\u00FC\\uD83D\\uDE00\\u0000\"}\n");
    json_decref(json);
}

Test(ctl_show, json_is_pretty_for_people)
{
    json_t *json = parsed("{\"a\": [1]}");
    struct page p;

    show_json(json, false, page_out(&p));
    expect_page(&p, "{\n  \"a\": [\n    1\n  ]\n}\n");
    json_decref(json);
}

Test(ctl_show, silent_nodes)
{
    static const struct {
        const char *json, *text;
    } examples[] = {
        {"{}", ""},
        {"{\"silent\": []}", ""},
        {"{\"silent\": [3]}", "kamsyncctl: node 3 did not answer in time: what only it knows is missing here\n"},
        {"{\"silent\": [3, 4]}",
         "kamsyncctl: nodes 3, 4 did not answer in time: what only they know is missing here\n"}};

    for (size_t i = 0; i < COUNT(examples); i++) {
        json_t *json = parsed(examples[i].json);
        struct page p;

        show_silent(json, page_out(&p));
        expect_page(&p, examples[i].text);
        json_decref(json);
    }
}

/* Anything, anywhere: it may be shown badly, but it must end well. */
Test(ctl_show, takes_any_answer)
{
    static const char *const answers[] = {"[]", "5", "null", "{\"calls\": 5, \"nodes\": {}, \"trace\": \"x\"}",
                                          "{\"calls\": [[]], \"nodes\": [5], \"trace\": [[]], \"txns\": [5]}"};

    for (size_t i = 0; i < COUNT(answers); i++) {
        json_t *json = parsed(answers[i]);
        struct page p;
        FILE *out = page_out(&p);

        show_status(json, out);
        show_nodes(json, out);
        show_calls(json, NOW, out);
        show_cdr(json, true, out);
        show_call(json, json, out);
        show_trace(json, out);
        show_tx(json, out);
        show_silent(json, out);
        expect_part(&p, "-");
        json_decref(json);
    }
}
