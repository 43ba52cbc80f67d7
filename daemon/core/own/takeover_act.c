/* The actions of a takeover (takeover_table.c). */
#include "takeover_life.h"
#include "call_impl.h"
#include "cluster_impl.h"
#include "link_impl.h"

#include "call.h"
#include "key.h"

#define AGAIN_MS 200  /* the store's answer is unknown */
#define ANSWER_MS 100 /* silent far ends do not delay others for long */
#define SLOW_MS 30    /* time to confirm one; a quarter of it is the script's timer */
#define FEWER_MAX 48  /* of 64 at once */
/* The script takes no handover that is older than 10 s; plus some time for its report. */
#define CARRIED_OUT_MS 12000

static uint64_t new_question(struct engine *e, struct takeover *t)
{
    t->asked = true;
    return t->token = engine_token(e);
}

void takeover_read(struct engine *e, struct takeover *t, int64_t now)
{
    (void)now;
    t->due_ms = 0;
    e->io.get(e->io.ctx, t->key, new_question(e, t));
}

void takeover_ask(struct engine *e, struct takeover *t, int64_t now)
{
    char key[KEY_SHORT_MAX];

    (void)now;
    t->due_ms = 0;
    e->io.get(e->io.ctx, key_node(key, t->from.owner), new_question(e, t));
}

/* Writes the record as it was read, with another head. */
static void write_head(struct engine *e, struct takeover *t, const struct head *h, int64_t now)
{
    char *record = record_write(t->txn, h, json_incref(t->txn->vars), true);

    t->due_ms = record ? 0 : now + AGAIN_MS;
    if (record)
        e->io.put(e->io.ctx, t->key, record, e->conf.tx_ttl_ms, new_question(e, t));
    free(record);
}

static bool owner_lives(const struct engine *e, const struct takeover *t, int64_t now)
{
    return t->from.owner && t->from.owner != e->self.id && !peers_dead(e, t->from.owner, t->from.inc, now);
}

bool takeover_is_back(const struct engine *e, const struct takeover *t, int64_t now)
{
    return t->txn->hold != HOLD_GIVEN && owner_lives(e, t, now);
}

/* There may be many, for seconds: without their INVITEs. */
void takeover_await(struct engine *e, struct takeover *t, int64_t now)
{
    engine_decided(e, span_of(t->txn->call_id), 0,
                   "its node is gone, and the caller's connection with it: he may come back");
    txn_free(t->txn);
    t->txn = NULL;
    t->due_ms = now + e->conf.caller_wait_ms + 1;
}

void takeover_alone(struct engine *e, struct takeover *t, int64_t now)
{
    (void)e, (void)now;
    t->awaited = true;
    t->due_ms = 0;
}

void takeover_take(struct engine *e, struct takeover *t, int64_t now)
{
    if (t->src && txn_moved(t->txn, t->src, t->dst) < 0) {
        t->due_ms = now + AGAIN_MS;
        return;
    }
    t->written = true;
    write_head(e, t, &(struct head){t->epoch, e->self.id, e->self.inc, HEAD_TAKING, &t->from}, now);
}

/* So that another survivor may try, or this one at a later stray; or, if its owner is back, so that the owner keeps it.
 */
void takeover_release(struct engine *e, struct takeover *t, int64_t now)
{
    bool back = owner_lives(e, t, now);
    struct holder self = {t->epoch, e->self.id, {0}};
    const struct head h = {t->epoch + 1, back ? t->from.owner : 0, back ? t->from.inc : RECORD_NOBODY, HEAD_HELD,
                           &self};

    memcpy(self.inc, e->self.inc, sizeof(self.inc));
    t->written = true;
    write_head(e, t, &h, now);
    engine_decided(e, span_of(t->txn->call_id), 0, "let go: %s",
                   back ? "its owner goes on with it" : "another node may take it over");
}

void takeover_again(struct engine *e, struct takeover *t, int64_t now)
{
    (void)e;
    t->due_ms = now + AGAIN_MS;
}

void takeover_lost(struct engine *e, struct takeover *t, int64_t now)
{
    (void)t, (void)now;
    e->count.takeovers_lost++;
}

/* The far end sent a 2xx, and the caller has it: the transaction is over, except for branches that still ring. */
static void settle(struct engine *e, struct takeover *t, int64_t now)
{
    struct txn *txn = t->txn;

    t->txn = NULL;
    txn_reply(txn, t->answered, t->answer, now);
    txn->end = END_NO_TM;
    owner_hold(txn, &t->from, t->epoch, t->doubt);
    finish_look(e, txn, now);
    calls_take(e, txn, now);
    calls_reply(e, txn, t->answer, span_of(t->to_tag), calls_time(e, NULL));
    engine_post(e, (struct notice){.type = NOTICE_TAKEN_OVER, .key = txn->key}, now);
    owner_adopt(e, txn);
}

void takeover_finish(struct engine *e, struct takeover *t, int64_t now)
{
    if (txn_is_done(t->txn))
        finish_answered(e, t, now);
    else if (gone_is(e, t))
        gone_finish(e, t, now);
    else
        settle(e, t, now);
}

void takeover_done(struct engine *e, struct takeover *t, int64_t now)
{
    if (now - t->sent_ms > SLOW_MS)
        e->takeovers.fewer += e->takeovers.fewer < FEWER_MAX;
    else
        e->takeovers.fewer -= e->takeovers.fewer > 0;
    t->due_ms = now + ANSWER_MS;
}

void takeover_unanswered(struct engine *e, struct takeover *t, int64_t now)
{
    engine_post(e, (struct notice){.type = NOTICE_UNANSWERED, .key = t->key}, now);
}

/* From when on no INVITE of it can take effect: at once if the only one that was sent was refused. One may lie in
 * Kamailio's socket for long, and until it is too old no other node may have the transaction. */
static int64_t settled_ms(const struct takeover *t, int64_t now)
{
    int64_t end = t->sent_ms + CARRIED_OUT_MS;

    if (t->tries == 1 && now < t->due_ms)
        return now;
    return end > now ? end : now + 1;
}

void takeover_give_up(struct engine *e, struct takeover *t, int64_t now)
{
    e->count.takeovers_failed++;
    engine_decided(e, span_of(t->txn->call_id), 0, "takeover failed");
    engine_log_call(e, LOG_LEVEL_WARN, (struct about){.call_id = span_of(t->txn->call_id)}, "takeover failed");
    engine_post(e, (struct notice){.type = NOTICE_GIVEN_UP, .key = t->key}, now);
    t->due_ms = settled_ms(t, now);
}
