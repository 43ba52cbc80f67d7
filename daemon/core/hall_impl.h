/* The hall, which hands all input to the rooms. */
#ifndef KAMSYNC_HALL_IMPL_H
#define KAMSYNC_HALL_IMPL_H

#include "engine_parts.h"
#include "msg.h"

/* standstill.c */
/* If the host stalled, the others may have thought it dead, and Kamailio had no time to answer. Comes before
 * any write. */
void hall_see_standstill(struct engine *e, int64_t now);
/* Writes changed own transactions to the store. */
void hall_write(struct engine *e, int64_t now);

/* kamailio.c */
/* Kamailio's hello, if its proof verifies. */
void kamailio_hello(struct engine *e, const struct msg *m, int64_t now);
/* It answers (again). */
void kamailio_up(struct engine *e, bool same_incarnation, int64_t now);
/* Whether a silence has lasted too long. */
void kamailio_tick(struct engine *e, int64_t now);
int64_t kamailio_due(const struct engine *e);

/* notices.c */
notice_handler hall_notice;

/* event.c: an event from Kamailio; parts that are kept are taken out of it. */
void event_take(struct engine *e, struct event *ev, int64_t now);

#endif
