/* uthash, told to report a failed allocation instead of ending the process: after HASH_ADD*, look whether the element's
 * hh.tbl is NULL.
 *
 * And with a hash that has a secret seed: callers choose Call-IDs and branches, and with one that is known, such that
 * fall into one bucket. */
#ifndef KAMSYNC_HASH_H
#define KAMSYNC_HASH_H

#include <stddef.h>

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = hash_bytes(keyptr, keylen))
#include <uthash.h>

#define HASH_SEED_BYTES 16

/* Once, before there is any table. Without it the seed is zero: tests, the simulation. */
void hash_seed(const unsigned char seed[HASH_SEED_BYTES]);
/* The lower half of SipHash-1-3. */
unsigned hash_bytes(const void *p, size_t n);

#endif
