/* Records, as nodes write them, and a cluster that one fake node sees. */
#include "base64.h"
#include "fake.h"
#include "record.h"

char *fake_record(const struct leg *c, int owner, const char *inc, bool done)
{
    return scratch("{\"owner\":%d,\"inc\":\"%s\",\"done\":%s,\"sent_by\":\"%s\"}", owner, inc, done ? "true" : "false",
                   c->sent_by);
}

char *fake_branch_json(const struct leg *c, int index, const char *suffix, int code, const char *route)
{
    return scratch("{\"i\":%d,\"code\":%d,\"via\":\"SIP/2.0/UDP 192.0.2.10:5060;branch=%s.%s\","
                   "\"to\":\"udp:203.0.113.5:5060\",\"sock\":\"udp:192.0.2.10:5060\","
                   "\"ruri\":\"sip:bob%d@203.0.113.5:5060\"%s}",
                   index, code, c->tm, suffix, index, route ? scratch(",\"route\":\"%s\"", route) : "");
}

char *fake_whole(const struct leg *c, int owner, const char *inc, const char *branches)
{
    json_t *req = json_string(sip_request(c, "INVITE"));
    char *text = json_dumps(req, JSON_ENCODE_ANY),
         *record = scratch("{\"owner\":%d,\"inc\":\"%s\",\"state\":\"trying\",\"code\":0,\"done\":false,"
                           "\"call_id\":\"%s\",\"cseq\":%u,\"from_tag\":\"a1\",\"branch\":\"%s\",\"sent_by\":\"%s\","
                           "\"src\":\"udp:198.51.100.9:5060\",\"dst\":\"udp:192.0.2.10:5060\",\"branches\":[%s],"
                           "\"req\":%s}",
                           owner, inc, c->call_id, c->cseq, c->branch, c->sent_by, branches, text);

    free(text);
    json_decref(req);
    return record;
}

char *fake_orphan(const struct leg *c, int owner, const char *inc)
{
    return fake_whole(c, owner, inc, fake_branch_json(c, 0, "0", 180, NULL));
}

void fake_got_orphan(struct fake *f, size_t lookup)
{
    unsigned number = 0;
    struct leg c;

    sscanf(f->gets[lookup].key, "kamsync:tx:{call-%u@", &number);
    c = call_make(number);
    engine_got(f->e, f->gets[lookup].token, GET_FOUND, span_of(fake_orphan(&c, 2, "200.1")), f->now);
}

char *fake_cancelled(const char *record)
{
    return scratch("%.*s,\"cancelled\":true}", (int)strlen(record) - 1, record);
}

char *fake_epoch(const char *record, int epoch, bool taking)
{
    int head = (int)record_head(span_of(record)) - 1; /* behind the brace */

    return scratch("{\"epoch\":%d,%.*s%s%s", epoch, head, record + 1, taking ? ",\"taking\":true" : "",
                   record + 1 + head);
}

struct fake *fake_peers(void)
{
    struct fake *f = fake_ready();

    for (int beat = 1; beat <= 5; beat++) {
        fake_node(f, 2, beat, "200.1", true);
        fake_node(f, 3, beat, "300.1", true);
        fake_pass(f, 1000);
    }
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
    return f;
}

struct fake *fake_started(void)
{
    struct fake *f = fake_new();

    f->mute_scans = f->mute_calls = f->polite = true;
    engine_store_up(f->e, f->now);
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    fake_turn(f);
    cr_assert(f->scanning);
    fake_forget(f);
    return f;
}

struct fake *fake_served(void)
{
    struct fake *f = fake_peers();

    f->polite = f->answer_puts = true;
    return f;
}

void fake_death(struct fake *f)
{
    fake_node(f, 2, 9, "200.1", false);
    fake_turn(f);
    fake_ack_all(f);
    fake_turn(f);
    fake_forget(f);
}

struct fake *fake_lost_peer(void)
{
    struct fake *f = fake_peers();
    int beat = 10;

    f->unreachable = f->polite = f->mute_scans = f->mute_calls = true;
    for (int i = 0; i < 8 && !f->scanning; i++) {
        fake_pass(f, 1000);
        fake_node(f, 3, beat++, "300.1", true);
    }
    cr_assert(f->scanning);
    return f;
}

/* ---- what Kamailio and the store got ---- */

char *fake_sent(const struct fake *f, const char *part, size_t n, json_t **frame)
{
    json_t *each;
    size_t i, len;

    json_array_foreach(f->frames, i, each)
    {
        char *msg =
            strcmp(fake_text(each, "t"), "send") == 0 ? base64_bytes(span_of(fake_text(each, "msg")), &len) : NULL;
        char *copy = msg && strstr(msg, part) && n-- == 0 ? scratch("%s", msg) : NULL;

        free(msg);
        if (copy && frame)
            *frame = each;
        if (copy)
            return copy;
    }
    return NULL;
}

size_t fake_sent_count(const struct fake *f, const char *part)
{
    size_t n = 0;

    while (fake_sent(f, part, n, NULL))
        n++;
    return n;
}

bool fake_is_question(struct fake *f, json_t *frame)
{
    size_t n;
    char *msg = strcmp(fake_text(frame, "t"), "send") == 0 ? base64_bytes(span_of(fake_text(frame, "msg")), &n) : NULL;
    bool yes = msg && strstr(msg, ";why=state;");
    const char *name = yes ? msg + strlen("INVITE sip:") : "";

    if (yes)
        json_array_append_new(f->questions, json_stringn(name, strcspn(name, "@")));
    free(msg);
    return yes;
}

static void give_mark(struct fake *f)
{
    int64_t mark = f->mark;

    f->mark = 0;
    if (mark)
        fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"mark\",\"id\":%lld}", f->events ? f->events : 1,
                 (long long)mark);
}

void fake_tell_states(struct fake *f)
{
    json_t *asked = f->questions, *name;
    size_t i;

    give_mark(f);
    f->questions = json_array();
    json_array_foreach(asked, i, name)
        fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"state\",\"via\":\"%s\",\"code\":%d}",
                 f->events ? f->events : 1, base64_of(json_string_value(name)), f->state);
    json_decref(asked);
}
