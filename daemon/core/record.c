#include "record.h"

#include <errno.h>
#include <stdio.h>

#include "key.h"
#include "siptext.h"

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

char *record_write(const struct txn *t, int owner, const char *inc, json_t *vars, bool whole)
{
    json_t *req = t->done || !whole || !t->req.n ? NULL : sip_text(t->req);
    json_t *json = json_pack("{s:i,s:s,s:s,s:i,s:b,s:I,s:o,s:I,s:o,s:o,s:s,s:s,s:o,s:o*,s:o*}", "owner", owner, "inc",
                             inc, "state", txn_state_name(txn_state(t)), "code", txn_code(t), "done", t->done, "at",
                             (json_int_t)t->at, "call_id", sip_str(t->call_id), "cseq", (json_int_t)t->cseq, "branch",
                             sip_str(t->branch), "sent_by", sip_str(t->sent_by), "src", t->src, "dst", t->dst,
                             "branches", branches_json(t), "vars", req ? vars : NULL, "req", req);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    if (!req)
        json_decref(vars);
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
        r->owner > 0 && msg_is_word(inc) && copy_text(r->inc, sizeof(r->inc), inc) &&
        copy_text(r->sent_by, sizeof(r->sent_by), sent_by))
        rc = 0;
    r->done = done;
    r->whole = json_object_get(json, "req") != NULL;
    json_decref(json);
    return rc;
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
    if (b.to && b.sock && (!msg_is_address(b.to) || !msg_is_address(b.sock) || b.code < 0 || b.code > 699)) {
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
    t->at = json_integer_value(json_object_get(json, "at"));
    t->begun_ms = t->changed_ms = now;
    if (json_is_object(json_object_get(json, "vars")))
        t->vars = json_incref(json_object_get(json, "vars"));
    if (!t->call_id || !t->branch || !t->sent_by || !t->src || !t->dst || !msg_is_address(t->src) ||
        !msg_is_address(t->dst))
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
