/* Rows with aligned columns, for answers of any size: cells are buffered until all widths are known. */
#ifndef KAMSYNCCTL_TABLE_H
#define KAMSYNCCTL_TABLE_H

#include "text.h"

struct column {
    const char *head;
    size_t least; /* least width, which aligns tables that follow each other */
    bool right;
};

struct cell {
    size_t end, width;
};

/* Fields are private to the module. */
struct table {
    const struct column *columns; /* borrowed */
    size_t count;
    struct buf text;
    struct cell *cells;
    size_t used, size;
};

void table_begin(struct table *t, const struct column *columns, size_t count);

/* Begins the next cell, from left to right, row by row: text added to the buffer until the next call is its content. */
struct buf *table_cell(struct table *t);

/* Writes the rows, each indented by `indent` blanks, with or without the headings, and frees everything. */
void table_end(struct table *t, size_t indent, bool heads, FILE *out);

#endif
