#include "record.h"

#include <errno.h>
#include <stdio.h>

#include "base64.h"

/* SIP text may hold any byte, JSON text only UTF-8. */
static json_t *sip_text(struct span s)
{
    json_t *text = json_stringn(s.p, s.n);
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

char *record_write(const struct txn *t, int owner, const char *inc)
{
    json_t *req = t->done ? NULL : sip_text(t->req);
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

    if (json_unpack(json, "{s:i,s:s,s:b,s:s}", "owner", &r->owner, "inc", &inc, "done", &done, "sent_by", &sent_by) ==
            0 &&
        r->owner > 0 && copy_text(r->inc, sizeof(r->inc), inc) && copy_text(r->sent_by, sizeof(r->sent_by), sent_by))
        rc = 0;
    r->done = done;
    json_decref(json);
    return rc;
}
