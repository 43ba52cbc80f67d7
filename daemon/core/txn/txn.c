#include "txn.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "count.h"
#include "key.h"

#define PENDING "z9hG4bK-kamsync-pending."

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

void txn_branch_clear(struct txn_branch *b)
{
    free(b->via);
    free(b->head);
    sip_as_sent_clear(&b->as);
    *b = (struct txn_branch){0};
}

/* The Route values in the form of one header. */
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

int txn_branch_texts(struct txn_branch *b, struct span *texts)
{
    b->via = span_dup_all(texts, TXN_BRANCH_TEXTS);
    if (!b->via)
        return -ENOMEM;
    b->to = texts[1].p;
    b->sock = texts[2].p;
    b->ruri = texts[3].p;
    b->route = texts[4].p;
    b->kept = texts[5].p;
    return 0;
}

int txn_texts(struct txn *t, struct span call_id, struct span from_tag, struct span branch, struct span sent_by,
              struct span src, struct span dst)
{
    struct span texts[] = {call_id, {from_tag.p ? from_tag.p : "", from_tag.n}, branch, sent_by, src, dst};

    t->call_id = span_dup_all(texts, COUNT(texts));
    if (!t->call_id)
        return -ENOMEM;
    t->call = (struct span){t->call_id, call_id.n + 1 + from_tag.n};
    t->branch = texts[2].p;
    t->sent_by = texts[3].p;
    t->src = texts[4].p;
    t->dst = texts[5].p;
    return 0;
}

int txn_moved(struct txn *t, const char *src, const char *dst)
{
    struct span call = span_of(t->call_id), tag = {call.p + call.n + 1, t->call.n - call.n - 1};
    char *was = t->call_id;
    int rc = txn_texts(t, call, tag, span_of(t->branch), span_of(t->sent_by), span_of(src), span_of(dst));

    if (rc < 0)
        t->call_id = was;
    else
        free(was);
    return rc;
}

static int branch_fill(struct txn_branch *b, const struct sip_sent *sent, const struct event *ev)
{
    char *route = sent->routes ? join_routes(sent) : NULL;
    struct span texts[TXN_BRANCH_TEXTS] = {sent->via,  span_of(ev->to), span_of(ev->sock),
                                           sent->ruri, span_of(route),  ev->kept};
    int rc = !route && sent->routes ? -ENOMEM : txn_branch_texts(b, texts);

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

bool txn_withholds(const struct txn *t, int index)
{
    const struct txn_branch *b = find_branch(t, index);

    return b && txn_is_withheld(b);
}

/* Adds one more branch at the end; NULL when there is no room. */
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
        txn_branch_clear(place);
    else
        place = t->branch_count < TXN_BRANCHES_MAX ? grow(t) : NULL;
    if (!place)
        return -ENOMEM;
    *place = *fresh;
    t->changed_ms = fresh->sent_ms;
    t->ask_ms = t->asked = t->final = 0;
    return 0;
}

/* In a takeover, the far end's final reply may be reported before the INVITE. */
static void keep_final(const struct txn *t, struct txn_branch *fresh)
{
    const struct txn_branch *old = find_branch(t, fresh->index);

    if (old && old->code >= 200 && !old->concluded)
        fresh->code = old->code;
}

/* failure_route adds branches when all have ended, and tm drops their replies. */
static void begin_step(struct txn *t)
{
    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].code < 300)
            return;
    for (size_t i = 0; i < t->branch_count; i++) {
        t->branches[i].over = true;
        free((char *)t->branches[i].as.req.p); /* it is not sent again */
        t->branches[i].as.req = (struct span){0};
    }
}

/* Whether there is room for what one more branch has of its own. */
static bool has_room(const struct txn *t, const struct txn_branch *b, const struct sip_as_sent *as)
{
    size_t used = as->req.n;

    for (size_t i = 0; i < t->branch_count; i++)
        used += &t->branches[i] != b ? t->branches[i].as.req.n : 0;
    return used <= TXN_APART_MAX;
}

/* What a further branch has of its own stays with it, as far as there is room. One that cannot be read is not sent
 * again: that would show its far end what was hidden. */
static void keep_apart(struct txn *t, struct txn_branch *b, struct sip_as_sent *as)
{
    b->apart = !as->req.p || !span_eq(as->req, t->req) || !txn_same_text(as->from, t->far_from) ||
               !txn_same_text(as->to, t->far_to);
    if (!b->apart) {
        sip_as_sent_clear(as);
        return;
    }
    b->as = *as;
    if (has_room(t, b, as))
        return;
    free((char *)b->as.req.p);
    b->as.req = (struct span){0};
}

static bool is_beside_others(const struct txn *t, const struct txn_branch *b)
{
    for (size_t i = 0; i < t->branch_count; i++)
        if (&t->branches[i] != b && t->branches[i].code < 300)
            return true;
    return false;
}

static void ignore_difference(void *ctx, char what, struct span text)
{
    (void)ctx;
    (void)what;
    (void)text;
}

/* Whether branch_route can make it of the first one. Not if it has another From or To: these a takeover then sets for
 * each branch, and failure_route's next gateway would see the caller's own. */
static bool is_of_first(const struct txn *t, const struct txn_branch *b, const struct sip_as_sent *as)
{
    return t->branch_count > 1 && has_room(t, b, as) && txn_same_text(as->from, t->far_from) &&
           txn_same_text(as->to, t->far_to) && sip_apart(t->req, as->req, ignore_difference, NULL);
}

/* The INVITE of a takeover is as the first branch was sent: tm makes each further one of that, too, and what
 * failure_route or branch_route has added for one gateway, such as credentials, is not for the next. A branch that
 * cannot be made of it takes its place, unless others wait for a reply beside it. One that cannot be read changes
 * nothing. */
static void keep_as_sent(struct txn *t, struct txn_branch *b, struct span sent)
{
    struct sip_as_sent as;
    bool known = sip_read_as_sent(&as, t->req, sent) == 0;

    if (is_beside_others(t, b) || (known && is_of_first(t, b, &as))) {
        keep_apart(t, b, &as);
        return;
    }
    if (!known)
        return;
    free((char *)t->req.p);
    free(t->far_from);
    free(t->far_to);
    t->req = as.req;
    t->far_from = as.from;
    t->far_to = as.to;
}

int txn_add_branch(struct txn *t, const struct event *ev, const struct sip_sent *sent, int64_t now)
{
    struct txn_branch fresh = {.sent_ms = now};
    struct span id;
    int rc = txn_split_branch(sent->branch, &id, &fresh.index);

    if (rc == 0)
        rc = branch_fill(&fresh, sent, ev);
    if (rc == 0 && !ev->req.n) /* an event with the request means a new tm transaction */
        keep_final(t, &fresh);
    if (rc == 0 && ev->step && !txn_has_branch(t, fresh.index))
        begin_step(t);
    if (rc == 0)
        rc = keep_branch(t, &fresh);
    if (rc < 0)
        txn_branch_clear(&fresh);
    else if (ev->as_sent && t->req.n)
        keep_as_sent(t, find_branch(t, fresh.index), ev->sent);
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
        txn_branch_clear(b);
    return rc;
}

/* Keeps the INVITE for a takeover, without the credentials that no far end was to see. */
static bool keep_request(struct txn *t, const struct event *ev)
{
    size_t n = ev->req.n;
    char *req = ev->consumed ? sip_without(ev->req, (enum sip_credentials)ev->consumed, &n) : span_dup(ev->req);

    t->req = (struct span){req, req ? n : 0};
    return req;
}

bool txn_is_pending(const struct txn *t)
{
    return strncmp(t->id, PENDING, strlen(PENDING)) == 0;
}

int txn_begun(struct txn *t, const struct event *ev)
{
    struct span was = t->req;

    if (!keep_request(t, ev)) {
        t->req = was;
        return -ENOMEM;
    }
    free((char *)was.p);
    while (t->branch_count > 0)
        txn_branch_clear(&t->branches[--t->branch_count]);
    return 0;
}

static int fill(struct txn *t, const struct event *ev, const struct sip_id *id, struct span tm_id)
{
    bool kept = ev->stateless || keep_request(t, ev);

    t->stateless = ev->stateless;
    t->id = span_dup(tm_id);
    t->key = key_tx(id->call_id, id->cseq, id->branch, id->sent_by);
    t->cseq = id->cseq;
    if (!kept || !t->id || !t->key)
        return -ENOMEM;
    return txn_texts(t, id->call_id, id->from_tag, id->branch, id->sent_by, span_of(ev->src), span_of(ev->dst));
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* Without the addresses, which are short. */
size_t txn_size(const struct txn *t)
{
    size_t n = sizeof(*t) + t->req.n + text_size(t->id) + text_size(t->key) + t->call.n + text_size(t->branch) +
               text_size(t->far_from) + text_size(t->far_to);

    for (size_t i = 0; i < t->branch_count; i++) {
        const struct txn_branch *b = &t->branches[i];

        n += sizeof(*b) + text_size(b->via) + text_size(b->ruri) + text_size(b->route) + text_size(b->kept) +
             text_size(b->head) + b->as.req.n + text_size(b->as.from) + text_size(b->as.to);
    }
    return n;
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
        txn_branch_clear(&t->branches[i]);
    free(t->branches);
    free((char *)t->req.p);
    free(t->far_from);
    free(t->far_to);
    free(t->id);
    free(t->key);
    free(t->call_id);
    json_decref(t->vars);
    free(t);
}

void txn_set_done(struct txn *t, bool done)
{
    if (done != txn_is_done(t))
        t->end = done ? END_DONE : END_OPEN;
}

bool txn_has_branch(const struct txn *t, int index)
{
    return find_branch(t, index) != NULL;
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
        b->silent = b->rang = true;
    }
}

bool txn_is_silent(const struct txn *t)
{
    for (size_t i = 0; i < t->branch_count; i++)
        if (t->branches[i].silent)
            return true;
    return false;
}

bool txn_reply(struct txn *t, int index, int code, int64_t now)
{
    struct txn_branch *b = find_branch(t, index);

    if (b) {
        b->silent = false;
        b->rang = b->rang || (code > 100 && code < 200);
        b->ended = b->ended || (b->code == 408 && code >= 300 && code != b->code); /* tm had given up the branch */
    }
    if (!b || b->code == code || (b->code >= 200 && !b->concluded))
        return false;
    b->code = (short)code;
    b->concluded = false;
    if (code >= 200 && code < 300)
        t->final = 0; /* it goes to the caller, whatever he got before */
    t->changed_ms = now;
    return true;
}

void txn_reply_head(struct txn *t, int index, struct span reply)
{
    struct txn_branch *b = find_branch(t, index);

    if (!b || b->code < 300 || b->head)
        return;
    b->head = sip_reply_head(reply);
}

enum txn_state txn_state(const struct txn *t)
{
    bool pending = false, ringing = false;

    if (t->final)
        return t->final < 300 ? TXN_ANSWERED : TXN_FAILED;
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

bool txn_rings_on(const struct txn *t, const struct txn_branch *b)
{
    return !b->ended && ((b->code == 408 && b->rang) || (txn_is_done(t) && b->code < 200));
}

bool txn_unfinished(const struct txn *t)
{
    bool unfinished = txn_is_done(t) && txn_state(t) == TXN_FAILED;

    for (size_t i = 0; txn_is_done(t) && i < t->branch_count; i++)
        unfinished = unfinished || txn_rings_on(t, &t->branches[i]);
    return unfinished;
}

/* The rank of a final reply in tm's choice, lowest first (get_prio() in its t_reply.c): a 6xx, then the lowest class,
 * within that the replies that ask for something (such as a challenge). */
static int rank(const struct txn_branch *b)
{
    static const short first[] = {401, 407, 415, 420, 484};
    int class = b->code / 100, rest = b->code % 100;

    if (b->over)
        return INT_MAX;
    for (size_t i = 0; class == 4 && i < COUNT(first); i++)
        if (b->code == first[i])
            return 4000 + rest;
    return (class == 6 ? 1000 : 1000 * class) + (class == 4 ? 100 : 0) + rest;
}

int txn_code(const struct txn *t)
{
    enum txn_state state = txn_state(t);
    const struct txn_branch *picked = NULL;
    int best = t->final;

    for (size_t i = 0; i < t->branch_count && !t->final; i++) {
        const struct txn_branch *b = &t->branches[i];

        if (state == TXN_ANSWERED && b->code >= 200 && b->code < 300)
            return b->code;
        if (state == TXN_FAILED && (!picked || rank(b) < rank(picked)))
            picked = b;
        else if (b->code < 200 && b->code > best)
            best = b->code;
    }
    return picked ? picked->code : best;
}

const char *txn_state_name(enum txn_state state)
{
    static const char *const names[] = {"trying", "ringing", "answered", "failed"};

    return names[state];
}
