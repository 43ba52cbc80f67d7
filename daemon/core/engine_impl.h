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
struct early;
struct early_name;
struct ending;
struct heir;
struct inquiry;
struct lapse;
struct left;
struct loss;
struct question;
struct record;
struct second;
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
    struct call *by_name;
    struct call *dirty, *writing, *held;
    struct call *oldest; /* in the order in which they were last looked at */
    size_t count, at[4]; /* in all, and in each place */
    size_t bytes;        /* of their texts */
};

/* What came before what it is about (early.c). */
struct early_events {
    struct early_name *by_name;
    struct early *oldest;   /* in the order in which they came */
    size_t count, bytes[2]; /* of those that are told again, and of those that are not */
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

#define ROLL_KEYS_MAX 64   /* records that one roll-call asks about */
#define ROLL_ASKERS_MAX 32 /* nodes that may wait for an answer */

/* A node that has called the roll, and has no answer yet. */
struct asker {
    int from;
    int64_t n;
    json_t *keys; /* owned: records that it did not find */
    bool marked;  /* the mark under way was sent behind its call */
};

/* The last roll-call, and those of others (rollcall.c). */
struct roll {
    int64_t n;     /* its number; counts on from one start of kamsyncd to the next */
    int64_t at_ms; /* when it was sent */
    bool wanted;   /* another one is to be sent, */
    json_t *keys;  /* about these; owned, NULL: none */
    struct asker askers[ROLL_ASKERS_MAX];
    size_t asker_count;
    int64_t mark;    /* the last one that Kamailio was given */
    int64_t mark_ms; /* when, 0: none is under way */
};

/* What is left of Kamailios that are gone (left.c). */
struct legacy {
    struct left *list;
    size_t writing;
    int64_t dead_ms;  /* when this node's Kamailio was last found gone */
    int64_t again_ms; /* nothing is written before that */
};

#define ACTED_MAX 256 /* CANCELs at once that may be reported by their owner before they are here */

/* CANCELs upon which their owners have acted, of late (perhaps.c). */
struct acted {
    char *names[ACTED_MAX]; /* owned, a ring */
    int nodes[ACTED_MAX];   /* who has, each */
    size_t next;
};

/* A BYE waits for its final reply, is about to be looked at, has to be looked at once more, soon or late, or waits for
 * the store. */
enum ending_place { ENDING_UNANSWERED, ENDING_READY, ENDING_AGAIN, ENDING_LATE, ENDING_ASKED, ENDING_PLACES };

/* When each was last said (advice.c); 0: not yet. */
struct advice {
    int64_t address_ms, twice_ms, frame_ms, proof_ms, foreign_ms;
};

/* Lines of the log that anybody can cause: in the second that began then so many were said, and so many not. */
struct gate {
    int64_t since_ms;
    unsigned said, held;
};

struct engine {
    struct engine_conf conf; /* texts owned */
    struct gate gate;
    struct engine_io io;
    struct counters count;
    struct frame_reader reader;
    struct link link;
    struct node self; /* id 0 before the first hello */
    char tag[64];     /* names this connection */
    bool hello;       /* this connection's Kamailio has said hello, and proven that it is ours */
    int64_t greet_ms; /* until when it is waited for; 0: it is not */
    bool refused;     /* the link is to be closed: it is not ours */
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
    struct acted acted;
    struct legacy left;
    int64_t perhaps_ms; /* up to when the messages that may be given to all are spoken for */
    int64_t doubt_ms;   /* until then a record that is not there may be one that its owner could not write */

    int64_t events_read, strays_read;   /* since hello, for the script's credit */
    int64_t events_acked, strays_acked; /* what the last ack said */
    int64_t ack_late_ms;                /* when an ack is due at the latest; 0: there is nothing to acknowledge */
    bool ack_due;
    int64_t ack_n;       /* number of the ack frame under way, 0 for none */
    int64_t down_ms;     /* the link broke by our own doing: Kamailio is thought dead only then; 0: it did not */
    int64_t progress_ms; /* when Kamailio last acknowledged a frame, or the first was sent after all were */
    unsigned pings;      /* sent since then */
    unsigned reopened;   /* so often the link was, since then; more of them do not count */

    struct stray *strays, *strays_by_token;
    size_t stray_count, stray_bytes;
    uint64_t last_token;

    struct search search;
    bool learning; /* until own transactions and calls are known again, what concerns unknown ones waits */
    struct early_events early;
    struct takeover *takeovers, *takeovers_by_key; /* waiting ones first */
    size_t takeover_count, takeovers_active;
    size_t takeovers_unanswered; /* done, but for the far end's answer */
    size_t takeovers_fewer;      /* than at most may be under way, since Kamailio is slow */
    struct loss *losses;         /* which Kamailio has not yet acknowledged */
    struct second *seconds;
    struct advice advice;
    size_t second_count, second_bytes;

    struct calls calls;
    struct ending *endings[ENDING_PLACES], *endings_by_name;
    size_t endings_asked; /* how many wait for the store */
    size_t ending_bytes;  /* of all texts */
    struct question *questions;
    size_t question_count;
    struct heir *heirs;
    size_t heir_count, heirs_reading;
    struct lapse *lapses;
    size_t lapse_count;
    struct inquiry *pending;
    struct trace trace;
};

/* link/out.c */
__attribute__((format(printf, 3, 4))) void engine_log(struct engine *e, enum log_level level, const char *fmt, ...);
/* The same for a line that anybody can cause as often as he likes: so many in a second, then how many more there were.
 */
__attribute__((format(printf, 3, 4))) void engine_log_some(struct engine *e, enum log_level level, const char *fmt,
                                                           ...);
/* Says how many, if none has come since. */
void engine_log_rest(struct engine *e, int64_t now);
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
/* Whether Kamailio takes such a message; if it is long it goes in parts. */
bool engine_fits(const char *text);

/* admin.c: kamsyncctl's questions; here those that other nodes pass on. */
void admin_asked(struct engine *e, const json_t *message, int64_t now);
void admin_answered(struct engine *e, const json_t *message, int64_t now);
bool admin_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count);
void admin_tick(struct engine *e, int64_t now);
int64_t admin_due(const struct engine *e);
void admin_clear(struct engine *e);

/* advice.c: what is wrong with Kamailio's configuration. */
/* This node's address, if others have to use it. */
void advice_address(struct engine *e, int64_t now);
/* What stood where this node's record goes may be another's. */
void advice_twice(struct engine *e, const struct node *other, int64_t now);
/* A node that is not proven to be of this cluster announces something. */
void advice_foreign(struct engine *e, const struct node *other, int64_t now);
/* What has that proof in its hello is not our Kamailio, or cannot read the keys. */
void advice_proof(struct engine *e, const char *proof, int64_t now);
/* Kamailio has said something that was not understood. */
void advice_frame(struct engine *e, const char *why, int64_t now);

/* adoption.c: acting for an orphan that cannot be taken over. */
/* Sends the caller's CANCEL to every branch that is pending, or his ACK to every one that failed; how many. */
size_t adopt(struct engine *e, const struct txn *t, struct span request, bool ack, int64_t now);
/* Acknowledges a negative reply on one branch. */
void adopt_ack(struct engine *e, const struct txn *t, int index, struct span reply, int64_t now);
/* Cancels every branch that is pending: another one was answered. */
void adopt_cancel(struct engine *e, const struct txn *t, int64_t now);
/* Sends its INVITE again. */
void adopt_invite(struct engine *e, const struct txn *t, const struct txn_branch *b, int64_t now);
/* The same as adopt_cancel() for one branch. */
void adopt_cancel_branch(struct engine *e, const struct txn *t, const struct txn_branch *b, int64_t now);

/* calls.c, calls_write.c, legs.c: the calls that this node knows. Times named `at` are ms since 1970. */
/* When the script saw the event, or now. */
int64_t calls_time(const struct engine *e, const struct event *ev);
/* A new INVITE, its replies, and its end without an answer. */
void calls_begin(struct engine *e, const struct txn *t, const struct sip_id *id, int64_t at, int64_t now);
void calls_reply(struct engine *e, struct txn *t, int code, struct span to_tag, int64_t at);
void calls_failed(struct engine *e, const struct txn *t, int64_t now);
/* A call by that name whose transaction is not kept, and why: a fixed text. tx names its INVITE all the same. */
void calls_untracked(struct engine *e, struct span name, const char *tx, const char *src, const struct sip_id *id,
                     const char *why, int64_t at, int64_t now);
/* Another node has that transaction, and its call. */
void calls_lose(struct engine *e, const struct txn *t);
/* This node has taken the INVITE's transaction over, and the call with it. */
void calls_take(struct engine *e, struct txn *t, int64_t now);
/* A call of a record: this node's own, or (take) one whose node is gone. False when it is known, or memory is short. */
bool calls_read(struct engine *e, struct span name, const struct pair *pairs, size_t count, bool take, int64_t now);
void calls_set(struct engine *e, const struct event *ev, int64_t now);
/* By its name (call_name()); NULL when this node does not know it. */
const struct call *calls_find(const struct engine *e, struct span name);
/* The one that a request within it told of, from whichever side. */
const struct call *calls_of_event(const struct engine *e, const struct event *ev);
/* The variables of the transaction's call, name to value, which the caller derefs; NULL when there are none. */
json_t *calls_vars(const struct engine *e, const struct txn *t);
/* A 2xx to its INVITE that this node's tm did not see; false when that is not this node's call. */
bool calls_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at);
/* The same, with the transaction's record and the reply, which goes to the caller past tm: whose call it is is told. */
void calls_passed(struct engine *e, const char *tx, struct span reply);
/* One of its dialogs has ended, and the store knows that. */
void calls_dialog_over(struct engine *e, struct span name, struct span tag, int64_t at);
/* The call has ended elsewhere. */
void calls_over(struct engine *e, struct span name);
/* It has no transaction here: whether anybody else's was found. Ends it, the second time that none was. */
void calls_looked(struct engine *e, struct span name, bool found);
/* Another node has taken that transaction of it over. tx: NULL, it did not say which. */
void calls_taken(struct engine *e, struct span name, const char *tx);
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

/* contact.c: whether Kamailio gets what it is told. */
void contact_acked(struct engine *e, int64_t n, int64_t now);
/* At each beat. */
void contact_probe(struct engine *e, int64_t now);
void contact_tick(struct engine *e, int64_t now);
/* Closes the link, which is opened again; the next time later. */
void contact_reopen(struct engine *e, int64_t now);
int64_t contact_due(const struct engine *e);

/* dialog.c: requests within a call that the script asks about. */
void dialog_ask(struct engine *e, const struct msg *m, int64_t now);
bool dialog_got(struct engine *e, uint64_t token, enum get_status status, const struct pair *pairs, size_t count,
                int64_t now);
void dialog_tick(struct engine *e, int64_t now);
int64_t dialog_due(const struct engine *e);
void dialog_clear(struct engine *e);

/* early.c: events that come before what they are about. */
/* Takes the event, which is empty then, and keeps it under the name of what it is about. False when there is no room:
 * counted. */
bool early_keep(struct engine *e, struct event *ev, struct span name, int64_t now);
/* What has that name is known now: what waits for it is taken. */
void early_take(struct engine *e, struct span name, int64_t now);
/* All own transactions that the store knew of are known now. */
void early_learnt(struct engine *e, int64_t now);
void early_janitor(struct engine *e, int64_t now);
void early_clear(struct engine *e);

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

/* event.c: Kamailio tells of something; what is kept of the event is taken out of it. */
void event_take(struct engine *e, struct event *ev, int64_t now);

/* greeting.c: the first words on the link. */
/* Connected: nothing else is sent before Kamailio has proven that it is ours. */
void greeting_begin(struct engine *e, int64_t now);
/* Its hello; true: it is good, and was answered. */
bool greeting_answered(struct engine *e, const struct msg *m, int64_t now);
void greeting_tick(struct engine *e, int64_t now);
int64_t greeting_due(const struct engine *e);

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

/* second.c: INVITEs that two nodes have routed. */
/* A record stood where that own transaction's was to be written first. False: that is to be written over. */
bool second_found(struct engine *e, struct txn *own, struct span record, int64_t now);
/* If that record is a living node's, it has the transaction: this one is forgotten, and true. */
bool second_lost(struct engine *e, struct txn *own, struct span record, int64_t now);
/* That node has taken the transaction over: it is told what was done here meanwhile, and this one forgotten. The
 * record, which may be empty, is that node's. */
void second_heir(struct engine *e, struct txn *own, int node, struct span record, int64_t now);
/* What Kamailio still tells of one that was forgotten so: a branch, a reply, a CANCEL. False: it is none. */
bool second_branch(struct engine *e, const struct event *ev, const struct sip_sent *sent, int64_t now);
bool second_replied(struct engine *e, const struct event *ev, int64_t now);
bool second_cancelled(struct engine *e, const char *key, int64_t now);
/* A stray reply of a far end that only this node has asked ends here; false: it is none. */
struct arrived;
bool second_stray(struct engine *e, const struct arrived *a, int64_t now);
/* Another node has forgotten one of this node's; or had its 2xx. */
void second_told(struct engine *e, const json_t *message, int64_t now);
void second_told_failure(struct engine *e, const json_t *message, int64_t now);
void second_told_answer(struct engine *e, const json_t *message, int64_t now);
void second_tick(struct engine *e, int64_t now);
int64_t second_due(const struct engine *e);
void second_clear(struct engine *e);

/* state.c: whether Kamailio has answered the caller. */
/* All its branches have failed, or events of it may have been lost: Kamailio is asked, if it is time for that. */
void state_look(struct engine *e, struct txn *t, int64_t now);
/* Events may have been lost: each transaction is asked about. */
void state_missed(struct engine *e);
/* Kamailio's answer. */
void state_told(struct engine *e, const struct event *ev, int64_t now);

/* told.c: past the Kamailios, from kamsyncd to kamsyncd (node 0: to all others). */
void told_send(struct engine *e, int node, json_t *message);
void told_handover(struct engine *e, int node, const char *base64);
void told_over(struct engine *e, int node, struct span name);
/* This node has taken the call over with its transaction. */
void told_taken(struct engine *e, struct span name, const char *tx);
/* A 2xx to the INVITE of that call has gone to the caller past tm; to all, since whose it is may have changed. */
void told_dialog(struct engine *e, struct span name, const char *tx, struct span to_tag, int64_t at);
void told_unwritten(struct engine *e);
void told_left(struct engine *e);

/* finish.c: what a dead owner had not finished. */
/* That transaction is taken over: repeats what it owes to far ends, while that may be. */
void finish_failed(struct engine *e, struct txn *t, int64_t now);
void finish_look(struct engine *e, struct txn *t, int64_t now);
/* A negative reply on a branch that no tm has: acknowledges it. */
void finish_replied(struct engine *e, struct txn *t, int index, int code, struct span reply, int64_t now);

/* owner.c: the transactions that this node owns. */
/* What is of an unknown transaction waits for it. */
void owner_branch(struct engine *e, struct event *ev, int64_t now);
void owner_reply(struct engine *e, struct event *ev, int64_t now);
/* A takeover of that record that no far end has answered within its time. */
void owner_unanswered(struct engine *e, const char *key, int64_t now);
void owner_gave_up(struct engine *e, struct event *ev, int64_t now);
/* The caller has sent a CANCEL. */
void owner_cancel(struct engine *e, struct event *ev, int64_t now);
/* A reply to that branch came, to whichever node. */
void owner_replied(struct engine *e, struct txn *t, int index, int code, struct span to_tag, int64_t at, int64_t now);
/* The store's answer to the first write of a record; false when the token is none of those. */
bool owner_claimed(struct engine *e, uint64_t token, enum claim_status status, struct span record, int64_t now);
/* Kamailio leaves it alone from now on: its CANCEL and its replies are strays, and no timer of it runs out. */
void owner_release(struct engine *e, const struct txn *t, int64_t now);
/* Its INVITE's head, short enough for any frame, for this node's Kamailio: what that does with it is `why`. The caller
 * frees it; NULL when tm does not have it, or memory is short. */
char *owner_head(struct engine *e, const struct txn *t, const char *why);
/* Gives changed records to the store, as many as may be under way. */
void owner_flush(struct engine *e, int64_t now);
/* The slow pass over all transactions. */
void owner_janitor(struct engine *e, int64_t now);

/* left.c: what this node's dead Kamailio has left, for a store that does not have it. */
/* The store is back, or has forgotten all: since when it may have missed what this node knew. */
void left_gather(struct engine *e, int64_t lost_ms);
/* Another incarnation is about to say hello; or the same one lives. */
void left_restarted(struct engine *e);
void left_alive(struct engine *e);
void left_run(struct engine *e, int64_t now);
int64_t left_due(const struct engine *e);
/* The store's answer, if it is one to that. */
bool left_claimed(struct engine *e, uint64_t token, enum claim_status status, int64_t now);
void left_clear(struct engine *e);

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
    bool sure;     /* also when asked after a roll-call: no kamsyncd knows of it */
    bool complete; /* the roll-call was, when the lookup under way was begun */
    int64_t roll;  /* its number; 0: not joined */
};
/* A lookup is begun; it says "absent": unless that is sure now, the next roll-call is joined, and asks about the record
 * with that key. */
void roll_before(const struct engine *e, struct absence *a);
void roll_absent(struct engine *e, struct absence *a, const char *key);
/* Another node calls; another node answers. */
void roll_asked(struct engine *e, const json_t *message, int64_t now);
void roll_answered(struct engine *e, const json_t *message, int64_t now);
/* Kamailio has told of all that happened before it got that mark. */
void roll_marked(struct engine *e, int64_t mark, int64_t now);
/* It is connected anew: a mark that was under way is lost. */
void roll_reset(struct engine *e);
void roll_run(struct engine *e, int64_t now);
int64_t roll_due(const struct engine *e);
void roll_clear(struct engine *e);

/* perhaps.c: what is given to all Kamailios since nobody knows whose it is. */
/* How many other nodes there are to be asked. */
size_t perhaps_nodes(const struct engine *e);
/* Gives the message to those whose Kamailio cannot be reached, through the store; the rest of the handover is set. */
void perhaps_relay(struct engine *e, struct handover h, struct span msg);
/* Whether there may be one more now; if so it counts. */
bool perhaps_may(struct engine *e, int64_t now);
/* A new CANCEL's name for that; the caller frees it, NULL when memory is short. */
char *perhaps_at(struct engine *e);
/* This node's Kamailio has acted upon a CANCEL that all were given: whoever gave it is told. */
void acted_tell(struct engine *e, const char *name, int64_t now);
/* Another node's has. */
void acted_told(struct engine *e, const json_t *message, int64_t now);
/* The node that is known to have acted upon this node's CANCEL with that time; 0: none. */
int acted_by(const struct engine *e, const char *at);
void acted_clear(struct engine *e);

/* rewrite.c: writing all again. */
/* The store did not take something. Says so to all nodes. */
void rewrite_refused(struct engine *e, int64_t now);
/* It does not take that one record, whatever it does with others: how long that waits (ms). Counts. */
int64_t rewrite_pause(unsigned *refusals);
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
/* Claims the transaction of that key; answered by engine_claimed(). False when memory is short. */
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
/* The first half of it: Kamailio is told. */
void owner_lost(struct engine *e, const struct txn *t, int64_t now);
/* Others may have thought this node dead, or the store may not remember what it has claimed: before anything is written
 * again, looks whether they have claimed it. !all: only what it has taken over. */
void owner_recheck(struct engine *e, bool all);
/* Makes the transaction this node's own; frees it when memory is short. */
bool owner_adopt(struct engine *e, struct txn *t);
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
/* Another node's kamsyncd has written the record of that key again; or (NULL) all have answered the last roll-call. */
void strays_look(struct engine *e, const char *key, int64_t now);
/* The owner of a CANCEL that all nodes have, by that time, has acted. */
void strays_acted(struct engine *e, const char *at, int node, int64_t now);
void strays_tick(struct engine *e, int64_t now);
/* When strays_tick() is next due; INT64_MAX for never. */
int64_t strays_due(const struct engine *e);
void strays_clear(struct engine *e);

/* untracked.c: calls that are relayed and not tracked. */
/* The event's INVITE is one; if it cannot be read what can be is kept. */
void untracked_begin(struct engine *e, const struct event *ev, struct span invite, const char *why, int64_t now);
/* The script says so, and why. */
void untracked_told(struct engine *e, const struct event *ev, int64_t now);

#endif
