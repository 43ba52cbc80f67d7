#include "cdr_id.h"

#include <inttypes.h>
#include <stdio.h>

#define BUCKETS_MAX 10000

/* Takes digits off the text, at least one. False when there is none, or the number is above most. */
static bool take_number(struct span *text, uint64_t most, uint64_t *number)
{
    size_t i = 0;

    *number = 0;
    for (; i < text->n && text->p[i] >= '0' && text->p[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(text->p[i] - '0');

        if (*number > (most - digit) / 10)
            return false;
        *number = *number * 10 + digit;
    }
    *text = (struct span){text->p + i, text->n - i};
    return i > 0;
}

static bool take_dash(struct span *text)
{
    if (!text->n || *text->p != '-')
        return false;
    *text = (struct span){text->p + 1, text->n - 1};
    return true;
}

bool cdr_id_read(struct cdr_id *id, struct span text)
{
    uint64_t bucket;

    if (!take_number(&text, UINT64_MAX, &id->ms) || !take_dash(&text) || !take_number(&text, UINT64_MAX, &id->n))
        return false;
    id->bucket = -1;
    if (!text.n)
        return true;
    if (!take_dash(&text) || !take_number(&text, BUCKETS_MAX, &bucket) || text.n)
        return false;
    id->bucket = (int)bucket;
    return true;
}

const char *cdr_id_write(char out[CDR_ID_SIZE], struct cdr_id id)
{
    int n = snprintf(out, CDR_ID_SIZE, "%" PRIu64 "-%" PRIu64, id.ms, id.n);

    if (id.bucket >= 0)
        snprintf(out + n, CDR_ID_SIZE - (size_t)n, "-%d", id.bucket);
    return out;
}

int cdr_id_compare(struct cdr_id a, struct cdr_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.bucket < b.bucket ? -1 : a.bucket > b.bucket;
}

struct cdr_id cdr_id_before(struct cdr_id id)
{
    if (id.bucket >= 0)
        return (struct cdr_id){id.ms, id.n, id.bucket - 1};
    if (id.n)
        return (struct cdr_id){id.ms, id.n - 1, -1};
    return id.ms ? (struct cdr_id){id.ms - 1, UINT64_MAX, -1} : id;
}
