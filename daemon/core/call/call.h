/* One call, as far as this node knows it, and its record: a set of pairs in the store that every node may add to. A
 * call begins with an INVITE and ends once; its transactions (txn.h) are over in seconds.
 *
 * Times that people read are ms since 1970, as the script said them; 0: not (yet). */
#ifndef KAMSYNC_CALL_H
#define KAMSYNC_CALL_H

#include <jansson.h>

#include "engine.h"
#include "hash.h"

#define CALL_VARS_MAX 32         /* variables of a call */
#define CALL_VALUE_MAX 1024      /* bytes of one's value */
#define CALL_VAR "var."          /* in front of a variable's name, in the record */
#define CALL_JOINED "at."        /* in front of a node's id: when that node first had to do with it */
#define CALL_DIALOG "dialog."    /* in front of the callee's tag in each further 2xx: when that came */
#define CALL_DIALOG_OVER "over." /* in front of the callee's tag of a dialog that has ended before another: when */
#define CALL_DIALOGS_MAX 16      /* both together */
#define CALL_PAIRS_MAX (26 + CALL_VARS_MAX + CALL_DIALOGS_MAX)

#define CALL_NOBODY (-1) /* the node of a call that waits for its caller's next INVITE */

enum call_place { CALL_IDLE, CALL_DIRTY, CALL_WRITING, CALL_HELD };

/* What this node is to the call. */
enum call_role {
    CALL_GUEST, /* it has only added variables or dialogs: the call is another node's */
    CALL_OWNER, /* the INVITE began here */
    CALL_TAKER, /* another node began it, and this one has taken it over with its transaction */
    CALL_HEIR,  /* it has taken over the call only, from a node that is gone: it has no transaction */
    CALL_AWAY   /* its own until the transaction was taken over while this node's Kamailio was away */
};

/* How the next write of it makes the record this node's. */
enum call_write_as {
    WRITE_NEW,  /* unless another node has it */
    WRITE_OURS, /* this node has written it with its transaction before: until it is answered, it is this one's */
    WRITE_TAKE  /* whoever has it */
};

struct call {
    struct span name; /* owned: see call_name(); the next two stand in it */
    const char *call_id, *from_tag;
    char *other_tag; /* owned, as the texts below; NULL unless nobody could say whether this is the caller's, not
                      * from_tag */
    char *caller, *callee, *to_tag;
    char *ruri,
        *source; /* of its INVITE, as this cluster got it: whom it was for, and "<transport>:<address>:<port>" */
    char *tx;    /* name of the record of the INVITE transaction that it lives by; NULL: not this node's call */
    char *inc;   /* incarnation of the Kamailio that has its dialog, if any has */
    int64_t node, trying, ringing, answered, ended, code;
    const char *how, *by;  /* how it ended and who did that; fixed texts */
    const char *untracked; /* why its transaction is not kept (untracked.c), NULL: it is; a fixed text */
    int64_t joined;        /* when this node first had to do with it */
    int tries;             /* how often another node had it when this one wanted to begin it */
    json_t *vars;          /* CALL_VAR and name → value; removed ones have an empty one. NULL: none yet */
    json_t *dialogs; /* the record's CALL_DIALOG and CALL_DIALOG_OVER fields. NULL: it has one dialog, as most have */
    json_t *legs; /* other transactions with its name that this node has, or had: when each began to ring. NULL: none */
    json_t *fresh, *sent; /* names of those that were set here and are not in the store yet, or on their way there */

    enum call_place place; /* which list it stands in */
    enum call_role role;
    enum call_write_as write_as;
    bool adrift;                                         /* nobody had its transaction, when that was last looked for */
    unsigned refusals;                                   /* so often the store would not have it */
    bool again;                                          /* it changed while it was being written */
    bool finishing;                                      /* what is being written is its end */
    uint64_t token;                                      /* of the write under way */
    int64_t begun_ms, checked_ms, refreshed_ms, hold_ms; /* the engine's time */
    int64_t back_ms;                                     /* until when a refused caller may come back, 0: he may not */
    size_t bytes;                                        /* of its texts, as last counted */
    struct call *prev, *next, *older, *newer;
    UT_hash_handle hh; /* by name */
};

/* What a call is known by: its Call-ID, a NUL, and the From tag of the INVITE that began it. The caller frees the
 * bytes; an empty span when memory is short. */
struct span call_name(struct span call_id, struct span from_tag);

/* NULL when memory is short, or there is another NUL in the name. */
struct call *call_new(struct span name);
void call_free(struct call *c);

/* 0 or -ENOMEM: then the old text stays. */
int call_set_text(char **at, struct span value);

/* Whether the caller is expected to try again with the same Call-ID: RFC 3261 8.1.3.4 and 8.1.3.5. */
bool call_asks_for_more(int code);

/* This node has seen how that transaction was answered or ended, and the call with it. */
bool call_is_told(const struct call *c, const char *tx);

/* The caller was challenged or redirected: he comes again, maybe to another node. */
bool call_is_refused(const struct call *c);

/* Another node has or had it, and may not know how it goes on; and a third one may have it, too. */
bool call_has_moved(const struct call *c);

/* trying, ringing, answered or ended. */
const char *call_state(const struct call *c);

/* Sets a variable; an empty value removes it. fresh: it is news, and goes over what the store has; else it is only
 * remembered. -EINVAL: no UTF-8 text, or too long; -ENOMEM, also: too many. */
int call_set(struct call *c, const char *name, struct span value, bool fresh);

/* Another 2xx of its INVITE, or one of its dialogs has ended before the others. False: that is not news, or is no
 * text, or there are too many. */
bool call_dialog(struct call *c, const char *what, struct span tag, int64_t at);
/* Whether the callee has that tag in one of its dialogs; of an answered call without any tag all tags are his. */
bool call_has_dialog(const struct call *c, struct span tag);

/* The fresh ones are on their way to the store; then they have arrived there, or not. */
void call_vars_sent(struct call *c);
void call_vars_arrived(struct call *c, bool ok);

/* The record's pairs, which point into the call and into this struct. */
struct call_pairs {
    struct pair list[CALL_PAIRS_MAX];
    size_t count, weak; /* as in struct call_write */
    char texts[10][32], joined[32];
};
/* All that is known, for a node with this id; its end only if that is wanted. */
void call_pairs(struct call_pairs *p, const struct call *c, int node, bool end);

/* The value of that name; an empty span when there is none. */
struct span pairs_text(const struct pair *pairs, size_t count, const char *name);
int64_t pairs_number(const struct pair *pairs, size_t count, const char *name);

/* When that node first had to do with the call; `otherwise` when it does not stand there. */
int64_t pairs_joined(const struct pair *pairs, size_t count, int node, int64_t otherwise);

/* As call_has_dialog(). */
bool pairs_have_dialog(const struct pair *pairs, size_t count, struct span tag);

/* Whether any node but these two had to do with it. */
bool pairs_joined_by_others(const struct pair *pairs, size_t count, int a, int b);

/* Fills a call from a record, vars included; 0 or -ENOMEM. */
int call_read(struct call *c, const struct pair *pairs, size_t count);

/* The record as people and scripts get it: numbers are numbers, variables stand in "vars". NULL when memory is short.
 */
json_t *pairs_json(const struct pair *pairs, size_t count);
/* Only the variables that were not removed, name → value; {} when there are none. */
json_t *pairs_vars(const struct pair *pairs, size_t count);

/* "X-Kamsync-Call: <base64 of the record> <base64 of its variables>", which a message for the script carries, each
 * text in one line; takes both, the caller frees the text. NULL when memory is short. */
char *call_header(json_t *call, json_t *vars);

#endif
