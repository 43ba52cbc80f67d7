#include "record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "buffer.h"
#include "count.h"
#include "escape.h"
#include "key.h"
#include "siptext.h"

/* ---- writing ---- */

/* Not written by jansson, which looks at each byte several times: a record is written three times in a transaction's
 * life, and jansson took half of kamsyncd's time. */

/* Takes ownership of the value; NULL means out of memory. */
static void put_json(struct buffer *t, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    if (text)
        buffer_text(t, text);
    t->failed = t->failed || !text;
    json_decref(value);
    free(text);
}

/* SIP text in sip_text()'s form. With non-ASCII bytes sip_text() decides whether it is UTF-8. */
static void put_sip(struct buffer *t, struct span s)
{
    size_t begun = t->n, i = 0;

    buffer_put(t, "\"", 1);
    while (i < s.n) {
        size_t run = plain_run((struct span){s.p + i, s.n - i});

        buffer_put(t, s.p + i, run);
        i += run;
        if (i == s.n)
            break;
        if (s.p[i] == '\0' || (unsigned char)s.p[i] > 127) {
            t->n = begun;
            put_json(t, sip_text(s));
            return;
        }
        i += escape_one(t, (struct span){s.p + i, s.n - i});
    }
    buffer_put(t, "\"", 1);
}

/* The text before a value: a constant, so that its length is constant, too. Our own texts are written as SIP text. */
#define KEY(name) ",\"" name "\":"
#define FIRST(name) "{\"" name "\":"

static inline void field(struct buffer *t, const char *key, const char *value)
{
    buffer_text(t, key);
    if (value)
        put_sip(t, span_of(value));
    t->failed = t->failed || !value;
}

static inline void number(struct buffer *t, const char *key, int64_t value)
{
    buffer_text(t, key);
    buffer_number(t, value);
}

/* How the INVITE, or this branch's, was sent. */
static void put_as_sent(struct buffer *t, struct span req, const char *from, const char *to)
{
    if (from)
        field(t, KEY("far_from"), from);
    if (to)
        field(t, KEY("far_to"), to);
    if (!req.p)
        return;
    buffer_text(t, KEY("req"));
    put_sip(t, req);
}

static void put_branch(struct buffer *t, const struct txn_branch *b, bool req)
{
    number(t, FIRST("i"), b->index);
    number(t, KEY("code"), b->code);
    field(t, KEY("via"), b->via);
    field(t, KEY("to"), b->to);
    field(t, KEY("sock"), b->sock);
    field(t, KEY("ruri"), b->ruri);
    if (b->route)
        field(t, KEY("route"), b->route);
    if (b->kept)
        field(t, KEY("kept"), b->kept);
    if (b->over)
        buffer_text(t, KEY("over") "true");
    if (b->rang && b->code == 408)
        buffer_text(t, KEY("rang") "true");
    if (b->head)
        field(t, KEY("head"), b->head);
    if (req && b->apart) {
        buffer_text(t, KEY("apart") "true");
        put_as_sent(t, b->as.req, b->as.from, b->as.to);
    }
    buffer_text(t, "}");
}

static void put_state(struct buffer *t, const struct txn *txn)
{
    field(t, KEY("state"), txn_state_name(txn_state(txn)));
    number(t, KEY("code"), txn_code(txn));
    buffer_text(t, txn_is_done(txn) ? KEY("done") "true" : KEY("done") "false");
    number(t, KEY("at"), txn->at);
    if (txn->cancelled)
        buffer_text(t, KEY("cancelled") "true");
    if (txn->gone)
        buffer_text(t, KEY("gone") "true");
    if (txn->stateless)
        buffer_text(t, KEY("stateless") "true");
    if (txn_state(txn) == TXN_FAILED && txn->last) /* the call's end, in case another node has to report it */
        number(t, KEY("last"), txn->last);
    field(t, KEY("call_id"), txn->call_id);
    field(t, KEY("from_tag"), txn->call_id + strlen(txn->call_id) + 1);
    number(t, KEY("cseq"), txn->cseq);
    field(t, KEY("branch"), txn->branch);
    field(t, KEY("sent_by"), txn->sent_by);
    field(t, KEY("src"), txn->src);
    field(t, KEY("dst"), txn->dst);
}

static void put_branches(struct buffer *t, const struct txn *txn, bool req)
{
    buffer_text(t, KEY("branches") "[");
    for (size_t i = 0; i < txn->branch_count; i++) {
        if (i > 0)
            buffer_text(t, ",");
        put_branch(t, &txn->branches[i], req);
    }
    buffer_text(t, "]");
}

static void put_from(struct buffer *t, const struct holder *from)
{
    char text[RECORD_HEAD_MAX];

    snprintf(text, sizeof(text), "%" PRId64 " %d %s", from->epoch, from->owner, from->inc);
    field(t, KEY("from"), text);
}

static void put_head(struct buffer *t, const struct head *h)
{
    number(t, FIRST("epoch"), h->epoch);
    number(t, KEY("owner"), h->owner);
    field(t, KEY("inc"), h->inc);
    if (h->from && h->from->epoch)
        put_from(t, h->from);
    if (h->state)
        buffer_text(t, h->state == HEAD_TAKING ? KEY("taking") "true" : KEY("given") "true");
}

const char *record_put(struct buffer *to, const struct txn *txn, const struct head *h, json_t *vars, bool whole)
{
    bool pending = !txn_is_done(txn) && (whole || txn->cancelled), req = txn->req.n && (pending || txn_unfinished(txn));

    buffer_clear(to);
    put_head(to, h);
    put_state(to, txn);
    put_branches(to, txn, req);
    if (req && pending && vars) {
        buffer_text(to, KEY("vars"));
        put_json(to, json_incref(vars));
    }
    if (req)
        put_as_sent(to, txn->req, txn->far_from, txn->far_to);
    json_decref(vars);
    buffer_text(to, "}");
    return to->failed ? NULL : to->p;
}

char *record_write(const struct txn *txn, const struct head *h, json_t *vars, bool whole)
{
    struct buffer t = {0};

    if (!record_put(&t, txn, h, vars, whole)) {
        free(t.p);
        return NULL;
    }
    return t.p;
}

/* ---- reading ---- */

static bool copy_text(char *out, size_t size, const char *in)
{
    return in && snprintf(out, size, "%s", in) < (int)size;
}

static enum head_state state_of(const json_t *json)
{
    if (json_is_true(json_object_get(json, "taking")))
        return HEAD_TAKING;
    return json_is_true(json_object_get(json, "given")) ? HEAD_GIVEN : HEAD_HELD;
}

static struct holder from_of(const json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "from"));
    struct holder h = {0};

    if (text && sscanf(text, "%" SCNd64 " %9d %79s", &h.epoch, &h.owner, h.inc) == 3)
        return h;
    return (struct holder){0};
}

static bool is_connected(const json_t *json)
{
    const char *src = json_string_value(json_object_get(json, "src"));

    return src && msg_is_connection(src);
}

int record_read(struct record *r, struct span text)
{
    json_t *json = json_loadb(text.p, text.n, 0, NULL);
    const char *inc = NULL;
    int done = 0, rc = -EBADMSG;

    *r = (struct record){0};
    if (json_unpack(json, "{s:i,s:s,s:b}", "owner", &r->owner, "inc", &inc, "done", &done) == 0 && r->owner >= 0 &&
        msg_is_word(inc) && copy_text(r->inc, sizeof(r->inc), inc))
        rc = 0;
    r->epoch = record_epoch(text);
    r->state = state_of(json);
    r->from = from_of(json);
    r->done = done;
    r->cancelled = json_is_true(json_object_get(json, "cancelled"));
    r->whole = json_object_get(json, "req") != NULL;
    r->connected = is_connected(json);
    r->gone = json_is_true(json_object_get(json, "gone"));
    json_decref(json);
    return rc;
}

/* ---- the head, as io/put.lua reads it ---- */

#define DIGITS_MAX 15 /* of an epoch; more are exact in no Lua */
#define OWNER_DIGITS_MAX 9

struct front {
    struct span epoch, owner, inc; /* as they stand there; epoch "1" for a record from before there were epochs */
    struct span rest;              /* behind the incarnation's quote */
};

/* Takes that text off. */
static bool take_word(struct span *s, const char *word)
{
    size_t n = strlen(word);

    if (s->n < n || memcmp(s->p, word, n) != 0)
        return false;
    *s = (struct span){s->p + n, s->n - n};
    return true;
}

static bool take_digits(struct span *s, struct span *digits)
{
    size_t n = 0;

    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
        n++;
    *digits = (struct span){s->p, n};
    *s = (struct span){s->p + n, s->n - n};
    return n > 0;
}

/* Up to a quote, which is taken off as well. */
static bool take_quoted(struct span *s, struct span *text)
{
    const char *end = s->n ? memchr(s->p, '"', s->n) : NULL;

    if (!end)
        return false;
    *text = (struct span){s->p, (size_t)(end - s->p)};
    *s = (struct span){end + 1, s->n - text->n - 1};
    return true;
}

static bool read_front(struct front *f, struct span text)
{
    struct span s = {text.p, text.n < RECORD_HEAD_MAX ? text.n : RECORD_HEAD_MAX};

    f->epoch = span_of("1");
    if (take_word(&s, FIRST("epoch"))) {
        if (!take_digits(&s, &f->epoch) || f->epoch.n > DIGITS_MAX || !take_word(&s, KEY("owner")))
            return false;
    } else if (!take_word(&s, FIRST("owner"))) {
        return false;
    }
    if (!take_digits(&s, &f->owner) || !take_word(&s, KEY("inc") "\"") || !take_quoted(&s, &f->inc))
        return false;
    f->rest = (struct span){s.p, text.n - (size_t)(s.p - text.p)};
    return true;
}

static int64_t number_of(struct span digits)
{
    int64_t number = 0;

    for (size_t i = 0; i < digits.n; i++)
        number = number * 10 + (digits.p[i] - '0');
    return number;
}

int64_t record_epoch(struct span text)
{
    struct front f;

    return read_front(&f, text) ? number_of(f.epoch) : 1;
}

/* As put_from() writes it. */
static bool is_plain(struct span digits)
{
    return digits.n == 1 || digits.p[0] != '0';
}

struct holder record_holder(struct span text)
{
    struct holder h = {0};
    struct front f;

    if (!read_front(&f, text) || f.owner.n > OWNER_DIGITS_MAX || f.inc.n >= sizeof(h.inc))
        return h;
    memcpy(h.inc, f.inc.p, f.inc.n);
    if (!is_plain(f.epoch) || !is_plain(f.owner) || strlen(h.inc) != f.inc.n || !msg_is_word(h.inc))
        return (struct holder){0};
    h.epoch = number_of(f.epoch);
    h.owner = (int)number_of(f.owner);
    return h;
}

size_t record_head(struct span text)
{
    struct front f;

    return read_front(&f, text) ? (size_t)(f.rest.p - text.p) : 0;
}

/* Whether it says that it goes over that one. */
static bool is_from(const struct front *f, const struct front *was)
{
    struct span rest = f->rest, from;
    const struct span parts[] = {was->epoch, span_of(" "), was->owner, span_of(" "), was->inc};

    if (!take_word(&rest, KEY("from") "\"") || !take_quoted(&rest, &from))
        return false;
    for (size_t i = 0; i < COUNT(parts); i++) {
        if (from.n < parts[i].n || memcmp(from.p, parts[i].p, parts[i].n) != 0)
            return false;
        from = (struct span){from.p + parts[i].n, from.n - parts[i].n};
    }
    return !from.n;
}

bool record_fences(struct span was, struct span text)
{
    struct front there, f;

    if (!read_front(&there, was) || !read_front(&f, text))
        return false; /* no record */
    if (span_eq(there.owner, f.owner) && span_eq(there.inc, f.inc))
        return number_of(there.epoch) > number_of(f.epoch);
    return !is_from(&f, &there);
}

static char *take_text(const json_t *json, const char *name)
{
    size_t len;

    return sip_bytes(json_object_get(json, name), &len);
}

/* Reads the strings of these names, in order; NULL for a missing one. The caller ends with free_texts(). */
static void take_texts(char **texts, const json_t *json, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        texts[i] = json_object_get(json, names[i]) ? take_text(json, names[i]) : NULL;
}

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
}

/* These strings are copied into messages and lines unchanged. A folded header becomes one line; any other line end or
 * control character is not from Kamailio. */
static bool one_line(char *s)
{
    for (; s && *s; s++) {
        bool fold = *s == '\n' && (s[1] == ' ' || s[1] == '\t');

        if (fold || (*s == '\r' && s[1] == '\n' && (s[2] == ' ' || s[2] == '\t')))
            *s = ' ';
        else if (((unsigned char)*s < ' ' && *s != '\t') || *s == 127)
            return false;
    }
    return true;
}

static bool one_line_each(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!one_line(texts[i]))
            return false;
    return true;
}

static int take_branch_texts(struct txn_branch *b, const json_t *json)
{
    static const char *const names[TXN_BRANCH_TEXTS] = {"via", "to", "sock", "ruri", "route", "kept"};
    struct span texts[COUNT(names)];
    char *t[COUNT(names)];
    int rc = -EBADMSG;

    take_texts(t, json, names, COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        texts[i] = span_of(t[i]);
    if (t[0] && t[1] && t[2] && t[3] && msg_is_address(t[1]) && msg_is_address(t[2]) && one_line_each(t, COUNT(t)))
        rc = txn_branch_texts(b, texts);
    free_texts(t, COUNT(names));
    return rc;
}

/* The headers of the last reply; NULL if the text is not of that form. */
static char *take_head(const json_t *json)
{
    char *head = json_object_get(json, "head") ? take_text(json, "head") : NULL;

    if (head && !sip_is_head(head)) {
        free(head);
        head = NULL;
    }
    return head;
}

/* From and To for the far end. -EBADMSG also when memory is short: without them it would see what the script has
 * hidden.
 */
static int take_far(char **from, char **to, const json_t *json)
{
    static const char *const names[] = {"far_from", "far_to"};
    char **texts[] = {from, to};

    for (size_t i = 0; i < COUNT(names); i++) {
        take_texts(texts[i], json, &names[i], 1);
        if (!one_line(*texts[i]) || (!*texts[i] && json_object_get(json, names[i])))
            return -EBADMSG;
    }
    return 0;
}

/* What the branch has of its own. */
static int take_apart(struct txn_branch *b, const json_t *json)
{
    b->apart = json_is_true(json_object_get(json, "apart"));
    if (!b->apart)
        return 0;
    b->as.req.p = sip_bytes(json_object_get(json, "req"), &b->as.req.n);
    return take_far(&b->as.from, &b->as.to, json);
}

static int take_branch(struct txn *t, const json_t *json, int64_t now)
{
    struct txn_branch b = {.sent_ms = now};
    json_int_t code = json_integer_value(json_object_get(json, "code"));
    int rc = code >= 0 && code <= 699 ? take_branch_texts(&b, json) : -EBADMSG;

    if (rc < 0)
        return rc;
    if (take_apart(&b, json) < 0) {
        txn_branch_clear(&b);
        return -EBADMSG;
    }
    b.index = (int)json_integer_value(json_object_get(json, "i"));
    b.code = (short)code;
    /* its provisional reply may have been lost with the connection */
    b.rang = (code > 100 && code < 200) || (!code && (msg_is_connection(b.to) || txn_is_withheld(&b))) ||
             json_is_true(json_object_get(json, "rang"));
    b.over = code >= 300 && json_is_true(json_object_get(json, "over"));
    b.head = code >= 300 ? take_head(json) : NULL;
    return txn_give_branch(t, &b);
}

static int take_branches(struct txn *t, const json_t *list, int64_t now)
{
    int rc = json_array_size(list) ? 0 : -EBADMSG;

    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = take_branch(t, json_array_get(list, i), now);
    return rc;
}

static int take_own_texts(struct txn *t, const json_t *json)
{
    static const char *const names[] = {"call_id", "branch", "sent_by", "src", "dst", "from_tag"};
    char *own[COUNT(names)];
    int rc = -EBADMSG;

    take_texts(own, json, names, COUNT(names));
    if (own[0] && own[1] && own[2] && own[3] && own[4] && msg_is_address(own[3]) && msg_is_address(own[4]))
        rc = txn_texts(t, span_of(own[0]), span_of(own[5]), span_of(own[1]), span_of(own[2]), span_of(own[3]),
                       span_of(own[4]));
    free_texts(own, COUNT(names));
    return rc;
}

/* For a call that has ended, or is answered, and needs no further action, whatever else the record says. */
static void take_final(struct txn *t, const json_t *json)
{
    json_int_t code = json_integer_value(json_object_get(json, "code"));

    txn_set_done(t, json_is_true(json_object_get(json, "done")));
    t->final = (short)(txn_is_done(t) && code >= 200 && code <= 699 ? code : 0);
}

static int take_request(struct txn *t, const json_t *json)
{
    t->req.p = sip_bytes(json_object_get(json, "req"), &t->req.n);
    return t->req.p ? take_far(&t->far_from, &t->far_to, json) : -EBADMSG;
}

static int take_all(struct txn *t, const json_t *json, int64_t now)
{
    int rc = take_own_texts(t, json);

    if (rc < 0)
        return rc;
    if (json_object_get(json, "req") && take_request(t, json) < 0)
        return -EBADMSG;
    t->cseq = (uint32_t)json_integer_value(json_object_get(json, "cseq"));
    t->at = json_integer_value(json_object_get(json, "at"));
    t->last = json_integer_value(json_object_get(json, "last"));
    t->cancelled = json_is_true(json_object_get(json, "cancelled"));
    t->gone = json_is_true(json_object_get(json, "gone"));
    t->stateless = json_is_true(json_object_get(json, "stateless"));
    t->begun_ms = t->changed_ms = now;
    if (json_is_object(json_object_get(json, "vars")))
        t->vars = json_incref(json_object_get(json, "vars"));
    t->key = key_tx(span_of(t->call_id), t->cseq, span_of(t->branch), span_of(t->sent_by));
    if (!t->key)
        return -ENOMEM;
    rc = take_branches(t, json_object_get(json, "branches"), now);
    take_final(t, json);
    t->hold = state_of(json) == HEAD_GIVEN ? HOLD_GIVEN : HOLD_NEW;
    return rc;
}

int record_txn(struct txn **out, struct span text, int64_t now)
{
    json_t *json = json_loadb(text.p, text.n, 0, NULL);
    struct txn *t = json ? calloc(1, sizeof(*t)) : NULL;
    int rc = t ? take_all(t, json, now) : -EBADMSG;

    json_decref(json);
    if (rc < 0)
        txn_free(t);
    else
        *out = t;
    return rc;
}
