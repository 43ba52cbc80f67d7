/* What kamsyncctl asks, and what it gets. */
#include "fake.h"

#include "key.h"

TestSuite(admin, .fini = no_leaks);

static json_t *ask(struct fake *f, const char *request)
{
    fake_ask(f, 7, request);
    return fake_answered(f);
}

static void expect_error(struct fake *f, const char *request, const char *reason, const char *part)
{
    json_t *a = ask(f, request);

    cr_assert_not_null(a, "%s", request);
    cr_expect(json_is_false(json_object_get(a, "ok")) && strstr(fake_text(a, "error"), part), "%s: %s", request,
              fake_text(a, "error"));
    cr_expect_str_eq(fake_text(a, "reason"), reason, "%s", request);
}

/* Calls 1 to n, each a second later. */
static struct fake *with_calls(struct fake *f, unsigned n)
{
    for (unsigned i = n; i > 0; i--) {
        struct leg c = call_make(i);

        fake_invite(f, &c, NULL, AT(i));
    }
    fake_turn(f);
    fake_forget(f);
    return f;
}

static size_t size(json_t *answer, const char *name)
{
    return json_array_size(json_object_get(answer, name));
}

/* ---- this node ---- */

Test(admin, status)
{
    struct fake *f = with_calls(fake_peers(), 2);
    json_t *a = ask(f, "{\"cmd\":\"status\"}");

    cr_assert(json_is_true(json_object_get(a, "ok")) && f->answered == 7);
    cr_expect(fake_int(a, "node") == 1 && fake_int(a, "calls") == 2 && fake_int(a, "txns") == 2);
    cr_expect(fake_int(a, "nodes") == 2);
    cr_expect_str_eq(fake_text(a, "name"), "ams1");
    cr_expect_str_eq(fake_text(a, "inc"), "100.1");
    cr_expect_str_eq(fake_text(a, "kamailio"), "up");
    cr_expect_str_eq(fake_text(a, "store"), "up");
    cr_expect(fake_int(json_object_get(a, "counters"), "call_writes") == 2);
    engine_store_down(f->e, f->now);
    engine_link_down(f->e, f->now);
    a = ask(f, "{\"cmd\":\"status\"}");
    cr_expect_str_eq(fake_text(a, "kamailio"), "away");
    cr_expect_str_eq(fake_text(a, "store"), "away");
    fake_free(f);
}

Test(admin, nodes)
{
    struct fake *f = fake_peers();
    json_t *list, *n;

    fake_death(f);
    list = json_object_get(ask(f, "{\"cmd\":\"nodes\"}"), "nodes");
    cr_assert(json_array_size(list) == 3);
    n = json_array_get(list, 0);
    cr_expect_str_eq(fake_text(n, "state"), "self");
    cr_expect(fake_int(n, "id") == 1 && fake_int(n, "seen_ms") == 0);
    n = json_array_get(list, 1);
    cr_expect(strncmp(fake_text(n, "state"), "down", 4) == 0 && fake_int(n, "id") == 2);
    n = json_array_get(list, 2);
    cr_expect(strncmp(fake_text(n, "state"), "up", 2) == 0 && fake_int(n, "seen_ms") == 1000);
    cr_expect_str_eq(fake_text(n, "sip"), "192.0.2.3:5060");
    cr_expect_str_eq(fake_text(n, "name"), "node3");
    cr_expect_null(json_object_get(n, "site"));
    fake_free(f);
}

Test(admin, bad_requests)
{
    struct fake *f = fake_peers();

    expect_error(f, "[]", "wrong", "unknown command");
    expect_error(f, "{}", "wrong", "unknown command");
    expect_error(f, "{\"cmd\":1}", "wrong", "unknown command");
    expect_error(f, "{\"cmd\":\"none\"}", "wrong", "unknown command");
    expect_error(f, "{\"cmd\":\"call\"}", "wrong", "Call-ID is missing");
    expect_error(f, "{\"cmd\":\"call\",\"call_id\":\"\"}", "wrong", "Call-ID is missing");
    expect_error(f, "{\"cmd\":\"call\",\"call_id\":{\"base64\":\"*\"}}", "wrong", "Call-ID is missing");
    expect_error(f, "{\"cmd\":\"cdr\",\"count\":0}", "wrong", "'count'");
    expect_error(f, "{\"cmd\":\"cdr\",\"count\":10001}", "wrong", "'count'");
    engine_ask(f->e, NULL, 9, f->now);
    cr_expect(f->answered == 9 && json_array_size(f->answers) == 10);
    engine_store_down(f->e, f->now);
    expect_error(f, "{\"cmd\":\"call\",\"call_id\":\"a\"}", "away", "store is away");
    expect_error(f, "{\"cmd\":\"cdr\"}", "away", "store is away");
    fake_free(f);
}

/* ---- calls ---- */

/* Only this node, so that the answer comes at once. */
static struct fake *alone(unsigned n)
{
    return with_calls(fake_ready(), n);
}

static void expect_calls(struct fake *f, const char *filter, size_t listed, int64_t total)
{
    json_t *a = ask(f, scratch("{\"cmd\":\"calls\"%s}", filter));

    cr_assert_not_null(a);
    cr_expect(size(a, "calls") == listed && fake_int(a, "total") == total, "%s: %zu of %lld", filter, size(a, "calls"),
              (long long)fake_int(a, "total"));
}

Test(admin, calls_are_filtered)
{
    struct leg c = call_make(2);
    struct fake *f = alone(3);

    fake_replied(f, &c, "0", 180, NULL, AT(20));
    fake_turn(f);
    expect_calls(f, "", 3, 3);
    expect_calls(f, ",\"node\":1", 3, 3);
    expect_calls(f, ",\"node\":2", 0, 0);
    expect_calls(f, ",\"node\":\"1\"", 0, 0);
    expect_calls(f, ",\"state\":\"ringing\"", 1, 1);
    expect_calls(f, ",\"state\":\"answered\"", 0, 0);
    expect_calls(f, ",\"caller\":\"alice\",\"callee\":\"bob@\"", 3, 3);
    expect_calls(f, ",\"caller\":\"bob\"", 0, 0);
    expect_calls(f, ",\"caller\":5", 0, 0);
    expect_calls(f, ",\"party\":\"alice\"", 3, 3);
    expect_calls(f, ",\"party\":\"bob@\"", 3, 3);
    expect_calls(f, ",\"party\":\"carol\"", 0, 0);
    expect_calls(f, ",\"party\":\"bob@\",\"caller\":\"bob@\"", 0, 0);
    expect_calls(f, ",\"party\":5", 0, 0);
    fake_free(f);
}

/* Its Kamailio is away, and another node, which lists the call, has taken it over. */
Test(admin, call_that_is_taken_is_listed_once)
{
    struct fake *f = with_calls(fake_ready(), 2);

    engine_link_down(f->e, f->now);
    fake_message(f, "{\"t\":\"taken\",\"node\":2,\"call_id\":\"call-1@caller.example\",\"from_tag\":\"a1\"}");
    expect_calls(f, "", 1, 1);
    fake_free(f);
}

/* While it is waited for a further branch, which there will not be. */
Test(admin, cancelled_call_is_listed_no_more)
{
    struct fake *f = alone(2);
    struct leg c = call_make(1);

    fake_cancel(f, &c);
    expect_calls(f, "", 2, 2);
    fake_replied(f, &c, "0", 487, NULL, AT(20));
    expect_calls(f, "", 1, 1);
    fake_free(f);
}

Test(admin, calls_are_limited)
{
    struct fake *f = alone(120);

    expect_calls(f, "", 100, 120);
    expect_calls(f, ",\"limit\":7", 7, 120);
    expect_calls(f, ",\"limit\":0", 0, 120);
    expect_calls(f, ",\"limit\":-3", 0, 120);
    expect_calls(f, ",\"limit\":\"x\"", 100, 120);
    expect_calls(f, ",\"limit\":100000", 120, 120);
    fake_free(f);
}

Test(admin, calls_stand_in_the_order_of_their_beginning)
{
    struct fake *f = alone(3);
    json_t *list, *first;

    list = json_object_get(ask(f, "{\"cmd\":\"calls\"}"), "calls");
    first = json_array_get(list, 0);
    cr_expect_str_eq(fake_text(first, "call_id"), "call-1@caller.example");
    cr_expect(fake_int(first, "trying") == AT(1) && fake_int(first, "node") == 1);
    cr_expect_str_eq(fake_text(first, "state"), "trying");
    cr_expect_str_eq(fake_text(json_array_get(list, 2), "call_id"), "call-3@caller.example");
    fake_free(f);
}

Test(admin, newest_calls_are_the_last_ones)
{
    struct fake *f = fake_ready();
    json_t *list;

    expect_calls(f, ",\"order\":\"newest\"", 0, 0);
    for (unsigned i = 1; i <= 9; i++) {
        struct leg c = call_make(i);

        fake_invite(f, &c, NULL, AT(i));
    }
    fake_turn(f);
    list = json_object_get(ask(f, "{\"cmd\":\"calls\",\"order\":\"newest\",\"limit\":2}"), "calls");
    cr_assert(json_array_size(list) == 2);
    cr_expect_str_eq(fake_text(json_array_get(list, 0), "call_id"), "call-9@caller.example");
    cr_expect_str_eq(fake_text(json_array_get(list, 1), "call_id"), "call-8@caller.example");
    fake_free(f);
}

/* Calls of others, of which this one has variables, and those that have just ended. */
Test(admin, calls_are_this_nodes_and_alive)
{
    struct leg c = call_make(1), other = call_make(9);
    struct fake *f = alone(2);

    fake_set(f, &other, "x", "1");
    fake_replied(f, &c, "0", 407, NULL, AT(3));
    fake_pass(f, 3000);
    expect_calls(f, "", 1, 1);
    fake_free(f);
}

/* ---- all nodes ---- */

/* What node n answers to the question that this one has asked. */
static void node_answers(struct fake *f, int n, const char *part)
{
    fake_message(f, scratch("{\"t\":\"answer\",\"node\":%d,\"token\":%lld,\"a\":%s}", n,
                            (long long)fake_int(fake_tell(f, 0), "token"), part));
}

#define CALL(id, s) "{\"call_id\":\"" id "\",\"trying\":180000000" s "000}"

Test(admin, answers_of_all_nodes_are_one)
{
    struct fake *f = with_calls(fake_peers(), 1);
    json_t *a, *list;

    fake_ask(f, 7, "{\"cmd\":\"calls\",\"limit\":3}");
    cr_assert(f->tell_count == 1 && f->tells[0].node == 0 && !fake_answered(f));
    cr_expect_str_eq(fake_text(fake_tell(f, 0), "t"), "ask");
    cr_expect(fake_int(fake_tell(f, 0), "from") == 1);
    cr_expect(fake_int(json_object_get(fake_tell(f, 0), "q"), "limit") == 3);
    node_answers(f, 3, "{\"total\":5,\"calls\":[" CALL("d", "4") "," CALL("b", "0") "]}");
    node_answers(f, 3, "{\"total\":5,\"calls\":[]}");
    node_answers(f, 9, "{\"total\":5,\"calls\":[]}");
    cr_expect_null(fake_answered(f), "node 2 has not answered");
    node_answers(f, 2, "{\"total\":1,\"calls\":[" CALL("c", "3") "]}");
    a = fake_answered(f);
    cr_assert(a && json_array_size(f->answers) == 1);
    list = json_object_get(a, "calls");
    cr_expect(fake_int(a, "total") == 7 && size(a, "silent") == 0 && json_array_size(list) == 3);
    cr_expect_str_eq(fake_text(json_array_get(list, 0), "call_id"), "b");
    cr_expect_str_eq(fake_text(json_array_get(list, 1), "call_id"), "call-1@caller.example");
    cr_expect_str_eq(fake_text(json_array_get(list, 2), "call_id"), "c");
    fake_pass(f, 1000);
    cr_expect(json_array_size(f->answers) == 1);
    fake_free(f);
}

Test(admin, newest_of_all_nodes)
{
    struct fake *f = with_calls(fake_peers(), 1);
    json_t *list;

    fake_ask(f, 7, "{\"cmd\":\"calls\",\"limit\":2,\"order\":\"newest\"}");
    node_answers(f, 3, "{\"total\":2,\"calls\":[" CALL("d", "4") "," CALL("b", "0") "]}");
    node_answers(f, 2, "{\"total\":1,\"calls\":[" CALL("c", "3") "]}");
    list = json_object_get(fake_answered(f), "calls");
    cr_assert(json_array_size(list) == 2);
    cr_expect_str_eq(fake_text(json_array_get(list, 0), "call_id"), "d");
    cr_expect_str_eq(fake_text(json_array_get(list, 1), "call_id"), "c");
    fake_free(f);
}

Test(admin, views_say_who_sees_whom)
{
    struct fake *f = with_calls(fake_peers(), 2);
    json_t *a, *views, *own, *sees;

    fake_death(f);
    fake_forget(f);
    fake_ask(f, 7, "{\"cmd\":\"views\"}");
    node_answers(f, 3, "{\"views\":[{\"node\":3,\"sees\":[]}]}");
    fake_pass(f, 150);
    a = fake_answered(f);
    views = json_object_get(a, "views");
    cr_assert(json_array_size(views) == 2);
    cr_expect(size(a, "silent") == 1 && json_integer_value(json_array_get(json_object_get(a, "silent"), 0)) == 2);
    own = json_array_get(views, 0);
    cr_expect(fake_int(own, "node") == 1 && fake_int(own, "calls") == 2);
    cr_expect_str_eq(fake_text(own, "kamailio"), "up");
    sees = json_object_get(own, "sees");
    cr_assert(json_array_size(sees) == 3);
    cr_expect_str_eq(fake_text(json_array_get(sees, 0), "state"), "self");
    cr_expect(strncmp(fake_text(json_array_get(sees, 1), "state"), "down:", 5) == 0);
    cr_expect_str_eq(fake_text(json_array_get(sees, 2), "state"), "up");
    fake_free(f);
}

Test(admin, silent_nodes_are_named)
{
    struct fake *f = with_calls(fake_peers(), 1);
    json_t *a;

    fake_ask(f, 7, "{\"cmd\":\"trace\",\"call_id\":\"a\"}");
    node_answers(f, 2, "{\"trace\":[{\"at\":5,\"node\":2,\"text\":\"x\"}]}");
    fake_pass(f, 149);
    cr_expect_null(fake_answered(f));
    fake_pass(f, 1);
    a = fake_answered(f);
    cr_assert(a && size(a, "trace") == 1 && size(a, "silent") == 1);
    cr_expect(json_integer_value(json_array_get(json_object_get(a, "silent"), 0)) == 3);
    node_answers(f, 3, "{\"trace\":[]}");
    cr_expect(json_array_size(f->answers) == 1, "too late");
    fake_free(f);
}

Test(admin, answers_that_make_no_sense)
{
    struct fake *f = fake_peers();

    fake_ask(f, 7, "{\"cmd\":\"calls\"}");
    node_answers(f, 2, "{\"total\":\"x\",\"calls\":[1,\"a\",null,{}]}");
    node_answers(f, 3, "[]");
    cr_expect(fake_answered(f) && fake_int(fake_answered(f), "total") == 0);
    fake_message(f, "{\"t\":\"answer\"}");
    fake_message(f, "{\"t\":\"answer\",\"node\":2,\"token\":1,\"a\":{}}");
    cr_expect(json_array_size(f->answers) == 1);
    fake_free(f);
}

Test(admin, others_are_not_asked_without_a_store)
{
    struct fake *f = with_calls(fake_peers(), 1);

    engine_store_down(f->e, f->now);
    expect_calls(f, "", 1, 1);
    cr_expect(f->tell_count == 0);
    fake_free(f);
}

Test(admin, client_that_has_gone_gets_nothing)
{
    struct fake *f = fake_peers();

    fake_ask(f, 7, "{\"cmd\":\"calls\"}");
    fake_ask(f, 8, "{\"cmd\":\"calls\"}");
    engine_forget_client(f->e, 7);
    node_answers(f, 2, "{}");
    fake_pass(f, 1000);
    cr_expect(json_array_size(f->answers) == 1 && f->answered == 8);
    fake_free(f);
}

Test(admin, too_many_questions_at_once)
{
    struct fake *f = fake_peers();

    for (uint64_t i = 0; i < 257; i++)
        fake_ask(f, i, "{\"cmd\":\"calls\"}");
    cr_expect(json_array_size(f->answers) == 1 && f->answered == 256);
    cr_expect(strstr(fake_text(fake_answered(f), "error"), "busy"));
    cr_expect_str_eq(fake_text(fake_answered(f), "reason"), "busy");
    fake_pass(f, 200);
    cr_expect(json_array_size(f->answers) == 257);
    fake_free(f);
}

/* ---- questions of other nodes ---- */

Test(admin, other_nodes_question_is_answered_to_it_alone)
{
    struct fake *f = with_calls(fake_peers(), 2);
    json_t *a;

    fake_message(f, "{\"t\":\"ask\",\"from\":3,\"token\":12,\"q\":{\"cmd\":\"calls\",\"limit\":1}}");
    cr_assert(f->tell_count == 1 && f->tells[0].node == 3);
    cr_expect(fake_int(fake_tell(f, 0), "node") == 1 && fake_int(fake_tell(f, 0), "token") == 12);
    a = json_object_get(fake_tell(f, 0), "a");
    cr_expect(size(a, "calls") == 1 && fake_int(a, "total") == 2);
    fake_free(f);
}

Test(admin, questions_that_make_no_sense)
{
    static const char *const texts[] = {"{\"t\":\"ask\"}",
                                        "{\"t\":\"ask\",\"from\":1,\"token\":1,\"q\":{\"cmd\":\"calls\"}}",
                                        "{\"t\":\"ask\",\"from\":0,\"token\":1,\"q\":{\"cmd\":\"calls\"}}",
                                        "{\"t\":\"ask\",\"token\":1,\"q\":{\"cmd\":\"calls\"}}",
                                        "{\"t\":\"ask\",\"from\":-4,\"token\":1,\"q\":{\"cmd\":\"calls\"}}",
                                        "{\"t\":\"ask\",\"from\":3,\"q\":{\"cmd\":\"calls\"}}",
                                        "{\"t\":\"ask\",\"from\":3,\"token\":1,\"q\":{\"cmd\":\"status\"}}",
                                        "{\"t\":\"ask\",\"from\":3,\"token\":1,\"q\":[]}"};
    struct fake *f = fake_peers();

    for (size_t i = 0; i < COUNT(texts); i++) {
        fake_message(f, texts[i]);
        cr_expect(f->tell_count == 0, "%s", texts[i]);
    }
    fake_free(f);
}

/* ---- one call ---- */

Test(admin, call_out_of_the_store)
{
    struct fake *f = fake_peers();
    json_t *call;

    f->call_found =
        "{\"call_id\":\"a b\",\"node\":2,\"state\":\"ended\",\"duration_ms\":\"500\",\"at.2\":30,\"at.1\":10,"
        "\"var.x\":\"y\"}";
    call = json_array_get(json_object_get(ask(f, "{\"cmd\":\"call\",\"call_id\":\"a b\"}"), "calls"), 0);
    cr_expect_str_eq(f->call_gets[0].key, "kamsync:call:{a b}:a1");
    cr_expect(fake_int(call, "duration_ms") == 500 && fake_int(call, "node") == 2);
    cr_expect_str_eq(fake_text(json_object_get(call, "vars"), "x"), "y");
    cr_expect(fake_int(call, "at.1") == 10 && fake_int(call, "at.2") == 30);
    fake_free(f);
}

Test(admin, call_that_is_not_there)
{
    struct fake *f = fake_peers();

    expect_error(f, "{\"cmd\":\"call\",\"call_id\":\"a\"}", "absent", "no such call");
    f->calls_fail = true;
    expect_error(f, "{\"cmd\":\"call\",\"call_id\":\"a\"}", "away", "store does not answer");
    f->mute_calls = true;
    fake_forget(f);
    fake_ask(f, 7, "{\"cmd\":\"call\",\"call_id\":\"a\"}");
    fake_pass(f, 1999);
    cr_expect_null(fake_answered(f));
    fake_pass(f, 1);
    cr_expect(strstr(fake_text(fake_answered(f), "error"), "store does not answer"));
    fake_call_got(f, "{\"node\":1}");
    cr_expect(json_array_size(f->answers) == 1, "too late");
    fake_free(f);
}

/* Also while the store is away. */
Test(admin, names_of_a_call)
{
    struct fake *f = alone(0);
    json_t *answer;

    engine_store_down(f->e, f->now);
    answer = ask(f, "{\"cmd\":\"key\",\"call_id\":\"a b*\"}");
    cr_expect_str_eq(fake_text(answer, "tx"), "kamsync:tx:{a%20b\\*}:*");
    cr_expect_str_eq(fake_text(answer, "call"), "kamsync:call:{a%20b\\*}:*");
    cr_expect_str_eq(fake_text(answer, "archive"), "kamsync:cdr");
    key_buckets(KEY_BUCKETS);
    answer = ask(f, "{\"cmd\":\"key\",\"call_id\":{\"base64\":\"MTIzNDU2Nzg5\"}}");
    cr_expect_str_eq(fake_text(answer, "archive"), "kamsync:{bc3}:cdr");
    expect_error(f, "{\"cmd\":\"key\"}", "wrong", "A Call-ID is missing");
    fake_free(f);
}

Test(admin, transactions_of_a_call)
{
    struct fake *f = alone(2);
    json_t *list = json_object_get(ask(f, "{\"cmd\":\"tx\",\"call_id\":\"call-2@caller.example\"}"), "txns");

    cr_assert(json_array_size(list) == 1);
    cr_expect_str_eq(fake_text(json_array_get(list, 0), "call_id"), "call-2@caller.example");
    cr_expect(fake_int(json_array_get(list, 0), "owner") == 1);
    cr_expect(size(ask(f, "{\"cmd\":\"tx\",\"call_id\":\"x\"}"), "txns") == 0);
    cr_expect(size(ask(f, "{\"cmd\":\"tx\"}"), "txns") == 0);
    fake_free(f);
}

Test(admin, trace_of_a_call)
{
    struct leg c = call_make(4);
    struct fake *f = fake_ready();
    json_t *list;

    for (int s = 0; s < 4; s++) { /* it has read the nodes for long enough to know that it is alone */
        engine_nodes_read(f->e, true, f->now);
        fake_pass(f, 1000);
    }
    f->found = "";
    fake_stray(f, 1, &c, "CANCEL");
    fake_pass(f, 300);
    list = json_object_get(ask(f, scratch("{\"cmd\":\"trace\",\"call_id\":{\"base64\":\"%s\"}}", base64_of(c.call_id))),
                           "trace");
    cr_assert(json_array_size(list) == 1);
    cr_expect(strstr(fake_text(json_array_get(list, 0), "text"), "stray CANCEL from=udp:198.51.100.9:5060: unknown"));
    cr_expect(fake_int(json_array_get(list, 0), "node") == 1);
    cr_expect(fake_int(json_array_get(list, 0), "came") > FAKE_EPOCH);
    cr_expect(fake_int(json_array_get(list, 0), "at") > fake_int(json_array_get(list, 0), "came"));
    fake_free(f);
}

/* ---- the archive ---- */

Test(admin, archive)
{
    struct fake *f = fake_peers();
    json_t *list;

    f->mute_calls = true;
    fake_ask(f, 7, "{\"cmd\":\"cdr\",\"count\":2,\"after\":\"5-0\"}");
    cr_assert(f->archive_count == 1 && f->archive_wanted == 2);
    cr_expect_str_eq(f->archive_after, "5-0");
    fake_archived(f, "6-0", "{\"call_id\":\"a\",\"ended\":5,\"how\":\"completed\"}");
    fake_archived(f, "7-0", "{\"call_id\":\"b\",\"ended\":6,\"var.x\":\"y\"}");
    cr_expect_null(fake_answered(f));
    fake_archive_read(f, true);
    list = json_object_get(fake_answered(f), "cdr");
    cr_assert(json_array_size(list) == 2);
    cr_expect_str_eq(fake_text(json_array_get(list, 0), "id"), "6-0");
    cr_expect(fake_int(json_array_get(list, 1), "ended") == 6);
    fake_archive_read(f, true);
    cr_expect(json_array_size(f->answers) == 1);
    fake_free(f);
}

Test(admin, archive_by_default_and_when_it_fails)
{
    struct fake *f = fake_peers();

    cr_expect(size(ask(f, "{\"cmd\":\"cdr\"}"), "cdr") == 0 && json_is_true(json_object_get(fake_answered(f), "ok")));
    cr_expect(f->archive_wanted == 20 && !f->archive_after);
    f->mute_calls = true;
    fake_ask(f, 7, "{\"cmd\":\"cdr\",\"after\":\"x\"}");
    fake_archive_read(f, false);
    cr_expect(strstr(fake_text(fake_answered(f), "error"), "archive"));
    fake_ask(f, 7, "{\"cmd\":\"cdr\"}");
    engine_forget_client(f->e, 7);
    fake_archived(f, "7-0", "{\"call_id\":\"b\"}");
    fake_archive_read(f, true);
    cr_expect(json_array_size(f->answers) == 2);
    fake_free(f);
}
