/* A takeover of call 1 by this node, whose owner, node 2, has died. */
#ifndef KAMSYNC_TEST_FAKE_TAKEOVER_H
#define KAMSYNC_TEST_FAKE_TAKEOVER_H

#include "fake.h"

/* What the store has while this node is at it. */
char *fake_taking_it(const struct leg *c);
/* A stray CANCEL of call 1, whose record was found (with these branches, or NULL: one that rings), and into which this
 * node writes its name. */
struct fake *fake_taking(struct leg *c, const char *branches);
/* The same, and the store has that, and Kamailio the INVITE. */
struct fake *fake_injected(struct leg *c, const char *branches);

#endif
