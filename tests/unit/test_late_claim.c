/* A claim whose answer takes its time, as it may with a slow store: the dead node may be back, and its own claim, which
 * lives for a second, may have come and gone before this one arrived. */
#include "fake.h"

TestSuite(late_claim, .fini = no_leaks);

#define SLOW_MS 1500
#define BACK "{\"id\":2,\"name\":\"node2\",\"sip\":\"192.0.2.2:5060\",\"inc\":\"200.1\",\"beat\":99,\"up\":true}"

/* Node 2 is dead, call 1 its own, and claimed; the answer takes so long. */
static struct fake *claiming(struct leg *c, int64_t ms)
{
    struct fake *f = fake_peers();

    *c = call_make(1);
    f->polite = true;
    fake_death(f);
    fake_stray(f, 1, c, "CANCEL");
    fake_answer(f, fake_orphan(c, 2, "200.1"));
    fake_turn(f);
    cr_assert(f->claim_count == 1 && f->asked == 1);
    fake_pass(f, ms);
    return f;
}

Test(late_claim, that_came_in_time_is_enough)
{
    struct leg c;
    struct fake *f = claiming(&c, 900);

    f->node_record = BACK;
    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->asked == 1 && fake_sent_count(f, "why=takeover") == 1);
    fake_free(f);
}

Test(late_claim, of_who_is_back_is_let_go)
{
    struct leg c;
    struct fake *f = claiming(&c, SLOW_MS);

    f->node_record = BACK;
    fake_claimed(f, CLAIM_WON, NULL);
    fake_pass(f, 1000);
    cr_expect(f->asked == 2 && fake_sent_count(f, "why=takeover") == 0, "two nodes would have it");
    cr_assert(f->claim_count == 2);
    cr_expect_str_eq(f->claims[1].key,
                     "kamsync:claim:{call-1@caller.example}:1:z9hG4bK-caller-1:198.51.100.9:5060:100.1");
    cr_expect_str_eq(f->claims[1].value, "0 100.1~1");
    fake_free(f);
}

Test(late_claim, of_who_is_still_dead_is_good)
{
    struct leg c;
    struct fake *f = claiming(&c, SLOW_MS);

    fake_claimed(f, CLAIM_WON, NULL);
    fake_turn(f);
    cr_expect(f->asked == 2 && f->claim_count == 1 && fake_sent_count(f, "why=takeover") == 1);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(f->put_count == 1);
    fake_free(f);
}
