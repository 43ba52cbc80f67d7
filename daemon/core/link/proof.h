/* What proves that a node of the cluster wrote something: HMAC-SHA256 (RFC 2104) with the cluster's secret, 64
 * lower-case hexadecimal digits. The script makes the same of Kamailio's own SHA-256, {s.sha256}: so seldom used,
 * OpenSSL's code and data are in no cache, and cost 70 us each time. */
#ifndef KAMSYNC_PROOF_H
#define KAMSYNC_PROOF_H

#include "span.h"

#define PROOF_LEN 64

/* The proof of both texts with a blank between them; the caller frees it. NULL when memory is short. */
char *proof_make(struct span head, struct span text, const char *secret);

/* Whether that is the proof of both texts; false also when memory is short. */
bool proof_is(const char *proof, struct span head, struct span text, const char *secret);

/* The secret as the script needs it, since it cannot reckon with bits: hexadecimal digits of the key xor ipad and of
 * the key xor opad, 128 each (RFC 2104 section 2). Of the empty secret the empty text: it proves nothing. The caller
 * frees it; NULL when memory is short. */
char *proof_key(const char *secret);

#endif
