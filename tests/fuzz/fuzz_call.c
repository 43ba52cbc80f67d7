/* Records of calls: pairs of any bytes, as a store may give them. */
#include "base64.h"
#include "call.h"
#include "nodes.h"
#include "fuzz.h"

#define PAIRS_MAX 64

static size_t read_pairs(struct input *in, struct pair *pairs)
{
    size_t count = 0;

    while (in->n && count < PAIRS_MAX) {
        struct span name = input_chunk(in);

        pairs[count++] = (struct pair){exact(name), exact(input_chunk(in))};
    }
    return count;
}

static void expect_same(const struct call_pairs *a, const struct call_pairs *b)
{
    must(a->count == b->count && a->count <= CALL_PAIRS_MAX);
    for (size_t i = 0; i < a->count; i++)
        must(span_eq(pairs_text(b->list, b->count, a->list[i].name.p), a->list[i].value));
}

/* What a node has read it writes, and another one reads the same. */
static void check_call(const struct pair *pairs, size_t count, bool end)
{
    struct call *c = call_new((struct span){"c@x\0a1", 6}), *again = call_new((struct span){"c@x\0a1", 6});
    const struct node self = {.id = 1, .site = "east"};
    struct call_pairs written, second;

    must(c && again && call_read(c, pairs, count) == 0);
    must(json_object_size(c->vars) <= CALL_VARS_MAX);
    end = end || c->ended; /* nobody goes on with a call that has ended */
    call_pairs(&written, c, &self, end);
    must(call_read(again, written.list, written.count) == 0);
    again->how = c->how;
    again->by = c->by;
    again->joined = c->joined;
    call_pairs(&second, again, &self, end);
    expect_same(&written, &second);
    call_free(c);
    call_free(again);
}

static void check_json(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    json_t *back = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;

    must(back && json_equal(json, back));
    json_decref(back);
    free(text);
}

static void check_header(json_t *call, json_t *vars)
{
    char *line = call_header(call, vars);

    must(line && is_printable(line));
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pair pairs[PAIRS_MAX];
    struct input in = {data, size};
    bool end = input_byte(&in) & 1;
    size_t count = read_pairs(&in, pairs);
    json_t *json = pairs_json(pairs, count), *vars = pairs_vars(pairs, count);

    must(json && vars);
    check_call(pairs, count, end);
    check_json(json);
    check_json(vars);
    check_header(json, vars);
    for (size_t i = 0; i < count; i++) {
        exact_free(pairs[i].name);
        exact_free(pairs[i].value);
    }
    return 0;
}
