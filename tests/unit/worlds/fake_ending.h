/* The end of another node's call, seen from the node at which its BYE arrives. */
#ifndef KAMSYNC_TEST_FAKE_ENDING_H
#define KAMSYNC_TEST_FAKE_ENDING_H

#include "fake.h"

/* Records of call 1, as JSON: node 2 has it; and others have seen it, too. */
extern const char call_of_2[], call_of_2_and_3[];

/* What each reading of the call's record finds: one of these, or NULL: nothing. */
struct fake *fake_with_call(struct leg *c, const char *record);
/* Nothing is left of it, and it costs nothing any more. */
void fake_expect_over(struct fake *f);
/* It has ended once, by that side, at AT(s). */
void fake_expect_ended(struct fake *f, const char *by, int64_t s);

#endif
