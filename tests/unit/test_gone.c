/* A caller on a connection that has ended with its node: he may come back, or nobody hears a reply any more. And one
 * who comes on another connection to another node than his call's. */
#include "base64.h"
#include "fake.h"

TestSuite(gone, .fini = no_leaks);

#define CONNECTION "tcp:198.51.100.9:40312"
#define ANOTHER "tls:198.51.100.9:40999"
#define HERE "tls:192.0.2.10:5061"

/* `text`, with b in place of a, which stands there once. */
static char *changed(const char *text, const char *a, const char *b)
{
    const char *at = strstr(text, a);

    cr_assert(at && !strstr(at + 1, a), "%s in %s", a, text);
    return scratch("%.*s%s%s", (int)(at - text), text, b, at + strlen(a));
}

/* The record of call 1, of dead node 2: its caller is on a connection, its far end not. */
static char *orphan(const struct leg *c)
{
    return changed(fake_orphan(c, 2, "200.1"), "\"src\":\"udp:198.51.100.9:5060\"", "\"src\":\"" CONNECTION "\"");
}

/* Node 2 has died, and a search has found its call 1. */
static struct fake *searched(struct leg *c, const char *record)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    f->mute_scans = true;
    fake_node(f, 2, 9, "200.1", false);
    fake_turn(f);
    fake_forget(f);
    f->found = record ? record : orphan(c);
    for (int round = 0; round < 2; round++) {
        fake_scanned(f, 1, 1, true, 0);
        fake_pass(f, 2100);
    }
    return f;
}

static char *sent_by_caller(const struct leg *c, const char *method, const char *src)
{
    return scratch("{\"t\":\"stray\",\"k\":1,\"src\":\"%s\",\"dst\":\"" HERE "\",\"msg\":%zu}%s", src,
                   strlen(base64_of(sip_request(c, method))), base64_of(sip_request(c, method)));
}

/* A 2xx, which ends with its dialog's data; Record-Route as given. */
static char *answer(const struct leg *c, const char *routes)
{
    return scratch("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0\r\n"
                   "Via: SIP/2.0/TCP %s;branch=%s\r\n%sFrom: <sip:alice@caller.example>;tag=a1\r\n"
                   "To: <sip:bob@example.org>;tag=b1\r\nCall-ID: %s\r\nCSeq: %u INVITE\r\n"
                   "Contact: \"Bob\" <sip:bob@203.0.113.5:5062;x=1>;q=1\r\nContent-Length: 0\r\n\r\n",
                   c->tm, c->sent_by, c->branch, routes, c->call_id, c->cseq);
}

static void stray(struct fake *f, int k, const char *msg)
{
    fake_say(f, "%s", stray_text(k, msg, ""));
    fake_turn(f);
}

/* ---- he does not come back ---- */

Test(gone, his_call_waits_for_him_and_is_nobodys_meanwhile)
{
    struct leg c;
    struct fake *f = searched(&c, NULL);

    cr_expect(f->put_count == 0 && fake_count(f, "send") == 0 && fake_status(f).takeovers == 0);
    fake_pass(f, f->conf.caller_wait_ms - 3000);
    cr_expect(f->put_count == 0);
    fake_free(f);
}

Test(gone, then_what_rings_is_cancelled_and_the_call_has_ended)
{
    struct leg c;
    struct fake *f = searched(&c, NULL);
    json_t *frame = NULL;
    char *cancel;

    fake_pass(f, f->conf.caller_wait_ms);
    cancel = fake_sent(f, "CANCEL sip:", 0, &frame);
    cr_assert(cancel && fake_sent_count(f, "why=takeover") == 0, "no tm is needed");
    cr_expect(strstr(cancel, scratch("Via: SIP/2.0/UDP 192.0.2.10:5060;branch=%s.0\r\n", c.tm)));
    cr_expect_str_eq(fake_text(frame, "to"), "203.0.113.5:5060");
    cr_expect(json_is_true(fake_put_field(f, "done")) && json_is_true(fake_put_field(f, "gone")));
    cr_expect(json_integer_value(fake_put_field(f, "owner")) == 1 && fake_writes(f, CALL_END) == 1);
    expect_text(f, "how", "caller lost");
    expect_text(f, "by", "kamsync");
    cr_expect(fake_counters(f)->callers_lost == 1 && fake_counters(f)->takeovers == 0);
    fake_free(f);
}

Test(gone, what_he_had_cancelled_does_not_wait)
{
    struct leg c = call_make(1);
    struct fake *f = searched(&c, fake_cancelled(orphan(&c)));

    cr_expect(fake_sent_count(f, "CANCEL sip:") >= 1 && fake_sent_count(f, "why=takeover") == 0);
    expect_text(f, "how", "cancelled");
    expect_text(f, "by", "caller");
    fake_free(f);
}

Test(gone, owner_that_is_back_keeps_it)
{
    struct leg c;
    struct fake *f = searched(&c, NULL);

    f->node_record = "{\"id\":2,\"name\":\"b\",\"sip\":\"192.0.2.2:5060\",\"inc\":\"200.1\",\"beat\":10,\"up\":true}";
    fake_pass(f, f->conf.caller_wait_ms);
    cr_expect(f->put_count == 0 && fake_count(f, "send") == 0);
    fake_free(f);
}

Test(gone, caller_over_udp_waits_for_nothing)
{
    struct leg c = call_make(1);
    struct fake *f = searched(&c, fake_orphan(&c, 2, "200.1"));

    cr_expect(fake_sent_count(f, "why=takeover") > 0 && fake_sent_count(f, "CANCEL sip:") == 0);
    fake_free(f);
}

/* ---- what the far end says then ---- */

static struct fake *ended(struct leg *c)
{
    struct fake *f = searched(c, NULL);

    fake_pass(f, f->conf.caller_wait_ms);
    fake_forget(f);
    return f;
}

Test(gone, two_hundred_is_acknowledged_and_its_dialog_ended)
{
    struct leg c;
    struct fake *f = ended(&c);
    json_t *frame = NULL;
    char *ack, *bye;

    stray(f, 1, answer(&c, "Record-Route: <sip:203.0.113.1;lr>\r\nRecord-Route: <sip:192.0.2.10;lr>, <sip:a;lr>\r\n"));
    ack = fake_sent(f, "ACK sip:", 0, &frame);
    bye = fake_sent(f, "BYE sip:", 0, NULL);
    cr_assert(ack && bye);
    cr_expect_str_eq(fake_text(frame, "to"), "192.0.2.1:5060", "the caller's way");
    cr_expect(strncmp(bye, "BYE sip:bob@203.0.113.5:5062;x=1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=", 80) ==
                  0,
              "%s", bye);
    cr_expect(
        strstr(bye, "\r\nRoute: <sip:a;lr>\r\nRoute: <sip:192.0.2.10;lr>\r\nRoute: <sip:203.0.113.1;lr>\r\nFrom: "),
        "%s", bye);
    cr_expect(strstr(bye, "\r\nFrom: <sip:alice@caller.example>;tag=a1\r\nTo: <sip:bob@example.org>;tag=b1\r\n"));
    cr_expect(strstr(ack, scratch("\r\nCSeq: %u ACK\r\n", c.cseq)) &&
              strstr(bye, scratch("\r\nCSeq: %u BYE\r\n", c.cseq + 1)));
    cr_expect(fake_count(f, "send") == 2, "nobody else hears it");
    fake_free(f);
}

Test(gone, two_hundred_that_crossed_his_cancel_is_ended_too)
{
    struct leg c = call_make(1);
    struct fake *f = searched(&c, fake_cancelled(orphan(&c)));

    fake_forget(f);
    stray(f, 1, answer(&c, ""));
    cr_expect(fake_sent_count(f, "ACK sip:") == 1 && fake_sent_count(f, "BYE sip:") == 1 && fake_count(f, "send") == 2);
    fake_free(f);
}

Test(gone, without_a_route_set_it_goes_to_the_far_end)
{
    struct leg c;
    struct fake *f = ended(&c);
    json_t *frame = NULL;

    stray(f, 1, answer(&c, ""));
    cr_assert(fake_sent(f, "BYE sip:", 0, &frame));
    cr_expect_str_eq(fake_text(frame, "to"), "203.0.113.5:5060");
    cr_expect_str_eq(fake_text(frame, "sock"), "udp:192.0.2.10:5060");
    fake_free(f);
}

Test(gone, its_487_is_acknowledged_and_it_gets_no_further_cancel)
{
    struct leg c;
    struct fake *f = ended(&c);

    fake_stray_reply(f, 1, &c, "0", 487);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "ACK sip:") == 1 && fake_count(f, "send") == 1);
    fake_forget(f);
    fake_pass(f, 10000);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0);
    fake_free(f);
}

/* The record says it to all, also when nobody has it in memory any more. */
Test(gone, any_node_acknowledges)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();
    char *record = changed(orphan(&c), "\"done\":false", "\"done\":true,\"gone\":true");

    f->found = changed(changed(record, "\"owner\":2", "\"owner\":3"), "200.1", "300.1");
    stray(f, 1, answer(&c, ""));
    cr_expect(fake_sent_count(f, "ACK sip:") == 1 && fake_sent_count(f, "BYE sip:") == 1 && fake_count(f, "send") == 2);
    fake_forget(f);
    fake_stray_reply(f, 2, &c, "0", 486);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "ACK sip:") == 1 && fake_count(f, "send") == 1);
    fake_free(f);
}

/* So long its far end may repeat a 2xx, and any node may get it. */
Test(gone, record_is_written_again_into_a_store_that_has_forgotten_it)
{
    struct leg c;
    struct fake *f = ended(&c);

    fake_pass(f, f->conf.done_ttl_ms - 5000);
    fake_forget(f);
    engine_store_down(f->e, f->now);
    engine_store_up(f->e, f->now);
    engine_nodes_read(f->e, true, f->now);
    fake_turn(f);
    cr_assert(f->put_count > 0, "it is not written");
    cr_expect(json_is_true(fake_put_field(f, "done")) && json_is_true(fake_put_field(f, "gone")));
    fake_free(f);
}

/* The script would connect to the port that he had sent from. Its sender says it again. */
Test(gone, reply_before_that_goes_to_nobody)
{
    struct leg c;
    struct fake *f = searched(&c, NULL);

    stray(f, 1, answer(&c, ""));
    fake_stray_reply(f, 2, &c, "0", 486);
    fake_pass(f, f->conf.caller_wait_ms - 3000);
    cr_expect(fake_count(f, "send") == 0);
    fake_free(f);
}

/* ---- he comes back ---- */

Test(gone, his_cancel_takes_it_over_with_the_connection_that_it_came_on)
{
    struct leg c;
    struct fake *f = searched(&c, NULL);

    fake_say(f, "%s", sent_by_caller(&c, "CANCEL", ANOTHER));
    fake_turn(f);
    cr_assert(fake_sent_count(f, "why=takeover;src=" ANOTHER ";dst=" HERE ";") == 1);
    cr_expect_str_eq(json_string_value(fake_put_field(f, "src")), ANOTHER);
    cr_expect(!fake_put_field(f, "gone"));
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=perhaps;src=" ANOTHER) == 1, "and tm gets his CANCEL");
    fake_forget(f);
    fake_pass(f, 2 * f->conf.caller_wait_ms);
    cr_expect(fake_sent_count(f, "CANCEL sip:bob0") == 0 && fake_counters(f)->callers_lost == 0);
    fake_free(f);
}

/* Before any search: a node of another site would take what is here. */
Test(gone, his_cancel_may_come_first)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();

    fake_death(f);
    f->found = orphan(&c);
    fake_say(f, "%s", sent_by_caller(&c, "CANCEL", ANOTHER));
    fake_turn(f);
    cr_expect(fake_sent_count(f, "why=takeover;src=" ANOTHER) == 1);
    fake_free(f);
}

Test(gone, his_invite_that_another_node_routes_ends_the_wait)
{
    struct leg c = call_make(1);
    struct fake *f = searched(&c, NULL);

    f->found = fake_epoch(fake_orphan(&c, 3, "300.1"), 2, false);
    fake_pass(f, f->conf.caller_wait_ms);
    cr_expect(f->put_count == 0 && fake_count(f, "send") == 0);
    fake_free(f);
}

Test(gone, his_invite_that_is_routed_here_does_so_too)
{
    struct leg c = call_make(1);
    struct fake *f = searched(&c, NULL);

    fake_branch(f, 1, &c, "0", true);
    fake_turn(f);
    fake_forget(f);
    fake_pass(f, f->conf.caller_wait_ms);
    cr_expect(fake_sent_count(f, "CANCEL sip:") == 0 && fake_counters(f)->callers_lost == 0 &&
              fake_status(f).txns == 1);
    fake_free(f);
}

/* ---- its owner lives ---- */

/* Node 2 lives and has call 1; the caller has sent that to this node, on another connection. */
static struct fake *owned(struct leg *c, const char *method)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    fake_forget(f);
    fake_say(f, "%s", sent_by_caller(c, method, ANOTHER));
    fake_answer(f, fake_record(c, 2, "200.1", false));
    fake_turn(f);
    return f;
}

/* The owner acts, but the connection for the answer is here (RFC 3261 9.2). */
Test(gone, cancel_is_answered_here_when_its_owner_has_acted)
{
    struct leg c;
    struct fake *f = owned(&c, "CANCEL");
    char *rest, *at = strstr(fake_handover(f, &rest), ";at=") + strlen(";at=");

    cr_expect(fake_count(f, "send") == 1 && fake_sent_count(f, "to=2;inc=200.1;why=perhaps;src=" ANOTHER) == 1);
    at = scratch("%.*s", (int)strcspn(at, "-;"), at);
    fake_pass(f, 400);
    fake_message(f, scratch("{\"t\":\"acted\",\"node\":2,\"all\":\"1.%s\"}", at));
    fake_turn(f);
    cr_expect(fake_sent_count(f, "to=1;inc=100.1;why=acted;src=" ANOTHER ";dst=" HERE ";") == 1);
    cr_expect(fake_count(f, "send") == 2 && fake_status(f).strays == 0);
    fake_free(f);
}

/* Over a connection nobody repeats it. */
Test(gone, cancel_is_handed_over_again_until_its_owner_acts)
{
    struct leg c;
    struct fake *f = owned(&c, "CANCEL");

    for (size_t n = 1; n <= 3; n++) {
        cr_expect(fake_sent_count(f, "to=2;inc=200.1;why=perhaps;src=" ANOTHER) == n);
        fake_pass(f, 500 << (n - 1));
        fake_answer(f, fake_record(&c, 2, "200.1", false));
        fake_turn(f);
    }
    cr_expect(fake_sent_count(f, "why=acted") == 0 && fake_status(f).strays == 1);
    fake_free(f);
}

/* It had waited in the script's queue before, and no node takes a copy that is 10 s old. */
Test(gone, cancel_is_handed_over_under_a_new_name_when_the_old_one_is_too_old)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();
    const char *msg = base64_of(sip_request(&c, "CANCEL"));
    char *name = scratch(";at=%lld.000001.47", (long long)(FAKE_EPOCH + f->now) / 1000 - 6);

    f->found = fake_record(&c, 2, "200.1", false);
    fake_say(f,
             "{\"t\":\"events\",\"n\":1}{\"t\":\"stray\",\"src\":\"" ANOTHER "\",\"dst\":\"" HERE
             "\",\"all\":\"%s\",\"msg\":%zu}%s",
             name + strlen(";at="), strlen(msg), msg);
    fake_pass(f, 1600);
    cr_expect(fake_sent_count(f, name) == 3 && fake_sent_count(f, "why=perhaps") == 3);
    fake_pass(f, 2000);
    cr_expect(fake_sent_count(f, name) == 3 && fake_sent_count(f, "why=perhaps") == 4);
    fake_free(f);
}

/* Its takeover may wait for the caller for less than the next look is away. */
Test(gone, cancel_is_looked_up_at_once_when_its_owner_has_died)
{
    struct leg c;
    struct fake *f = owned(&c, "CANCEL");
    size_t before;

    fake_pass(f, 500);
    fake_answer(f, fake_record(&c, 2, "200.1", false));
    fake_turn(f);
    before = f->get_count;
    fake_node(f, 2, 1000000, "200.1", false);
    fake_pass(f, 10);
    cr_expect(f->get_count == before + 1, "%zu", f->get_count - before);
    fake_free(f);
}

Test(gone, ack_for_a_living_owner_is_not_answered)
{
    struct leg c;
    struct fake *f = owned(&c, "ACK");

    cr_expect(fake_count(f, "send") == 1 && fake_sent_count(f, "to=2;inc=200.1;why=owner;src=" ANOTHER) == 1);
    fake_free(f);
}

/* A far end does not repeat it over a connection either. */
Test(gone, refusal_is_handed_over_again_until_its_owner_has_acted)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();
    char *refusal = changed(answer(&c, ""), "200 OK", "486 Busy"), *base64 = base64_of(refusal);

    fake_forget(f);
    fake_say(f, "{\"t\":\"stray\",\"k\":1,\"src\":\"" CONNECTION "\",\"dst\":\"" HERE "\",\"msg\":%zu}%s",
             strlen(base64), base64);
    fake_answer(f, fake_record(&c, 2, "200.1", false));
    fake_turn(f);
    cr_expect(fake_sent_count(f, "to=2;inc=200.1;why=owner;src=" CONNECTION) == 1);
    fake_pass(f, 500);
    fake_answer(f, fake_record(&c, 2, "200.1", false));
    fake_turn(f);
    cr_expect(fake_sent_count(f, "to=2;inc=200.1;why=owner;src=" CONNECTION) == 2);
    fake_pass(f, 1000);
    fake_answer(f, fake_record(&c, 2, "200.1", true));
    fake_pass(f, 20000);
    cr_expect(fake_count(f, "send") == 2 && fake_status(f).strays == 0);
    fake_free(f);
}
