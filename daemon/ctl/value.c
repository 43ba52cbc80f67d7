#include "value.h"

#include <inttypes.h>
#include <time.h>

#include "base64.h"

#define LAST_MS 253402300799999 /* the end of the year 9999 */

/* A value that cannot be decoded is shown unchanged. */
static void add_base64(struct buf *b, const char *text)
{
    size_t n = 0;
    char *bytes = base64_bytes(span_of(text), &n);

    buf_safe(b, bytes ? (struct span){bytes, n} : span_of(text));
    free(bytes);
}

static void add_text(struct buf *b, const json_t *value)
{
    struct span s = {json_string_value(value), json_string_length(value)};

    if (s.n)
        buf_safe(b, s);
    else
        buf_printf(b, "\"\"");
}

static void add_json(struct buf *b, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    buf_safe(b, span_of(text ? text : "-"));
    free(text);
}

void value_any(struct buf *b, const json_t *value)
{
    const char *base64 = json_string_value(json_object_get(value, "base64"));

    if (base64)
        add_base64(b, base64);
    else if (json_is_string(value))
        add_text(b, value);
    else if (json_is_boolean(value))
        buf_printf(b, json_is_true(value) ? "yes" : "no");
    else if (!value || json_is_null(value))
        buf_printf(b, "-");
    else
        add_json(b, value);
}

void value_field(struct buf *b, const json_t *object, const char *name)
{
    value_any(b, json_object_get(object, name));
}

void value_number(struct buf *b, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_integer(value))
        buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        buf_printf(b, "-");
}

void value_ids(struct buf *b, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i)
            buf_printf(b, ", ");
        value_any(b, json_array_get(list, i));
    }
    if (!json_array_size(list))
        buf_printf(b, "-");
}

int64_t value_ms(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

void value_duration(struct buf *b, int64_t ms)
{
    int64_t s = ms / 1000;

    if (ms < 0)
        buf_printf(b, "-");
    else if (ms < 1000)
        buf_printf(b, "%" PRId64 " ms", ms);
    else if (s < 60)
        buf_printf(b, "%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
    else
        buf_printf(b, "%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s / 60 % 60, s % 60);
}

/* strftime() of a time; if it is none, false, and "-" is added. */
static bool add_time(struct buf *b, int64_t ms, const char *format)
{
    time_t s = (time_t)(ms / 1000);
    char text[64];
    struct tm tm;

    if (ms < 0 || ms > LAST_MS || !localtime_r(&s, &tm) || !strftime(text, sizeof(text), format, &tm)) {
        buf_printf(b, "-");
        return false;
    }
    buf_printf(b, "%s", text);
    return true;
}

void value_date(struct buf *b, int64_t ms)
{
    add_time(b, ms, "%Y-%m-%d %H:%M:%S");
}

void value_clock(struct buf *b, int64_t ms)
{
    if (add_time(b, ms, "%H:%M:%S"))
        buf_printf(b, ".%03d", (int)(ms % 1000));
}

void value_zone(struct buf *b, int64_t ms)
{
    add_time(b, ms, "%z");
}
