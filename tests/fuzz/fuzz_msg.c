/* Messages from Kamailio: what is accepted holds what proto/messages.md promises. */
#include "flat.h"
#include "fuzz.h"
#include "msg.h"

static void check_address(const char *text)
{
    must(!text || (msg_is_address(text) && strlen(text) < 88 && is_graphic(text)));
}

static void check_word(const char *text)
{
    must(!text || (*text && strlen(text) < 80 && is_graphic(text)));
}

static void check_bytes(struct span s)
{
    must(!s.n || s.p[s.n] == '\0');
}

static void check_event(const struct event *ev)
{
    check_address(ev->src);
    check_address(ev->dst);
    check_address(ev->to);
    check_address(ev->sock);
    check_word(ev->by);
    check_word(ev->name);
    check_word(ev->all);
    check_bytes(ev->sent);
    check_bytes(ev->req);
    check_bytes(ev->msg);
    check_bytes(ev->via);
    check_bytes(ev->call_id);
    check_bytes(ev->value);
    must(ev->at >= 0 && ev->code >= 0 && ev->code < 700);
    must(ev->type != EVENT_BRANCH || (ev->src && ev->dst && ev->to && ev->sock && ev->sent.n));
    must(ev->type != EVENT_STRAY || (ev->src && ev->dst && ev->all && ev->msg.n));
    must(ev->type != EVENT_SET || (ev->name && ev->call_id.n));
}

static void check_msg(const struct msg *m)
{
    check_word(m->inc);
    check_word(m->sip);
    check_word(m->ask);
    check_address(m->src);
    check_address(m->dst);
    check_bytes(m->msg);
    must(m->type != MSG_HELLO || (m->node > 0 && m->node <= INT32_MAX && m->inc && m->sip));
    must(m->type != MSG_STRAY || (m->k > 0 && m->src && m->dst && m->msg.n));
    must(m->type != MSG_EVENTS || m->n > 0);
    must(m->type == MSG_EVENTS || !m->rest.n);
}

static void check_same_field(const struct flat_field *a, const struct flat_field *b)
{
    must(b && a->kind == b->kind && a->number == b->number && a->real == b->real && span_eq(a->text, b->text));
}

/* What is plain means the same to jansson. */
static void check_plain(struct span payload)
{
    struct span first = exact(payload), second = exact(payload), rest = first, other = second;
    struct flat plain, any;
    char why[64];

    if (flat_plain(&plain, &rest)) {
        must(flat_any(&any, &other, why, sizeof(why)) == 0 && rest.n == other.n && plain.count == any.count);
        for (size_t i = 0; i < plain.count; i++)
            check_same_field(&plain.fields[i], flat_find(&any, plain.fields[i].name));
    } else {
        must(rest.n == payload.n && span_eq(first, payload));
    }
    exact_free(first);
    exact_free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span payload = exact((struct span){(const char *)data, size});
    char why[64] = "";
    struct event ev;
    struct msg m;
    size_t left = size;
    int rc;

    check_plain(payload);
    if (msg_read(&m, payload, why, sizeof(why)) == 0) {
        check_msg(&m);
        while ((rc = msg_event(&ev, &m, why, sizeof(why))) != 0) {
            must(m.rest.n < left);
            left = m.rest.n;
            if (rc > 0)
                check_event(&ev);
            else
                must(*why); /* may quote what was read: engine_log() cleans it */
        }
    } else {
        must(*why);
    }
    exact_free(payload);
    return 0;
}
