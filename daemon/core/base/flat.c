#include "flat.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "plain.h"

#define EXACT (INT64_C(1) << 53) /* a double holds every integer up to here */
#define PLACES 18                /* an int64_t holds ten to this power */

/* ---- plain objects ---- */

/* A string from its opening quote; returns its end, or NULL. */
static const char *plain_text(const char *p, const char *end, struct span *out)
{
    if (p == end || *p != '"')
        return NULL;
    *out = (struct span){p + 1, (size_t)(end - p - 1)};
    out->n = plain_run(*out);
    p = out->p + out->n;
    return p < end && *p == '"' ? p + 1 : NULL;
}

/* Appends the digits at p to *number. NULL when there is none, or too many. */
static const char *plain_digits(const char *p, const char *end, int64_t *number)
{
    const char *begun = p;

    for (; p < end && *p >= '0' && *p <= '9' && *number < INT64_MAX / 20; p++)
        *number = *number * 10 + (*p - '0');
    return p > begun && p < end && (*p < '0' || *p > '9') ? p : NULL;
}

/* The digits after the point. A value whose digits a double cannot hold exactly before the division goes to jansson. */
static const char *plain_fraction(const char *p, const char *end, struct flat_field *f)
{
    const char *after = plain_digits(p, end, &f->number);
    int64_t scale = 1;

    if (!after || f->number >= EXACT || after - p > PLACES)
        return NULL;
    for (; p < after; p++)
        scale *= 10;
    f->kind = FLAT_REAL;
    f->real = (double)f->number / (double)scale;
    f->number = 0;
    return after;
}

/* "12" or "12.5". */
static const char *plain_number(const char *p, const char *end, struct flat_field *f)
{
    const char *after = plain_digits(p, end, &f->number);

    if (!after || (*p == '0' && after > p + 1))
        return NULL;
    f->kind = FLAT_INT;
    f->real = (double)f->number;
    return *after == '.' ? plain_fraction(after + 1, end, f) : after;
}

static bool is_twice(const struct flat *f, struct span name)
{
    for (size_t i = 0; i < f->count; i++)
        if (span_eq(f->fields[i].name, name))
            return true;
    return false;
}

/* One field and the comma or closing brace after it. */
static const char *plain_field(struct flat *f, const char *p, const char *end)
{
    struct flat_field *field = &f->fields[f->count];

    if (f->count == FLAT_MAX)
        return NULL;
    *field = (struct flat_field){.kind = FLAT_TEXT};
    p = plain_text(p, end, &field->name);
    if (!p || p + 1 >= end || *p != ':' || is_twice(f, field->name))
        return NULL;
    p = p[1] == '"' ? plain_text(p + 1, end, &field->text) : plain_number(p + 1, end, field);
    f->count++;
    return p && p < end && (*p == ',' || *p == '}') ? p + 1 : NULL;
}

/* A NUL replaces the string's closing quote. */
static void end_text(struct span s)
{
    if (s.p)
        ((char *)s.p)[s.n] = '\0';
}

bool flat_plain(struct flat *f, struct span *rest)
{
    const char *p = rest->p, *end = rest->p + rest->n;

    f->count = 0;
    if (rest->n < 2 || *p != '{')
        return false;
    do
        p = plain_field(f, p + (f->count == 0), end);
    while (p && p[-1] == ',');
    if (!p)
        return false;
    for (size_t i = 0; i < f->count; i++) {
        end_text(f->fields[i].name);
        end_text(f->fields[i].text);
    }
    *rest = (struct span){p, (size_t)(end - p)};
    return true;
}

/* ---- everything else ---- */

/* Copies n bytes to *to, and moves *to behind the copy. */
static struct span copied(char **to, const char *p, size_t n)
{
    struct span copy = {memcpy(*to, p, n), n};

    (*to)[n] = '\0';
    *to += n + 1;
    return copy;
}

static void take_value(struct flat_field *field, const json_t *value, char **to)
{
    field->kind = json_is_string(value)    ? FLAT_TEXT
                  : json_is_integer(value) ? FLAT_INT
                  : json_is_real(value)    ? FLAT_REAL
                                           : FLAT_OTHER;
    if (field->kind == FLAT_TEXT)
        field->text = copied(to, json_string_value(value), json_string_length(value));
    field->number = json_integer_value(value);
    field->real = json_number_value(value);
}

/* What jansson has read is no longer than the text was, as a NUL takes the place of each opening quote. */
static void take_object(struct flat *f, const json_t *object, char *to)
{
    const char *name;
    json_t *value;

    f->count = 0;
    json_object_foreach((json_t *)object, name, value)
    {
        struct flat_field *field = &f->fields[f->count++];

        *field = (struct flat_field){.name = copied(&to, name, strlen(name))};
        take_value(field, value, &to);
    }
}

static const char *fault(const json_t *object, const json_error_t *err)
{
    if (!object)
        return err->text;
    if (!json_is_object(object))
        return "other type";
    return json_object_size(object) > FLAT_MAX ? "too many fields" : NULL;
}

int flat_any(struct flat *f, struct span *rest, char *why, size_t why_size)
{
    json_error_t err = {0};
    json_t *object = json_loadb(rest->p, rest->n, JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &err);
    const char *text = fault(object, &err);

    if (!text)
        take_object(f, object, (char *)rest->p);
    json_decref(object);
    if (text) {
        snprintf(why, why_size, "not a JSON object (%s at byte %d)", text, object ? 0 : err.position);
        return -EBADMSG;
    }
    *rest = (struct span){rest->p + err.position, rest->n - (size_t)err.position};
    return 0;
}

int flat_read(struct flat *f, struct span *rest, char *why, size_t why_size)
{
    return flat_plain(f, rest) ? 0 : flat_any(f, rest, why, why_size);
}

const struct flat_field *flat_find(const struct flat *f, struct span name)
{
    for (size_t i = 0; i < f->count; i++)
        if (span_eq(f->fields[i].name, name))
            return &f->fields[i];
    return NULL;
}
