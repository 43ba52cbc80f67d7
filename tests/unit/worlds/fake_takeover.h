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
/* Kamailio acts upon the CANCEL that it was given as the n-th (from 0, of all that are given to be acted upon once). */
void fake_act(struct fake *f, const struct leg *c, size_t n);

#endif
