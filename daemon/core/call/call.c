#include "call.h"

#include <errno.h>
#include <stdio.h>

#include "base64.h"
#include "count.h"
#include "decimal.h"
#include "nodes.h"
#include "siptext.h"

enum kind { NAME, TEXT, WORD, NUMBER };

/* One row for each field of the record. */
static const struct field {
    struct span name;
    enum kind kind;
    size_t at;
    bool end; /* only in the record of an ended call */
} fields[] = {
    {SPAN("call_id"), NAME, offsetof(struct call, call_id), false},
    {SPAN("node"), NUMBER, offsetof(struct call, node), false},
    {SPAN("inc"), TEXT, offsetof(struct call, inc), false},
    {SPAN("caller"), TEXT, offsetof(struct call, caller), false},
    {SPAN("callee"), TEXT, offsetof(struct call, callee), false},
    {SPAN("ruri"), TEXT, offsetof(struct call, ruri), false},
    {SPAN("source"), TEXT, offsetof(struct call, source), false},
    {SPAN("from_tag"), NAME, offsetof(struct call, from_tag), false},
    {SPAN("to_tag"), TEXT, offsetof(struct call, to_tag), false},
    {SPAN("tx"), TEXT, offsetof(struct call, tx), false},
    {SPAN("trying"), NUMBER, offsetof(struct call, trying), false},
    {SPAN("ringing"), NUMBER, offsetof(struct call, ringing), false},
    {SPAN("answered"), NUMBER, offsetof(struct call, answered), false},
    {SPAN("code"), NUMBER, offsetof(struct call, code), false},
    {SPAN("ended"), NUMBER, offsetof(struct call, ended), true},
    {SPAN("how"), WORD, offsetof(struct call, how), true},
    {SPAN("by"), WORD, offsetof(struct call, by), true},
    {SPAN("untracked"), WORD, offsetof(struct call, untracked), false},
};

#define FIELDS COUNT(fields)

static const char *const computed[CALL_TIMES] = {"duration_ms", "pdd_ms"}; /* computed by the store */

static char **text_at(const struct call *c, const struct field *f)
{
    return (char **)((char *)(uintptr_t)c + f->at);
}

static int64_t *number_at(const struct call *c, const struct field *f)
{
    return (int64_t *)((char *)(uintptr_t)c + f->at);
}

struct span call_name(struct span call_id, struct span from_tag)
{
    size_t n = call_id.n + 1 + from_tag.n;
    char *p = malloc(n);

    if (!p)
        return (struct span){0};
    memcpy(p, call_id.p, call_id.n);
    p[call_id.n] = '\0';
    if (from_tag.n)
        memcpy(p + call_id.n + 1, from_tag.p, from_tag.n);
    return (struct span){p, n};
}

struct call *call_new(struct span name)
{
    struct call *c = name.n && memchr(name.p, 0, name.n) ? calloc(1, sizeof(*c)) : NULL;

    if (!c)
        return NULL;
    c->name = (struct span){span_dup(name), name.n};
    c->call_id = c->name.p;
    c->from_tag = c->call_id ? c->call_id + strlen(c->call_id) + 1 : NULL;
    if (c->call_id && c->from_tag + strlen(c->from_tag) == c->name.p + name.n)
        return c;
    call_free(c);
    return NULL;
}

void call_free(struct call *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].kind == TEXT)
            free(*text_at(c, &fields[i]));
    free((char *)c->name.p);
    free(c->other_tag);
    json_decref(c->vars);
    json_decref(c->dialogs);
    json_decref(c->legs);
    json_decref(c->fresh);
    json_decref(c->sent);
    free(c);
}

int call_set_text(char **at, struct span value)
{
    char *copy = span_dup(value);

    if (!copy)
        return -ENOMEM;
    free(*at);
    *at = copy;
    return 0;
}

bool call_asks_for_more(int code)
{
    return code / 100 == 3 || code == 401 || code == 407 || code == 413 || code == 415 || code == 416 || code == 420 ||
           code == 422 || code == 428 || code == 494;
}

bool call_follows(const struct call *c, const char *tx)
{
    return c->tx && strcmp(c->tx, tx) == 0;
}

bool call_is_told(const struct call *c, const char *tx)
{
    return c->role != CALL_GUEST && c->role != CALL_HEIR && call_follows(c, tx) && (c->answered || c->how);
}

bool call_is_refused(const struct call *c)
{
    return call_asks_for_more((int)c->code);
}

bool call_has_moved(const struct call *c)
{
    return c->role == CALL_TAKER || c->role == CALL_HEIR || c->role == CALL_AWAY;
}

const char *call_state(const struct call *c)
{
    return c->ended ? "ended" : c->answered ? "answered" : c->ringing ? "ringing" : "trying";
}

int call_set(struct call *c, const char *name, struct span value, bool fresh)
{
    char field[96];
    json_t *text = value.n <= CALL_VALUE_MAX ? sip_text(value) : NULL;

    snprintf(field, sizeof(field), CALL_VAR "%s", name);
    if (!json_is_string(text)) {
        json_decref(text);
        return -EINVAL;
    }
    if (json_object_size(c->vars) >= CALL_VARS_MAX && !json_object_get(c->vars, field)) {
        json_decref(text);
        return -ENOMEM;
    }
    if (!c->vars)
        c->vars = json_object();
    if (json_object_set_new(c->vars, field, text) < 0)
        return -ENOMEM;
    if (fresh && !c->fresh)
        c->fresh = json_object();
    return fresh && json_object_set_new(c->fresh, field, json_true()) < 0 ? -ENOMEM : 0;
}

/* "dialog.<tag>", or "" when too long. */
static const char *dialog_field(char out[200], const char *what, struct span tag)
{
    bool fits = tag.n && tag.n < 190 && !memchr(tag.p, 0, tag.n);

    snprintf(out, 200, "%s%.*s", fits ? what : "", fits ? (int)tag.n : 0, fits ? tag.p : "");
    return out;
}

bool call_dialog(struct call *c, const char *what, struct span tag, int64_t at)
{
    char field[200], text[DECIMAL_SIZE];

    dialog_field(field, what, tag);
    if (!*field || json_object_get(c->dialogs, field) || json_object_size(c->dialogs) >= CALL_DIALOGS_MAX)
        return false;
    if (!c->dialogs)
        c->dialogs = json_object();
    return json_object_set_new(c->dialogs, field, json_stringn(text, decimal(text, at))) == 0;
}

bool call_has_dialog(const struct call *c, struct span tag)
{
    char field[200];

    return !c->to_tag || span_eq(span_of(c->to_tag), tag) ||
           json_object_get(c->dialogs, dialog_field(field, CALL_DIALOG, tag));
}

void call_vars_sent(struct call *c)
{
    json_decref(c->sent);
    c->sent = c->fresh;
    c->fresh = NULL;
}

void call_vars_arrived(struct call *c, bool ok)
{
    if (!ok && !c->fresh)
        c->fresh = json_incref(c->sent);
    else if (!ok)
        json_object_update(c->fresh, c->sent);
    json_decref(c->sent);
    c->sent = NULL;
}

/* ---- pairs ---- */

static void add_pair(struct call_pairs *p, struct span name, struct span value)
{
    p->list[p->count++] = (struct pair){name, value};
}

static void add(struct call_pairs *p, const char *name, struct span value)
{
    add_pair(p, span_of(name), value);
}

/* Adds the field if its value is known; returns 0 or 1. */
static size_t add_field(struct call_pairs *p, const struct call *c, const struct field *f, size_t *texts)
{
    size_t before = p->count;

    if (f->at == offsetof(struct call, from_tag) && !c->tx) {
        return 0; /* a node that adds to another's call may not know it */
    } else if (f->kind != NUMBER) {
        if (*text_at(c, f))
            add_pair(p, f->name, span_of(*text_at(c, f)));
    } else if (*number_at(c, f)) {
        char *text = p->texts[(*texts)++];

        add_pair(p, f->name, (struct span){text, decimal(text, *number_at(c, f))});
    }
    return p->count - before;
}

/* The call rang for the caller before it rings for the node that has taken it over. */
static bool is_weak(const struct call *c, const struct field *f)
{
    return c->role == CALL_TAKER && f->at == offsetof(struct call, ringing);
}

static size_t add_vars(struct call_pairs *p, const struct call *c, bool fresh)
{
    size_t before = p->count;
    const char *name;
    json_t *value;

    json_object_foreach(c->vars, name, value) /* c->vars may be NULL */
    {
        if ((json_object_get(c->fresh, name) != NULL) == fresh)
            add(p, name, (struct span){json_string_value(value), json_string_length(value)});
    }
    return p->count - before;
}

static void add_dialogs(struct call_pairs *p, const struct call *c)
{
    const char *name;
    json_t *value;

    json_object_foreach(c->dialogs, name, value) /* c->dialogs may be NULL */
    {
        add(p, name, (struct span){json_string_value(value), json_string_length(value)});
    }
}

/* Of the node that has it. */
static void add_site(struct call_pairs *p, const struct call *c, const struct node *self)
{
    if (*self->site && c->node == self->id)
        add(p, "site", span_of(self->site));
}

static void add_joined(struct call_pairs *p, const struct call *c, int node, char *text)
{
    strcpy(p->joined, CALL_JOINED);
    decimal(p->joined + strlen(CALL_JOINED), node);
    add(p, p->joined, (struct span){text, decimal(text, c->joined)});
}

void call_pairs(struct call_pairs *p, const struct call *c, const struct node *self, bool end)
{
    size_t texts = 0;

    p->count = 0;
    for (size_t i = 0; i < FIELDS; i++)
        if ((end || !fields[i].end) && !is_weak(c, &fields[i]))
            add_field(p, c, &fields[i], &texts);
    if (c->tx || end)
        add(p, "state", span_of(end ? "ended" : call_state(c)));
    add_site(p, c, self);
    add_joined(p, c, self->id, p->texts[texts++]);
    add_dialogs(p, c);
    add_vars(p, c, true);
    p->weak = add_vars(p, c, false);
    for (size_t i = 0; c->role == CALL_TAKER && i < FIELDS; i++)
        if (is_weak(c, &fields[i]))
            p->weak += add_field(p, c, &fields[i], &texts);
}

size_t call_entry(struct call_pairs *p, const struct call *c)
{
    const int64_t rang = c->ringing ? c->ringing : c->answered;
    const int64_t from[CALL_TIMES] = {c->answered, c->trying}, to[CALL_TIMES] = {c->ended, rang};
    size_t count = p->count;

    for (size_t i = 0; i < CALL_TIMES; i++)
        if (from[i] && to[i])
            p->list[count++] = (struct pair){
                span_of(computed[i]), {p->times[i], decimal(p->times[i], to[i] > from[i] ? to[i] - from[i] : 0)}};
    return count;
}

struct span pairs_text(const struct pair *pairs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (span_eq(pairs[i].name, span_of(name)))
            return pairs[i].value;
    return (struct span){0};
}

/* The store may hold anything: more than 15 digits are not taken for a number, so that arithmetic on it cannot
 * overflow. */
static int64_t number_of(struct span s)
{
    const int64_t most = 999999999999999;
    char text[24];
    int64_t n;

    snprintf(text, sizeof(text), "%.*s", (int)(s.n < sizeof(text) ? s.n : sizeof(text) - 1), s.n ? s.p : "");
    n = strtoll(text, NULL, 10);
    return n > most || n < -most ? 0 : n;
}

int64_t pairs_number(const struct pair *pairs, size_t count, const char *name)
{
    return number_of(pairs_text(pairs, count, name));
}

int64_t pairs_joined(const struct pair *pairs, size_t count, int node, int64_t otherwise)
{
    char name[32];
    int64_t at;

    snprintf(name, sizeof(name), CALL_JOINED "%d", node);
    at = pairs_number(pairs, count, name);
    return at > 0 ? at : otherwise;
}

bool pairs_have_dialog(const struct pair *pairs, size_t count, struct span tag)
{
    struct span first = pairs_text(pairs, count, "to_tag");
    char field[200];

    dialog_field(field, CALL_DIALOG, tag);
    return !first.n || span_eq(first, tag) || (*field && pairs_text(pairs, count, field).n);
}

bool pairs_joined_next(const struct pair *pairs, size_t count, size_t *i, int64_t *node)
{
    const size_t n = strlen(CALL_JOINED);

    while (*i < count) {
        struct span name = pairs[(*i)++].name;

        if (name.n <= n || memcmp(name.p, CALL_JOINED, n) != 0)
            continue;
        *node = number_of((struct span){name.p + n, name.n - n});
        return true;
    }
    return false;
}

bool pairs_joined_by_others(const struct pair *pairs, size_t count, int a, int b)
{
    int64_t node;

    for (size_t i = 0; pairs_joined_next(pairs, count, &i, &node);)
        if (node != a && node != b)
            return true;
    return false;
}

static int read_field(struct call *c, const struct field *f, const struct pair *pairs, size_t count)
{
    struct span value = pairs_text(pairs, count, f->name.p);

    if (f->kind == NUMBER && value.n)
        *number_at(c, f) = number_of(value);
    if (f->kind != TEXT || !value.n)
        return 0;
    if (memchr(value.p, 0, value.n)) /* no node writes such a text */
        return 0;
    free(*text_at(c, f));
    *text_at(c, f) = span_dup(value);
    return *text_at(c, f) ? 0 : -ENOMEM;
}

static bool is_var(const struct pair *p)
{
    size_t n = strlen(CALL_VAR);

    return p->name.n > n && p->name.n < n + 80 && memcmp(p->name.p, CALL_VAR, n) == 0 &&
           !memchr(p->name.p, 0, p->name.n);
}

/* Of the dialogs it takes as many as a node would keep. */
static void read_dialog(struct call *c, const struct pair *p)
{
    static const char *const names[] = {CALL_DIALOG, CALL_DIALOG_OVER};

    for (size_t i = 0; i < COUNT(names); i++) {
        size_t n = strlen(names[i]);

        if (p->name.n > n && memcmp(p->name.p, names[i], n) == 0 && number_of(p->value) > 0)
            call_dialog(c, names[i], (struct span){p->name.p + n, p->name.n - n}, number_of(p->value));
    }
}

int call_read(struct call *c, const struct pair *pairs, size_t count)
{
    char name[96];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < FIELDS; i++)
        rc = read_field(c, &fields[i], pairs, count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        read_dialog(c, &pairs[i]);
        if (!is_var(&pairs[i]))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(pairs[i].name.n - strlen(CALL_VAR)),
                 pairs[i].name.p + strlen(CALL_VAR));
        call_set(c, name, pairs[i].value, false); /* a variable that this node rejects stays in the store */
    }
    return rc;
}

/* ---- JSON ---- */

static bool is_joined(struct span name)
{
    size_t n = strlen(CALL_JOINED);

    return name.n > n && memcmp(name.p, CALL_JOINED, n) == 0;
}

static bool is_number(struct span name)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].kind == NUMBER && span_eq(name, fields[i].name))
            return true;
    for (size_t i = 0; i < COUNT(computed); i++)
        if (span_eq(name, span_of(computed[i])))
            return true;
    return is_joined(name);
}

json_t *pairs_vars(const struct pair *pairs, size_t count)
{
    size_t n = strlen(CALL_VAR);
    json_t *vars = json_object();

    for (size_t i = 0; vars && i < count; i++)
        if (is_var(&pairs[i]) && pairs[i].value.n)
            json_object_setn_new(vars, pairs[i].name.p + n, pairs[i].name.n - n, sip_text(pairs[i].value));
    return vars;
}

json_t *pairs_json(const struct pair *pairs, size_t count)
{
    json_t *json = json_object();

    for (size_t i = 0; json && i < count; i++)
        if (!is_var(&pairs[i]) && pairs[i].name.n &&
            !memchr(pairs[i].name.p, 0, pairs[i].name.n)) /* jansson rejects names with NUL */
            json_object_setn_new(json, pairs[i].name.p, pairs[i].name.n,
                                 is_number(pairs[i].name) ? json_integer(number_of(pairs[i].value))
                                                          : sip_text(pairs[i].value));
    if (json)
        json_object_set_new(json, "vars", pairs_vars(pairs, count));
    return json;
}

/* For a header of the script: line ends in a text from the store would make it several lines. */
static void make_single_lines(json_t *json)
{
    const char *name;
    json_t *value;

    json_object_foreach(json, name, value)
    {
        char *text = json_is_string(value) ? span_dup(span_of(json_string_value(value))) : NULL;

        for (char *c = text; c && *c; c++)
            if (((unsigned char)*c < ' ' && *c != '\t') || *c == 127)
                *c = ' ';
        if (text)
            json_string_set(value, text);
        free(text);
    }
}

static char *json_base64(json_t *json)
{
    char *text, *base64;

    make_single_lines(json);
    text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    base64 = text ? base64_text(span_of(text)) : NULL;

    json_decref(json);
    free(text);
    return base64;
}

char *call_header(json_t *call, json_t *vars)
{
    char *text = NULL, *first = json_base64(call), *second = json_base64(vars);

    if (first && second && (text = malloc(strlen(first) + strlen(second) + 32)) != NULL)
        sprintf(text, "X-Kamsync-Call: %s %s", first, second);
    free(first);
    free(second);
    return text;
}
