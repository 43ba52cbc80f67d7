#include "show.h"
#include "value.h"

/* jansson escapes all control characters but DEL, which can occur only inside a string. */
static int write_escaped(const char *p, size_t n, void *out)
{
    for (size_t i = 0; i < n; i++) {
        size_t plain = 0;

        while (i + plain < n && p[i + plain] != 0x7F)
            plain++;
        if (fwrite(p + i, 1, plain, out) < plain)
            return -1;
        i += plain;
        if (i < n && fputs("\\u007f", out) < 0)
            return -1;
    }
    return 0;
}

void show_json(const json_t *value, bool compact, FILE *out)
{
    size_t form = compact ? JSON_COMPACT : JSON_INDENT(2);

    json_dump_callback(value, write_escaped, out, form | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    fputc('\n', out);
}

void show_silent(const json_t *answer, FILE *out)
{
    const json_t *silent = json_object_get(answer, "silent");
    size_t count = json_array_size(silent);
    struct buf b = {0};

    if (!count)
        return;
    buf_printf(&b, "kamsyncctl: node%s ", count == 1 ? "" : "s");
    value_ids(&b, silent);
    buf_printf(&b, " did not answer in time: what only %s know%s is missing here\n", count == 1 ? "it" : "they",
               count == 1 ? "s" : "");
    buf_put(&b, out);
}
