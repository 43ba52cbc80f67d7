/* The engine's inside, shared by its files (engine, owner, strays, peers, search, takeover, adoption); nobody else
 * includes it. */
#ifndef KAMSYNC_ENGINE_IMPL_H
#define KAMSYNC_ENGINE_IMPL_H

#include "engine.h"
#include "frame.h"
#include "handover.h"
#include "link.h"
#include "msg.h"
#include "nodes.h"
#include "trace.h"
#include "txns.h"

struct call;
struct ending;
struct heir;
struct inquiry;
struct lapse;
struct loss;
struct question;
struct record;
struct stray;
struct takeover;

/* The search for orphans through all records, after a node has died. */
struct search {
    bool wanted;  /* begin (again) */
    bool calls;   /* for calls as well: a whole node is gone */
    bool learn;   /* for this node's own transactions too: this kamsyncd has just been started */
    bool running; /* a part is being read */
    bool all;     /* also those that are other survivors' share: the second time round */
    uint64_t cursor;
    int64_t again_ms; /* when the second time begins, 0: not planned */
};

/* The calls that this node knows, in lists by what is to be done. */
struct calls {
    struct call *by_id;
    struct call *dirty, *writing, *held;
    struct call *oldest; /* in the order in which they were last looked at */
    size_t count, at[4]; /* in all, and in each place */
};

/* When all records are written again (rewrite.c). */
struct rewrite {
    bool refused;      /* the store did not take something, and has taken nothing since: */
    int64_t try_ms;    /* when it is tried again */
    int64_t told_ms;   /* when all nodes were told of that, 0: not yet; */
    int64_t last_ms;   /* when all was last written so */
    int64_t all_ms;    /* when it is to be; 0: not planned */
    int64_t settle_ms; /* the same, since the store has come back */
};

/* The last roll-call (rollcall.c). */
struct roll {
    int64_t n;     /* its number; counts on from one start of kamsyncd to the next */
    int64_t at_ms; /* when it was sent */
    bool wanted;   /* another one is to be sent */
};

/* A BYE waits for its final reply, is about to be looked at, has to be looked at once more, or waits for the store. */
enum ending_place { ENDING_UNANSWERED, ENDING_READY, ENDING_AGAIN, ENDING_ASKED, ENDING_PLACES };

struct engine {
    struct engine_conf conf; /* texts owned */
    struct engine_io io;
    struct counters count;
    struct frame_reader reader;
    struct link link;
    struct node self;  /* id 0 before the first hello */
    char tag[64];      /* names this connection */
    bool hello;        /* this connection's Kamailio has said hello */
    int64_t hello_ms;  /* when */
    int64_t behind_ms; /* when it last told of what had waited there */
    bool store_up;
    int64_t store_back_ms; /* since when it is there again, or has forgotten all; 0: it never was away */
    int64_t store_lost_ms; /* when it went away */
    int64_t next_beat_ms, next_probe_ms, next_janitor_ms;
    uint64_t probes;        /* sent; makes each one's branch unique */
    uint64_t handovers;     /* made; makes each one unique */
    int64_t turn_ms;        /* the last turn of the loop, 0: none yet */
    int64_t nodes_read_ms;  /* when the node table was last read in full */
    int64_t own_beat;       /* the last of this node's own beats that stood in the store, 0: none yet */
    int64_t own_seen_ms;    /* when that was read */
    bool unheard;           /* none has been taken since the store came back, or for long: nothing else is written */
    bool missed;            /* it is so long ago that others may think this node dead */
    int64_t nodes_since_ms; /* since when it has been read without a gap; 0: not yet */
    bool nodes_ripe;        /* that is longer than a node may be silent */
    struct nodes nodes;     /* the others */

    struct txns txns;
    bool txns_full; /* and that was said */
    size_t puts_under_way;
    struct rewrite rewrite;
    struct roll roll;
    int64_t doubt_ms; /* until then a record that is not there may be one that its owner could not write */

    int64_t events_read, strays_read;   /* since hello, for the script's credit */
    int64_t events_acked, strays_acked; /* what the last ack said */
    int64_t ack_late_ms;                /* when an ack is due at the latest; 0: there is nothing to acknowledge */
    bool greeting; /* a hello is not yet answered: the script may count anew already, so no credit meanwhile */
    bool ack_due;
    int64_t ack_n;       /* number of the ack frame under way, 0 for none */
    int64_t down_ms;     /* the link broke by our own doing: Kamailio is thought dead only then; 0: it did not */
    int64_t progress_ms; /* when Kamailio last acknowledged a frame, or the first was sent after all were */

    struct stray *strays, *strays_by_token;
    size_t stray_count;
    uint64_t last_token;

    struct search search;
    bool learning; /* until own transactions and calls are known again, what concerns unknown ones waits: */
    struct late_event *late;
    size_t late_count;
    struct takeover *takeovers, *takeovers_by_key; /* waiting ones first */
    size_t takeover_count, takeovers_active;
    size_t takeovers_unanswered; /* done, but for the far end's answer */
    size_t takeovers_fewer;      /* than at most may be under way, since Kamailio is slow */
    struct loss *losses;         /* which Kamailio has not yet acknowledged */

    struct calls calls;
    struct ending *endings[ENDING_PLACES], *endings_by_name;
    struct question *questions;
    size_t question_count;
    struct heir *heirs;
    size_t heir_count, heirs_reading;
    struct lapse *lapses;
    size_t lapse_count;
    struct inquiry *pending;
    struct trace trace;
};

/* engine.c */
__attribute__((format(printf, 3, 4))) void engine_log(struct engine *e, enum log_level level, const char *fmt, ...);
/* Printable copy of bytes from SIP, cut to fit; returns out. */
const char *printable(char *out, size_t size, struct span s);
/* A decision about that call, for kamsyncctl trace. */
__attribute__((format(printf, 3, 4))) void engine_trace(struct engine *e, struct span call_id, const char *fmt, ...);
/* Queues a frame made with number n, see link_push(). */
void engine_push(struct engine *e, int64_t n, char *payload, int64_t now);
/* The message as a handover of this node's, made now: its sender and time are filled in; if it has a time, a number is
 * added that makes it unique. base64, which the caller frees; NULL as handover_make(). */
char *engine_handover(struct engine *e, struct handover h, struct span msg);
/* Has Kamailio send a message, given as base64, to a SIP address from its socket sock (NULL: this node's own). Without
 * text (memory was short, or the message odd) that is counted as a frame that could not be made. */
void engine_send(struct engine *e, const char *to, const char *sock, const char *text, int64_t now);
/* After a host stood still the others may have thought it dead; and Kamailio had no time to answer. Comes before
 * anything is written. */
void engine_notice_standstill(struct engine *e, int64_t now);
/* Whether such a message goes into one frame. */
bool engine_fits(const char *text);

/* admin.c: kamsyncctl's questions; here those that other nodes pass on. */
void admin_asked(struct engine *e, const json_t *message, int64_t now);
void admin_answered(struct engine *e, const json_t *message, int64_t now);
bool admin_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count);
void admin_tick(struct engine *e, int64_t now);
int64_t admin_due(const struct engine *e);
void admin_clear(struct engine *e);

/* adoption.c: acting for an orphan that cannot be taken over. */
/* Sends the caller's CANCEL to every branch that is pending, or his ACK to every one that failed; how many. */
size_t adopt(struct engine *e, const struct txn *t, struct span request, bool ack, int64_t now);
/* Acknowledges a negative reply on one branch. */
void adopt_ack(struct engine *e, const struct txn *t, int index, struct span reply, int64_t now);
/* Cancels every branch that is pending: another one was answered. */
void adopt_cancel(struct engine *e, const struct txn *t, int64_t now);

/* calls.c, calls_write.c: the calls that this node knows. Times named `at` are ms since 1970. */
/* When the script saw the event, or now. */
int64_t calls_time(const struct engine *e, const struct event *ev);
/* A new INVITE, its replies, and its end without an answer. */
void calls_begin(struct engine *e, const struct txn *t, const struct sip_id *id, int64_t at, int64_t now);
void calls_reply(struct engine *e, const struct txn *t, int code, struct span to_tag, int64_t at);
void calls_failed(struct engine *e, const struct txn *t, int64_t now);
/* Another node has that transaction, and its call. */
void calls_lose(struct engine *e, const struct txn *t);
/* This node has taken the INVITE's transaction over, and the call with it. */
void calls_take(struct engine *e, struct txn *t, int64_t now);
/* A call of a record: this node's own, or (take) one whose node is gone. False when it is known, or memory is short. */
bool calls_read(struct engine *e, struct span call_id, const struct pair *pairs, size_t count, bool take, int64_t now);
void calls_set(struct engine *e, const struct event *ev, int64_t now);
/* NULL when this node does not know it. */
const struct call *calls_find(const struct engine *e, struct span call_id);
/* The variables of a call, name to value, which the caller derefs; NULL when there are none. */
json_t *calls_vars(const struct engine *e, const char *call_id);
/* The call has ended elsewhere. */
void calls_over(struct engine *e, struct span call_id);
/* It has no transaction here: whether anybody else's was found. Ends it, the second time that none was. */
void calls_looked(struct engine *e, struct span call_id, bool found);
/* Another node has taken its transaction over. */
void calls_taken(struct engine *e, struct span call_id);
/* No other node has it. */
void calls_keep(struct engine *e, const struct txn *t);
/* This node's Kamailio was restarted: what others have taken over is theirs. */
void calls_restarted(struct engine *e);
/* Gives changed records to the store, as many as may be under way. */
void calls_flush(struct engine *e);
bool calls_written(struct engine *e, uint64_t token, enum call_result result, int64_t now);
void calls_mark_all(struct engine *e);
/* One of them, if there is one that may be written. */
void calls_mark_one(struct engine *e);
void calls_janitor(struct engine *e, int64_t now);
void calls_clear(struct engine *e);

/* dialog.c: requests within a call that the script asks about. */
void dialog_ask(struct engine *e, const struct msg *m, int64_t now);
bool dialog_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now);
void dialog_tick(struct engine *e, int64_t now);
int64_t dialog_due(const struct engine *e);
void dialog_clear(struct engine *e);

/* ending.c: a BYE, or the final reply to one, was seen here. */
void ending_bye(struct engine *e, const struct event *ev, int64_t now);
bool ending_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now);
bool ending_written(struct engine *e, uint64_t token, enum call_result result, int64_t now);
void ending_tick(struct engine *e, int64_t now);
int64_t ending_due(const struct engine *e);
/* How many wait. */
size_t ending_count(const struct engine *e);
void ending_clear(struct engine *e);

/* inherit.c: calls whose node is gone. */
void inherit_wait(struct engine *e, const char *key, bool share);
bool inherit_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                 int64_t now);
void inherit_run(struct engine *e);
void inherit_clear(struct engine *e);

/* lapse.c: calls that nobody answered, and whose transaction nobody has. */
/* Whether this is one is found out, if it is time for that. */
void lapse_look(struct engine *e, const struct call *c, int64_t now);
/* The store's answer, if it is one to that. */
void lapse_got(struct engine *e, uint64_t token, enum get_status status, int64_t now);
void lapse_clear(struct engine *e);

/* told.c: past the Kamailios, from kamsyncd to kamsyncd (node 0: to all others). */
void told_send(struct engine *e, int node, json_t *message);
void told_handover(struct engine *e, int node, const char *base64);
void told_over(struct engine *e, int node, const char *call_id);
/* This node has taken the call over with its transaction. */
void told_taken(struct engine *e, const char *call_id);
void told_unwritten(struct engine *e);

/* owner.c: the transactions that this node owns. */
/* All own transactions that the store knew of are known now: replies that came meanwhile find theirs. */
void owner_learnt(struct engine *e, int64_t now);
/* Keeps an event of a call for then; false when nothing is being learnt, or there is no room. */
bool owner_keep(struct engine *e, const struct event *ev);
void owner_branch(struct engine *e, const struct event *ev, int64_t now);
void owner_reply(struct engine *e, const struct event *ev, int64_t now);
/* The caller has sent a CANCEL. False when its transaction is not known (yet). */
bool owner_cancel(struct engine *e, const struct event *ev);
/* Gives changed records to the store, as many as may be under way. */
void owner_flush(struct engine *e, int64_t now);
/* The slow pass over all transactions. */
void owner_janitor(struct engine *e, int64_t now);

/* losses.c: what other nodes have taken over. */
/* Tells Kamailio to leave it alone. */
void losses_add(struct engine *e, const struct txn *t, int64_t now);
/* Kamailio has carried frame n out. */
void losses_acked(struct engine *e, int64_t n);
/* The same Kamailio has said hello on a new connection. */
void losses_again(struct engine *e, int64_t now);
void losses_clear(struct engine *e);

/* peers.c: the other nodes. */
/* The store has lost this node's last beats. */
void peers_own_lost(struct engine *e);
void peers_tick(struct engine *e, int64_t now);
int64_t peers_due(const struct engine *e);
/* Writes this node's record; tells all others at once when announce. */
void peers_beat(struct engine *e, bool announce);
/* Whether that incarnation of the node is dead for sure. Of a node never heard of one cannot say so before its beat had
 * time to come. */
bool peers_dead(const struct engine *e, int id, const char *inc, int64_t now);
/* Gives Kamailio the node's line of its table. */
void peers_tell(struct engine *e, const struct node *n, int64_t now);
/* How the node is, in words. */
const char *node_state(const struct node *n);
/* A node has answered a probe. */
void peers_alive(struct engine *e, int id, int64_t now);

/* Who a record's owner is, as far as this node can tell; and (ACTED) that nothing is left to do for a stray. */
enum verdict {
    VERDICT_MINE,
    VERDICT_OWNER,
    VERDICT_ACTED,
    VERDICT_ORPHAN,
    VERDICT_DONE,
    VERDICT_UNKNOWN,
    VERDICT_UNAVAILABLE
};
enum verdict engine_judge(const struct engine *e, const struct record *r, int64_t now);

/* rollcall.c: whether all who are up still know what their Kamailios do. */
/* What is known of something that the store may not have. */
struct absence {
    bool said;     /* the store has said "absent" at least once, */
    bool sure;     /* also when asked after a roll-call: there is no such thing */
    bool complete; /* the roll-call was, when the lookup under way was begun */
    int64_t roll;  /* its number; 0: not joined */
};
/* A lookup is begun; it says "absent", and unless that is sure now, the next roll-call is joined. */
void roll_before(const struct engine *e, struct absence *a);
void roll_absent(struct engine *e, struct absence *a);
/* Another node calls; another node answers. */
void roll_asked(struct engine *e, const json_t *message, int64_t now);
void roll_answered(struct engine *e, const json_t *message);
/* Kamailio tells of something. */
void roll_event(struct engine *e, const struct event *ev, int64_t now);
void roll_run(struct engine *e, int64_t now);
int64_t roll_due(const struct engine *e);

/* rewrite.c: writing all again. */
/* The store did not take something. Says so to all nodes. */
void rewrite_refused(struct engine *e, int64_t now);
/* It took something. */
void rewrite_taken(struct engine *e, int64_t now);
/* It may have lost what stood there: all is written again in a moment. */
void rewrite_later(struct engine *e, int64_t now);
/* It has come back. */
void rewrite_back(struct engine *e, int64_t now);
/* The store may have lost what this node has written: all is written again. */
void rewrite_doubt(struct engine *e, int64_t now);
/* A record that is not in the store proves nothing for a while. */
void engine_doubt(struct engine *e, int64_t now);
void rewrite_tick(struct engine *e, int64_t now);
int64_t rewrite_due(const struct engine *e);

/* claim.c */
#define HOLDER_MAX 128
/* Who holds a claim, or is claimed from. Its name is its incarnation, and a number unless that is 0. */
struct holder {
    int id; /* 0: nobody; that incarnation has let it go */
    char inc[80];
    unsigned n;
};
struct holder holder_of(int id, const char *inc);
bool holder_same_name(const struct holder *a, const struct holder *b);
/* Whether that is this node's Kamailio as it is now, by whatever number. */
bool holder_is_self(const struct engine *e, const struct holder *h);
/* The value of a claim, and back; false: that is no holder. */
void holder_write(char out[HOLDER_MAX], const struct holder *h);
bool holder_read(struct holder *h, struct span value);
/* Where a claim on that transaction from that holder stands. The caller frees it; NULL when memory is short. */
char *claim_key(const char *tx_key, const struct holder *from);
/* Claims the transaction of that key; answered by engine_claimed(), maybe before it returns. False when memory is
 * short. */
bool claim_write(struct engine *e, const char *tx_key, const struct holder *from, const struct holder *as,
                 int64_t ttl_ms, uint64_t token);

/* search.c */
/* Looks for all orphans, this node's share first: a Kamailio has died, or (whole) its host with it. */
void search_begin(struct engine *e, bool whole);
void search_run(struct engine *e, int64_t now);
int64_t search_due(const struct engine *e);

/* takeover.c: orphans come to life again in this node's Kamailio. */
/* Takes the orphan over that the record at key describes, unless that is under way already. */
void takeover_begin(struct engine *e, const char *key, struct span record, int64_t now);
/* The same, but the call was answered by that reply: it is only noted down, and the other branches cancelled. */
void takeover_settle(struct engine *e, const char *key, struct span record, const struct sip_id *answer, int64_t now);
/* A record of that name is to be read. A foreign one is another survivor's share: only of interest if it is this node's
 * own. */
void takeover_wait(struct engine *e, const char *key, bool foreign);
/* Finds out whether another node has claimed this own transaction; nothing is written of it before that is known. */
void takeover_recheck(struct engine *e, struct txn *own);
/* This node counted as dead for a while: what it has claimed may have been claimed from it. */
void takeover_doubt(struct engine *e);
/* Hands the transaction out that Kamailio has taken over, if that tm id is one; the caller owns it then. */
struct txn *takeover_confirm(struct engine *e, struct span tm_id, int64_t now);
/* The far end has answered the INVITE of that transaction: there is room for another one. */
void takeover_answered(struct engine *e, const char *key);
void takeover_taken(struct engine *e, const struct event *ev, int64_t now);
/* Answers of the store; false when the token is none of a takeover. */
bool takeover_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
void takeover_run(struct engine *e, int64_t now);
int64_t takeover_due(const struct engine *e);
void takeover_clear(struct engine *e);

/* Another node has taken it over while this one was thought dead: forgets it, and tells Kamailio to leave it alone. */
void owner_lose(struct engine *e, struct txn *t, int64_t now);
/* Others may have thought this node dead, or the store may not remember what it has claimed: before anything is written
 * again, looks whether they have claimed it. !all: only what it has taken over. */
void owner_recheck(struct engine *e, bool all);
/* Makes the transaction this node's own; frees it when memory is short. */
void owner_adopt(struct engine *e, struct txn *t);
/* The same for one that Kamailio has just taken over; what waited for it goes there. */
void owner_take(struct engine *e, struct txn *t, int64_t now);

/* strays.c: whose is it, and what follows. */
/* The transaction of that key is this node's now: what waited for it goes to Kamailio. */
void strays_wake(struct engine *e, const char *key, int64_t now);
/* The transaction of that key cannot be taken over: what waits for it takes another way. */
void strays_despair(struct engine *e, const char *key);
/* The store's answer to the claim on an INVITE; id 0 when there is no holder. False when the token is none of a stray.
 */
bool strays_claimed(struct engine *e, uint64_t token, enum claim_status status, const struct holder *h, int64_t now);
/* What Kamailio reports of a stray; borrowed. */
struct arrived {
    struct span msg;
    const char *src, *dst;
    const char *all; /* NULL unless all other nodes have it already: the "at" of their handovers */
};
void strays_take(struct engine *e, const struct arrived *a, int64_t now);
void strays_tick(struct engine *e, int64_t now);
/* When strays_tick() is next due; INT64_MAX for never. */
int64_t strays_due(const struct engine *e);
void strays_clear(struct engine *e);

#endif
