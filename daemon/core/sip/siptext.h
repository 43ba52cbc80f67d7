/* Text from SIP as a JSON value: it may hold any byte, JSON text only UTF-8, and readers of JSON dislike NUL. What does
 * not fit stands as {"base64": "…"}. */
#ifndef KAMSYNC_SIPTEXT_H
#define KAMSYNC_SIPTEXT_H

#include <jansson.h>

#include "span.h"

/* NULL when memory is short. */
json_t *sip_text(struct span s);

/* The bytes behind such a value, NUL-terminated; the caller frees them. NULL when it is none, or memory is short. */
char *sip_bytes(const json_t *value, size_t *len);

#endif
