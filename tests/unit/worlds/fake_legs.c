#include "fake.h"

struct leg fake_leg(struct fake *f, unsigned i)
{
    struct leg c = call_make(i);

    c.call_id = call_make(1).call_id;
    fake_invite(f, &c, NULL, AT(9 + i));
    return c;
}

void fake_expect_live(const struct fake *f, const char *tx, const char *state)
{
    cr_expect(fake_status(f).calls == 1 && fake_writes(f, CALL_END) == 0, "%zu, %zu", fake_status(f).calls,
              fake_writes(f, CALL_END));
    expect_text(f, "tx", tx);
    expect_text(f, "state", state);
    expect_text(f, "node", "1");
}

void fake_expect_end(struct fake *f, const char *tx, const char *how, const char *code)
{
    cr_expect(fake_status(f).calls == 0 && fake_writes(f, CALL_END) == 1, "%zu, %zu", fake_status(f).calls,
              fake_writes(f, CALL_END));
    expect_text(f, "tx", tx);
    expect_text(f, "how", how);
    expect_text(f, "code", code);
    fake_free(f);
}
