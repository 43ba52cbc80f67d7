/* Rows with aligned columns, for answers of any size: cells are kept in one buffer until all widths are known. */
#ifndef KAMSYNCCTL_TABLE_H
#define KAMSYNCCTL_TABLE_H

#include "text.h"

struct column {
    const char *head;
    size_t least; /* at least so wide, so that tables which follow each other are aligned */
    bool right;
};

struct cell {
    size_t end, width;
};

/* Fields are the module's own. */
struct table {
    const struct column *columns; /* borrowed */
    size_t count;
    struct buf text;
    struct cell *cells;
    size_t used, size;
};

void table_begin(struct table *t, const struct column *columns, size_t count);

/* The next cell, from left to right, row by row: what is added to the buffer until the next call is its text. */
struct buf *table_cell(struct table *t);

/* Writes the rows, each with `indent` blanks before it, with or without the line of heads, and frees all. */
void table_end(struct table *t, size_t indent, bool heads, FILE *out);

#endif
