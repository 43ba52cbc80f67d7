#include "pairs.h"

#include "helper.h"

json_t *json_of_pairs(const struct pair *pairs, size_t count)
{
    json_t *json = json_object();

    for (size_t i = 0; i < count; i++)
        json_object_setn_new_nocheck(json, pairs[i].name.p, pairs[i].name.n,
                                     json_stringn_nocheck(pairs[i].value.p ? pairs[i].value.p : "", pairs[i].value.n));
    return json;
}

struct pair *pairs_of_json(json_t *json, size_t *count)
{
    struct pair *pairs = calloc(json_object_size(json) + 1, sizeof(*pairs));
    const char *name;
    json_t *v;

    *count = 0;
    json_object_foreach(json, name, v)
    {
        struct span value = json_is_string(v) ? (struct span){json_string_value(v), json_string_length(v)}
                                              : span_of(scratch("%lld", (long long)json_integer_value(v)));

        pairs[(*count)++] = (struct pair){span_of(name), value};
    }
    return pairs;
}
