/* The own room: the transactions of this node, and how it takes over those of dead nodes. */
#ifndef KAMSYNC_OWN_IMPL_H
#define KAMSYNC_OWN_IMPL_H

#include "engine_parts.h"
#include "link_impl.h"
#include "msg.h"

struct record;
struct sip_id;
struct sip_sent;

/* owner.c: the transactions that this node owns. */
/* Branches, replies and CANCELs of an unknown transaction are kept until it is known. */
void owner_branch(struct engine *e, struct event *ev, int64_t now);
void owner_reply(struct engine *e, struct event *ev, int64_t now);
/* No far end has answered the takeover of that record within its time. */
void owner_unanswered(struct engine *e, const char *key, int64_t now);
void owner_gave_up(struct engine *e, struct event *ev, int64_t now);
/* The caller has sent a CANCEL. */
void owner_cancel(struct engine *e, struct event *ev, int64_t now);
/* A reply to that branch came to some node. */
void owner_replied(struct engine *e, struct txn *t, int index, int code, struct span to_tag, int64_t at, int64_t now);
/* The slow pass over all transactions. */
void owner_janitor(struct engine *e, int64_t now);
/* Others may have thought this node dead, or the store may have lost its takeovers: each transaction is written again,
 * with a new epoch. !all: only those that it has taken over are in doubt. */
void owner_doubt(struct engine *e, bool all);
/* Kamailio has just taken over that transaction: this node owns it, and early events of it are handled. */
void owner_take(struct engine *e, struct txn *t, int64_t now);

/* owner_write.c: their records. */
/* Writes changed ones to the store, up to the limit under way. */
void owner_flush(struct engine *e, int64_t now);
/* The store's answer to such a write. */
void owner_put_done(struct engine *e, uint64_t token, enum put_status status, struct span record, int64_t now);
/* Writes those again that owner_retry() has postponed. */
void owner_tick(struct engine *e, int64_t now);
int64_t owner_due(const struct engine *e);

/* keep.c: which transactions become this node's own, and which another's. */
/* 0, or negative when out of memory. A transaction of the same key is dropped. */
int owner_add(struct engine *e, struct txn *t);
/* Makes the transaction this node's own; frees it when out of memory. */
bool owner_adopt(struct engine *e, struct txn *t);
/* Has Kamailio drop it: its CANCEL and replies are strays from now on, and none of its timers fires. */
void owner_release(struct engine *e, const struct txn *t, int64_t now);
/* Its INVITE's head, short enough for any frame, for this node's Kamailio, which treats it according to `why`. The
 * caller frees it; NULL when tm does not have the transaction, or when out of memory. */
char *owner_head(struct engine *e, const struct txn *t, const char *why);
/* Another node has taken it over while this one was thought dead: has Kamailio drop it. */
void owner_lost(struct engine *e, const struct txn *t, int64_t now);

/* This node owns it by a record of that epoch, which the store has accepted; doubt: another may have taken it since. */
void owner_hold(struct txn *t, const struct holder *from, int64_t epoch, bool doubt);
/* Writes it again at that time. */
void owner_retry(struct engine *e, struct txn *t, int64_t at);

/* state.c: whether Kamailio has answered the caller. */
/* If all its branches have failed, or events of it may have been lost, asks Kamailio, when it is time. */
void state_look(struct engine *e, struct txn *t, int64_t now);
/* Events may have been lost: Kamailio is asked about each transaction. */
void state_missed(struct engine *e);
/* Kamailio's answer. */
void state_told(struct engine *e, const struct event *ev, int64_t now);

/* pending.c: a transaction that the script reported before it had a branch. */
/* The one of this INVITE if Kamailio here has taken it over, and sends its first branch before it says so; the caller
 * then owns it. */
struct txn *pending_taken(struct engine *e, const struct event *ev, int64_t now);
/* Its first branch was sent: the transaction, without branches, to which that one is added. NULL: there is none such.
 */
struct txn *pending_begun(struct engine *e, const struct event *ev, const struct sip_sent *sent);

/* resync.c: writing all again. */
/* The store has refused a write. Tells all nodes. */
void resync_refused(struct engine *e, int64_t now);
/* The store has accepted a write. */
void resync_taken(struct engine *e, int64_t now);
/* The store may have lost data: everything is written again in a moment. */
void resync_later(struct engine *e, int64_t now);
/* The store has come back. */
void resync_back(struct engine *e, int64_t now);
/* The store may have lost what this node has written: everything is written again. */
void resync_doubt(struct engine *e, int64_t now);
void resync_tick(struct engine *e, int64_t now);
int64_t resync_due(const struct engine *e);

/* early.c: events that arrive before their transaction or call is known. */
/* Takes the event, which is then empty, and keeps it under that name. False when there is no room:
 * counted. */
bool early_keep(struct engine *e, struct event *ev, struct span name, int64_t now);
/* That name is known now: handles the events kept for it. */
void early_take(struct engine *e, struct span name, int64_t now);
/* All own transactions in the store are known now. */
void early_learnt(struct engine *e, int64_t now);
void early_janitor(struct engine *e, int64_t now);
void early_clear(struct engine *e);

/* fence.c: who owns a transaction when the store refuses its record. */

/* The store has a newer record of that own transaction, which may no longer be this node's. */
void fence_met(struct engine *e, struct txn *t, struct span text, int64_t now);
/* The store's answer, if it is to such a question. */
void fence_got(struct engine *e, uint64_t token, enum get_status status, struct span record, int64_t now);
/* Another node may have it by now: its next write has a new epoch; and is made soon. */
void fence_raise(struct txn *t);
void fence_doubt(struct engine *e, struct txn *t);

/* search.c */
/* Searches all orphans, round by round: a Kamailio has died, or (whole) its host with it. */
void search_begin(struct engine *e, bool whole);
void search_run(struct engine *e, int64_t now);
int64_t search_due(const struct engine *e);

/* takeover.c: takes orphans over into this node's Kamailio. */
/* The pace after a death, and in an evacuation. Takeovers under way delay ordinary calls, in Kamailio's socket queues
 * and processes: so one that was taken counts until the far end has answered, or ANSWER_MS have passed, and the slower
 * Kamailio confirms, the fewer there are. */
#define TAKEOVERS_MAX 64
/* Takes over the orphan whose record is at key, unless a takeover of it is under way. back: what its caller has sent on
 * another connection than the one that has ended with its node, or NULL. */
void takeover_begin(struct engine *e, const char *key, struct span record, const struct arrived *back, int64_t now);
/* The same for a call that was answered by that reply: this is only recorded, and the other branches are cancelled. */
void takeover_settle(struct engine *e, const char *key, struct span record, const struct sip_id *answer, int64_t now);
/* Queues the record of that key for reading; ROUND_ALL: it is taken over wherever its owner was. now: when the search
 * for it began. */
void takeover_wait(struct engine *e, const char *key, enum round round, int64_t now);
/* This node was thought dead for a while: others may have taken over what it is taking over. */
void takeover_doubt(struct engine *e);
/* Hands out the transaction with that tm id that Kamailio has taken over, if there is one; the caller then owns it. */
struct txn *takeover_confirm(struct engine *e, struct span tm_id, int64_t now);
/* The far end has answered that transaction's INVITE: there is room for another takeover. */
void takeover_answered(struct engine *e, const char *key);
void takeover_taken(struct engine *e, const struct event *ev, int64_t now);
/* Answers of the store; false when the token is no takeover's. */
bool takeover_put_done(struct engine *e, uint64_t token, enum put_status status, struct span record, int64_t now);
bool takeover_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
void takeover_run(struct engine *e, int64_t now);
int64_t takeover_due(const struct engine *e);
void takeover_clear(struct engine *e);

/* adoption.c: acting for an orphan that cannot be taken over. */
/* Sends the caller's CANCEL to every pending branch, or his ACK to every failed one; returns how many. */
size_t adopt(struct engine *e, const struct txn *t, struct span request, bool ack, int64_t now);
/* Acknowledges a negative reply on one branch. */
void adopt_ack(struct engine *e, const struct txn *t, int index, struct span reply, int64_t now);
/* Cancels every pending branch: another one was answered. */
void adopt_cancel(struct engine *e, const struct txn *t, int64_t now);
/* Sends the branch's INVITE again. */
void adopt_invite(struct engine *e, const struct txn *t, const struct txn_branch *b, int64_t now);
/* The same as adopt_cancel() for one branch. */
void adopt_cancel_branch(struct engine *e, const struct txn *t, const struct txn_branch *b, int64_t now);

/* finish.c: what a dead owner left unfinished. */
/* The transaction is taken over: repeats the CANCELs that far ends still need, for as long as that makes sense. */
void finish_failed(struct engine *e, struct txn *t, int64_t now);
void finish_look(struct engine *e, struct txn *t, int64_t now);
/* Acknowledges a negative reply on a branch that no tm has. */
void finish_replied(struct engine *e, struct txn *t, int index, int code, struct span reply, int64_t now);

/* gone.c: transactions whose caller's connection has ended with their node. */
/* A final reply to one: acknowledged, and the dialog of a 2xx is ended in the caller's stead. The transaction may be
 * from its record. */
void gone_replied(struct engine *e, struct txn *t, int index, struct span reply, int64_t now);

/* second.c: INVITEs that two nodes have routed. */
/* The record of a living node was already there when this own transaction's was first written: drops it. The
 * other one for what the script sent by forward(). */
void second_lose(struct engine *e, struct txn *own, const struct record *r, struct span record, int64_t now);
void second_leave(struct engine *e, struct txn *own);
/* That node has taken the transaction over: it is told what happened here meanwhile, and the transaction is dropped.
 * The record, which may be empty, is that node's. */
void second_heir(struct engine *e, struct txn *own, int node, struct span record, int64_t now);
/* What Kamailio still reports of a transaction dropped that way: a branch, a reply, a CANCEL. False: it is another. */
bool second_branch(struct engine *e, const struct event *ev, const struct sip_sent *sent, int64_t now);
bool second_replied(struct engine *e, const struct event *ev, int64_t now);
bool second_cancelled(struct engine *e, const char *key, int64_t now);
/* A stray reply of a far end that only this node has asked ends here; false: it is no such reply. */
bool second_stray(struct engine *e, const struct arrived *a, int64_t now);
/* The first node's record, read once more. False: that was not asked here. */
bool second_got(struct engine *e, uint64_t token, enum get_status status, struct span text, int64_t now);
void second_tick(struct engine *e, int64_t now);
int64_t second_due(const struct engine *e);
void second_clear(struct engine *e);

/* first.c */
/* Another node has dropped one of this node's transactions; or had its 2xx. */
void first_message(struct engine *e, const json_t *message, int64_t now);
void first_message_failure(struct engine *e, const json_t *message, int64_t now);
void first_message_answer(struct engine *e, const json_t *message, int64_t now);

/* evacuate.c: living transactions are given to other nodes, since this node's Kamailio is to be stopped. */
/* The record may be taken over now: tells a node of it. */
void evacuate_given(struct engine *e, struct txn *t, int64_t now);
/* Whether that given transaction is no longer to be taken by others. */
bool evacuate_keeps(const struct engine *e, const struct txn *t);
/* Another node gives one to this node. */
void evacuate_offered(struct engine *e, const json_t *message, int64_t now);
/* Another node says that it has taken the transaction with that key; the store knows whether that is so. */
void evacuate_taken(struct engine *e, const char *key);
void evacuate_run(struct engine *e, int64_t now);
int64_t evacuate_due(const struct engine *e);

/* How far that is. */
struct evacuation_sum {
    size_t given;              /* the others may take these, and have not yet */
    size_t left[STAY_REASONS]; /* the other living ones, by what keeps them here */
};
struct evacuation_sum evacuate_sum(const struct engine *e, int64_t now);
const char *evacuate_reason(enum stay stay);

/* left.c: what this node's dead Kamailio has left, for a store that lacks it. */
/* The store is back, or has lost its data: since when it may have missed this node's writes. */
void left_gather(struct engine *e, int64_t lost_ms);
/* Another incarnation is about to say hello; or the same one is alive. */
void left_restarted(struct engine *e);
void left_alive(struct engine *e);
void left_run(struct engine *e, int64_t now);
int64_t left_due(const struct engine *e);
/* The store's answer, if it is to such a write. */
bool left_put_done(struct engine *e, uint64_t token, enum put_status status, int64_t now);
void left_clear(struct engine *e);

/* revoked.c: transactions that other nodes have taken over. */
/* Has Kamailio drop it. */
void revoked_add(struct engine *e, const struct txn *t, int64_t now);
/* Kamailio has carried out frame n. */
void revoked_acked(struct engine *e, int64_t n);
/* The same Kamailio has said hello on a new connection. */
void revoked_again(struct engine *e, int64_t now);
void revoked_clear(struct engine *e);

#endif
