#include "answers.h"

#include <errno.h>
#include <stdlib.h>

/* More than an engine ever has under way, so that an answer needs no allocation when out of memory. Unused pages cost
 * nothing. */
#define ANSWERS_RESERVED 16384

/* Requests made meanwhile are answered at the next turn. */
static void on_idle(uv_idle_t *idle)
{
    struct answers *a = idle->data;
    size_t n = a->count;

    for (size_t i = 0; i < n && !uv_is_closing((uv_handle_t *)idle); i++) {
        struct answer x = a->list[i];

        a->list[i].data = NULL;
        x.give(a->store, &x);
        free(x.data);
    }
    if (uv_is_closing((uv_handle_t *)idle))
        return;
    a->count -= n;
    memmove(a->list, a->list + n, a->count * sizeof(*a->list));
    if (a->count == 0)
        uv_idle_stop(idle);
}

int answers_init(struct answers *a, uv_loop_t *loop, struct store *s)
{
    *a = (struct answers){.store = s, .size = ANSWERS_RESERVED};
    a->list = malloc(a->size * sizeof(*a->list));
    if (!a->list)
        return -ENOMEM;
    uv_idle_init(loop, &a->idle);
    a->idle.data = a;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct answers *a = handle->data;

    for (size_t i = 0; i < a->count; i++)
        free(a->list[i].data);
    free(a->list);
    a->closed(a->store);
}

void answers_close(struct answers *a, void (*closed)(struct store *s))
{
    a->closed = closed;
    uv_close((uv_handle_t *)&a->idle, on_closed);
}

void answers_add(struct answers *a, struct answer x)
{
    struct answer *list = a->list;

    if (a->count == a->size) {
        list = realloc(a->list, 2 * a->size * sizeof(*a->list));
        if (!list) {
            a->store->on.log(a->store->on.ctx, LOG_LEVEL_ERROR, "store: memory is short, an answer is lost");
            free(x.data);
            return;
        }
        a->list = list;
        a->size *= 2;
    }
    list[a->count++] = x;
    if (!uv_is_closing((uv_handle_t *)&a->idle))
        uv_idle_start(&a->idle, on_idle);
}

/* ---- common answers ---- */

static struct span text_of(const struct answer *x)
{
    return (struct span){x->data, x->n};
}

static void give_put(struct store *s, const struct answer *x)
{
    s->on.put_done(s->on.ctx, x->token, (enum put_status)x->status, text_of(x));
}

static void give_got(struct store *s, const struct answer *x)
{
    s->on.got(s->on.ctx, x->token, (enum get_status)x->status, text_of(x));
}

static void give_claimed(struct store *s, const struct answer *x)
{
    s->on.claimed(s->on.ctx, x->token, (enum claim_status)x->status, text_of(x));
}

static void give_written(struct store *s, const struct answer *x)
{
    s->on.call_written(s->on.ctx, x->token, (enum call_result)x->status);
}

static void give_not_scanned(struct store *s, const struct answer *x)
{
    (void)x;
    s->on.scanned(s->on.ctx, false, 0);
}

static void give_call_not_got(struct store *s, const struct answer *x)
{
    s->on.call_got(s->on.ctx, x->token, GET_FAILED, NULL, 0);
}

static void give_no_call_keys(struct store *s, const struct answer *x)
{
    s->on.call_keys(s->on.ctx, x->token, false, 0);
}

static void give_not_archived(struct store *s, const struct answer *x)
{
    s->on.archived(s->on.ctx, x->token, NULL, NULL, 0, ARCHIVE_FAILED);
}

/* failed: the status to give when there is no memory for the text. */
static void add_text(struct answers *a, struct answer x, struct span text, int failed)
{
    x.n = text.n;
    x.data = text.p ? span_dup(text) : NULL;
    if (text.p && !x.data) {
        x.status = failed;
        x.n = 0;
    }
    answers_add(a, x);
}

void answers_put_done(struct answers *a, uint64_t token, enum put_status status, struct span record)
{
    add_text(a, (struct answer){.give = give_put, .token = token, .status = (int)status}, record, PUT_FAILED);
}

void answers_got(struct answers *a, uint64_t token, enum get_status status, struct span record)
{
    add_text(a, (struct answer){.give = give_got, .token = token, .status = (int)status}, record, GET_FAILED);
}

void answers_claimed(struct answers *a, uint64_t token, enum claim_status status, struct span holder)
{
    add_text(a, (struct answer){.give = give_claimed, .token = token, .status = (int)status}, holder, CLAIM_FAILED);
}

void answers_call_written(struct answers *a, uint64_t token, enum call_result result)
{
    answers_add(a, (struct answer){.give = give_written, .token = token, .status = (int)result});
}

void answers_not_scanned(struct answers *a)
{
    answers_add(a, (struct answer){.give = give_not_scanned});
}

void answers_call_not_got(struct answers *a, uint64_t token)
{
    answers_add(a, (struct answer){.give = give_call_not_got, .token = token});
}

void answers_no_call_keys(struct answers *a, uint64_t token)
{
    answers_add(a, (struct answer){.give = give_no_call_keys, .token = token});
}

void answers_not_archived(struct answers *a, uint64_t token)
{
    answers_add(a, (struct answer){.give = give_not_archived, .token = token});
}
