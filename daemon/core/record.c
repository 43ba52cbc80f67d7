#include "record.h"

#include <errno.h>
#include <stdio.h>

#include "base64.h"
#include "key.h"

/* SIP text may hold any byte, JSON text only UTF-8, and readers of JSON dislike NUL. */
static json_t *sip_text(struct span s)
{
    json_t *text = memchr(s.p, 0, s.n) ? NULL : json_stringn(s.p, s.n);
    char *base64 = text ? NULL : base64_text(s);

    if (base64)
        text = json_pack("{s:s}", "base64", base64);
    free(base64);
    return text;
}

static json_t *sip_str(const char *s)
{
    return sip_text(span_of(s));
}

static json_t *branch_json(const struct txn_branch *b)
{
    return json_pack("{s:i,s:i,s:o,s:s,s:s,s:o,s:o*}", "i", b->index, "code", b->code, "via", sip_str(b->via), "to",
                     b->to, "sock", b->sock, "ruri", sip_str(b->ruri), "route", b->route ? sip_str(b->route) : NULL);
}

static json_t *branches_json(const struct txn *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->branch_count; i++) {
        if (json_array_append_new(list, branch_json(&t->branches[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

char *record_write(const struct txn *t, int owner, const char *inc, bool whole)
{
    json_t *req = t->done || !whole || !t->req.n ? NULL : sip_text(t->req);
    json_t *json =
        json_pack("{s:i,s:s,s:s,s:i,s:b,s:o,s:I,s:o,s:o,s:s,s:s,s:o,s:o*}", "owner", owner, "inc", inc, "state",
                  txn_state_name(txn_state(t)), "code", txn_code(t), "done", t->done, "call_id", sip_str(t->call_id),
                  "cseq", (json_int_t)t->cseq, "branch", sip_str(t->branch), "sent_by", sip_str(t->sent_by), "src",
                  t->src, "dst", t->dst, "branches", branches_json(t), "req", req);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static bool copy_text(char *out, size_t size, const char *in)
{
    return in && snprintf(out, size, "%s", in) < (int)size;
}

int record_read(struct record *r, struct span text)
{
    json_t *json = json_loadb(text.p, text.n, 0, NULL);
    const char *inc = NULL, *sent_by = NULL;
    int done = 0, rc = -EBADMSG;

    *r = (struct record){0};
    if (json_unpack(json, "{s:i,s:s,s:b,s:s}", "owner", &r->owner, "inc", &inc, "done", &done, "sent_by", &sent_by) ==
            0 &&
        r->owner > 0 && copy_text(r->inc, sizeof(r->inc), inc) && copy_text(r->sent_by, sizeof(r->sent_by), sent_by))
        rc = 0;
    r->done = done;
    r->whole = json_object_get(json, "req") != NULL;
    json_decref(json);
    return rc;
}

/* The bytes behind what sip_text() wrote, NUL-terminated; the caller frees them. */
static char *sip_bytes(const json_t *value, size_t *len)
{
    const char *base64 = json_string_value(json_object_get(value, "base64"));

    if (base64)
        return base64_bytes(base64, len);
    *len = json_string_length(value);
    return json_is_string(value) ? span_dup((struct span){json_string_value(value), *len}) : NULL;
}

static char *take_text(const json_t *json, const char *name)
{
    size_t len;

    return sip_bytes(json_object_get(json, name), &len);
}

static int take_branch(struct txn *t, const json_t *json, int64_t now)
{
    struct txn_branch b = {.sent_ms = now};

    b.index = (int)json_integer_value(json_object_get(json, "i"));
    b.code = (int)json_integer_value(json_object_get(json, "code"));
    b.via = take_text(json, "via");
    b.to = take_text(json, "to");
    b.sock = take_text(json, "sock");
    b.ruri = take_text(json, "ruri");
    b.route = json_object_get(json, "route") ? take_text(json, "route") : NULL;
    if (b.to && b.sock && (!msg_is_address(b.to) || !msg_is_address(b.sock))) {
        free(b.to);
        b.to = NULL; /* a store may hold anything: refused with the rest */
    }
    return txn_give_branch(t, &b);
}

static int take_branches(struct txn *t, const json_t *list, int64_t now)
{
    int rc = json_array_size(list) ? 0 : -EBADMSG;

    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = take_branch(t, json_array_get(list, i), now);
    return rc;
}

static int take_all(struct txn *t, const json_t *json, int64_t now)
{
    if (json_object_get(json, "req"))
        t->req.p = sip_bytes(json_object_get(json, "req"), &t->req.n);
    if (json_object_get(json, "req") && !t->req.p)
        return -EBADMSG;
    t->call_id = take_text(json, "call_id");
    t->branch = take_text(json, "branch");
    t->sent_by = take_text(json, "sent_by");
    t->src = take_text(json, "src");
    t->dst = take_text(json, "dst");
    t->cseq = (uint32_t)json_integer_value(json_object_get(json, "cseq"));
    t->begun_ms = t->changed_ms = now;
    if (!t->call_id || !t->branch || !t->sent_by || !t->src || !t->dst)
        return -EBADMSG;
    t->key = key_tx(span_of(t->call_id), t->cseq, span_of(t->branch));
    return t->key ? take_branches(t, json_object_get(json, "branches"), now) : -ENOMEM;
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
