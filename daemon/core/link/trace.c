#include "trace.h"

#include <utlist.h>

struct trace_line {
    struct trace_line *prev, *next;
    int64_t at, came; /* ms since 1970 */
    size_t n, size;   /* size: of the whole block */
    char *text;       /* behind the Call-ID, in the same block */
    char call_id[];   /* of n bytes */
};

static void drop_oldest(struct trace *t)
{
    struct trace_line *line = t->lines;

    DL_DELETE(t->lines, line);
    t->count--;
    t->bytes -= line->size;
    free(line);
}

void trace_add(struct trace *t, struct span call_id, int64_t at, int64_t came, const char *text)
{
    size_t length = strlen(text) + 1, size = sizeof(struct trace_line) + call_id.n + length;
    struct trace_line *line = malloc(size);

    if (!line)
        return;
    line->size = size;
    line->at = at;
    line->came = came;
    line->n = call_id.n;
    line->text = line->call_id + call_id.n;
    if (call_id.n)
        memcpy(line->call_id, call_id.p, call_id.n);
    memcpy(line->text, text, length);
    DL_APPEND(t->lines, line);
    t->bytes += size;
    for (t->count++; t->count > TRACE_MAX || t->bytes > TRACE_BYTES;)
        drop_oldest(t);
}

void trace_list(const struct trace *t, struct span call_id, int node, json_t *out)
{
    const struct trace_line *line;
    json_t *row;

    DL_FOREACH(t->lines, line)
    {
        if (!span_eq((struct span){line->call_id, line->n}, call_id))
            continue;
        row = json_pack("{s:I,s:i,s:s}", "at", (json_int_t)line->at, "node", node, "text", line->text);
        if (line->came)
            json_object_set_new(row, "came", json_integer(line->came));
        json_array_append_new(out, row);
    }
}

void trace_clear(struct trace *t)
{
    while (t->count > 0)
        drop_oldest(t);
}
