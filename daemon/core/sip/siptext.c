#include "siptext.h"

#include "base64.h"

json_t *sip_text(struct span s)
{
    json_t *text = s.n && memchr(s.p, 0, s.n) ? NULL : json_stringn(s.n ? s.p : "", s.n);
    char *base64 = text ? NULL : base64_text(s);

    if (base64)
        text = json_pack("{s:s}", "base64", base64);
    free(base64);
    return text;
}

char *sip_bytes(const json_t *value, size_t *len)
{
    const char *base64 = json_string_value(json_object_get(value, "base64"));
    char *copy;

    *len = 0;
    if (base64)
        return base64_bytes(span_of(base64), len);
    copy = json_is_string(value) ? span_dup((struct span){json_string_value(value), json_string_length(value)}) : NULL;
    *len = copy ? json_string_length(value) : 0;
    return copy;
}
