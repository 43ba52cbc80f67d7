/* The branches of a transaction, as a survivor's Kamailio is told of them. */
#include <inttypes.h>
#include <stdio.h>

#include "base64.h"
#include "frame.h"
#include "txn.h"

/* "|<suffix> <code> <to> <sock> <R-URI> <Route set>", the last two base64; code below 200: send it, else answer it so.
 * The suffix is tm's: the index in hexadecimal, lowest digit first. */
static int branch_line(char *out, size_t size, int index, const struct txn_branch *b)
{
    static const struct txn_branch gap = {.code = 408, .to = "udp:127.0.0.1:9", .sock = "-", .ruri = "sip:gap"};
    static const char hex[] = "0123456789abcdef";
    char suffix[3] = "", *ruri, *route;
    int n = -1;

    b = b ? b : &gap;
    suffix[0] = hex[index & 15];
    suffix[1] = index > 15 ? hex[index >> 4] : '\0';
    ruri = base64_text(span_of(b->ruri));
    route = base64_text(span_of(b->route ? b->route : ""));
    if (ruri && route)
        n = snprintf(out, size, "|%s %d %s %s %s %s", suffix, b->code / 100 == 2 ? 0 : b->code, b->to, b->sock, ruri,
                     *route ? route : "-");
    free(ruri);
    free(route);
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

char *txn_branches(const struct txn *t, uint64_t token)
{
    size_t size = FRAME_MAX_OUT, used;
    char *out = malloc(size);
    int last = 0;

    if (!out)
        return NULL;
    used = (size_t)snprintf(out, size, "X-Kamsync-Branches: %" PRIu64, token);
    for (int i = 0; i <= last; i++) {
        const struct txn_branch *b = branch_at(t, i, &last);
        int n = branch_line(out + used, size - used, i, b);

        if (n < 0 || (size_t)n >= size - used) {
            free(out);
            return NULL;
        }
        used += (size_t)n;
    }
    return out;
}
