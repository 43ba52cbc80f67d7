/* By which name a takeover claims (claim.c): one from which nothing has been claimed yet.
 *
 * This node may have had the transaction before, and lost it to another one, or let it go. Whoever looks for it goes
 * from each name to who claimed from there: so a name that leads to somebody else already would lead past this node. */
#include "own_impl.h"
#include "takeovers.h"

#define NAMES_MAX 8 /* of this node's own */

void naming_begin(struct engine *e, struct takeover *t)
{
    struct holder name = holder_of(e->self.id, e->self.inc);

    name.n = t->names;
    t->naming = true;
    takeover_look(e, t, name);
}

void naming_looked(struct engine *e, struct takeover *t, enum get_status status, struct span text)
{
    struct holder h;

    if (status == GET_ABSENT) {
        t->naming = false;
        takeover_claim_from(e, t, t->owner);
    } else if (status == GET_FAILED || !holder_read(&h, text) || t->names >= NAMES_MAX) {
        takeover_end(e, t); /* the second search comes by */
    } else {
        t->names++;
        naming_begin(e, t);
    }
}
