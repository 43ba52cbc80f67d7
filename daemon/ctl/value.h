/* Values of an answer as text. A missing value, or one of another type, is shown as "-". */
#ifndef KAMSYNCCTL_VALUE_H
#define KAMSYNCCTL_VALUE_H

#include <jansson.h>
#include <stdint.h>

#include "text.h"

/* Any value, filtered: text, {"base64": …} decoded, numbers, yes or no; the rest as JSON. */
void value_any(struct buf *b, const json_t *value);
/* The same for an object's field. */
void value_field(struct buf *b, const json_t *object, const char *name);

/* An integer field as text. */
void value_number(struct buf *b, const json_t *object, const char *name);
/* Node ids, like "1, 3". */
void value_ids(struct buf *b, const json_t *list);

/* An integer field; -1 when missing or negative. All times and durations are positive. */
int64_t value_ms(const json_t *object, const char *name);

/* "850 ms", "3.2 s", "1:02:03"; "-" if negative. */
void value_duration(struct buf *b, int64_t ms);
/* Local time of ms since 1970: "2026-11-21 04:44:12", or "04:44:12.345". */
void value_date(struct buf *b, int64_t ms);
void value_clock(struct buf *b, int64_t ms);
/* The offset of local time from UTC at that time, like "+0100". */
void value_zone(struct buf *b, int64_t ms);

#endif
