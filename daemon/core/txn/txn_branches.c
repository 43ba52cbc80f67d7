/* Writes the branches of a transaction for a survivor's Kamailio. */
#include <inttypes.h>
#include <stdio.h>

#include "base64.h"
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

/* "|<suffix> <code> <to> <sock> <R-URI> <Route set> <headers> <kept> <srvid>", the four before the last base64. The
 * suffix is tm's: the index in hexadecimal, lowest digit first. A gap is written as an unknown branch. */
static int branch_line(char *out, size_t size, int index, const struct txn_branch *b, bool all)
{
    static const struct txn_branch gap = {
        .code = 599, .over = true, .to = "udp:127.0.0.1:9", .sock = "-", .ruri = "sip:gap"};
    static const char hex[] = "0123456789abcdef";
    char suffix[3] = "", *ruri, *route, *head, *kept;
    int n = -1;

    b = b ? b : &gap;
    suffix[0] = hex[index & 15];
    suffix[1] = index > 15 ? hex[index >> 4] : '\0';
    ruri = base64_text(span_of(b->ruri));
    route = base64_text(span_of(b->route ? b->route : ""));
    head = base64_text(span_of(all && b->head ? b->head : ""));
    kept = base64_text(span_of(all && b->kept ? b->kept : ""));
    if (ruri && route && head && kept)
        n = snprintf(out, size, "|%s %d %s %s %s %s %s %s %d", suffix, code_of(b), b->to, b->sock, ruri,
                     *route ? route : "-", *head ? head : "-", *kept ? kept : "-", srvid_of(b));
    free(ruri);
    free(route);
    free(head);
    free(kept);
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

/* "X-Kamsync-Branches: <token>", and " 0 - <From> <To>", both base64, if the script had changed them. */
static size_t front(char *out, size_t size, const struct txn *t, uint64_t token)
{
    char *from = base64_text(span_of(t->far_from ? t->far_from : ""));
    char *to = base64_text(span_of(t->far_to ? t->far_to : ""));
    int n = snprintf(out, size, "X-Kamsync-Branches: %" PRIu64, token);

    if (!from || !to)
        n = (int)size; /* rather no takeover than one that shows what was hidden */
    else if (*from || *to)
        n = snprintf(out, size, "X-Kamsync-Branches: %" PRIu64 " 0 - %s %s", token, *from ? from : "-", *to ? to : "-");
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
        int n = branch_line(out + used, size - used, i, b, all);

        if (n < 0 || (size_t)n >= size - used) {
            free(out);
            return NULL;
        }
        used += (size_t)n;
    }
    return out;
}
