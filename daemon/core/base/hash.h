/* uthash, set up to report a failed allocation instead of ending the process: after HASH_ADD*, check whether the
 * element's hh.tbl is NULL.
 *
 * The hash has a secret seed: callers choose Call-IDs and branches, and could make them collide under a known hash. */
#ifndef KAMSYNC_HASH_H
#define KAMSYNC_HASH_H

#include <stddef.h>

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = hash_bytes(keyptr, keylen))
#include <uthash.h>

#define HASH_SEED_BYTES 16

/* Call once, before any table exists. Without it the seed is zero, as in tests and the simulation. */
void hash_seed(const unsigned char seed[HASH_SEED_BYTES]);
/* The low 32 bits of SipHash-1-3. */
unsigned hash_bytes(const void *p, size_t n);

#endif
