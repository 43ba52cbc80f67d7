#include "table.h"

/* One long text must not widen all other rows: it only shifts its own. */
#define WIDEST 48

void table_begin(struct table *t, const struct column *columns, size_t count)
{
    *t = (struct table){.columns = columns, .count = count};
}

/* The text buffer's width is that of the cell being written. */
static void finish_cell(struct table *t)
{
    if (t->used)
        t->cells[t->used - 1] = (struct cell){t->text.n, t->text.width};
    t->text.width = 0;
}

struct buf *table_cell(struct table *t)
{
    finish_cell(t);
    if (t->used == t->size) {
        t->size = 2 * t->size + 64;
        t->cells = grow(t->cells, t->size * sizeof(*t->cells));
    }
    t->used++;
    return &t->text;
}

static size_t column_width(const struct table *t, size_t column, bool heads)
{
    const struct column *c = &t->columns[column];
    size_t widest = heads && strlen(c->head) > c->least ? strlen(c->head) : c->least;

    for (size_t i = column; i < t->used; i += t->count)
        if (t->cells[i].width > widest)
            widest = t->cells[i].width < WIDEST ? t->cells[i].width : WIDEST;
    return widest;
}

static void add_cell(struct buf *out, const struct column *c, struct span text, size_t width, size_t wanted)
{
    size_t pad = width < wanted ? wanted - width : 0;

    if (c->right)
        buf_pad(out, pad);
    if (text.n)
        buf_own(out, text, width);
    if (!c->right)
        buf_pad(out, pad);
}

/* Trailing blanks would wrap a line in a narrow terminal. */
static void end_line(struct buf *line, FILE *out)
{
    while (line->n && line->p[line->n - 1] == ' ')
        line->n--;
    buf_printf(line, "\n");
    fwrite(line->p, 1, line->n, out);
    line->n = 0;
}

static void put_heads(const struct table *t, const size_t *widths, size_t indent, struct buf *line, FILE *out)
{
    buf_pad(line, indent);
    for (size_t i = 0; i < t->count; i++) {
        struct span head = span_of(t->columns[i].head);

        add_cell(line, &t->columns[i], head, head.n, widths[i]);
        buf_pad(line, 2);
    }
    end_line(line, out);
}

static void put_row(const struct table *t, size_t first, const size_t *widths, struct buf *line, FILE *out)
{
    for (size_t i = 0; i < t->count && first + i < t->used; i++) {
        size_t from = first + i ? t->cells[first + i - 1].end : 0;
        struct cell c = t->cells[first + i];

        add_cell(line, &t->columns[i], (struct span){t->text.p + from, c.end - from}, c.width, widths[i]);
        buf_pad(line, 2);
    }
    end_line(line, out);
}

void table_end(struct table *t, size_t indent, bool heads, FILE *out)
{
    size_t *widths = grow(NULL, t->count * sizeof(*widths));
    struct buf line = {0};

    finish_cell(t);
    for (size_t i = 0; i < t->count; i++)
        widths[i] = column_width(t, i, heads);
    if (heads)
        put_heads(t, widths, indent, &line, out);
    for (size_t row = 0; row < t->used; row += t->count) {
        buf_pad(&line, indent);
        put_row(t, row, widths, &line, out);
    }
    free(widths);
    free(t->cells);
    buf_free(&line);
    buf_free(&t->text);
    *t = (struct table){0};
}
