/* The link room: the connection to Kamailio, and output. */
#ifndef KAMSYNC_LINK_IMPL_H
#define KAMSYNC_LINK_IMPL_H

#include "engine_parts.h"
#include "handover.h"
#include "msg.h"

/* out.c: output. */
__attribute__((format(printf, 3, 4))) void engine_log(struct engine *e, enum log_level level, const char *fmt, ...);
/* The same for a line that anybody can cause at will: limited to so many a second, with a count of the suppressed ones.
 */
__attribute__((format(printf, 3, 4))) void engine_log_some(struct engine *e, enum log_level level, const char *fmt,
                                                           ...);
/* What a line is about; borrowed. */
struct about {
    struct span call_id;
    const char *verdict; /* NULL: none */
    int owner;
};
/* About the call of that message, as far as that can be read. */
struct about about_msg(struct span msg);
/* The same about a call, whose Call-ID is added at its end. */
__attribute__((format(printf, 4, 5))) void engine_log_call(struct engine *e, enum log_level level, struct about about,
                                                           const char *fmt, ...);
/* Logs the number of suppressed lines if no later line has. */
void engine_log_rest(struct engine *e, int64_t now);
/* A printable copy of SIP bytes, truncated to fit; returns out. */
const char *printable(char *out, size_t size, struct span s);
/* A decision about that call, for kamsyncctl trace. */
__attribute__((format(printf, 3, 4))) void engine_trace(struct engine *e, struct span call_id, const char *fmt, ...);
/* The same about a handover or a takeover, which is shown besides (engine_io.show). came: of a message, when it came,
 * in ms since 1970; else 0. */
__attribute__((format(printf, 4, 5))) void engine_decided(struct engine *e, struct span call_id, int64_t came,
                                                          const char *fmt, ...);
/* Shows a message of that call on its way. */
void engine_show(struct engine *e, struct span call_id, const char *from, const char *to, struct span msg);
/* Queues a frame made with number n, see link_push(). */
void engine_push(struct engine *e, int64_t n, char *payload, int64_t now);
/* The message as a handover from this node, made now: fills in sender and time; to a given time a number is added that
 * makes it unique. base64, which the caller frees; NULL as handover_make(). */
char *engine_handover(struct engine *e, struct handover h, struct span msg);
/* Has Kamailio send a message, given as base64, to a SIP address from its socket sock (NULL: this node's own). A NULL
 * text (out of memory, or an odd message) is counted as a frame that could not be made. */
void engine_send(struct engine *e, const char *to, const char *sock, const char *text, int64_t now);
/* Whether Kamailio can take such a message; a long one goes in parts. */
bool engine_fits(const char *text);

/* Posts what rooms above have to know; hall.c delivers it at once. */
void engine_post(struct engine *e, struct notice n, int64_t now);

/* acks.c: acknowledges what this node has read. */
/* A new connection; its hello. */
void acks_connected(struct engine *e);
void acks_hello(struct engine *e);
/* Frame n of events, and stray k, have been read. kept: until it is acknowledged, the script has it ready to be sent
 * again; of the others only their number matters. */
void acks_events(struct engine *e, int64_t n, bool kept, int64_t now);
void acks_stray(struct engine *e, int64_t k, int64_t now);
void acks_send(struct engine *e, int64_t now);
int64_t acks_due(const struct engine *e);

/* contact.c: whether Kamailio gets the frames sent to it. */
/* Frame n was acknowledged; returns how many before it got lost, and are sent again. */
size_t contact_acked(struct engine *e, int64_t n, int64_t now);
/* At each beat. */
void contact_probe(struct engine *e, int64_t now);
void contact_tick(struct engine *e, int64_t now);
/* Closes the link, which is reopened; each time later. */
void contact_reopen(struct engine *e, int64_t now);
int64_t contact_due(const struct engine *e);

/* greeting.c: the handshake. */
/* Connected: nothing else is sent before Kamailio has proven its identity. */
void greeting_begin(struct engine *e, int64_t now);
/* Kamailio's hello. 0: it verified, and was answered; -EPERM: it is not our Kamailio; -ENOMEM. */
int greeting_answered(struct engine *e, const struct msg *m);
void greeting_tick(struct engine *e, int64_t now);
int64_t greeting_due(const struct engine *e);

/* What Kamailio reports of a stray; borrowed. */
struct arrived {
    struct span msg;
    const char *src, *dst;
    const char *all; /* the "at" of the handovers if all other nodes have it already, else NULL */
};

#endif
