#include "record.h"

#include <errno.h>
#include <stdio.h>

#include "buffer.h"
#include "count.h"
#include "key.h"
#include "siptext.h"

/* ---- writing ---- */

/* Written here and not by jansson, which looks at each byte several times: a record is written three times in a
 * transaction's life, and that was half of all that kamsyncd did. */

/* Takes the value; NULL is short memory. */
static void put_json(struct buffer *t, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    if (text)
        buffer_text(t, text);
    t->failed = t->failed || !text;
    json_decref(value);
    free(text);
}

static void put_escaped(struct buffer *t, char c)
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt", hex[] = "0123456789ABCDEF";
    const char *at = letters;
    char code[6] = "\\u00";

    while (*at && *at != c)
        at += 2;
    code[1] = *at ? at[1] : 'u';
    code[4] = hex[(unsigned)c >> 4];
    code[5] = hex[(unsigned)c & 15];
    buffer_put(t, code, *at ? 2 : 6);
}

/* Whether one of eight bytes is below a blank, a quote, a backslash or beyond ASCII: then, and only then, a subtraction
 * (or the byte itself) sets a byte's highest bit. */
static bool has_special(uint64_t x)
{
    const uint64_t each = 0x0101010101010101;

    return (((x - each * ' ') | ((x ^ each * '"') - each) | ((x ^ each * '\\') - each) | x) & each * 0x80) != 0;
}

/* How many bytes from the front stand in JSON as they are. */
static size_t plain_run(const char *p, size_t n)
{
    size_t i = 0;
    uint64_t eight;

    for (; i + sizeof(eight) <= n; i += sizeof(eight)) {
        memcpy(&eight, p + i, sizeof(eight));
        if (has_special(eight))
            break;
    }
    while (i < n && p[i] >= ' ' && p[i] != '"' && p[i] != '\\' && (unsigned char)p[i] < 128)
        i++;
    return i;
}

/* Text out of SIP as sip_text() has it. Beyond ASCII that decides whether it is UTF-8. */
static void put_sip(struct buffer *t, struct span s)
{
    size_t begun = t->n, i = 0;

    buffer_put(t, "\"", 1);
    while (i < s.n) {
        size_t run = plain_run(s.p + i, s.n - i);

        buffer_put(t, s.p + i, run);
        i += run;
        if (i == s.n)
            break;
        if (s.p[i] == '\0' || (unsigned char)s.p[i] > 127) {
            t->n = begun;
            put_json(t, sip_text(s));
            return;
        }
        put_escaped(t, s.p[i++]);
    }
    buffer_put(t, "\"", 1);
}

/* What stands in front of a value: a constant, so that its length is one, too. Texts of ours are SIP texts as well. */
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

static void put_branch(struct buffer *t, const struct txn_branch *b)
{
    number(t, FIRST("i"), b->index);
    number(t, KEY("code"), b->code);
    field(t, KEY("via"), b->via);
    field(t, KEY("to"), b->to);
    field(t, KEY("sock"), b->sock);
    field(t, KEY("ruri"), b->ruri);
    if (b->route)
        field(t, KEY("route"), b->route);
    if (b->over)
        buffer_text(t, KEY("over") "true");
    if (b->rang && b->code == 408)
        buffer_text(t, KEY("rang") "true");
    if (b->head)
        field(t, KEY("head"), b->head);
    buffer_text(t, "}");
}

static void put_state(struct buffer *t, const struct txn *txn)
{
    field(t, KEY("state"), txn_state_name(txn_state(txn)));
    number(t, KEY("code"), txn_code(txn));
    buffer_text(t, txn->done ? KEY("done") "true" : KEY("done") "false");
    number(t, KEY("at"), txn->at);
    if (txn->cancelled)
        buffer_text(t, KEY("cancelled") "true");
    if (txn->stateless)
        buffer_text(t, KEY("stateless") "true");
    if (txn_state(txn) == TXN_FAILED && txn->last) /* a call's end, should another node have to say it */
        number(t, KEY("last"), txn->last);
    field(t, KEY("call_id"), txn->call_id);
    field(t, KEY("from_tag"), txn->call_id + strlen(txn->call_id) + 1);
    number(t, KEY("cseq"), txn->cseq);
    field(t, KEY("branch"), txn->branch);
    field(t, KEY("sent_by"), txn->sent_by);
    field(t, KEY("src"), txn->src);
    field(t, KEY("dst"), txn->dst);
}

static void put_branches(struct buffer *t, const struct txn *txn)
{
    buffer_text(t, KEY("branches") "[");
    for (size_t i = 0; i < txn->branch_count; i++) {
        if (i > 0)
            buffer_text(t, ",");
        put_branch(t, &txn->branches[i]);
    }
    buffer_text(t, "]");
}

char *record_write(const struct txn *txn, int owner, const char *inc, json_t *vars, bool whole)
{
    bool pending = !txn->done && (whole || txn->cancelled), req = txn->req.n && (pending || txn_unfinished(txn));
    struct buffer t = {0};

    number(&t, FIRST("owner"), owner);
    field(&t, KEY("inc"), inc);
    put_state(&t, txn);
    put_branches(&t, txn);
    if (req && pending && vars) {
        buffer_text(&t, KEY("vars"));
        put_json(&t, json_incref(vars));
    }
    if (req) {
        buffer_text(&t, KEY("req"));
        put_sip(&t, txn->req);
    }
    json_decref(vars);
    buffer_text(&t, "}");
    if (!t.failed)
        return t.p;
    free(t.p);
    return NULL;
}

/* ---- reading ---- */

static bool copy_text(char *out, size_t size, const char *in)
{
    return in && snprintf(out, size, "%s", in) < (int)size;
}

int record_read(struct record *r, struct span text)
{
    json_t *json = json_loadb(text.p, text.n, 0, NULL);
    const char *inc = NULL;
    int done = 0, rc = -EBADMSG;

    *r = (struct record){0};
    if (json_unpack(json, "{s:i,s:s,s:b}", "owner", &r->owner, "inc", &inc, "done", &done) == 0 && r->owner > 0 &&
        msg_is_word(inc) && copy_text(r->inc, sizeof(r->inc), inc))
        rc = 0;
    r->done = done;
    r->cancelled = json_is_true(json_object_get(json, "cancelled"));
    r->whole = json_object_get(json, "req") != NULL;
    json_decref(json);
    return rc;
}

static char *take_text(const json_t *json, const char *name)
{
    size_t len;

    return sip_bytes(json_object_get(json, name), &len);
}

/* The texts of these names, in their order; a NULL where there is none. free_texts() ends with them. */
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

/* These go into messages and lines as they are. A folded header becomes one line; any other line end, or control
 * character, is none of Kamailio's. */
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
    static const char *const names[] = {"via", "to", "sock", "ruri", "route"};
    char *t[COUNT(names)];
    int rc = -EBADMSG;

    take_texts(t, json, names, COUNT(names));
    if (t[0] && t[1] && t[2] && t[3] && msg_is_address(t[1]) && msg_is_address(t[2]) && one_line_each(t, COUNT(t)))
        rc = txn_branch_texts(b, span_of(t[0]), span_of(t[1]), span_of(t[2]), span_of(t[3]), span_of(t[4]));
    free_texts(t, COUNT(names));
    return rc;
}

/* Of its last reply; what is no such text is none. */
static char *take_head(const json_t *json)
{
    char *head = json_object_get(json, "head") ? take_text(json, "head") : NULL;

    if (head && !sip_is_head(head)) {
        free(head);
        head = NULL;
    }
    return head;
}

static int take_branch(struct txn *t, const json_t *json, int64_t now)
{
    struct txn_branch b = {.sent_ms = now};
    json_int_t code = json_integer_value(json_object_get(json, "code"));
    int rc = code >= 0 && code <= 699 ? take_branch_texts(&b, json) : -EBADMSG;

    if (rc < 0)
        return rc;
    b.index = (int)json_integer_value(json_object_get(json, "i"));
    b.code = (short)code;
    b.rang = (code > 100 && code < 200) || json_is_true(json_object_get(json, "rang"));
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

/* Its call has ended, or is answered, and needs nobody; whatever stands in the record. */
static void take_final(struct txn *t, const json_t *json)
{
    json_int_t code = json_integer_value(json_object_get(json, "code"));

    t->done = json_is_true(json_object_get(json, "done"));
    t->final = (short)(t->done && code >= 200 && code <= 699 ? code : 0);
}

static int take_all(struct txn *t, const json_t *json, int64_t now)
{
    int rc = take_own_texts(t, json);

    if (rc < 0)
        return rc;
    if (json_object_get(json, "req"))
        t->req.p = sip_bytes(json_object_get(json, "req"), &t->req.n);
    if (json_object_get(json, "req") && !t->req.p)
        return -EBADMSG;
    t->cseq = (uint32_t)json_integer_value(json_object_get(json, "cseq"));
    t->at = json_integer_value(json_object_get(json, "at"));
    t->last = json_integer_value(json_object_get(json, "last"));
    t->cancelled = json_is_true(json_object_get(json, "cancelled"));
    t->stateless = json_is_true(json_object_get(json, "stateless"));
    t->begun_ms = t->changed_ms = now;
    if (json_is_object(json_object_get(json, "vars")))
        t->vars = json_incref(json_object_get(json, "vars"));
    t->key = key_tx(span_of(t->call_id), t->cseq, span_of(t->branch), span_of(t->sent_by));
    if (!t->key)
        return -ENOMEM;
    rc = take_branches(t, json_object_get(json, "branches"), now);
    take_final(t, json);
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
