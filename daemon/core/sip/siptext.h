/* SIP text as a JSON value: it may hold any byte, JSON text only UTF-8, and JSON readers dislike NUL. Other text is
 * written as {"base64": "…"}. */
#ifndef KAMSYNC_SIPTEXT_H
#define KAMSYNC_SIPTEXT_H

#include <jansson.h>

#include "span.h"

/* NULL when out of memory. */
json_t *sip_text(struct span s);

/* The bytes of such a value, NUL-terminated; the caller frees them. NULL when it is no such value, or when out of
 * memory. */
char *sip_bytes(const json_t *value, size_t *len);

#endif
