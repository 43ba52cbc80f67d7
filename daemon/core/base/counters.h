/* The daemon's counters. A new one is one row here. */
#ifndef KAMSYNC_COUNTERS_H
#define KAMSYNC_COUNTERS_H

#include <stdint.h>

#define COUNTERS(X)                                                                                                    \
    X(hangs, "times that Kamailio did not answer for too long")                                                        \
    X(link_ups, "connections to Kamailio that said hello")                                                             \
    X(link_reopens, "times that the link to Kamailio was closed because nothing was answered on it for long")          \
    X(frames_again, "frames to Kamailio that got lost, and were sent once more")                                       \
    X(hellos_refused, "hellos that did not prove to be our Kamailio's")                                                \
    X(frames_in, "frames from Kamailio")                                                                               \
    X(frames_bad, "frames or events from Kamailio that were not understood")                                           \
    X(frames_lost, "events frames that Kamailio sent and that did not arrive")                                         \
    X(frames_shed, "frames to Kamailio given up: queue full, too long, or too old after a reconnect")                  \
    X(events_branch, "INVITE branches reported")                                                                       \
    X(events_reply, "replies reported")                                                                                \
    X(events_foreign, "events of transactions that this kamsyncd does not know")                                       \
    X(events_shed, "events lost in Kamailio: too many waited in its queue")                                            \
    X(early_shed, "events not kept until what they are about is known: too many")                                      \
    X(txns_expired, "transactions given up without a final reply")                                                     \
    X(txns_shed, "transactions not tracked: too many, or too long (txns_max)")                                         \
    X(txns_lost, "transactions that another node took over while this one was thought dead")                           \
    X(txns_given, "transactions that another node took over because this one gave them away (evacuation)")             \
    X(txns_second, "transactions forgotten because another node had routed their INVITE already")                      \
    X(branches_withheld, "branches changed by the script that a takeover does not send again: too large")              \
    X(puts, "records given to the store")                                                                              \
    X(records_left, "records of a dead Kamailio that were given to a store which did not have them")                   \
    X(puts_failed, "records that the store did not take")                                                              \
    X(strays, "strays reported")                                                                                       \
    X(strays_shed, "strays given back at once because too many were waiting")                                          \
    X(strays_dropped, "strays without record that got no answer, because there were too many of them")                 \
    X(lookups, "lookups in the store")                                                                                 \
    X(near_lookups, "lookups in the near replica")                                                                     \
    X(near_found, "CANCELs handed over to the owner that the near replica names")                                      \
    X(near_failed, "lookups that the near replica did not answer, or not in time")                                     \
    X(near_vain, "CANCELs handed over so, upon which that owner did not act in time: the store was asked")             \
    X(verdict_mine, "strays whose transaction this node had, and that came too late")                                  \
    X(verdict_owner, "strays handed over to their owner")                                                              \
    X(verdict_cut, "strays whose owner lives, but out of reach")                                                       \
    X(verdict_acted, "CANCELs given out before the store was asked, and upon which their owner has acted")             \
    X(verdict_orphan, "strays whose owner is gone")                                                                    \
    X(verdict_done, "strays of a transaction that is over and whose owner is gone")                                    \
    X(verdict_unknown, "strays that nobody owns")                                                                      \
    X(verdict_unavailable, "strays that the store could not tell about in time")                                       \
    X(verdict_perhaps, "strays without record that were given to all Kamailios")                                       \
    X(barriers, "times that all kamsyncds were asked before one said that nobody owns a stray")                        \
    X(takeovers, "orphans whose INVITE was put back into this node's Kamailio")                                        \
    X(takeovers_done, "orphans that this node's Kamailio took over")                                                   \
    X(takeovers_failed, "orphans that could not be taken over")                                                        \
    X(callers_lost, "orphans whose caller was on a connection and did not come back: cancelled here")                  \
    X(finished, "transactions of dead nodes that were over, and finished here: a final reply said again, or a CANCEL") \
    X(adoptions, "requests sent on for an orphan, as a stateless proxy would")                                         \
    X(orphans_told, "orphans that a stray met and that a node of their own site was told to take over")                \
    X(takeovers_lost, "orphans that another node was taking over, or had back")                                        \
    X(call_writes, "records of calls given to the store")                                                              \
    X(calls_ended, "calls that this node ended")                                                                       \
    X(calls_failed_over, "calls taken from nodes that are gone")                                                       \
    X(calls_shed, "calls not kept: too many, or memory is short")                                                      \
    X(calls_untracked, "calls not tracked: unreadable, too long, over SCTP, or too many")                              \
    X(events_bye, "BYEs and replies to them reported")                                                                 \
    X(byes_late, "BYEs of calls that had ended before")                                                                \
    X(byes_refused, "BYEs that their far end refused: the call goes on")                                               \
    X(byes_foreign, "BYEs whose tags are not those of the call")                                                       \
    X(byes_unknown, "BYEs of calls that nobody knows")                                                                 \
    X(byes_shed, "BYEs not looked at: too many, or memory is short")                                                   \
    X(questions, "requests within a call that the script asked about")                                                 \
    X(dialogs_handed_over, "requests within a call that went to the node that has its dialog")                         \
    X(relayed_out, "handovers sent through the store, because the way to the node is cut")                             \
    X(relayed_in, "handovers that came through the store")                                                             \
    X(hep_sent, "packets sent to the HEP server")                                                                      \
    X(hep_dropped, "packets not sent to the HEP server: too many, too long, or not taken at once")                     \
    X(messages_bad, "messages of other kamsyncds that were not understood or not proven")                              \
    X(nodes_foreign, "announcements of nodes that are not proven to be of this cluster: ignored")                      \
    X(nodes_changed, "changes of other nodes: up, down, restarted, moved")

struct counters {
#define COUNTER_FIELD(name, help) uint64_t name;
    COUNTERS(COUNTER_FIELD)
#undef COUNTER_FIELD
};

#endif
