/* Proves that a node of the cluster wrote something: HMAC-SHA256 (RFC 2104) with the cluster's secret, as 64 lower-case
 * hexadecimal digits. The script makes the same from Kamailio's own SHA-256, {s.sha256}: OpenSSL is used so seldom that
 * its code and data are in no cache, which would cost 70 us each time. */
#ifndef KAMSYNC_PROOF_H
#define KAMSYNC_PROOF_H

#include "span.h"

#define PROOF_LEN 64

/* The proof of both texts with a blank between them; the caller frees it. NULL when out of memory. */
char *proof_make(struct span head, struct span text, const char *secret);

/* Whether the proof is that of both texts; false also when out of memory. */
bool proof_is(const char *proof, struct span head, struct span text, const char *secret);

/* The secret as the script needs it, which has no xor: hexadecimal digits of the key xor ipad and of
 * the key xor opad, 128 each (RFC 2104 section 2). For an empty secret an empty text: it proves nothing. The caller
 * frees it; NULL when out of memory. */
char *proof_key(const char *secret);

#endif
