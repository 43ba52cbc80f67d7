/* Short memory on demand: the n-th allocation of a scenario fails. The linker puts these in place of malloc, calloc and
 * realloc of the core's and the test's own code (--wrap); jansson is told to use them, except where it reads; of libre
 * and OpenSSL the calls that the core makes are wrapped as a whole, since their insides are shared libraries. */
#ifndef KAMSYNC_TEST_OOM_H
#define KAMSYNC_TEST_OOM_H

#include <stdbool.h>

/* From now on the n-th allocation fails, counted from 1, and with `ever` all after it as well; 0: none. */
void oom_begin(unsigned n, bool ever);
/* Ends it; whether an allocation was made to fail. */
bool oom_end(void);

/* To be called once per test, before anything else. */
void oom_setup(void);

/* Runs the scenario until nothing fails in it any more: with one failed allocation, then with all after it failing.
 * Returns how many allocations it makes, and one. */
unsigned oom_run(void (*scenario)(void *arg, bool *good), void *arg);

#endif
