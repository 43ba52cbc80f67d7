/* Writes the branches of a transaction for a survivor's Kamailio. */
#include <inttypes.h>
#include <stdio.h>

#include "base64.h"
#include "buffer.h"
#include "count.h"
#include "frame.h"
#include "txn.h"

/* The code for the script: below 200 the branch is sent, from 300 on it is answered with that code, as it is below 0,
 * where tm must not pick the reply. */
static int code_of(const struct txn_branch *b)
{
    if (b->over)
        return -b->code;
    return b->code / 100 == 2 ? 0 : b->code;
}

/* The node that is in its Via: the one that sent it first. 0: none. */
static int srvid_of(const struct txn_branch *b)
{
    const char *param = b->via ? strstr(b->via, ";srvid=") : NULL;
    int id = 0;

    return param && sscanf(param, ";srvid=%9d", &id) == 1 ? id : 0;
}

/* Whether it is sent, and not as the others are. */
static bool is_sent_apart(const struct txn_branch *b)
{
    return b->apart && b->code < 300;
}

static void put_base64(struct buffer *out, struct span s)
{
    char *text = base64_text(s);

    buffer_text(out, text ? text : "");
    out->failed = out->failed || !text;
    free(text);
}

/* "-": as the transaction's; "=": as received. */
static void put_far(struct buffer *out, const char *own, const char *all)
{
    if (txn_same_text(own, all))
        buffer_text(out, "-");
    else if (own)
        put_base64(out, span_of(own));
    else
        buffer_text(out, "=");
}

static void put_difference(void *ctx, char what, struct span text)
{
    const char front[] = {',', what};

    buffer_put(ctx, front, sizeof(front));
    put_base64(ctx, text);
}

/* "<From>,<To>" and ",<what><base64>" for each difference (sip_apart()); "-" for a branch that is as the transaction's,
 * NULL when it cannot be told. */
static char *apart_text(const struct txn *t, const struct txn_branch *b)
{
    struct buffer out = {0};
    bool told = true;

    if (!is_sent_apart(b))
        return span_dup(span_of("-"));
    put_far(&out, b->as.from, t->far_from);
    buffer_text(&out, ",");
    put_far(&out, b->as.to, t->far_to);
    told = !txn_is_withheld(b) && sip_apart(t->req, b->as.req, put_difference, &out);
    if (told && !out.failed)
        return out.p;
    free(out.p);
    return NULL;
}

/* base64, or "-" for none; NULL when out of memory. */
static char *text_or_none(const char *text)
{
    return text && *text ? base64_text(span_of(text)) : span_dup(span_of("-"));
}

/* "|<suffix> <code> <to> <sock> <R-URI> <Route set> <headers> <kept> <srvid> <apart>", the four before srvid base64.
 * The suffix is tm's: the index in hexadecimal, lowest digit first. A gap is written as an unknown branch. Nobody sends
 * one without a socket: such as one that cannot be sent as it was. */
static int branch_line(char *out, size_t size, int index, const struct txn *t, const struct txn_branch *b, bool all)
{
    static const struct txn_branch gap = {
        .code = 599, .over = true, .to = "udp:127.0.0.1:9", .sock = "-", .ruri = "sip:gap"};
    static const char hex[] = "0123456789abcdef";
    char suffix[3] = {hex[index & 15], index > 15 ? hex[index >> 4] : '\0', '\0'}, *texts[4], *apart;
    bool whole = true;
    int n = -1;

    b = b ? b : &gap;
    apart = all || !is_sent_apart(b) ? apart_text(t, b) : NULL;
    texts[0] = text_or_none(b->ruri);
    texts[1] = text_or_none(b->route);
    texts[2] = text_or_none(all ? b->head : NULL);
    texts[3] = text_or_none(all ? b->kept : NULL);
    for (size_t i = 0; i < COUNT(texts); i++)
        whole = whole && texts[i];
    if (whole)
        n = snprintf(out, size, "|%s %d %s %s %s %s %s %s %d %s", suffix, code_of(b), b->to, apart ? b->sock : "-",
                     texts[0], texts[1], texts[2], texts[3], srvid_of(b), apart ? apart : "-");
    for (size_t i = 0; i < COUNT(texts); i++)
        free(texts[i]);
    free(apart);
    return n;
}

static const struct txn_branch *branch_at(const struct txn *t, int index, int *last)
{
    const struct txn_branch *found = NULL;

    for (size_t i = 0; i < t->branch_count; i++) {
        *last = t->branches[i].index > *last ? t->branches[i].index : *last;
        if (t->branches[i].index == index)
            found = &t->branches[i];
    }
    return found;
}

/* No branch is sent: only the final reply is repeated. */
static char *final_reply(const struct txn *t, uint64_t token, bool heads)
{
    char *head = NULL, *out = NULL;

    for (size_t i = 0; heads && !head && i < t->branch_count; i++)
        if (t->branches[i].code == t->final && t->branches[i].head)
            head = base64_text(span_of(t->branches[i].head));
    if (asprintf(&out, "X-Kamsync-Branches: %" PRIu64 " %d %s", token, t->final, head ? head : "-") < 0)
        out = NULL;
    free(head);
    return out;
}

/* Whether branches differ in From or To. */
static bool is_far_apart(const struct txn *t)
{
    for (size_t i = 0; i < t->branch_count; i++) {
        const struct txn_branch *b = &t->branches[i];

        if (is_sent_apart(b) && !(txn_same_text(b->as.from, t->far_from) && txn_same_text(b->as.to, t->far_to)))
            return true;
    }
    return false;
}

/* "X-Kamsync-Branches: <token>", and " 0 - <From> <To>", both base64, if the script had changed them; with two more "-"
 * before these if branches differ in that, so that each has to get its own. */
static size_t front(char *out, size_t size, const struct txn *t, uint64_t token)
{
    char *from = base64_text(span_of(t->far_from ? t->far_from : ""));
    char *to = base64_text(span_of(t->far_to ? t->far_to : ""));
    int n = snprintf(out, size, "X-Kamsync-Branches: %" PRIu64, token);

    if (!from || !to)
        n = (int)size; /* rather no takeover than one that shows what was hidden */
    else if (*from || *to)
        n = snprintf(out, size, "X-Kamsync-Branches: %" PRIu64 " 0 -%s %s %s", token, is_far_apart(t) ? " - -" : "",
                     *from ? from : "-", *to ? to : "-");
    free(from);
    free(to);
    return (size_t)n < size ? (size_t)n : size;
}

char *txn_branches(const struct txn *t, uint64_t token, bool all)
{
    size_t size = FRAME_MAX_OUT, used;
    char *out = t->final ? NULL : malloc(size);
    int last = 0;

    if (!out)
        return t->final ? final_reply(t, token, all) : NULL;
    used = front(out, size, t, token);
    for (int i = 0; i <= last; i++) {
        const struct txn_branch *b = branch_at(t, i, &last);
        int n = branch_line(out + used, size - used, i, t, b, all);

        if (n < 0 || (size_t)n >= size - used) {
            free(out);
            return NULL;
        }
        used += (size_t)n;
    }
    return out;
}
