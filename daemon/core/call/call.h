/* One call, as far as this node knows it, and its record: a set of pairs in the store that every node may add to. A
 * call begins with an INVITE and ends once; its transactions (txn.h) are over in seconds.
 *
 * Times shown to people are ms since 1970, as reported by the script; 0: not (yet). */
#ifndef KAMSYNC_CALL_H
#define KAMSYNC_CALL_H

#include <jansson.h>

#include "decimal.h"
#include "engine.h"
#include "hash.h"

#define CALL_VARS_MAX 32         /* limit of a call's variables */
#define CALL_VALUE_MAX 1024      /* bytes of a variable's value */
#define CALL_VAR "var."          /* prefix of a variable's name in the record */
#define CALL_JOINED "at."        /* prefix of a node's id: when that node first handled the call */
#define CALL_DIALOG "dialog."    /* prefix of the callee's tag in each further 2xx: when that came */
#define CALL_DIALOG_OVER "over." /* prefix of the callee's tag of a dialog that ended before another: when */
#define CALL_DIALOGS_MAX 16      /* both together */
#define CALL_PAIRS_MAX (27 + CALL_VARS_MAX + CALL_DIALOGS_MAX)
#define CALL_TIMES 2 /* duration_ms and pdd_ms */

#define CALL_NOBODY (-1) /* node of a call that waits for its caller's next INVITE */

struct node;

enum call_place { CALL_IDLE, CALL_DIRTY, CALL_WRITING, CALL_HELD };

/* This node's role for the call. */
enum call_role {
    CALL_GUEST, /* it only adds variables or dialogs to another node's call */
    CALL_OWNER, /* it received the INVITE */
    CALL_TAKER, /* it has taken over the call with its transaction */
    CALL_HEIR,  /* it has taken over only the call, from a node that is gone: no transaction */
    CALL_AWAY   /* it owned the call until another took over the transaction while this node's Kamailio was away */
};

/* What the call's next write is to do. */
enum call_write_as {
    WRITE_NEW,  /* makes the record this node's, unless another node owns it */
    WRITE_OURS, /* this node has written it with its transaction before: it owns the call until the answer */
    WRITE_TAKE, /* makes the record this node's, whoever owns it */
    WRITE_END   /* ends the call: the record has all else */
};

struct call {
    struct span name; /* owned: see call_name(); the next two stand in it */
    const char *call_id, *from_tag;
    char *other_tag; /* owned, as the texts below; NULL unless it is unknown which of this and from_tag is the
                      * caller's */
    char *caller, *callee, *to_tag;
    char *ruri, *source; /* of its INVITE as this cluster got it: the R-URI, and "<transport>:<address>:<port>" */
    char *tx;            /* key of the record of the INVITE transaction that it follows; NULL: not this node's call */
    char *inc;           /* incarnation of the Kamailio that has its dialog, if one has */
    int64_t node, trying, ringing, answered, ended, code;
    const char *how, *by;  /* how it ended and who ended it; fixed texts */
    const char *untracked; /* why its transaction is not kept (untracked.c); NULL: it is; a fixed text */
    int64_t joined;        /* when this node first handled it */
    int tries;             /* how often another node owned it when this one began it */
    bool alone;            /* its record has all of this node's last write, and perhaps nothing by others; and no end */
    json_t *vars;          /* CALL_VAR and name → value; removed ones have an empty one. NULL: none yet */
    json_t *dialogs;       /* the record's CALL_DIALOG and CALL_DIALOG_OVER fields; NULL: one dialog, as usual */
    json_t *legs;          /* this node's other transactions with its name: when each began to ring; NULL: none */
    json_t *fresh, *sent;  /* variables set here that are not yet in the store, or on their way there */

    enum call_place place; /* the list that it is in */
    enum call_role role;
    enum call_write_as write_as;
    bool changed;                                        /* while it was being written */
    bool tx_absent;                                      /* no node had its transaction at the last check */
    unsigned refusals;                                   /* how often the store refused it */
    uint64_t token;                                      /* of the write under way */
    int64_t begun_ms, checked_ms, refreshed_ms, hold_ms; /* the engine's time */
    int64_t back_ms;                                     /* until when a refused caller may try again; 0: he may not */
    size_t bytes;                                        /* of its texts, as last counted */
    struct call *prev, *next, *older, *newer;
    UT_hash_handle hh; /* by name */
};

/* A call's name: its Call-ID, a NUL, and the From tag of its first INVITE. The caller frees the bytes; an empty span
 * when out of memory. */
struct span call_name(struct span call_id, struct span from_tag);

/* NULL when out of memory, or when the name has another NUL. */
struct call *call_new(struct span name);
void call_free(struct call *c);

/* 0, or -ENOMEM: then the old text stays. */
int call_set_text(char **at, struct span value);

/* Whether the caller is expected to try again with the same Call-ID: RFC 3261 8.1.3.4 and 8.1.3.5. */
bool call_asks_for_more(int code);

/* Whether that is its transaction; a record may name none. */
bool call_follows(const struct call *c, const char *tx);
/* Whether this node has seen how that transaction was answered or ended, and the call with it. */
bool call_is_told(const struct call *c, const char *tx);

/* Whether the caller was challenged or redirected: he tries again, maybe at another node. */
bool call_is_refused(const struct call *c);

/* Whether another node has or had it, and may not know its current state; then a third one may have it, too. */
bool call_has_moved(const struct call *c);

/* trying, ringing, answered or ended. */
const char *call_state(const struct call *c);

/* Sets a variable; an empty value removes it. fresh: it is new, and replaces the value in the store; otherwise it is
 * only kept in memory. -EINVAL: not UTF-8, or too long; -ENOMEM, also: too many. */
int call_set(struct call *c, const char *name, struct span value, bool fresh);

/* Adds another 2xx of its INVITE, or the end of a dialog before the others. False: already known, not a text, or too
 * many. */
bool call_dialog(struct call *c, const char *what, struct span tag, int64_t at);
/* Whether the callee has that tag in one of its dialogs; in an answered call without tags any tag is his. */
bool call_has_dialog(const struct call *c, struct span tag);

/* The fresh variables are on their way to the store; then they have arrived there, or not. */
void call_vars_sent(struct call *c);
void call_vars_arrived(struct call *c, bool ok);

/* The pairs for the record, which point into the call and into this struct. */
struct call_pairs {
    struct pair list[CALL_PAIRS_MAX + CALL_TIMES];
    size_t count, weak; /* as in struct call_write */
    char texts[10][32], joined[32], times[CALL_TIMES][DECIMAL_SIZE];
};
/* All known pairs, for this node; the end only if wanted. */
void call_pairs(struct call_pairs *p, const struct call *c, const struct node *self, bool end);

/* Puts behind them, without counting them, what the archive has besides, as the store computes it if it has to: the
 * whole entry of a call whose end they have. Returns how many pairs that is. */
size_t call_entry(struct call_pairs *p, const struct call *c);

/* The value of that name; an empty span without one. */
struct span pairs_text(const struct pair *pairs, size_t count, const char *name);
int64_t pairs_number(const struct pair *pairs, size_t count, const char *name);

/* When that node first handled the call; `otherwise` if the record does not say. */
int64_t pairs_joined(const struct pair *pairs, size_t count, int node, int64_t otherwise);

/* As call_has_dialog(). */
bool pairs_have_dialog(const struct pair *pairs, size_t count, struct span tag);

/* The next node that has handled it, from pair *i on. False: there is none. */
bool pairs_joined_next(const struct pair *pairs, size_t count, size_t *i, int64_t *node);
/* Whether any node but these two has. */
bool pairs_joined_by_others(const struct pair *pairs, size_t count, int a, int b);

/* Fills a call from a record, vars included; 0 or -ENOMEM. */
int call_read(struct call *c, const struct pair *pairs, size_t count);

/* The record for people and scripts: numbers as numbers, variables in "vars". NULL when out of memory.
 */
json_t *pairs_json(const struct pair *pairs, size_t count);
/* Only the variables that were not removed, name → value; {} when there are none. */
json_t *pairs_vars(const struct pair *pairs, size_t count);

/* "X-Kamsync-Call: <base64 of the record> <base64 of its variables>" for a message to the script, each text in one
 * line; takes both, the caller frees the text. NULL when out of memory. */
char *call_header(json_t *call, json_t *vars);

#endif
