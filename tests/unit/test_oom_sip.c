/* Short memory while the messages of a second INVITE's end are made. */
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
