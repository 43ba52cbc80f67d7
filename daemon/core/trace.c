#include "trace.h"

#include <stdio.h>

void trace_add(struct trace *t, struct span call_id, int64_t at, const char *text)
{
    struct trace_line *line = &t->lines[t->next];

    free(line->call_id);
    line->call_id = span_dup(call_id);
    line->at = at;
    snprintf(line->text, sizeof(line->text), "%s", text);
    t->next = (t->next + 1) % TRACE_MAX;
}

void trace_list(const struct trace *t, struct span call_id, int node, json_t *out)
{
    for (size_t i = 0; i < TRACE_MAX; i++) {
        const struct trace_line *line = &t->lines[(t->next + i) % TRACE_MAX];

        if (line->call_id && span_eq(span_of(line->call_id), call_id))
            json_array_append_new(
                out, json_pack("{s:I,s:i,s:s}", "at", (json_int_t)line->at, "node", node, "text", line->text));
    }
}

void trace_clear(struct trace *t)
{
    for (size_t i = 0; i < TRACE_MAX; i++)
        free(t->lines[i].call_id);
}
