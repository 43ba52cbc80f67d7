/* Requests within a call that the script asks about. */
#include "base64.h"
#include "fake.h"

TestSuite(dialog, .fini = no_leaks);

static const char call_of_2[] =
    "{\"call_id\":\"call-1@caller.example\",\"node\":2,\"inc\":\"200.1\",\"from_tag\":\"a1\","
    "\"state\":\"answered\",\"trying\":1800000001000,\"at.2\":1,\"var.color\":\"red\"}";

static struct fake *asked(const char *ask, const char *record)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->call_found = record;
    fake_question(f, &c, ask);
    return f;
}

/* One of the two words in the header, as JSON. */
static json_t *word(const struct fake *f, int which)
{
    char *msg = fake_sent(f, "why=call", 0, NULL), *line, one[8000], two[8000], *text;
    json_t *json;
    size_t len;

    cr_assert_not_null(msg, "it was not given back");
    line = strstr(msg, "\r\nX-Kamsync-Call: ");
    cr_assert(line && sscanf(line, "\r\nX-Kamsync-Call: %7999s %7999s\r\n", one, two) == 2, "%s", msg);
    text = base64_bytes(span_of(which ? two : one), &len);
    json = text ? json_loads(text, 0, NULL) : NULL;
    cr_assert(json_is_object(json), "%s", text);
    free(text);
    return json;
}

/* Given back, once, to this node's own Kamailio. */
static void expect_back(struct fake *f, const char *state)
{
    struct leg c = call_make(1);
    json_t *call, *frame = NULL;
    char *msg;

    fake_turn(f);
    cr_assert(fake_count(f, "send") == 1, "%zu", fake_count(f, "send"));
    msg = fake_sent(f, "why=call", 0, &frame);
    call = word(f, 0);
    cr_expect_str_eq(fake_text(call, "state"), state);
    cr_expect_str_eq(fake_text(frame, "to"), "192.0.2.1:5060");
    cr_expect(strstr(msg, "X-Kamsync: to=1;inc=100.1;why=call;src=udp:198.51.100.9:5060;dst=udp:192.0.2.10:5060;"));
    cr_expect_str_eq(strstr(msg, "Via: SIP/2.0/UDP 198"), strstr(sip_request(&c, "INFO"), "Via: "));
    json_decref(call);
    fake_pass(f, 2000);
    cr_expect(fake_count(f, "send") == 1);
}

Test(dialog, script_gets_the_record_and_the_variables)
{
    struct fake *f = asked("call", call_of_2);
    json_t *call, *vars;

    fake_turn(f);
    call = word(f, 0);
    vars = word(f, 1);
    cr_expect(fake_int(call, "node") == 2 && fake_int(call, "age") == f->now / 1000 - 1);
    cr_expect_str_eq(fake_text(call, "call_id"), "call-1@caller.example");
    cr_expect(!json_object_get(call, "vars") && json_object_size(vars) == 1);
    cr_expect_str_eq(fake_text(vars, "color"), "red");
    json_decref(call);
    json_decref(vars);
    expect_back(f, "answered");
    cr_expect(f->call_get_count == 1 && engine_counters(f->e)->questions == 1);
    fake_free(f);
}

Test(dialog, living_owner_gets_the_request)
{
    struct fake *f = asked("owner", call_of_2);
    struct leg c = call_make(1);
    char *rest;

    fake_turn(f);
    cr_assert(fake_count(f, "send") == 1);
    cr_expect_str_eq(fake_text(fake_last(f, "send"), "to"), "192.0.2.2:5060");
    cr_expect(strncmp(fake_handover(f, &rest), "X-Kamsync: to=2;inc=200.1;why=owner;", 36) == 0);
    cr_expect_str_eq(rest, sip_request(&c, "INFO"));
    cr_expect(engine_counters(f->e)->dialogs_handed_over == 1);
    fake_pass(f, 1000);
    cr_expect(fake_count(f, "send") == 1);
    fake_free(f);
}

static void expect_no_handover(const char *record)
{
    struct fake *f = asked("owner", record);

    expect_back(f, "answered");
    cr_expect(engine_counters(f->e)->dialogs_handed_over == 0);
    fake_free(f);
}

#define CALL_OF(node, inc) "{\"node\":" node ",\"inc\":\"" inc "\",\"state\":\"answered\",\"from_tag\":\"a1\"}"

Test(dialog, owner_that_cannot_have_it)
{
    expect_no_handover(CALL_OF("2", "200.0"));                 /* restarted since */
    expect_no_handover(CALL_OF("7", "700.1"));                 /* never heard of */
    expect_no_handover(CALL_OF("1", "100.1"));                 /* this node */
    expect_no_handover(CALL_OF("-1", "200.1"));                /* nobody */
    expect_no_handover("{\"node\":2,\"state\":\"answered\"}"); /* nobody knows */
}

Test(dialog, owner_that_is_gone)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    fake_death(f);
    f->call_found = call_of_2;
    fake_question(f, &c, "owner");
    expect_back(f, "answered");
    fake_free(f);
}

Test(dialog, owner_out_of_reach)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->unreachable = true;
    for (int beat = 10; beat < 13; beat++) {
        fake_node(f, 2, beat, "200.1", true);
        fake_pass(f, 1000);
    }
    fake_ack_all(f);
    fake_forget(f);
    f->call_found = call_of_2;
    fake_question(f, &c, "owner");
    expect_back(f, "answered");
    fake_free(f);
}

/* ---- bounded ---- */

Test(dialog, absent_call_is_unknown_after_a_moment)
{
    struct fake *f = asked("call", NULL);

    fake_pass(f, 49);
    cr_expect(fake_count(f, "send") == 0 && f->call_get_count >= 3 && f->call_get_count <= 6);
    fake_pass(f, 1);
    expect_back(f, "unknown");
    fake_free(f);
}

Test(dialog, record_that_comes_in_that_moment)
{
    struct fake *f = asked("call", NULL);

    fake_pass(f, 25);
    f->call_found = call_of_2;
    fake_pass(f, 10);
    expect_back(f, "answered");
    fake_free(f);
}

Test(dialog, silent_store)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->mute_calls = true;
    fake_question(f, &c, "owner");
    fake_pass(f, 249);
    cr_expect(fake_count(f, "send") == 0 && f->call_get_count == 1);
    fake_pass(f, 1);
    expect_back(f, "unavailable");
    fake_call_got(f, call_of_2);
    fake_turn(f);
    cr_expect(fake_count(f, "send") == 1, "too late");
    fake_free(f);
}

Test(dialog, failing_store)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    f->calls_fail = true;
    fake_question(f, &c, "call");
    fake_pass(f, 249);
    cr_expect(fake_count(f, "send") == 0 && f->call_get_count > 5 && f->call_get_count < 30);
    fake_pass(f, 1);
    expect_back(f, "unavailable");
    fake_free(f);
}

Test(dialog, store_that_is_away)
{
    struct leg c = call_make(1);
    struct fake *f = fake_peers();

    engine_store_down(f->e, f->now);
    fake_question(f, &c, "owner");
    cr_expect(f->call_get_count == 0);
    expect_back(f, "unavailable");
    fake_free(f);
}

Test(dialog, too_many_are_given_back_at_once)
{
    struct fake *f = fake_peers();

    f->mute_calls = f->polite = true;
    for (unsigned i = 0; i < 2050; i++) {
        struct leg c = call_make(i);

        fake_question(f, &c, "call");
    }
    cr_expect(f->call_get_count == 2048, "%zu", f->call_get_count);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=call") == 2);
    fake_free(f);
}

/* ---- hostile, or too much ---- */

Test(dialog, request_that_cannot_be_read)
{
    struct fake *f = fake_peers();

    fake_say(f, "%s", stray_text(1, "INFO sip:a SIP/2.0\r\n\r\n", ",\"ask\":\"call\""));
    fake_pass(f, 1000);
    cr_expect(fake_count(f, "send") == 0 && engine_counters(f->e)->frames_bad == 1);
    fake_free(f);
}

Test(dialog, states_and_times_that_nobody_wrote)
{
    static const char *const states[] = {"x\\ny", "gr\\u00fc\\u00df", "answered answered answered", " ", "unavailable"};
    static const char *const times[] = {"-9223372036854775808", "-1", "9223372036854775807", "x", ""};

    for (size_t i = 0; i < COUNT(states); i++) {
        struct fake *f = asked("call", scratch("{\"state\":\"%s\",\"trying\":\"%s\"}", states[i], times[i]));
        json_t *call;

        fake_turn(f);
        call = word(f, 0);
        cr_expect(fake_int(call, "age") == 0);
        json_decref(call);
        expect_back(f, "unknown");
        fake_free(f);
    }
}

/* A frame holds 24,000 bytes: the request must come back all the same. */
Test(dialog, variables_that_are_too_long_are_left_out)
{
    char *vars = scratch("\"var.v0\":\"%01024d\"", 1);
    struct fake *f;
    json_t *got;

    for (int i = 1; i < 20; i++)
        vars = scratch("%s,\"var.v%d\":\"%01024d\"", vars, i, 1);
    f = asked("call", scratch("{\"state\":\"answered\",\"node\":2,%s}", vars));
    fake_turn(f);
    got = word(f, 0);
    cr_expect(fake_int(got, "node") == 2);
    json_decref(got);
    got = word(f, 1);
    cr_expect(json_object_size(got) == 0);
    json_decref(got);
    expect_back(f, "answered");
    fake_free(f);
}

Test(dialog, record_that_is_too_long_is_reduced_to_its_state)
{
    struct fake *f = asked("call", scratch("{\"state\":\"answered\",\"caller\":\"%020000d\"}", 1));

    expect_back(f, "answered");
    fake_free(f);
}

/* One that is not tracked has an entry in the archive, but nobody knows whether it has ended. */
Test(dialog, of_a_call_that_is_not_tracked)
{
    struct fake *f = asked("call", "{\"tx\":\"x\",\"state\":\"ended\",\"how\":\"untracked\",\"untracked\":\"large\"}");

    expect_back(f, "unknown");
    fake_free(f);
}
