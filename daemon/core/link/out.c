/* Output: log lines, lines of kamsyncctl trace, frames, and messages for Kamailio to send. */
#include "link_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "ascii.h"
#include "sip.h"

#define LINES_MAX 200   /* a second, of those that anybody can cause */
#define TEXT_MAX 512    /* bytes of a line */
#define CALL_ID_MAX 200 /* of these its Call-ID */
#define TRACE_LINE 192
#define SEND_PART 20000 /* of a message, as base64, that goes into one frame */
#define SEND_MAX 65000  /* the same in all: Kamailio's transformation buffer has 65,536 bytes */

static void say(struct engine *e, const struct log_entry *about, const char *fmt, va_list ap)
{
    struct log_entry line = *about;
    char text[TEXT_MAX];
    int n = vsnprintf(text, sizeof(text), fmt, ap);

    if (line.call_id && n >= 0 && n < TEXT_MAX)
        snprintf(text + n, sizeof(text) - (size_t)n, " call-id=%s", line.call_id);
    ascii_clean(text);
    line.text = text;
    line.node = e->self.id;
    e->io.log(e->io.ctx, &line);
}

void engine_log(struct engine *e, enum log_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(e, &(struct log_entry){.level = level}, fmt, ap);
    va_end(ap);
}

static void say_held(struct engine *e)
{
    if (e->out.gate.held)
        engine_log(e, LOG_LEVEL_INFO, "%u lines more like the last ones were held back", e->out.gate.held);
    e->out.gate.held = 0;
}

void engine_log_rest(struct engine *e, int64_t now)
{
    if (now - e->out.gate.since_ms < 1000)
        return;
    say_held(e);
    e->out.gate = (struct gate){.since_ms = now};
}

static bool may_say(struct engine *e, enum log_level level)
{
    engine_log_rest(e, e->turn_ms);
    if (level == LOG_LEVEL_DEBUG || e->out.gate.said++ < LINES_MAX)
        return true;
    e->out.gate.held++;
    return false;
}

void engine_log_some(struct engine *e, enum log_level level, const char *fmt, ...)
{
    va_list ap;

    if (!may_say(e, level))
        return;
    va_start(ap, fmt);
    say(e, &(struct log_entry){.level = level}, fmt, ap);
    va_end(ap);
}

struct about about_msg(struct span msg)
{
    struct sip_id id;

    sip_glean(&id, msg);
    return (struct about){.call_id = id.call_id};
}

void engine_log_call(struct engine *e, enum log_level level, struct about about, const char *fmt, ...)
{
    char call_id[CALL_ID_MAX];
    const struct log_entry line = {.level = level,
                                   .call_id =
                                       about.call_id.n ? printable(call_id, sizeof(call_id), about.call_id) : NULL,
                                   .verdict = about.verdict,
                                   .owner = about.owner};
    va_list ap;

    if (!may_say(e, level))
        return;
    va_start(ap, fmt);
    say(e, &line, fmt, ap);
    va_end(ap);
}

static void note(struct engine *e, struct span call_id, int64_t came, char line[TRACE_LINE], const char *fmt,
                 va_list ap)
{
    vsnprintf(line, TRACE_LINE, fmt, ap);
    ascii_clean(line);
    trace_add(&e->trace, call_id, e->io.wall(e->io.ctx), came, line);
}

void engine_trace(struct engine *e, struct span call_id, const char *fmt, ...)
{
    char line[TRACE_LINE];
    va_list ap;

    va_start(ap, fmt);
    note(e, call_id, 0, line, fmt, ap);
    va_end(ap);
}

static void show(struct engine *e, struct sighting s)
{
    s.node = e->self.id;
    if (!e->io.show)
        return;
    if (e->io.show(e->io.ctx, &s))
        e->count.hep_sent++;
    else
        e->count.hep_dropped++;
}

void engine_decided(struct engine *e, struct span call_id, int64_t came, const char *fmt, ...)
{
    char line[TRACE_LINE];
    va_list ap;

    va_start(ap, fmt);
    note(e, call_id, came, line, fmt, ap);
    va_end(ap);
    show(e, (struct sighting){
                .call_id = call_id, .from = e->self.sip, .to = e->self.sip, .bytes = span_of(line), .decision = true});
}

void engine_show(struct engine *e, struct span call_id, const char *from, const char *to, struct span msg)
{
    show(e, (struct sighting){.call_id = call_id, .from = from, .to = to, .bytes = msg});
}

const char *printable(char *out, size_t size, struct span s)
{
    size_t n = s.n < size - 1 ? s.n : size - 1;

    for (size_t i = 0; i < n; i++)
        out[i] = s.p[i] > ' ' && s.p[i] < 127 ? s.p[i] : '?';
    out[n] = '\0';
    return out;
}

void engine_push(struct engine *e, int64_t n, char *payload, int64_t now)
{
    if (!link_push(&e->link, n, payload, now))
        e->count.frames_shed++;
}

char *engine_handover(struct engine *e, struct handover h, struct span msg)
{
    int64_t wall = e->io.wall(e->io.ctx);
    char at[128];

    if (h.at)
        snprintf(at, sizeof(at), "%s-%" PRIu64, h.at, ++e->out.handovers);
    else
        snprintf(at, sizeof(at), "%" PRId64 ".%03d.%" PRIu64, wall / 1000, (int)(wall % 1000), ++e->out.handovers);
    h.from = e->self.id;
    h.at = at;
    return handover_make(&h, msg, e->conf.secret);
}

void engine_send(struct engine *e, const char *to, const char *sock, const char *text, int64_t now)
{
    size_t left = text ? strlen(text) : 0;
    char own[sizeof(e->self.sip) + 4];
    int parts = 0;
    int64_t n;

    snprintf(own, sizeof(own), "udp:%s", e->self.sip);
    if (!engine_fits(text ? text : ""))
        text = NULL;
    for (; text && left > SEND_PART; left -= SEND_PART, text += SEND_PART) {
        n = link_next_n(&e->link);
        engine_push(e, n, msg_part(n, parts++, (struct span){text, SEND_PART}), now);
    }
    n = link_next_n(&e->link);
    engine_push(e, n, text ? msg_send(n, to, sock ? sock : own, text, parts) : NULL, now);
}

bool engine_fits(const char *text)
{
    return strlen(text) <= SEND_MAX;
}

void engine_post(struct engine *e, struct notice n, int64_t now)
{
    e->on_notice(e, &n, now);
}
