/* Records: what one kamsyncd writes, another must be able to read. */
#include "base64.h"
#include "count.h"
#include "helper.h"
#include "record.h"
#include "txn_read.h"

TestSuite(record, .fini = no_leaks);

static const struct head head = {1, 1, "1", HEAD_HELD, NULL};

/* A transaction of this INVITE; `sent` gets Kamailio's Via on top of it. */
static struct txn *txn_of(struct span req, const char *extra)
{
    struct leg c = call_make(1);
    char *sent = scratch("%s", sip_sent_on(&c, "0")), *end = strstr(sent, "Content-Length");
    struct event ev = {.type = EVENT_BRANCH,
                       .src = "udp:198.51.100.9:5060",
                       .dst = "udp:192.0.2.10:5060",
                       .to = "udp:203.0.113.5:5060",
                       .sock = "udp:192.0.2.10:5060",
                       .req = req};
    struct txn *t = NULL;

    *end = '\0';
    ev.sent = span_of(scratch("%s%s\r\n", sent, extra));
    cr_assert(txn_read(&t, &ev, 0) == 0);
    return t;
}

static struct span plain_req(void)
{
    struct leg c = call_make(1);

    return span_of(sip_request(&c, "INVITE"));
}

static json_t *written(struct txn *t)
{
    char *text = record_write(t, &(struct head){7, 3, "17.5", HEAD_HELD, NULL}, NULL, true);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

    cr_assert_not_null(json, "%s", text);
    free(text);
    return json;
}

static void expect_text(json_t *json, const char *name, const char *value)
{
    const char *got = json_string_value(json_object_get(json, name));

    cr_expect(got && strcmp(got, value) == 0, "%s: '%s', not '%s'", name, got ? got : "NULL", value);
}

Test(record, says_that_it_was_cancelled_and_when_it_ended)
{
    struct txn *t = txn_of(plain_req(), ""), *read = NULL;
    json_t *json;
    char *text;

    t->last = 1800000000123;
    json = written(t);
    cr_expect_null(json_object_get(json, "last"), "it has not ended yet");
    json_decref(json);
    t->cancelled = txn_reply(t, 0, 487, 1);
    text = record_write(t, &(struct head){7, 3, "17.5", HEAD_HELD, NULL}, NULL, true);
    cr_assert(record_txn(&read, span_of(text), 0) == 0);
    cr_expect(read->cancelled && read->last == 1800000000123);
    free(text);
    txn_free(read);
    txn_free(t);
}

Test(record, holds_all_that_a_survivor_needs)
{
    struct txn *t = txn_of(plain_req(), "Route: <sip:r1;lr>,<sip:r2>\r\n");
    json_t *json, *branch;

    txn_reply(t, 0, 183, 1);
    json = written(t);
    cr_expect(json_integer_value(json_object_get(json, "owner")) == 3);
    cr_expect(json_integer_value(json_object_get(json, "code")) == 183);
    cr_expect(json_integer_value(json_object_get(json, "cseq")) == 1);
    cr_expect(json_is_false(json_object_get(json, "done")));
    expect_text(json, "inc", "17.5");
    expect_text(json, "state", "ringing");
    expect_text(json, "call_id", "call-1@caller.example");
    expect_text(json, "branch", "z9hG4bK-caller-1");
    expect_text(json, "sent_by", "198.51.100.9:5060");
    expect_text(json, "src", "udp:198.51.100.9:5060");
    expect_text(json, "dst", "udp:192.0.2.10:5060");
    expect_text(json, "req", plain_req().p);
    cr_assert(json_array_size(json_object_get(json, "branches")) == 1);
    branch = json_array_get(json_object_get(json, "branches"), 0);
    cr_expect(json_integer_value(json_object_get(branch, "i")) == 0);
    cr_expect(json_integer_value(json_object_get(branch, "code")) == 183);
    expect_text(branch, "to", "udp:203.0.113.5:5060");
    expect_text(branch, "sock", "udp:192.0.2.10:5060");
    expect_text(branch, "ruri", "sip:bob@203.0.113.5:5060");
    expect_text(branch, "route", "<sip:r1;lr>, <sip:r2>");
    json_decref(json);
    txn_free(t);
}

/* Write, then read as another node would. */
static void expect_round_trip(const char *what, struct span req, bool done)
{
    struct txn *t = txn_of(req, "");
    struct record r = {0};
    char *text;
    int rc;

    txn_set_done(t, done);
    text = record_write(t, &(struct head){1, 12, "1763690712.000001", HEAD_HELD, NULL}, NULL, true);
    rc = record_read(&r, scratch_exact(span_of(text)));
    cr_expect(rc == 0, "%s: %d", what, rc);
    cr_expect(r.owner == 12 && r.done == done, "%s", what);
    cr_expect_str_eq(r.inc, "1763690712.000001");
    free(text);
    txn_free(t);
}

static struct span with_body(struct span body)
{
    char *head = scratch("%.*s", (int)plain_req().n, plain_req().p), *both = scratch("%s%*s", head, (int)body.n, "");

    memcpy(both + strlen(head), body.p, body.n);
    return (struct span){both, strlen(head) + body.n};
}

Test(record, round_trip)
{
    expect_round_trip("plain", plain_req(), false);
    expect_round_trip("done", plain_req(), true);
    expect_round_trip("body", with_body(BYTES("v=0\r\n\"\\{}%\t")), false);
    expect_round_trip("UTF-8", with_body(BYTES("\xc3\xa4\xf0\x9f\x93\x9e")), false);
    expect_round_trip("no UTF-8", with_body(BYTES("\xff\xfe\x80")), false);
}

/* A binary body (ISUP, an image) may well hold a NUL and else be UTF-8. */
Test(record, round_trip_with_a_nul_byte_in_the_request)
{
    expect_round_trip("NUL", with_body(BYTES("a\0b")), false);
}

Test(record, request_that_is_not_utf8_stands_as_base64)
{
    struct span req = with_body(BYTES("\xff\x01"));
    struct txn *t = txn_of(req, "");
    json_t *json = written(t), *stored = json_object_get(json, "req");
    size_t n = 0;
    char *back = base64_bytes(span_of(json_string_value(json_object_get(stored, "base64"))), &n);

    cr_expect(back && span_eq((struct span){back, n}, req));
    free(back);
    json_decref(json);
    txn_free(t);
}

/* Text is copied eight bytes at a time, as far as nothing is to be escaped. */
Test(record, any_byte_at_any_place)
{
    for (int byte = 1; byte < 128; byte++)
        for (size_t at = 0; at < 9; at++) {
            char body[] = "~~~~~~~~~";

            body[at] = (char)byte;
            expect_round_trip(scratch("%d at %zu", byte, at), with_body(span_of(body)), false);
        }
}

static bool has_request(struct txn *t)
{
    json_t *json = written(t);
    bool has = json_object_get(json, "req") != NULL;

    cr_expect(json_is_true(json_object_get(json, "done")) == txn_is_done(t));
    json_decref(json);
    return has;
}

/* A 2xx comes again by itself; a negative reply the caller may not have heard. */
Test(record, one_that_is_over_has_its_request_if_something_is_left_to_do)
{
    static const struct {
        int code;
        bool has;
    } each[] = {{200, false}, {302, true}, {408, true}, {486, true}};

    for (size_t i = 0; i < COUNT(each); i++) {
        struct txn *t = txn_of(plain_req(), "");

        txn_reply(t, 0, each[i].code, 1);
        t->end = END_DONE;
        cr_expect(has_request(t) == each[i].has, "%d", each[i].code);
        txn_free(t);
    }
}

Test(record, of_a_fork_that_was_answered_it_stays_until_all_have_ended)
{
    struct txn *t = txn_of(plain_req(), "");

    t->end = END_DONE;
    t->final = 200;
    txn_reply(t, 0, 180, 1);
    cr_expect(has_request(t), "it rings on");
    t->branches[0].ended = true;
    cr_expect(!has_request(t));
    t->branches[0].ended = false;
    txn_reply(t, 0, 487, 1);
    cr_expect(!has_request(t));
    txn_free(t);
}

Test(record, who_rang_before_tm_gave_it_up_is_known)
{
    for (int rang = 0; rang < 2; rang++) {
        struct txn *t = txn_of(plain_req(), ""), *read = NULL;
        char *text;

        if (rang)
            txn_reply(t, 0, 180, 1);
        txn_reply(t, 0, 408, 1);
        text = record_write(t, &head, NULL, true);
        cr_assert(record_txn(&read, span_of(text), 1) == 0);
        cr_expect(txn_rings_on(read, &read->branches[0]) == rang);
        txn_reply(read, 0, 487, 1);
        cr_expect(!txn_rings_on(read, &read->branches[0]), "it has ended after all");
        free(text);
        txn_free(t);
        txn_free(read);
    }
}

/* Also where nothing is taken over. */
Test(record, of_a_cancelled_one_it_always_stays)
{
    struct txn *t = txn_of(plain_req(), "");

    for (int cancelled = 0; cancelled < 2; cancelled++) {
        char *text;

        t->cancelled = cancelled;
        text = record_write(t, &(struct head){7, 3, "17.5", HEAD_HELD, NULL}, NULL, false);
        cr_expect((strstr(text, "\"req\":") != NULL) == cancelled);
        free(text);
    }
    txn_free(t);
}

Test(record, final_reply_comes_back)
{
    struct txn *t = txn_of(plain_req(), ""), *read = NULL;
    char *text;

    t->end = END_DONE;
    t->final = 480;
    text = record_write(t, &head, NULL, true);
    cr_assert(record_txn(&read, span_of(text), 1) == 0);
    cr_expect(txn_is_done(read) && read->final == 480 && txn_state(read) == TXN_FAILED);
    free(text);
    txn_free(t);
    txn_free(read);
}

Test(record, how_branches_have_ended_comes_back)
{
    struct txn *t = txn_of(plain_req(), ""), *read = NULL;
    char *text;

    txn_reply(t, 0, 407, 1);
    txn_reply_head(t, 0, span_of("SIP/2.0 407 x\r\nProxy-Authenticate: \"q\"\r\n\r\n"));
    t->branches[0].over = true;
    text = record_write(t, &head, NULL, true);
    cr_assert(record_txn(&read, span_of(text), 1) == 0);
    cr_expect(read->branches[0].over && read->branches[0].code == 407);
    cr_expect_str_eq(read->branches[0].head, "Proxy-Authenticate: \"q\"\r\n");
    free(text);
    txn_free(t);
    txn_free(read);
}

Test(record, what_is_no_record_is_refused)
{
    static const char *const bad[] = {
        "",
        "x",
        "null",
        "[]",
        "{}",
        "1",
        "\"x\"",
        "{\"owner\":1",
        "{\"owner\":1,\"inc\":\"1\\r\\nX: y\",\"done\":false,\"sent_by\":\"h\"}",
        "{\"inc\":\"1\",\"done\":false,\"sent_by\":\"h\"}",
        "{\"owner\":1,\"done\":false,\"sent_by\":\"h\"}",
        "{\"owner\":1,\"inc\":\"1\",\"sent_by\":\"h\"}",
        "{\"owner\":\"1\",\"inc\":\"1\",\"done\":false,\"sent_by\":\"h\"}",
        "{\"owner\":1,\"inc\":1,\"done\":false,\"sent_by\":\"h\"}",
        "{\"owner\":1,\"inc\":\"1\",\"done\":0,\"sent_by\":\"h\"}",
        "{\"owner\":-1,\"inc\":\"1\",\"done\":false,\"sent_by\":\"h\"}",
        "{\"owner\":1,\"inc\":\"1\",\"done\":false,\"sent_by\":\"h\"} x",
    };
    struct record r;

    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect(record_read(&r, scratch_exact(span_of(bad[i]))) == -EBADMSG, "'%s'", bad[i]);
    cr_expect(record_read(&r, span_of(scratch("{\"owner\":1,\"inc\":\"%0100d\",\"done\":false,\"sent_by\":\"h\"}",
                                              1))) == -EBADMSG);
    cr_expect(record_read(&r, BYTES("{\"owner\":1,\"inc\":\"\xff\",\"done\":false,\"sent_by\":\"h\"}")) == -EBADMSG);
}

/* Whether the record of a transaction is still one when these texts of its branch stand for its own. */
static int read_with(const char *name, const char *value, struct txn **read)
{
    struct txn *t = txn_of(plain_req(), "Route: <sip:r1;lr>\r\n");
    char *text = record_write(t, &head, NULL, true), *changed;
    json_t *json = json_loads(text, 0, NULL);
    int rc;

    json_object_set_new(json_array_get(json_object_get(json, "branches"), 0), name, json_string(value));
    changed = json_dumps(json, 0);
    rc = record_txn(read, span_of(changed), 1);
    free(changed);
    free(text);
    json_decref(json);
    txn_free(t);
    return rc;
}

/* Via, Route and R-URI go into what an adoption sends, line by line. */
Test(record, no_line_can_be_slipped_into_a_branch)
{
    static const char *const names[] = {"via", "ruri", "route", "kept"};
    static const char *const bad[] = {"a\r\nX-Evil: b", "a\nX: b", "a\rb", "a\r\n", "a\x01", "a\x7f", "a\r\n\r\nb"};
    struct txn *read = NULL;

    for (size_t i = 0; i < COUNT(names) * COUNT(bad); i++)
        cr_expect(read_with(names[i % COUNT(names)], bad[i / COUNT(names)], &read) == -EBADMSG, "%zu", i);
    cr_assert(read_with("route", "<sip:r1;lr>,\r\n\t<sip:r2>", &read) == 0);
    assert_span(span_of(read->branches[0].route), "<sip:r1;lr>,  \t<sip:r2>");
    txn_free(read);
}

Test(record, every_beginning_of_one_is_refused)
{
    struct txn *t = txn_of(plain_req(), "");
    char *text = record_write(t, &head, NULL, true);
    struct record r;

    for (size_t n = 0; n < strlen(text); n++)
        cr_expect(record_read(&r, scratch_exact((struct span){text, n})) == -EBADMSG, "%zu bytes", n);
    free(text);
    txn_free(t);
}

/* ---- whose it is ---- */

#define HEAD_7 "{\"epoch\":7,\"owner\":3,\"inc\":\"17.5\""

Test(record, says_in_front_whose_it_is_and_since_which_epoch)
{
    for (int state = HEAD_HELD; state <= HEAD_GIVEN; state++) {
        struct txn *t = txn_of(plain_req(), "");
        char *text = record_write(t, &(struct head){7, 3, "17.5", (enum head_state)state, NULL}, NULL, true);
        struct record r = {0};

        cr_assert(record_read(&r, scratch_exact(span_of(text))) == 0);
        cr_expect(r.epoch == 7 && r.owner == 3 && (int)r.state == state);
        cr_expect(record_head(span_of(text)) == strlen(HEAD_7) && strncmp(text, HEAD_7, strlen(HEAD_7)) == 0);
        free(text);
        txn_free(t);
    }
}

/* So that the store can compare it with what stands there, before it reads anything else. */
Test(record, says_next_over_whose_it_may_go)
{
    const struct holder none = {0}, dead = {6, 2, "200.1"};
    const struct holder *const from[] = {NULL, &none, &dead};

    for (size_t i = 0; i < COUNT(from); i++) {
        struct txn *t = txn_of(plain_req(), "");
        char *text = record_write(t, &(struct head){7, 3, "17.5", HEAD_TAKING, from[i]}, NULL, true);
        const char *front =
            from[i] == &dead ? HEAD_7 ",\"from\":\"6 2 200.1\",\"taking\":true," : HEAD_7 ",\"taking\":true,";
        struct record r;

        cr_assert(record_read(&r, span_of(text)) == 0);
        cr_expect(r.epoch == 7 && r.owner == 3 && r.state == HEAD_TAKING);
        cr_expect(from[i] == &dead ? r.from.epoch == 6 && r.from.owner == 2 : !r.from.epoch);
        cr_expect(strncmp(text, front, strlen(front)) == 0, "%s", text);
        free(text);
        txn_free(t);
    }
}

Test(record, released_one_is_nobodys)
{
    struct txn *t = txn_of(plain_req(), "");
    char *text = record_write(t, &(struct head){8, 0, RECORD_NOBODY, HEAD_HELD, NULL}, NULL, true);
    struct record r;

    cr_assert(record_read(&r, span_of(text)) == 0);
    cr_expect(r.epoch == 8 && r.owner == 0 && !r.state && r.whole);
    cr_expect_str_eq(r.inc, RECORD_NOBODY);
    free(text);
    txn_free(t);
}

/* Kamsyncds of before wrote none, and go on while others are renewed one by one. */
Test(record, of_before_there_were_epochs_counts_as_the_first)
{
    struct record r;

    cr_assert(record_read(&r, BYTES("{\"owner\":2,\"inc\":\"1\",\"done\":false}")) == 0);
    cr_expect(r.epoch == 1 && r.owner == 2 && !r.state);
}

#define BEHIND ",\"owner\":1,\"inc\":\"1\""

Test(record, epoch_of_any_text)
{
    static const struct {
        const char *text;
        int64_t epoch;
    } each[] = {
        {"{\"epoch\":1" BEHIND, 1},
        {"{\"epoch\":12" BEHIND, 12},
        {"{\"epoch\":007" BEHIND, 7},
        {"{\"epoch\":999999999999999" BEHIND, 999999999999999},
        {"{\"epoch\":1000000000000000" BEHIND, 1}, /* and below: no record */
        {"{\"epoch\":0000000000000007" BEHIND, 1},
        {"{\"epoch\":3.5" BEHIND, 1},
        {"{\"epoch\":-5" BEHIND, 1},
        {"{\"epoch\":\"9\"" BEHIND, 1},
        {"{\"epoch\":" BEHIND, 1},
        {"{\"epoch\": 9" BEHIND, 1},
        {" {\"epoch\":9" BEHIND, 1},
        {"{\"epoch\":9,\"inc\":\"1\",\"owner\":1", 1},
        {"{\"owner\":1,\"epoch\":9,\"inc\":\"1\"", 1},
        {"{\"epoch\":9", 1},
        {"{\"epoch\":", 1},
        {"{}", 1},
        {"x", 1},
        {"", 1},
    };

    for (size_t i = 0; i < COUNT(each); i++)
        cr_expect(record_epoch(scratch_exact(span_of(each[i].text))) == each[i].epoch, "'%s'", each[i].text);
}

Test(record, head_of_any_text)
{
    static const char *const none[] = {"",
                                       "x",
                                       "{}",
                                       "{\"owner\":1,\"inc\":\"1",
                                       "{\"inc\":\"1\"}",
                                       "{\"owner\":-1,\"inc\":\"1\"}",
                                       "\"inc\"",
                                       ",\"inc\":",
                                       ",\"inc\":\"",
                                       "{\"owner\":1,\"inc\":1}",
                                       "{\"owner\":,\"inc\":\"1\"}",
                                       "{\"owner\":1,\"x\":2,\"inc\":\"1\"}"};
    char *most = scratch("{\"epoch\":999999999999999,\"owner\":2147483647,\"inc\":\"%079d\"", 1);
    char *full = scratch("{\"owner\":1,\"inc\":\"%0*d\"", RECORD_HEAD_MAX - 19, 1);
    char *far = scratch("{\"owner\":1,\"inc\":\"%0*d\"", RECORD_HEAD_MAX - 18, 1);

    for (size_t i = 0; i < COUNT(none); i++)
        cr_expect(record_head(scratch_exact(span_of(none[i]))) == 0, "'%s'", none[i]);
    cr_expect(record_head(span_of(most)) == strlen(most), "the longest that this node writes");
    cr_expect(record_head(span_of(full)) == RECORD_HEAD_MAX);
    cr_expect(record_head(span_of(far)) == 0);
}

Test(record, no_beginning_of_a_head_is_read_beyond_its_end)
{
    const struct span other = span_of("{\"epoch\":8,\"owner\":1,\"inc\":\"1\"");

    for (size_t n = 0; n < strlen(HEAD_7); n++) {
        struct span some = scratch_exact((struct span){HEAD_7, n});

        cr_expect(record_head(some) == 0, "%zu bytes", n);
        cr_expect(!record_fences(some, other) && !record_fences(other, some), "%zu bytes", n);
    }
}

/* It ends anywhere, and is as long as what it is from: then alone it goes over that. */
Test(record, no_beginning_of_what_it_is_from_is_read_beyond_its_end)
{
    static const char all[] = "{\"epoch\":8,\"owner\":1,\"inc\":\"1\",\"from\":\"7 3 17.5\"";

    for (size_t n = strlen("{\"epoch\":8,\"owner\":1,\"inc\":\"1\""); n < sizeof(all); n++)
        cr_expect(record_fences(span_of(HEAD_7), scratch_exact((struct span){all, n})) == (n < strlen(all)),
                  "%zu bytes", n);
}
