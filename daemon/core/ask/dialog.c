/* In-dialog requests (BYE, re-INVITE, INFO …) that a script asks about: is the call known, in which state, which node
 * has its dialog, with which variables?
 *
 *     request ▶ the call's record ▶ back into this Kamailio, with the answer in one more header
 *                                 ▶ or, if the script wants that (ask=owner), to the node that has the dialog
 *
 * The wait is bounded: if the store does not answer in time, the request comes back all the same. */
#include "ask_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#include "call.h"
#include "count.h"
#include "key.h"

#define QUESTIONS_MAX 2048
#define ABSENT_MS 50 /* the INVITE may have been reported only a moment ago */
#define AGAIN_MS 10
#define SETTLE_MS 5000 /* a store that came back may have lost the calls, and all nodes write them again */
#define GIVE_MAX 20000 /* largest request with its answer, as base64: one frame; more would keep the script busy */

struct question {
    struct question *prev, *next;
    uint64_t token; /* of the lookup under way; 0: none */
    bool owner;     /* the node that has the dialog should get it */
    struct absence absent;
    struct span msg; /* owned, as are the texts */
    char *src, *dst, *call_id;
    char *key, *other; /* of the call's record, if the caller's tag is in From, or in To */
    int64_t begun_ms, again_ms;
};

static void question_free(struct question *q)
{
    free((char *)q->msg.p);
    free(q->src);
    free(q->dst);
    free(q->key);
    free(q->other);
    free(q->call_id);
    free(q);
}

static void finish(struct engine *e, struct question *q)
{
    DL_DELETE(e->questions.list, q);
    e->questions.count--;
    question_free(q);
}

static struct question *question_new(const struct msg *m, const struct sip_id *id, int64_t now)
{
    struct question *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->msg = (struct span){span_dup(m->msg), m->msg.n};
    q->src = span_dup(span_of(m->src));
    q->dst = span_dup(span_of(m->dst));
    q->key = key_call(id->call_id, id->from_tag);
    q->other = key_call(id->call_id, id->to_tag);
    q->call_id = span_dup(id->call_id);
    q->owner = strcmp(m->ask, "owner") == 0;
    q->begun_ms = q->again_ms = now;
    if (q->msg.p && q->src && q->dst && q->key && q->other && q->call_id)
        return q;
    question_free(q);
    return NULL;
}

/* ---- the answer ---- */

/* Ages are in seconds: Kamailio 5.6 counts in 32 bits. */
static char *header(const struct engine *e, const char *state, const struct pair *pairs, size_t count, size_t vars)
{
    int64_t at = e->io.wall(e->io.ctx), trying = pairs_number(pairs, count, "trying");
    bool began = trying > 0 && trying <= at;
    json_t *call = pairs_json(pairs, count);

    json_object_del(call, "vars");
    json_object_set_new(call, "state", json_string(state));
    json_object_set_new(call, "age", json_integer(began ? (at - trying) / 1000 : 0));
    if (vars < count)
        json_object_set_new(call, "vars", json_string("too long"));
    return call_header(call, pairs_vars(pairs, vars));
}

/* Takes ownership of the header. */
static char *with_header(struct engine *e, const struct question *q, char *line)
{
    struct handover h = {.to = e->self.id, .inc = e->self.inc, .why = "call", .src = q->src, .dst = q->dst};
    size_t len = 0;
    char *msg = line ? sip_with_header(q->msg, line, &len) : NULL;
    char *text = msg ? engine_handover(e, h, (struct span){msg, len}) : NULL;

    free(line);
    free(msg);
    return text;
}

/* An answer too long for a frame is sent without the variables, which it says, or with the state alone. */
static void give_back(struct engine *e, const struct question *q, const char *state, const struct pair *pairs,
                      size_t count, int64_t now)
{
    char *text = with_header(e, q, header(e, state, pairs, count, count));

    for (int without = 1; without <= 2 && text && strlen(text) > GIVE_MAX; without++) {
        free(text);
        text = with_header(e, q, header(e, state, pairs, without == 1 ? count : 0, 0));
        engine_log_call(e, LOG_LEVEL_WARN, (struct about){.call_id = span_of(q->call_id)},
                        "request within a call from %s: it goes without the call's %s, which are too long", q->src,
                        without == 1 ? "variables" : "fields");
    }
    engine_send(e, e->self.sip, NULL, text, now);
    free(text);
}

static void answer(struct engine *e, struct question *q, const char *state, const struct pair *pairs, size_t count,
                   int64_t now)
{
    engine_trace(e, span_of(q->call_id), "within a call from=%s: the call is %s, waited=%" PRId64 "ms", q->src, state,
                 now - q->begun_ms);
    engine_log_call(e, LOG_LEVEL_DEBUG, (struct about){.call_id = span_of(q->call_id)}, "request within a call: %s",
                    state);
    give_back(e, q, state, pairs, count, now);
    finish(e, q);
}

/* The node that has the dialog, if that is another one and can be reached. */
static const struct node *owner_of(const struct engine *e, const struct pair *pairs, size_t count)
{
    const struct node *n = nodes_find(&e->nodes, (int)pairs_number(pairs, count, "node"));
    struct span inc = pairs_text(pairs, count, "inc");

    return n && node_is_alive(n, n->inc) && n->reached && span_eq(inc, span_of(n->inc)) ? n : NULL;
}

static void hand_over(struct engine *e, struct question *q, const struct node *to, int64_t now)
{
    struct handover h = {.to = to->id, .inc = to->inc, .why = "owner", .src = q->src, .dst = q->dst};
    char *text = engine_handover(e, h, q->msg);

    e->count.dialogs_handed_over++;
    engine_show(e, span_of(q->call_id), q->src, q->dst, q->msg);
    engine_show(e, span_of(q->call_id), e->self.sip, to->sip, q->msg);
    engine_decided(e, span_of(q->call_id), 0, "within a call from=%s: handed over to node %d, which has the dialog",
                   q->src, to->id);
    engine_send(e, to->sip, NULL, text, now);
    free(text);
    finish(e, q);
}

/* ---- the store ---- */

static void ask(struct engine *e, struct question *q)
{
    barrier_before(e, &q->absent);
    q->token = engine_token(e);
    e->count.lookups++;
    e->io.call_get(e->io.ctx, q->key, q->other, q->token);
}

static const char *const states[] = {"trying", "ringing", "answered", "ended"};

static void on_call(struct engine *e, struct question *q, const struct pair *pairs, size_t count, int64_t now)
{
    const struct node *owner = q->owner ? owner_of(e, pairs, count) : NULL;
    struct span state = pairs_text(pairs, count, "state");
    size_t i = 0;

    if (owner) {
        hand_over(e, q, owner, now);
        return;
    }
    while (i < COUNT(states) && !span_eq(state, span_of(states[i])))
        i++;
    if (pairs_text(pairs, count, "untracked").n)
        i = COUNT(states); /* its record does not say how it continues */
    answer(e, q, i < COUNT(states) ? states[i] : "unknown", pairs, count, now);
}

bool dialog_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now)
{
    struct question *q;

    DL_FOREACH(e->questions.list, q)
    {
        if (q->token == token)
            break;
    }
    if (!q)
        return false;
    q->token = 0;
    q->again_ms = now + AGAIN_MS;
    /* a record without state has only variables so far */
    if (status == GET_FOUND && !pairs_text(pairs, count, "state").n)
        status = GET_ABSENT;
    if (status == GET_ABSENT)
        barrier_absent(e, &q->absent, q->key);
    if (status == GET_FOUND)
        on_call(e, q, pairs, count, now);
    return true;
}

void dialog_ask(struct engine *e, const struct msg *m, int64_t now)
{
    struct sip_id id;
    struct question *q = NULL;
    int rc = sip_read_id(&id, m->msg);

    e->count.questions++;
    if (rc == 0)
        q = question_new(m, &id, now);
    if (!q) {
        e->count.frames_bad++;
        engine_log_call(e, LOG_LEVEL_WARN, about_msg(m->msg), "request from %s cannot be looked up: %s", m->src,
                        strerror(rc < 0 ? -rc : ENOMEM));
        return;
    }
    DL_APPEND(e->questions.list, q);
    e->questions.count++;
    if (e->questions.count > QUESTIONS_MAX || !e->store.up)
        answer(e, q, "unavailable", NULL, 0, now);
    else
        ask(e, q);
}

/* ---- time ---- */

/* Whether the store has been up long enough for "absent" to mean that no node has begun the call. */
static bool is_unknown(const struct engine *e, const struct question *q)
{
    return q->absent.sure && (!e->store.back_ms || q->begun_ms - e->store.back_ms > SETTLE_MS);
}

static int64_t give_up(const struct engine *e, const struct question *q)
{
    return q->begun_ms + (is_unknown(e, q) ? ABSENT_MS : e->conf.store_wait_ms);
}

void dialog_tick(struct engine *e, int64_t now)
{
    struct question *q, *next;

    DL_FOREACH_SAFE(e->questions.list, q, next)
    {
        if (now >= give_up(e, q))
            answer(e, q, is_unknown(e, q) ? "unknown" : "unavailable", NULL, 0, now);
        else if (!q->token && e->store.up && now >= q->again_ms)
            ask(e, q);
    }
}

int64_t dialog_due(const struct engine *e)
{
    int64_t due = INT64_MAX;
    const struct question *q;

    DL_FOREACH(e->questions.list, q)
    {
        int64_t next = !q->token && e->store.up && q->again_ms < give_up(e, q) ? q->again_ms : give_up(e, q);

        due = next < due ? next : due;
    }
    return due;
}

void dialog_clear(struct engine *e)
{
    while (e->questions.list)
        finish(e, e->questions.list);
}
