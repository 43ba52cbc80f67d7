/* The near replica of fake.h: it says what the test says. */
#include "fake.h"

bool fake_get_near(void *ctx, const char *key, uint64_t token)
{
    struct fake *f = ctx;

    if (!f->near)
        return false;
    f->near_get = (struct fake_get){scratch("%s", key), token};
    f->near_count++;
    return true;
}

void fake_near_answer(struct fake *f, enum get_status status, const char *record)
{
    cr_assert(f->near_count > 0);
    engine_near_got(f->e, f->near_get.token, status, span_of(record), f->now);
    fake_settle(f);
}
