/* base64 as Kamailio's {s.encode.base64} writes it (RFC 4648 section 4, with padding). */
#ifndef KAMSYNC_BASE64_H
#define KAMSYNC_BASE64_H

#include "span.h"

/* NUL-terminated text that the caller frees; NULL when out of memory. */
char *base64_text(struct span in);

/* Decodes into out, which has room for text.n / 4 * 3 bytes and a NUL, or is where the text stands; *len is the number
 * of bytes, which a NUL follows. False when the text is not base64; then out may have been written to. */
bool base64_decode(char *out, struct span text, size_t *len);

/* The decoded bytes, NUL-terminated, which the caller frees; *len is their number. NULL when the text is not base64, or
 * when out of memory. */
char *base64_bytes(struct span text, size_t *len);

#endif
