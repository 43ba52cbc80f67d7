/* The hall, which hands out what comes in. */
#ifndef KAMSYNC_HALL_IMPL_H
#define KAMSYNC_HALL_IMPL_H

#include "engine_parts.h"
#include "msg.h"

/* standstill.c */
/* After a host stood still the others may have thought it dead; and Kamailio had no time to answer. Comes before
 * anything is written. */
void hall_see_standstill(struct engine *e, int64_t now);
/* Own transactions that changed go to the store. */
void hall_write(struct engine *e, int64_t now);

/* kamailio.c */
/* Its hello, if it is ours. */
void kamailio_hello(struct engine *e, const struct msg *m, int64_t now);
/* It answers (again). */
void kamailio_up(struct engine *e, bool same_incarnation);
/* Whether a silence has lasted too long. */
void kamailio_tick(struct engine *e, int64_t now);
int64_t kamailio_due(const struct engine *e);

/* notices.c */
notice_handler hall_notice;

/* event.c: Kamailio tells of something; what is kept of the event is taken out of it. */
void event_take(struct engine *e, struct event *ev, int64_t now);

#endif
