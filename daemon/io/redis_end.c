/* What end.lua is given (it describes itself): the end of a call that only this node has written. */
#include "count.h"
#include "escape.h"
#include "redis_command.h"
#include "redis_impl.h"

/* What an ordinary entry has: the script knows these names, in this order, and the values that are always the same. */
static const struct {
    struct span name;
    bool late; /* the record gets it with the end */
    struct span value;
} usual[] = {
    {.name = SPAN("call_id")},
    {.name = SPAN("inc")},
    {.name = SPAN("caller")},
    {.name = SPAN("callee")},
    {.name = SPAN("ruri")},
    {.name = SPAN("source")},
    {.name = SPAN("from_tag")},
    {.name = SPAN("to_tag")},
    {.name = SPAN("trying")},
    {.name = SPAN("ringing")},
    {.name = SPAN("answered")},
    {.name = SPAN("code"), .value = SPAN("200")},
    {.name = SPAN("how"), .late = true, .value = SPAN("completed")},
    {.name = SPAN("state"), .late = true, .value = SPAN("ended")},
    {.name = SPAN("by"), .late = true},
    {.name = SPAN("duration_ms"), .late = true},
    {.name = SPAN("pdd_ms"), .late = true},
};

struct entry {
    struct span values[COUNT(usual)], ended;
    struct buffer late, others; /* JSON; words */
    size_t other_words;
};

static size_t place_of(struct span name)
{
    size_t i = 0;

    while (i < COUNT(usual) && !span_eq(usual[i].name, name))
        i++;
    return i;
}

static void add_late(struct buffer *b, const struct pair *p)
{
    buffer_text(b, b->n ? "," : "[");
    escape_bytes(b, p->name);
    buffer_text(b, ",");
    escape_bytes(b, p->value);
}

static void add(struct entry *x, const struct pair *p)
{
    size_t place = place_of(p->name);

    if (place < COUNT(usual)) {
        x->values[place] = p->value;
        if (usual[place].late)
            add_late(&x->late, p);
    } else if (span_eq(p->name, (struct span)SPAN("ended"))) {
        x->ended = p->value;
        add_late(&x->late, p);
    } else if (!redis_is_owner(p->name)) {
        command_word(&x->others, p->name);
        command_word(&x->others, p->value);
        x->other_words += 2;
    }
}

/* It has all that is usual, with the values that the script knows. */
static bool is_ordinary(const struct entry *x)
{
    for (size_t i = 0; i < COUNT(usual); i++)
        if (!x->values[i].p || (usual[i].value.n && !span_eq(usual[i].value, x->values[i])))
            return false;
    return true;
}

/* Values alone, if it is an ordinary one, else with their names. Returns how many words. */
static size_t put_values(struct buffer *words, const struct entry *x, bool ordinary)
{
    size_t count = 0;

    for (size_t i = 0; i < COUNT(usual); i++) {
        if (!x->values[i].p || (ordinary && usual[i].value.n))
            continue;
        if (!ordinary)
            command_word(words, usual[i].name);
        command_word(words, x->values[i]);
        count += ordinary ? 1 : 2;
    }
    return count;
}

size_t redis_put_end(struct buffer *words, const struct call_write *w, const char *archive, int64_t keep, bool trims)
{
    struct entry x = {0};
    bool ordinary;
    size_t count;

    for (size_t i = 0; i < w->entry_count; i++)
        add(&x, &w->entry[i]);
    buffer_text(&x.late, "]");
    command_word(words, span_of("2"));
    command_word(words, span_of(w->key));
    command_word(words, span_of(archive));
    command_number(words, w->node);
    command_word(words, span_of(w->tx));
    command_number(words, w->ttl_ms);
    command_word(words, x.ended);
    command_word(words, (struct span){x.late.p, x.late.n});
    ordinary = !trims && is_ordinary(&x);
    if (ordinary)
        command_word(words, (struct span)SPAN(""));
    else
        command_number(words, keep ? keep : INT64_MAX);
    count = 9 + put_values(words, &x, ordinary) + x.other_words;
    buffer_put(words, x.others.p, x.others.n);
    words->failed = words->failed || x.late.failed || x.others.failed;
    buffer_free(&x.late);
    buffer_free(&x.others);
    return count;
}
