/* base64 as Kamailio's {s.encode.base64} writes it (RFC 4648 section 4, with padding). */
#ifndef KAMSYNC_BASE64_H
#define KAMSYNC_BASE64_H

#include "span.h"

/* NUL-terminated text that the caller frees; NULL when memory is short. */
char *base64_text(struct span in);

/* The bytes behind the text, NUL-terminated, the caller frees them; *len is their number. NULL when the text is not
 * base64 or memory is short. */
char *base64_bytes(struct span text, size_t *len);

#endif
