/* Short memory while SIP messages are made: those of a second INVITE's end, 100 Trying, what is handed over. */
#include <errno.h>

#include "handover.h"
#include "helper.h"
#include "oom.h"
#include "sip.h"

TestSuite(oom_sip, .init = oom_setup, .fini = no_leaks);

static void make_refusal(void *arg, bool *good)
{
    size_t len = 0;
    char *text = sip_refusal(*(struct span *)arg, "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1.0", 486, &len);

    *good = text && len == strlen(text);
    free(text);
}

static void make_cancel(void *arg, bool *good)
{
    size_t len = 0;
    char *text = sip_cancel_of_caller(*(struct span *)arg, &len);

    *good = text && len == strlen(text);
    free(text);
}

Test(oom_sip, of_the_second)
{
    struct leg c = call_make(1);
    struct span invite = span_of(sip_request(&c, "INVITE"));

    oom_run(make_refusal, &invite);
    oom_run(make_cancel, &invite);
}

static void make_trying(void *arg, bool *good)
{
    size_t len = 0;
    char *text = sip_trying(*(struct span *)arg, "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1.0", &len);

    *good = text && len == strlen(text);
    free(text);
}

Test(oom_sip, trying)
{
    struct leg c = call_make(1);
    struct span invite = span_of(sip_request(&c, "INVITE"));

    oom_run(make_trying, &invite);
}

/* Never one that would show what the script has hidden. */
static void make_as_sent(void *arg, bool *good)
{
    static const char sent[] =
        "INVITE sip:b@y SIP/2.0\r\nVia: SIP/2.0/UDP y;branch=z9hG4bK2\r\nFrom: <sip:no>;tag=1\r\n"
        "To: <sip:other>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n";
    struct sip_as_sent as;
    int rc = sip_read_as_sent(&as, span_of(arg), span_of(sent));

    cr_expect(rc == -ENOMEM || (rc == 0 && as.req.n && as.from && as.to), "%d", rc);
    *good = rc == 0;
    sip_as_sent_clear(&as);
}

Test(oom_sip, as_sent)
{
    oom_run(make_as_sent, "INVITE sip:a@x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:me>;tag=1\r\n"
                          "To: <sip:you>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n");
}

static void make_handover(void *arg, bool *good)
{
    struct handover h = {
        .to = 2, .inc = "1", .why = "owner", .src = "udp:1.1.1.1:1", .dst = "udp:1.1.1.1:1", .from = 2, .at = "1.1"};
    char *text = handover_make(&h, span_of(arg), "secret");

    *good = text != NULL;
    free(text);
}

Test(oom_sip, handover)
{
    oom_run(make_handover, "ACK x SIP/2.0\r\n\r\n");
}
