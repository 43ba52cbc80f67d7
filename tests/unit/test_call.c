/* One call and its record: pairs, JSON, tags, variables. */
#include "call.h"
#include "nodes.h"
#include "base64.h"
#include "helper.h"
#include "pairs.h"

TestSuite(call, .fini = no_leaks);

static const char record[] =
    "{\"call_id\":\"a@b\",\"node\":\"2\",\"inc\":\"200.1\",\"caller\":\"sip:alice@example.org\","
    "\"callee\":\"sip:bob@example.org\",\"ruri\":\"sip:1@h\",\"source\":\"udp:h:1\",\"from_tag\":\"a1\",\"to_tag\":"
    "\"b1\","
    "\"tx\":\"kamsync:tx:{a@b}:1:z\",\"trying\":\"1000\",\"ringing\":\"2000\","
    "\"answered\":\"3000\",\"code\":\"200\",\"state\":\"answered\",\"at.2\":\"1000\","
    "\"at.1\":\"2500\",\"var.color\":\"red\"}";

/* A call out of a record of JSON. */
static struct call *read_call(const char *text)
{
    json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL);
    struct call *c = call_new(BYTES("a@b\0a1"));
    size_t count;
    struct pair *pairs = pairs_of_json(json, &count);

    cr_assert(json && c && call_read(c, pairs, count) == 0);
    free(pairs);
    json_decref(json);
    return c;
}

static json_t *written(const struct call *c, int node, bool end)
{
    struct call_pairs p;

    call_pairs(&p, c, &(struct node){.id = node}, end);
    cr_assert(p.count <= CALL_PAIRS_MAX);
    return json_of_pairs(p.list, p.count);
}

static const char *text_of(json_t *json, const char *name)
{
    const char *s = json_string_value(json_object_get(json, name));

    return s ? s : "(none)";
}

/* Another node's BYE, or a node that only adds to a call, says nothing of where the call is. */
Test(call, site_is_that_of_its_node)
{
    const struct node self = {.id = 2, .site = "east"};
    struct call *c = call_new(BYTES("a@b\0a1"));
    struct call_pairs p;

    for (c->node = -1; c->node < 4; c->node++) {
        call_pairs(&p, c, &self, false);
        cr_expect(span_eq(pairs_text(p.list, p.count, "site"), span_of(c->node == 2 ? "east" : "")), "node %d",
                  (int)c->node);
    }
    call_free(c);
}

Test(call, record_is_read_and_written_alike)
{
    struct call *c = read_call(record);
    json_t *want = json_loads(record, 0, NULL), *got;

    c->joined = 2500;
    got = written(c, 1, false);
    json_object_del(want, "at.2");
    cr_expect(json_equal(want, got), "%s", json_dumps(got, 0));
    json_decref(want);
    json_decref(got);
    call_free(c);
}

Test(call, end_is_written_only_when_wanted)
{
    struct call *c = read_call(record);
    json_t *json;

    c->ended = 9000;
    c->how = "completed";
    c->by = "caller";
    json = written(c, 1, false);
    cr_expect(!json_object_get(json, "ended") && !json_object_get(json, "how") && !json_object_get(json, "by"));
    json_decref(json);
    json = written(c, 1, true);
    cr_expect_str_eq(text_of(json, "ended"), "9000");
    cr_expect_str_eq(text_of(json, "how"), "completed");
    cr_expect_str_eq(text_of(json, "state"), "ended");
    json_decref(json);
    call_free(c);
}

Test(call, what_only_has_variables_has_no_state_and_no_node)
{
    struct call *c = call_new(BYTES("a@b\0a1"));
    json_t *json;

    c->joined = 5;
    cr_assert(call_set(c, "x", span_of("y"), true) == 0);
    json = written(c, 3, false);
    cr_expect(json_object_size(json) == 3);
    cr_expect_str_eq(text_of(json, "call_id"), "a@b");
    cr_expect_str_eq(text_of(json, "var.x"), "y");
    cr_expect_str_eq(text_of(json, "at.3"), "5");
    json_decref(json);
    call_free(c);
}

Test(call, states)
{
    struct call c = {0};

    cr_expect_str_eq(call_state(&c), "trying");
    c.ringing = 1;
    cr_expect_str_eq(call_state(&c), "ringing");
    c.answered = 1;
    cr_expect_str_eq(call_state(&c), "answered");
    c.ended = 1;
    cr_expect_str_eq(call_state(&c), "ended");
}

/* ---- variables ---- */

Test(call, variables_are_utf8_and_bounded)
{
    struct call *c = call_new(BYTES("a@b\0a1"));
    char *longest = scratch("%01024d", 1), *longer = scratch("%01025d", 1);

    cr_expect(call_set(c, "a", span_of(longest), true) == 0);
    cr_expect(call_set(c, "b", span_of(longer), true) == -EINVAL);
    cr_expect(call_set(c, "b", span_of("gr\xc3\xbc"), true) == 0);
    cr_expect(call_set(c, "c", span_of("gr\xfc"), true) == -EINVAL);
    cr_expect(call_set(c, "c", BYTES("a\0b"), true) == -EINVAL);
    cr_expect(json_object_size(c->vars) == 2);
    call_free(c);
}

Test(call, so_many_variables_and_no_more)
{
    struct call *c = call_new(BYTES("a@b\0a1"));

    for (int i = 0; i < CALL_VARS_MAX; i++)
        cr_assert(call_set(c, scratch("v%d", i), span_of("1"), true) == 0);
    cr_expect(call_set(c, "more", span_of("1"), true) == -ENOMEM);
    cr_expect(call_set(c, "v3", span_of("2"), true) == 0, "one that is there may change");
    json_decref(written(c, 1, true));
    call_free(c);
}

/* The store only adds: so the empty value has to stand there, or others would still see the old one. */
Test(call, removed_variable_is_written_and_shown_to_nobody)
{
    struct call *c = call_new(BYTES("a@b\0a1"));
    struct call_pairs p;
    json_t *json, *vars;

    cr_assert(call_set(c, "x", span_of("1"), true) == 0 && call_set(c, "x", (struct span){0}, true) == 0);
    json = written(c, 1, false);
    cr_expect_str_eq(text_of(json, "var.x"), "");
    call_pairs(&p, c, &(struct node){.id = 1}, false);
    vars = pairs_vars(p.list, p.count);
    cr_expect(json_object_size(vars) == 0);
    json_decref(vars);
    json_decref(json);
    call_free(c);
}

/* ---- JSON ---- */

Test(call, json_has_numbers_and_variables_apart)
{
    json_t *json = json_loads(record, 0, NULL), *got, *want;
    size_t count;
    struct pair *pairs = pairs_of_json(json, &count);

    got = pairs_json(pairs, count);
    want = json_loads("{\"call_id\":\"a@b\",\"node\":2,\"inc\":\"200.1\",\"caller\":\"sip:alice@example.org\","
                      "\"callee\":\"sip:bob@example.org\",\"ruri\":\"sip:1@h\",\"source\":\"udp:h:1\",\"from_tag\":"
                      "\"a1\",\"to_tag\":\"b1\","
                      "\"tx\":\"kamsync:tx:{a@b}:1:z\",\"trying\":1000,\"ringing\":2000,\"answered\":3000,"
                      "\"code\":200,\"state\":\"answered\",\"at.2\":1000,\"at.1\":2500,\"vars\":{\"color\":\"red\"}}",
                      0, NULL);
    cr_expect(want && json_equal(want, got), "%s", json_dumps(got, 0));
    free(pairs);
    json_decref(json);
    json_decref(got);
    json_decref(want);
}

/* The store may hold anything: what cannot be shown is left out, the rest stays. */
Test(call, hostile_pairs)
{
    struct pair pairs[] = {{BYTES("call_id"), BYTES("a\xff\0b")},
                           {BYTES("node"), BYTES("99999999999999999999999999999999")},
                           {BYTES("trying"), BYTES("-1x")},
                           {BYTES("\xff"), BYTES("1")},
                           {BYTES("a\0b"), BYTES("1")},
                           {BYTES(""), BYTES("1")},
                           {BYTES("var."), BYTES("1")},
                           {BYTES("var.a\0b"), BYTES("1")},
                           {BYTES("var.\xfe"), BYTES("1")},
                           {BYTES("var.ok"), BYTES("\xfe")},
                           {BYTES("vars"), BYTES("1")}};
    struct call *c = call_new(BYTES("a@b\0a1"));
    json_t *json;
    char *text;

    for (size_t i = 0; i < COUNT(pairs); i++)
        pairs[i] = (struct pair){scratch_exact(pairs[i].name), scratch_exact(pairs[i].value)};
    json = pairs_json(pairs, COUNT(pairs));
    text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    cr_expect_str_eq(text, "{\"call_id\":{\"base64\":\"Yf8AYg==\"},\"node\":0,\"trying\":-1,"
                           "\"var.\":\"1\",\"vars\":{\"ok\":{\"base64\":\"/g==\"}}}");
    cr_expect(call_read(c, pairs, COUNT(pairs)) == 0 && json_object_size(c->vars) == 0);
    cr_expect_str_eq(c->call_id, "a@b", "by that it is being found");
    json_decref(json);
    free(text);
    call_free(c);
}

Test(call, header_is_two_words_of_base64)
{
    char *line = call_header(json_pack("{s:s}", "state", "ringing"), json_pack("{s:s}", "a", "b"));

    cr_expect_str_eq(
        line, scratch("X-Kamsync-Call: %s %s", base64_of("{\"state\":\"ringing\"}"), base64_of("{\"a\":\"b\"}")));
    free(line);
    cr_expect_null(call_header(NULL, json_object()));
    cr_expect_null(call_header(json_object(), NULL));
}

/* A script may put them into a header, and whoever writes to the store adds no line to it so. */
Test(call, header_has_texts_of_one_line)
{
    char *line = call_header(json_pack("{s:s}", "caller", "sip:a\r\nX-Evil: b"), json_pack("{s:s, s:i}", "c",
                                                                                           "\x7f"
                                                                                           "d\te\xc3\xbc",
                                                                                           "n", 1));

    cr_expect_str_eq(line, scratch("X-Kamsync-Call: %s %s", base64_of("{\"caller\":\"sip:a  X-Evil: b\"}"),
                                   base64_of("{\"c\":\" d\\te\xc3\xbc\",\"n\":1}")));
    free(line);
}

/* ---- dialogs ---- */

static bool has(const struct call *c, const char *tag)
{
    json_t *json = written(c, 1, false);
    size_t count;
    struct pair *pairs = pairs_of_json(json, &count);
    bool found = pairs_have_dialog(pairs, count, span_of(tag));

    cr_expect(call_has_dialog(c, span_of(tag)) == found, "%s", tag);
    free(pairs);
    json_decref(json);
    return found;
}

Test(call, two_phones_answer)
{
    struct call *c = read_call(record);

    cr_expect(has(c, "b1") && !has(c, "b2") && !has(c, "") && !has(c, "B1") && !has(c, "a1"));
    cr_expect(call_dialog(c, CALL_DIALOG, span_of("b2"), 3100) && !call_dialog(c, CALL_DIALOG, span_of("b2"), 3200));
    cr_expect(has(c, "b1") && has(c, "b2") && !has(c, "b"));
    cr_expect(call_dialog(c, CALL_DIALOG_OVER, span_of("b1"), 4000));
    cr_expect(!call_dialog(c, CALL_DIALOG, (struct span){"x\0y", 3}, 1) &&
              !call_dialog(c, CALL_DIALOG, span_of(""), 1));
    cr_expect(!call_dialog(c, CALL_DIALOG, span_of("\xff"), 1), "no name of a field");
    for (int i = 0; i < 100; i++)
        call_dialog(c, CALL_DIALOG, span_of(scratch("t%d", i)), 1);
    cr_expect(json_object_size(c->dialogs) == CALL_DIALOGS_MAX && has(c, "t13") && !has(c, "t14"));
    call_free(c);
}

Test(call, dialogs_are_read)
{
    struct call *c =
        read_call("{\"to_tag\":\"b1\",\"dialog.b2\":\"5\",\"over.b1\":\"7\",\"over.\":\"7\",\"dialog.x\":\"y\"}");

    cr_expect(json_object_size(c->dialogs) == 2 && call_has_dialog(c, span_of("b2")));
    call_free(c);
}
