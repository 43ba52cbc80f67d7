#include "txn.h"

#include <errno.h>
#include <stdio.h>

#include "count.h"
#include "key.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int txn_split_branch(struct span branch, struct span *id, int *index)
{
    size_t dot = branch.n;
    int value = 0;

    /* tm writes the index in hexadecimal, lowest digit first (int2reverse_hex()). */
    while (dot > 0 && hex_digit(branch.p[dot - 1]) >= 0 && branch.n - dot < 4)
        value = value * 16 + hex_digit(branch.p[--dot]);
    if (dot == 0 || dot == branch.n || branch.p[dot - 1] != '.' || value >= TXN_BRANCHES_MAX)
        return -EBADMSG;
    *id = (struct span){branch.p, dot - 1};
    *index = value;
    return 0;
}

static void branch_clear(struct txn_branch *b)
{
    free(b->via);
    *b = (struct txn_branch){0};
}

/* The Route values as one header would hold them. */
static char *join_routes(const struct sip_sent *sent)
{
    size_t size = 1;
    char *text, *end;

    for (size_t i = 0; i < sent->routes; i++)
        size += sent->route[i].n + 2;
    text = end = malloc(size);
    for (size_t i = 0; text && i < sent->routes; i++) {
        if (i > 0)
            end = (char *)memcpy(end, ", ", 2) + 2;
        end = (char *)memcpy(end, sent->route[i].p, sent->route[i].n) + sent->route[i].n;
    }
    if (text)
        *end = '\0';
    return text;
}

int txn_branch_texts(struct txn_branch *b, struct span via, struct span to, struct span sock, struct span ruri,
                     struct span route)
{
    struct span texts[] = {via, to, sock, ruri, route};

    b->via = span_dup_all(texts, COUNT(texts));
    if (!b->via)
        return -ENOMEM;
    b->to = texts[1].p;
    b->sock = texts[2].p;
    b->ruri = texts[3].p;
    b->route = texts[4].p;
    return 0;
}

int txn_texts(struct txn *t, struct span call_id, struct span branch, struct span sent_by, struct span src,
              struct span dst)
{
    struct span texts[] = {call_id, branch, sent_by, src, dst};

    t->call_id = span_dup_all(texts, COUNT(texts));
    if (!t->call_id)
        return -ENOMEM;
    t->branch = texts[1].p;
    t->sent_by = texts[2].p;
    t->src = texts[3].p;
    t->dst = texts[4].p;
    return 0;
}

static int branch_fill(struct txn_branch *b, const struct sip_sent *sent, const struct event *ev)
{
    char *route = sent->routes ? join_routes(sent) : NULL;
    int rc = !route && sent->routes
                 ? -ENOMEM
                 : txn_branch_texts(b, sent->via, span_of(ev->to), span_of(ev->sock), sent->ruri, span_of(route));

    free(route);
    return rc;
}

static struct txn_branch *find_branch(const struct txn *t, int index)
{
    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].index == index)
            return &t->branches[i];
    return NULL;
}

/* Room for one more branch at the end, or NULL. */
static struct txn_branch *grow(struct txn *t)
{
    struct txn_branch *more = realloc(t->branches, (t->branch_count + 1) * sizeof(*more));

    if (!more)
        return NULL;
    t->branches = more;
    more[t->branch_count] = (struct txn_branch){0};
    return &more[t->branch_count++];
}

static int keep_branch(struct txn *t, const struct txn_branch *fresh)
{
    struct txn_branch *place = find_branch(t, fresh->index);

    if (place)
        branch_clear(place);
    else
        place = t->branch_count < TXN_BRANCHES_MAX ? grow(t) : NULL;
    if (!place)
        return -ENOMEM;
    *place = *fresh;
    t->changed_ms = fresh->sent_ms;
    return 0;
}

int txn_add_branch(struct txn *t, const struct event *ev, const struct sip_sent *sent, int64_t now)
{
    struct txn_branch fresh = {.sent_ms = now};
    struct span id;
    int rc = txn_split_branch(sent->branch, &id, &fresh.index);

    if (rc == 0)
        rc = branch_fill(&fresh, sent, ev);
    if (rc == 0)
        rc = keep_branch(t, &fresh);
    if (rc < 0)
        branch_clear(&fresh);
    return rc;
}

/* The value of a Via's branch parameter. */
static struct span via_branch(const char *via)
{
    const char *start = strstr(via, ";branch=");
    const char *value = start ? start + strlen(";branch=") : via;

    return (struct span){value, start ? strcspn(value, ";, \t") : 0};
}

static int check_branch(struct txn *t, const struct txn_branch *b)
{
    struct span id;
    int index;

    if (!b->via || !b->to || !b->sock || !b->ruri || txn_split_branch(via_branch(b->via), &id, &index) < 0 ||
        index != b->index)
        return -EBADMSG;
    if (t->id)
        return span_eq(id, span_of(t->id)) ? 0 : -EBADMSG;
    t->id = span_dup(id);
    return t->id ? 0 : -ENOMEM;
}

int txn_give_branch(struct txn *t, struct txn_branch *b)
{
    int rc = check_branch(t, b);

    if (rc == 0)
        rc = keep_branch(t, b);
    if (rc < 0)
        branch_clear(b);
    return rc;
}

static int fill(struct txn *t, const struct event *ev, const struct sip_id *id, struct span tm_id)
{
    char *req = span_dup(ev->req);

    t->req = (struct span){req, ev->req.n};
    t->id = span_dup(tm_id);
    t->key = key_tx(id->call_id, id->cseq, id->branch);
    t->cseq = id->cseq;
    if (!req || !t->id || !t->key)
        return -ENOMEM;
    return txn_texts(t, id->call_id, id->branch, id->sent_by, span_of(ev->src), span_of(ev->dst));
}

int txn_begin(struct txn **out, const struct event *ev, const struct sip_id *id, const struct sip_sent *sent,
              int64_t now)
{
    struct span tm_id;
    struct txn *t;
    int index, rc = txn_split_branch(sent->branch, &tm_id, &index);

    if (rc != 0)
        return rc;
    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->begun_ms = now;
    rc = fill(t, ev, id, tm_id);
    if (rc == 0)
        rc = txn_add_branch(t, ev, sent, now);
    if (rc < 0)
        txn_free(t);
    else
        *out = t;
    return rc;
}

void txn_free(struct txn *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->branch_count; i++)
        branch_clear(&t->branches[i]);
    free(t->branches);
    free((char *)t->req.p);
    free(t->id);
    free(t->taken_from);
    free(t->taken_of);
    free(t->key);
    free(t->call_id);
    json_decref(t->vars);
    free(t);
}

int txn_branch_code(const struct txn *t, int index)
{
    const struct txn_branch *b = find_branch(t, index);

    return b ? b->code : 0;
}

void txn_rang(struct txn *t, int index, int code)
{
    struct txn_branch *b = find_branch(t, index);

    if (b) {
        b->code = (short)code;
        b->silent = true;
    }
}

bool txn_reply(struct txn *t, int index, int code, int64_t now)
{
    struct txn_branch *b = find_branch(t, index);

    if (b)
        b->silent = false;
    if (!b || b->code == code || (b->code >= 200 && !b->concluded))
        return false;
    b->code = (short)code;
    b->concluded = false;
    t->changed_ms = now;
    return true;
}

enum txn_state txn_state(const struct txn *t)
{
    bool pending = false, ringing = false;

    for (size_t i = 0; i < t->branch_count; i++) {
        int code = t->branches[i].code;

        if (code >= 200 && code < 300)
            return TXN_ANSWERED;
        pending = pending || code < 200;
        ringing = ringing || (code > 100 && code < 200);
    }
    if (!pending)
        return TXN_FAILED;
    return ringing ? TXN_RINGING : TXN_TRYING;
}

/* How much a final reply is worth when one must be chosen: RFC 3261 16.7 step 6, a 6xx first, then the lowest class. */
static int rank(int code)
{
    return code >= 600 ? 0 : code / 100;
}

int txn_code(const struct txn *t)
{
    enum txn_state state = txn_state(t);
    int best = 0;

    for (size_t i = 0; i < t->branch_count; i++) {
        int code = t->branches[i].code;

        if (state == TXN_ANSWERED && code >= 200 && code < 300)
            return code;
        if (state == TXN_FAILED ? !best || rank(code) < rank(best) : code < 200 && code > best)
            best = code;
    }
    return best;
}

const char *txn_state_name(enum txn_state state)
{
    static const char *const names[] = {"trying", "ringing", "answered", "failed"};

    return names[state];
}
