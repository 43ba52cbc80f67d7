/* Pairs of a call's record as a JSON object, and back. Values hold any byte: such an object cannot always be written as
 * text. */
#ifndef KAMSYNC_TEST_PAIRS_H
#define KAMSYNC_TEST_PAIRS_H

#include <jansson.h>

#include "engine.h"

/* A new object. */
json_t *json_of_pairs(const struct pair *pairs, size_t count);
/* The pairs of an object whose values are texts (or numbers, which become texts in scratch memory). They point into it;
 * the list is the caller's. NULL has none. */
struct pair *pairs_of_json(json_t *json, size_t *count);

#endif
