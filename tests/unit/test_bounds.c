/* What strangers send, as large as it can be. */
#include "base64.h"
#include "fake.h"
#include "frame.h"

TestSuite(bounds, .fini = no_leaks);

static void say_long(struct fake *f, char *text)
{
    size_t len;
    char *frame = frame_make(span_of(text), &len);

    cr_assert(engine_link_data(f->e, frame, len, f->now) == 0);
    free(frame);
}

/* 2,048 strays of 48 kB, whose name is as long, took 400 MB. */
Test(bounds, strays_in_bytes)
{
    struct fake *f = fake_ready();
    char *id = scratch("%0*d", 40000, 7);
    struct engine_status s;

    for (int i = 1; i <= 600; i++)
        say_long(f, stray_text(
                        i,
                        scratch("CANCEL sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK%d\r\n"
                                "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: %s\r\nCSeq: 1 CANCEL\r\n"
                                "Content-Length: 0\r\n\r\n",
                                i, id),
                        ""));
    engine_status(f->e, &s);
    cr_expect(engine_counters(f->e)->strays == 600 && engine_counters(f->e)->frames_bad == 0);
    cr_expect(s.strays > 200 && s.strays < 350, "%zu", s.strays);
    cr_expect(engine_counters(f->e)->strays_shed == 600 - s.strays, "the others are given back");
    fake_free(f);
}

/* 500,000 transactions (txns_max) of 48 kB would have taken 24 GB. */
Test(bounds, transactions_in_bytes)
{
    struct fake *f = fake_ready();
    const char *body = scratch("%0*d", 40000, 7);
    struct engine_status s;
    struct leg c;

    f->conf.txns_max = 1000;
    engine_configure(f->e, &f->conf, f->now);
    for (unsigned i = 1; i <= 150; i++) {
        c = call_make(i);
        say_long(f, scratch("{\"t\":\"events\",\"n\":%lld}%s", ++f->events,
                            branch_text(sip_sent_on(&c, "0"), scratch("%s%s", sip_request(&c, "INVITE"), body), "")));
    }
    engine_status(f->e, &s);
    cr_expect(s.txns > 90 && s.txns < 105, "%zu", s.txns);
    cr_expect(engine_counters(f->e)->txns_shed == 150 - s.txns && engine_counters(f->e)->frames_bad == 0);
    cr_expect(engine_counters(f->e)->calls_untracked == 150 - s.txns, "the others go on without kamsync");
    cr_expect(strstr(f->logs, "txns_max"));
    f->answer_puts = f->polite = true;
    for (unsigned i = 1; i <= 150; i++) {
        c = call_make(i);
        fake_replied(f, &c, "0", 200, "b1", FAKE_EPOCH);
    }
    fake_pass(f, 20000); /* they are over */
    c = call_make(200);
    fake_invite(f, &c, NULL, FAKE_EPOCH);
    engine_status(f->e, &s);
    cr_expect(s.txns == 1, "there is room again: %zu", s.txns);
    fake_free(f);
}

/* BYEs that wait for what is known of their call: long names cost as much as many short ones. */
Test(bounds, byes_in_bytes)
{
    struct fake *f = fake_peers();
    char *id = base64_of(scratch("%0*d", 45000, 7));
    uint64_t shed;

    for (unsigned i = 0; i < 1750; i++)
        say_long(f, scratch("{\"t\":\"events\",\"n\":1}{\"t\":\"bye\",\"call_id\":\"%s\",\"from_tag\":\"%s\","
                            "\"to_tag\":\"YQ==\",\"code\":0}",
                            id, base64_of(scratch("%u", i))));
    shed = engine_counters(f->e)->byes_shed;
    cr_expect(shed > 200 && shed < 400, "%llu", (unsigned long long)shed);
    fake_free(f);
}
