#include "frame.h"

#include <errno.h>

#include "decimal.h"
#include "poison.h"

static int reserve(struct frame_reader *r, size_t need)
{
    size_t cap = r->cap ? r->cap : 4096;
    char *bigger;

    if (need <= r->cap)
        return 0;
    while (cap < need)
        cap *= 2;
    bigger = realloc(r->buf, cap);
    if (!bigger)
        return -ENOMEM;
    r->buf = bigger;
    r->cap = cap;
    return 0;
}

/* Reads "<digits>:" at p. 1: *size and *head are set; 0: needs more bytes; negative: an error. */
static int read_length(const char *p, size_t n, size_t *size, size_t *head)
{
    size_t value = 0, i;

    for (i = 0; i < n && p[i] >= '0' && p[i] <= '9'; i++) {
        if (i > 0 && p[0] == '0')
            return -EPROTO;
        value = value * 10 + (size_t)(p[i] - '0');
        if (value > FRAME_MAX_IN)
            return -EMSGSIZE;
    }
    if (i == n)
        return 0;
    if (i == 0 || p[i] != ':')
        return -EPROTO;
    *size = value;
    *head = i + 1;
    return 1;
}

/* Consumes one frame at p. Returns the bytes used, 0 when the frame is incomplete, negative on an error. */
static int take_frame(const char *p, size_t n, frame_cb *cb, void *arg)
{
    size_t size = 0, head = 0;
    int rc = read_length(p, n, &size, &head);

    if (rc <= 0)
        return rc;
    if (n < head + size + 1)
        return 0;
    if (p[head + size] != ',')
        return -EPROTO;
    cb(arg, (struct span){p + head, size});
    return (int)(head + size + 1);
}

/* What has been consumed is over: whoever has kept a pointer into a payload is found. */
static void consume(struct frame_reader *r, size_t used)
{
    r->len -= used;
    if (used && r->len)
        memmove(r->buf, r->buf + used, r->len);
    if (r->cap)
        POISON(r->buf + r->len, r->cap - r->len);
}

int frame_feed(struct frame_reader *r, const char *p, size_t n, frame_cb *cb, void *arg)
{
    size_t used = 0;
    int rc;

    UNPOISON(r->buf, r->cap);
    rc = reserve(r, r->len + n);
    if (rc < 0)
        return rc;
    if (n)
        memcpy(r->buf + r->len, p, n);
    r->len += n;
    while (used < r->len && (rc = take_frame(r->buf + used, r->len - used, cb, arg)) > 0)
        used += (size_t)rc;
    consume(r, used);
    return rc < 0 ? rc : 0;
}

void frame_reset(struct frame_reader *r)
{
    free(r->buf);
    *r = (struct frame_reader){0};
}

char *frame_make(struct span payload, size_t *len)
{
    char *frame = malloc(DECIMAL_SIZE + payload.n + 2);
    size_t head;

    if (!frame)
        return NULL;
    head = decimal(frame, (int64_t)payload.n);
    frame[head++] = ':';
    if (payload.n)
        memcpy(frame + head, payload.p, payload.n);
    frame[head + payload.n] = ',';
    *len = head + payload.n + 1;
    return frame;
}
