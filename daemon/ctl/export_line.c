#include "export_line.h"

#include <string.h>

#include "count.h"

static const char *const columns[] = {"id",     "call_id", "how",      "caller", "callee",      "ruri",   "source",
                                      "trying", "ringing", "answered", "ended",  "duration_ms", "pdd_ms", "code",
                                      "by",     "node",    "from_tag", "to_tag", "untracked",   "vars",   "site"};

static void put(struct buf *b, const char *text)
{
    if (*text)
        buf_own(b, span_of(text), 0);
}

/* Quoted if need be. A control character would end the line, or confuse a terminal: it is shown as "?". */
static void put_quoted(struct buf *b, const char *text)
{
    bool quote = text[strcspn(text, ",\"")];

    if (quote)
        put(b, "\"");
    for (; *text; text++) {
        char c = (unsigned char)*text < ' ' || *text == 127 ? '?' : *text;

        if (c == '"')
            put(b, "\"");
        buf_own(b, (struct span){&c, 1}, 0);
    }
    if (quote)
        put(b, "\"");
}

/* Text as it is, anything else as JSON; a missing value, or an empty object, is empty. */
static void put_value(struct buf *b, const json_t *value)
{
    char *json;

    if (json_is_string(value)) {
        put_quoted(b, json_string_value(value));
        return;
    }
    if (!value || (json_is_object(value) && !json_object_size(value)))
        return;
    json = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    put_quoted(b, json ? json : "");
    free(json);
}

void export_head(struct buf *b)
{
    for (size_t i = 0; i < COUNT(columns); i++) {
        put(b, i ? "," : "");
        put(b, columns[i]);
    }
    put(b, "\n");
}

void export_line(struct buf *b, const json_t *row, bool csv)
{
    char *json;

    if (csv) {
        for (size_t i = 0; i < COUNT(columns); i++) {
            put(b, i ? "," : "");
            put_value(b, json_object_get(row, columns[i]));
        }
    } else {
        json = json_dumps(row, JSON_COMPACT | JSON_ENSURE_ASCII);
        put(b, json ? json : "");
        free(json);
    }
    put(b, "\n");
}

static bool last_json_id(struct span line, struct cdr_id *id)
{
    json_t *row = json_loadb(line.p, line.n, 0, NULL);
    const char *text = json_string_value(json_object_get(row, "id"));
    bool read = text && cdr_id_read(id, span_of(text));

    json_decref(row);
    return read;
}

static bool last_csv_id(struct span line, struct cdr_id *id)
{
    const char *comma = memchr(line.p, ',', line.n);
    char text[64] = "";

    if (!comma || (size_t)(comma - line.p) >= sizeof(text))
        return false;
    memcpy(text, line.p, (size_t)(comma - line.p));
    *id = (struct cdr_id){0, 0, -1};
    return strcmp(text, columns[0]) == 0 || cdr_id_read(id, span_of(text));
}

bool export_last_id(const char *text, size_t n, bool csv, struct cdr_id *id)
{
    const char *begin = text + (n ? n - 1 : 0);

    if (!n || text[n - 1] != '\n')
        return false;
    while (begin > text && begin[-1] != '\n')
        begin--;
    return (csv ? last_csv_id : last_json_id)((struct span){begin, (size_t)(text + n - 1 - begin)}, id);
}
