/* The room own: the transactions of this node, and how it comes to own those of dead ones. */
#ifndef KAMSYNC_OWN_IMPL_H
#define KAMSYNC_OWN_IMPL_H

#include "engine_parts.h"
#include "link_impl.h"
#include "msg.h"

struct sip_id;
struct sip_sent;

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
/* Gives changed records to the store, as many as may be under way. */
void owner_flush(struct engine *e, int64_t now);
/* The slow pass over all transactions. */
void owner_janitor(struct engine *e, int64_t now);
/* Others may have thought this node dead, or the store may not remember what it has claimed: before anything is written
 * again, looks whether they have claimed it. !all: only what it has taken over. */
void owner_recheck(struct engine *e, bool all);
/* Kamailio has just taken that transaction over: it is this node's, and what waited for it goes there. */
void owner_take(struct engine *e, struct txn *t, int64_t now);

/* keep.c: what becomes this node's own, and what is another's. */
/* 0, or negative when memory is short. One of the same key is forgotten. */
int owner_add(struct engine *e, struct txn *t);
/* Makes the transaction this node's own; frees it when memory is short. */
bool owner_adopt(struct engine *e, struct txn *t);
/* Kamailio leaves it alone from now on: its CANCEL and its replies are strays, and no timer of it runs out. */
void owner_release(struct engine *e, const struct txn *t, int64_t now);
/* Its INVITE's head, short enough for any frame, for this node's Kamailio: what that does with it is `why`. The caller
 * frees it; NULL when tm does not have it, or memory is short. */
char *owner_head(struct engine *e, const struct txn *t, const char *why);
/* Another node has taken it over while this one was thought dead: forgets it, and tells Kamailio to leave it alone. */
void owner_lose(struct engine *e, struct txn *t, int64_t now);
/* The first half of it: Kamailio is told. */
void owner_lost(struct engine *e, const struct txn *t, int64_t now);

/* state.c: whether Kamailio has answered the caller. */
/* All its branches have failed, or events of it may have been lost: Kamailio is asked, if it is time for that. */
void state_look(struct engine *e, struct txn *t, int64_t now);
/* Events may have been lost: each transaction is asked about. */
void state_missed(struct engine *e);
/* Kamailio's answer. */
void state_told(struct engine *e, const struct event *ev, int64_t now);

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
void rewrite_tick(struct engine *e, int64_t now);
int64_t rewrite_due(const struct engine *e);

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
bool takeover_claimed(struct engine *e, uint64_t token, enum claim_status status, const struct holder *h, int64_t now);
bool takeover_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
void takeover_run(struct engine *e, int64_t now);
int64_t takeover_due(const struct engine *e);
void takeover_clear(struct engine *e);

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

/* finish.c: what a dead owner had not finished. */
/* That transaction is taken over: repeats what it owes to far ends, while that may be. */
void finish_failed(struct engine *e, struct txn *t, int64_t now);
void finish_look(struct engine *e, struct txn *t, int64_t now);
/* A negative reply on a branch that no tm has: acknowledges it. */
void finish_replied(struct engine *e, struct txn *t, int index, int code, struct span reply, int64_t now);

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
bool second_stray(struct engine *e, const struct arrived *a, int64_t now);
void second_tick(struct engine *e, int64_t now);
int64_t second_due(const struct engine *e);
void second_clear(struct engine *e);

/* first.c */
/* Another node has forgotten one of this node's; or had its 2xx. */
void first_told(struct engine *e, const json_t *message, int64_t now);
void first_told_failure(struct engine *e, const json_t *message, int64_t now);
void first_told_answer(struct engine *e, const json_t *message, int64_t now);

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

#endif
