/* A claim: a key that can be written once for each name that a transaction is claimed from, with the name of who claims
 * it.
 *
 * A name is an incarnation. Who has claimed, and cannot take the transaction over, lets it go: it claims it from
 * itself, for nobody, whose name is a new one. So whether others follow because it let go or because it died, they
 * claim the same key, and one of them wins. It may try once more itself, by one more name:
 *
 *     …:200.1 = "1 100.1"       node 1 has claimed it from 200.1, which is dead,
 *     …:100.1 = "0 100.1~1"     and has let it go;
 *     …:100.1~1 = "1 100.1~2"   has claimed it again, or else another node would stand there */
#include "own_impl.h"

#include <stdio.h>

#include "key.h"

#define NAME_MAX_BYTES 96

static void write_name(char out[NAME_MAX_BYTES], const struct holder *h)
{
    if (h->n)
        snprintf(out, NAME_MAX_BYTES, "%s~%u", h->inc, h->n);
    else
        snprintf(out, NAME_MAX_BYTES, "%s", h->inc);
}

struct holder holder_of(int id, const char *inc)
{
    struct holder h = {.id = id};

    snprintf(h.inc, sizeof(h.inc), "%s", inc);
    return h;
}

bool holder_same_name(const struct holder *a, const struct holder *b)
{
    return a->n == b->n && strcmp(a->inc, b->inc) == 0;
}

bool holder_is_self(const struct engine *e, const struct holder *h)
{
    return h->id == e->self.id && strcmp(h->inc, e->self.inc) == 0;
}

void holder_write(char out[HOLDER_MAX], const struct holder *h)
{
    char name[NAME_MAX_BYTES];

    write_name(name, h);
    snprintf(out, HOLDER_MAX, "%d %s", h->id, name);
}

bool holder_read(struct holder *h, struct span value)
{
    char text[HOLDER_MAX];

    *h = (struct holder){0};
    snprintf(text, sizeof(text), "%.*s", (int)value.n, value.n ? value.p : "");
    return sscanf(text, "%d %79[^~]~%u", &h->id, h->inc, &h->n) >= 2 && h->id >= 0 && msg_is_word(h->inc) &&
           (h->id || h->n);
}

char *claim_key(const char *tx_key, const struct holder *from)
{
    char name[NAME_MAX_BYTES];

    write_name(name, from);
    return key_claim(tx_key, name);
}

bool claim_write(struct engine *e, const char *tx_key, const struct holder *from, const struct holder *as,
                 int64_t ttl_ms, uint64_t token)
{
    char value[HOLDER_MAX], *key = claim_key(tx_key, from);
    bool made = key != NULL;

    holder_write(value, as);
    if (key)
        e->io.claim(e->io.ctx, key, value, ttl_ms, token);
    free(key);
    return made;
}
