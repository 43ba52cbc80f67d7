/* One entry of the archive as a line of an export. Pure. */
#ifndef KAMSYNCCTL_EXPORT_LINE_H
#define KAMSYNCCTL_EXPORT_LINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cdr_id.h"
#include "text.h"

/* No line is longer: an entry's texts come from one SIP message. */
#define EXPORT_LINE_MAX ((off_t)4 << 20)

/* The first line of a CSV file. */
void export_head(struct buf *b);
/* The entry as one line: a JSON object with all fields, or CSV (RFC 4180) with those in the head. */
void export_line(struct buf *b, const json_t *row, bool csv);
/* The id of the last line of a text that ends with a whole line; 0-0 if that is the head. False: it has none. */
bool export_last_id(const char *text, size_t n, bool csv, struct cdr_id *id);

#endif
