#include "link.h"

#include <utlist.h>

#include "frame.h"

struct link_frame {
    struct link_frame *prev, *next;
    int64_t n, pushed_ms;
    char *payload;
    size_t len;
    bool once;  /* of use to this connection only */
    bool again; /* it has been sent again once already */
};

static void frame_free(struct link_frame *f)
{
    free(f->payload);
    free(f);
}

/* Of what waits there is one frame more, or less. */
static void count(struct link *l, const struct link_frame *f, bool more)
{
    l->waiting_count += more ? 1 : -1UL;
    l->waiting_bytes += more ? f->len : -f->len;
}

static void drop(struct link *l, struct link_frame *f)
{
    DL_DELETE(l->waiting, f);
    count(l, f, false);
    frame_free(f);
}

int64_t link_next_n(struct link *l)
{
    return ++l->last_n;
}

static struct link_frame *frame_new(int64_t n, char *payload, int64_t now)
{
    struct link_frame *f = payload ? malloc(sizeof(*f)) : NULL;

    if (!f || strlen(payload) > FRAME_MAX_OUT) {
        free(f);
        free(payload);
        return NULL;
    }
    *f = (struct link_frame){.n = n, .pushed_ms = now, .payload = payload, .len = strlen(payload)};
    return f;
}

bool link_push(struct link *l, int64_t n, char *payload, int64_t now)
{
    struct link_frame *f = frame_new(n, payload, now);

    if (!f)
        return false;
    DL_APPEND(l->waiting, f);
    count(l, f, true);
    if (l->waiting_count <= LINK_QUEUE_MAX)
        return true;
    f = l->waiting;
    while (f->once)
        f = f->next; /* ends at the one just pushed */
    drop(l, f);
    return false;
}

bool link_push_once(struct link *l, int64_t n, char *payload, int64_t now)
{
    struct link_frame *f = frame_new(n, payload, now);

    if (f) {
        f->once = true;
        DL_APPEND(l->waiting, f);
        count(l, f, true);
    }
    return f != NULL;
}

bool link_push_first(struct link *l, int64_t n, char *payload, int64_t now)
{
    struct link_frame *f = frame_new(n, payload, now);

    if (f) {
        f->once = true;
        DL_PREPEND(l->waiting, f);
        count(l, f, true);
    }
    return f != NULL;
}

static bool has_room(const struct link *l, const struct link_frame *f)
{
    size_t room = f->once && f->len <= LINK_SMALL ? LINK_WINDOW : LINK_WINDOW - LINK_RESERVED;

    return !l->under_way || l->under_way_bytes + f->len <= room;
}

char *link_take(struct link *l, size_t *len)
{
    struct link_frame *f = l->open ? l->waiting : NULL;
    char *bytes;

    if (!f || !has_room(l, f))
        return NULL;
    bytes = frame_make((struct span){f->payload, f->len}, len);
    if (!bytes)
        return NULL;
    DL_DELETE(l->waiting, f);
    count(l, f, false);
    DL_APPEND(l->under_way, f);
    l->under_way_bytes += f->len;
    return bytes;
}

static struct link_frame *land(struct link *l, struct link_frame *f)
{
    DL_DELETE(l->under_way, f);
    l->under_way_bytes -= f->len;
    return f;
}

/* Requeues the frames before f, from last to first, to keep their order. */
static size_t send_again(struct link *l, const struct link_frame *f)
{
    size_t lost = 0;

    for (; l->under_way != f; lost++) {
        struct link_frame *before = land(l, f->prev); /* NOLINT(clang-analyzer-*): utlist */

        if (before->once || before->again) {
            frame_free(before);
            continue;
        }
        before->again = true;
        DL_PREPEND(l->waiting, before);
        count(l, before, true);
    }
    return lost;
}

size_t link_acked(struct link *l, int64_t n)
{
    struct link_frame *f;
    size_t lost;

    DL_SEARCH_SCALAR(l->under_way, f, n, n);
    if (!f)
        return 0;
    lost = send_again(l, f);
    frame_free(land(l, f));
    return lost;
}

/* Puts frames that were under way back in front of the waiting ones. */
static void take_back(struct link *l)
{
    struct link_frame *f, *next;

    DL_FOREACH_SAFE(l->under_way, f, next)
    {
        count(l, f, true);
    }
    DL_CONCAT(l->under_way, l->waiting);
    l->waiting = l->under_way;
    l->under_way = NULL;
    l->under_way_bytes = 0;
}

size_t link_close(struct link *l, int64_t now)
{
    struct link_frame *f, *next;
    size_t dropped = 0;

    take_back(l);
    l->open = false;
    DL_FOREACH_SAFE(l->waiting, f, next)
    {
        if (f->once || now - f->pushed_ms > LINK_KEEP_MS) {
            dropped += !f->once;
            drop(l, f);
        }
    }
    return dropped;
}

void link_open(struct link *l)
{
    l->open = true;
}

int64_t link_oldest(const struct link *l)
{
    return l->under_way ? l->under_way->pushed_ms : -1;
}

static void free_list(struct link_frame *list)
{
    struct link_frame *f, *next;

    DL_FOREACH_SAFE(list, f, next)
    {
        frame_free(f);
    }
}

void link_free(struct link *l)
{
    free_list(l->waiting);
    free_list(l->under_way);
    *l = (struct link){0};
}
