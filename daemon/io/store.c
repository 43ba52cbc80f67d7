#include "store.h"

#include <errno.h>

/* Digits only: strtoull() alone would accept blanks, signs and overflow. */
static const char *read_number(const char *p, uint64_t *out)
{
    char *end;

    errno = 0;
    if (*p < '0' || *p > '9')
        return NULL;
    *out = strtoull(p, &end, 10);
    return errno ? NULL : end;
}

int store_cdr_id(const char *id, uint64_t part[2])
{
    const char *dash = read_number(id, &part[0]), *end = dash && *dash == '-' ? read_number(dash + 1, &part[1]) : NULL;

    return end && !*end ? 0 : -EINVAL;
}
