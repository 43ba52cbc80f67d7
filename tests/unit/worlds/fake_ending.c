#include "fake_ending.h"

const char call_of_2[] = "{\"call_id\":\"call-1@caller.example\",\"node\":2,\"from_tag\":\"a1\",\"to_tag\":\"b1\","
                         "\"state\":\"answered\",\"trying\":1,\"answered\":2,\"at.2\":1}";
const char call_of_2_and_3[] =
    "{\"call_id\":\"call-1@caller.example\",\"node\":2,\"from_tag\":\"a1\",\"to_tag\":\"b1\","
    "\"state\":\"answered\",\"trying\":1,\"answered\":2,\"at.2\":1,\"at.1\":2,\"at.3\":1}";

struct fake *fake_with_call(struct leg *c, const char *record)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    f->call_found = record;
    return f;
}

void fake_expect_over(struct fake *f)
{
    size_t reads;

    fake_turn(f);
    reads = f->call_get_count;
    fake_pass(f, 20000);
    cr_expect(f->call_get_count == reads && f->call_count <= 1, "%zu readings more", f->call_get_count - reads);
    fake_free(f);
}

void fake_expect_ended(struct fake *f, const char *by, int64_t s)
{
    fake_turn(f);
    cr_assert(f->call_count == 1 && f->calls[0].mode == CALL_END_ANSWERED);
    cr_expect_str_eq(f->calls[0].key, "kamsync:call:{call-1@caller.example}:a1");
    cr_expect(f->calls[0].ttl_ms == f->conf.ended_ttl_ms && f->calls[0].node == 1);
    expect_text(f, "ended", scratch("%lld", (long long)AT(s)));
    expect_text(f, "at.1", scratch("%lld", (long long)AT(s)));
    expect_text(f, "how", "completed");
    expect_text(f, "by", by);
    expect_text(f, "state", "ended");
    expect_text(f, "node", "(none)");
    cr_expect(fake_counters(f)->calls_ended == 1);
    fake_expect_over(f);
}
