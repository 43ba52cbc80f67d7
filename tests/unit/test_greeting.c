/* The first words on the link: who may be told anything. */
#include "fake.h"
#include "frame.h"
#include "hello.h"
#include "proof.h"

TestSuite(greeting, .fini = no_leaks);

static struct engine_status status_of(struct fake *f)
{
    struct engine_status s;

    engine_status(f->e, &s);
    return s;
}

/* Says it as a stranger would; what the daemon is told to do with the link. */
static int say(struct fake *f, const char *text)
{
    size_t len;
    char *frame = frame_make(span_of(text), &len);
    int rc = engine_link_data(f->e, frame, len, f->now);

    free(frame);
    fake_turn(f);
    return rc;
}

/* Connected, with much to be told. */
static struct fake *connecting(void)
{
    struct fake *f = fake_peers();

    f->answer_puts = true;
    engine_link_down(f->e, f->now);
    fake_forget(f);
    engine_link_up(f->e, "tag-9", f->now);
    fake_turn(f);
    return f;
}

static void expect_nothing_told(struct fake *f, const char *hello)
{
    cr_expect(say(f, hello) == -EPERM, "%s", hello);
    cr_expect(!status_of(f).link && json_array_size(f->frames) == 1, "only the hello: %s", hello);
    cr_expect(engine_counters(f->e)->hellos_refused == 1);
    cr_expect(strstr(f->logs, "does not prove that it is our Kamailio"));
    fake_free(f);
}

Test(greeting, a_stranger_who_listens_hears_no_more_than_a_tag)
{
    struct fake *f = connecting();

    fake_pass(f, 3000);
    cr_expect(json_array_size(f->frames) == 1 && fake_count(f, "hello") == 1);
    cr_expect(json_object_size(fake_last(f, "hello")) == 2);
    fake_free(f);
}

Test(greeting, a_hello_without_the_secret_is_refused)
{
    char text[HELLO_MAX];

    hello_write(text, "fedcba9876543210", "tag-9", 1, "100.1", "192.0.2.1:5060");
    expect_nothing_told(connecting(), text);
    expect_nothing_told(connecting(), "{\"t\":\"hello\",\"node\":1,\"inc\":\"100.1\",\"sip\":\"192.0.2.1:5060\","
                                      "\"nonce\":\"n\",\"proof\":\"0\"}");
}

Test(greeting, a_proof_is_for_one_connection_and_one_hello)
{
    char text[HELLO_MAX], *at;

    hello_write(text, "0123456789abcdef", "tag-8", 1, "100.1", "192.0.2.1:5060");
    expect_nothing_told(connecting(), text);
    hello_write(text, "0123456789abcdef", "tag-9", 1, "100.1", "192.0.2.1:5060");
    at = strstr(text, "192.0.2.1");
    memcpy(at, "192.0.2.7", 9);
    expect_nothing_told(connecting(), text);
}

Test(greeting, both_prove_themselves_and_then_the_rest_follows)
{
    struct fake *f = connecting();
    json_t *proof;

    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_assert(status_of(f).link && fake_count(f, "node") == 2);
    proof = json_array_get(f->frames, 1);
    cr_expect_str_eq(fake_text(proof, "t"), "proof", "first of all");
    cr_expect(
        proof_is(fake_text(proof, "proof"), span_of("hello kamsyncd"), span_of("tag-9 nonce-1"), "0123456789abcdef"));
    fake_free(f);
}

Test(greeting, a_second_hello_changes_nothing)
{
    struct fake *f = fake_peers();
    size_t before = f->written;

    fake_hello(f, 3, "300.1");
    cr_expect(status_of(f).node == 1 && status_of(f).link && f->written == before);
    fake_free(f);
}

Test(greeting, who_cannot_read_the_keys_says_so)
{
    struct fake *f = connecting();

    cr_expect(say(f, "{\"t\":\"hello\",\"node\":1,\"inc\":\"100.1\",\"sip\":\"192.0.2.1:5060\",\"nonce\":\"n\","
                     "\"proof\":\"none\"}") == -EPERM);
    cr_expect(strstr(f->logs, "Kamailio cannot read the file of keys"));
    fake_free(f);
}

/* It may hold the connection for ever, and Kamailio listens there long since. */
Test(greeting, who_answers_nothing_loses_the_connection)
{
    struct fake *f = connecting();

    fake_pass(f, 9000);
    cr_expect(f->closes == 0);
    fake_pass(f, 2000);
    cr_expect(f->closes == 1 && strstr(f->logs, "does not answer: connecting anew"));
    fake_pass(f, 60000);
    cr_expect(f->closes == 1, "the next one is another connection");
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-10", f->now);
    f->polite = true;
    fake_hello(f, 1, "100.1");
    fake_pass(f, 60000);
    cr_expect(f->closes == 1 && status_of(f).link);
    fake_free(f);
}
