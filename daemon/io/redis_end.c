/* What end.lua is given (it describes itself): the end of a call that only this node has written. */
#include "count.h"
#include "escape.h"
#include "redis_command.h"
#include "redis_impl.h"

/* What an ordinary entry has: the script knows these names, in this order. */
static const struct {
    struct span name;
    bool late; /* the record gets it with the end */
} usual[] = {
    {SPAN("call_id"), false}, {SPAN("inc"), false},     {SPAN("caller"), false},   {SPAN("callee"), false},
    {SPAN("ruri"), false},    {SPAN("source"), false},  {SPAN("from_tag"), false}, {SPAN("to_tag"), false},
    {SPAN("trying"), false},  {SPAN("ringing"), false}, {SPAN("answered"), false}, {SPAN("code"), false},
    {SPAN("how"), true},      {SPAN("by"), true},       {SPAN("state"), true},     {SPAN("duration_ms"), true},
    {SPAN("pdd_ms"), true},
};

struct entry {
    struct span values[COUNT(usual)], ended;
    size_t found;               /* so many values */
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

/* The script has that in a word of its own. */
static bool is_in_head(struct span name)
{
    return span_eq(name, (struct span)SPAN("node")) || span_eq(name, (struct span)SPAN("tx"));
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
        x->found++;
        if (usual[place].late)
            add_late(&x->late, p);
    } else if (span_eq(p->name, (struct span)SPAN("ended"))) {
        x->ended = p->value;
    } else if (!is_in_head(p->name)) {
        command_word(&x->others, p->name);
        command_word(&x->others, p->value);
        x->other_words += 2;
    }
}

/* Values alone if it is an ordinary one, else with their names. Returns how many words. */
static size_t put_values(struct buffer *words, const struct entry *x)
{
    bool ordinary = x->found == COUNT(usual);

    command_word(words, span_of(ordinary ? "1" : ""));
    for (size_t i = 0; i < COUNT(usual); i++) {
        if (!ordinary && x->values[i].p)
            command_word(words, usual[i].name);
        if (x->values[i].p)
            command_word(words, x->values[i]);
    }
    return 1 + (ordinary ? 1 : 2) * x->found;
}

size_t redis_put_end(struct buffer *words, const struct call_write *w, const char *archive, int64_t keep)
{
    struct entry x = {0};
    size_t count;

    for (size_t i = 0; i < w->entry_count; i++)
        add(&x, &w->entry[i]);
    buffer_text(&x.late, x.late.n ? "]" : "[]");
    command_word(words, span_of("2"));
    command_word(words, span_of(w->key));
    command_word(words, span_of(archive));
    command_number(words, w->node);
    command_word(words, span_of(w->tx));
    command_number(words, w->ttl_ms);
    command_number(words, keep ? keep : INT64_MAX);
    command_word(words, x.ended);
    command_word(words, (struct span){x.late.p, x.late.n});
    count = 9 + put_values(words, &x) + x.other_words;
    buffer_put(words, x.others.p, x.others.n);
    words->failed = words->failed || x.late.failed || x.others.failed;
    buffer_free(&x.late);
    buffer_free(&x.others);
    return count;
}
