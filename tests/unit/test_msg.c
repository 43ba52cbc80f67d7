/* Messages: the vectors of proto/examples, and what cannot stand in a file. */
#include "frame.h"
#include "helper.h"
#include "msg.h"

TestSuite(msg, .fini = no_leaks);

/* Reads a payload to its last event: "" when all is good, else what was said against it. */
static const char *read_all(struct span payload)
{
    char why[128] = "";
    struct msg m;
    struct event ev;
    int rc = msg_read(&m, scratch_exact(payload), why, sizeof(why));

    while (rc == 0 && m.type == MSG_EVENTS && (rc = msg_event(&ev, &m, why, sizeof(why))) > 0)
        rc = 0;
    cr_expect(rc == 0 || rc == -EBADMSG);
    cr_expect((rc == 0) == (why[0] == '\0'), "an error and its text belong together: %d, '%s'", rc, why);
    return scratch("%s", why);
}

Test(msg, good_vectors_are_read)
{
    json_t *list = vectors("good-from-kamailio.json"), *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        const char *why = read_all(vector_payload(v));

        cr_expect_str_eq(why, "", "%s: %s", json_string_value(json_object_get(v, "name")), why);
    }
    cr_expect(i > 10);
    json_decref(list);
}

Test(msg, bad_vectors_are_refused_for_the_reason_that_they_name)
{
    json_t *list = vectors("bad-from-kamailio.json"), *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        const char *why = read_all(vector_payload(v)), *error = json_string_value(json_object_get(v, "error"));

        cr_expect(*why && strstr(why, error), "%s: '%s', not '%s'", json_string_value(json_object_get(v, "name")), why,
                  error);
    }
    cr_expect(i > 100);
    json_decref(list);
}

static void read_payload(void *arg, struct span payload)
{
    json_array_append_new(arg, json_string(read_all(payload)));
}

/* What the vectors of a file give when they come as frames, in pieces of `step` bytes. */
static json_t *through_frames(json_t *list, size_t step)
{
    struct frame_reader reader = {0};
    json_t *said = json_array(), *v;
    size_t i, len;

    json_array_foreach(list, i, v)
    {
        char *frame = frame_make(vector_payload(v), &len);

        for (size_t at = 0; at < len; at += step)
            cr_assert(frame_feed(&reader, frame + at, at + step < len ? step : len - at, read_payload, said) == 0);
        free(frame);
    }
    frame_reset(&reader);
    return said;
}

Test(msg, result_does_not_depend_on_how_the_bytes_arrive)
{
    static const char *const files[] = {"good-from-kamailio.json", "bad-from-kamailio.json"};
    static const size_t steps[] = {1, 2, 3, 7, 64};

    for (size_t f = 0; f < COUNT(files); f++) {
        json_t *list = vectors(files[f]), *whole = through_frames(list, FRAME_MAX_IN);

        cr_expect(json_array_size(whole) == json_array_size(list));
        for (size_t i = 0; i < COUNT(steps); i++) {
            json_t *cut = through_frames(list, steps[i]);

            cr_expect(json_equal(whole, cut), "%s in pieces of %zu", files[f], steps[i]);
            json_decref(cut);
        }
        json_decref(whole);
        json_decref(list);
    }
}

/* Every beginning of a message is no message. (Of `events` it may be: with fewer events.) */
Test(msg, cut_messages_are_refused)
{
    json_t *list = vectors("good-from-kamailio.json"), *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        struct span whole = vector_payload(v);
        size_t step = whole.n > 300 ? 37 : 1;

        if (strstr(json_string_value(json_object_get(json_object_get(v, "message"), "t")), "events"))
            continue;
        for (size_t n = 0; n < whole.n; n += step)
            cr_expect_str_neq(read_all((struct span){whole.p, n}), "");
    }
    json_decref(list);
}

static void expect_depth(const char *open, const char *close, size_t depth)
{
    char *text = malloc(depth * (strlen(open) + strlen(close)) + 64), *end = text;

    cr_assert_not_null(text);
    end += sprintf(end, "{\"t\":\"ack\",\"n\":1,\"x\":");
    for (size_t i = 0; i < depth; i++)
        end += sprintf(end, "%s", open);
    end += sprintf(end, "0");
    for (size_t i = 0; i < depth; i++)
        end += sprintf(end, "%s", close);
    end += sprintf(end, "}");
    cr_expect(strstr(read_all((struct span){text, (size_t)(end - text)}), "not a JSON object"));
    cr_expect_str_neq(read_all((struct span){text, (size_t)(end - text) / 2}), "", "cut in the deepest place");
    free(text);
}

Test(msg, deep_nesting_is_refused)
{
    expect_depth("[", "]", 3000);
    expect_depth("{\"a\":", "}", 3000);
    expect_depth("[", "]", 100000);
}

Test(msg, fields_arrive)
{
    char why[64];
    struct msg m;

    cr_assert(
        msg_read(
            &m,
            scratch_exact(span_of(
                "{\"t\":\"hello\",\"node\":7,\"inc\":\"1.5\",\"sip\":\"[::1]:5060\",\"nonce\":\"1\",\"proof\":\"2\"}")),
            why, sizeof(why)) == 0);
    cr_expect(m.type == MSG_HELLO && m.node == 7);
    cr_expect_str_eq(m.inc, "1.5");
    cr_expect_str_eq(m.sip, "[::1]:5060");
    cr_assert(
        msg_read(
            &m,
            scratch_exact(span_of(
                "{\"k\":3,\"msg\":8,\"dst\":\"udp:1.1.1.1:5\",\"src\":\"udp:2.2.2.2:6\",\"t\":\"stray\"}AAECAw==")),
            why, sizeof(why)) == 0);
    cr_expect(m.type == MSG_STRAY && m.k == 3);
    cr_expect_str_eq(m.src, "udp:2.2.2.2:6");
    cr_expect_str_eq(m.dst, "udp:1.1.1.1:5");
    cr_expect(span_eq(m.msg, BYTES("\0\1\2\3")));
}

Test(msg, event_fields_arrive)
{
    static const char text[] =
        "{\"t\":\"events\",\"n\":9}{\"t\":\"branch\",\"src\":\"udp:1.1.1.1:1\",\"dst\":\"udp:2.2.2.2:2\","
        "\"to\":\"udp:3.3.3.3:3\",\"sock\":\"udp:4.4.4.4:4\",\"sent\":4,\"req\":4}eA==YWI="
        "{\"t\":\"reply\",\"via\":\"eXk=\",\"code\":404}";
    char why[64];
    struct msg m;
    struct event ev;

    cr_assert(msg_read(&m, scratch_exact(span_of(text)), why, sizeof(why)) == 0);
    cr_expect(m.type == MSG_EVENTS && m.n == 9);
    cr_assert(msg_event(&ev, &m, why, sizeof(why)) == 1);
    cr_expect(ev.type == EVENT_BRANCH);
    assert_span(span_of(ev.src), "udp:1.1.1.1:1");
    assert_span(span_of(ev.dst), "udp:2.2.2.2:2");
    assert_span(span_of(ev.to), "udp:3.3.3.3:3");
    assert_span(span_of(ev.sock), "udp:4.4.4.4:4");
    assert_span(ev.sent, "x");
    assert_span(ev.req, "ab");
    cr_assert(msg_event(&ev, &m, why, sizeof(why)) == 1);
    cr_expect(ev.type == EVENT_REPLY && ev.code == 404);
    assert_span(ev.via, "yy");
    cr_expect(msg_event(&ev, &m, why, sizeof(why)) == 0, "there is no third event");
}

/* An event that is not understood costs the others nothing. */
Test(msg, bad_events_between_good_ones)
{
    static const char text[] =
        "{\"t\":\"events\",\"n\":9}{\"t\":\"alive\",\"id\":2}{\"t\":\"branch\",\"sent\":4}eA=="
        "{\"t\":\"nothing\"}{\"t\":\"alive\",\"id\":3}{\"t\":\"alive\",\"id\":4,}{\"t\":\"alive\",\"id\":5}";
    static const int want[] = {1, -EBADMSG, -EBADMSG, 1, -EBADMSG, 1, 0, 0};
    char why[64];
    struct msg m;
    struct event ev;

    cr_assert(msg_read(&m, scratch_exact(span_of(text)), why, sizeof(why)) == 0);
    for (size_t i = 0; i < COUNT(want); i++) {
        int rc = msg_event(&ev, &m, why, sizeof(why));

        cr_expect(rc == want[i], "%zu: %d", i, rc);
    }
}

static void expect_same_texts(const struct event *a, const struct event *b)
{
    const char *const texts[][2] = {{a->src, b->src}, {a->dst, b->dst},   {a->to, b->to},   {a->sock, b->sock},
                                    {a->by, b->by},   {a->name, b->name}, {a->all, b->all}, {a->why, b->why}};
    const struct span spans[][2] = {{a->sent, b->sent},         {a->req, b->req},       {a->msg, b->msg},
                                    {a->via, b->via},           {a->kept, b->kept},     {a->call_id, b->call_id},
                                    {a->from_tag, b->from_tag}, {a->to_tag, b->to_tag}, {a->branch, b->branch},
                                    {a->sent_by, b->sent_by},   {a->value, b->value}};

    for (size_t i = 0; i < COUNT(texts); i++)
        cr_expect(!texts[i][0] == !texts[i][1] && (!texts[i][0] || strcmp(texts[i][0], texts[i][1]) == 0), "%zu", i);
    for (size_t i = 0; i < COUNT(spans); i++)
        cr_expect(span_eq(spans[i][0], spans[i][1]) && (!spans[i][1].p || spans[i][1].p[spans[i][1].n] == '\0'), "%zu",
                  i);
    cr_expect(a->type == b->type && a->code == b->code && a->cseq == b->cseq && a->at == b->at && a->size == b->size);
}

/* Each event is read twice; the second is made to outlive its payload. */
static int own_all(struct span payload)
{
    struct span kept = scratch_exact(payload), over = scratch_exact(payload);
    char why[64];
    struct msg m, again;
    struct event ev, own;
    int count = 0;

    cr_assert(msg_read(&m, kept, why, sizeof(why)) == 0 && msg_read(&again, over, why, sizeof(why)) == 0);
    while (m.type == MSG_EVENTS && msg_event(&ev, &m, why, sizeof(why)) > 0) {
        cr_assert(msg_event(&own, &again, why, sizeof(why)) > 0 && event_own(&own) && event_own(&own));
        memset((char *)over.p, 'x', over.n - again.rest.n);
        expect_same_texts(&ev, &own);
        event_clear(&own);
        count++;
    }
    return count;
}

Test(msg, an_event_may_outlive_its_payload)
{
    json_t *list = vectors("good-from-kamailio.json"), *v;
    int count = 0;
    size_t i;

    json_array_foreach(list, i, v)
    {
        count += own_all(vector_payload(v));
    }
    cr_expect(count > 10);
    json_decref(list);
}

/* The message that kamsyncd would make of the vector's values. */
static char *make(json_t *m)
{
    const char *t = json_string_value(json_object_get(m, "t"));
#define TEXT(name) json_string_value(json_object_get(m, name))
#define INT(name) json_integer_value(json_object_get(m, name))
    if (strcmp(t, "hello") == 0)
        return msg_hello(TEXT("tag"));
    if (strcmp(t, "proof") == 0)
        return msg_proof(TEXT("proof"), TEXT("after"), INT("read"));
    if (strcmp(t, "keys") == 0)
        return msg_keys(INT("n"));
    if (strcmp(t, "ack") == 0)
        return msg_ack(INT("n"), INT("events"), INT("strays"));
    if (strcmp(t, "node") == 0)
        return msg_node(INT("n"), (int)INT("id"), TEXT("sip"), TEXT("inc"), INT("up") == 1);
    if (strcmp(t, "ping") == 0)
        return msg_ping(INT("n"));
    if (strcmp(t, "mark") == 0)
        return msg_mark(INT("n"), INT("id"));
    if (strcmp(t, "second") == 0)
        return msg_second(INT("n"), TEXT("via"), (int)INT("node"));
    if (strcmp(t, "lost") == 0)
        return msg_lost(INT("n"), TEXT("call_id"), (uint32_t)INT("cseq"), TEXT("branch"), TEXT("sent_by"));
    if (strcmp(t, "part") == 0)
        return msg_part(INT("n"), (int)INT("k"), span_of(TEXT("msg")));
    return msg_send(INT("n"), TEXT("to"), TEXT("sock"), TEXT("msg"), (int)INT("parts"));
#undef TEXT
#undef INT
}

Test(msg, what_kamsyncd_writes_is_what_the_vectors_show)
{
    json_t *list = vectors("good-from-kamsyncd.json"), *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        json_t *want = json_object_get(v, "message"), *got;
        char *text = make(want);

        got = json_loads(text, 0, NULL);
        cr_expect(json_equal(got, want), "%s: %s", json_string_value(json_object_get(v, "name")), text);
        json_decref(got);
        free(text);
    }
    cr_expect(i >= 4);
    json_decref(list);
}
