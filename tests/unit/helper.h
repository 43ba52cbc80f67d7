/* What the unit tests share: texts, SIP messages, and small comforts around Criterion. */
#ifndef KAMSYNC_TEST_HELPER_H
#define KAMSYNC_TEST_HELPER_H

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "count.h"
#include "span.h"

/* For a suite's .fini: Criterion ends well although the leak checker found something, so it is asked before. Without
 * sanitizer it does nothing. */
void no_leaks(void);

/* printf into memory that stays until the test's process ends: tests need not free it. */
__attribute__((format(printf, 1, 2))) char *scratch(const char *fmt, ...);
/* Frees all that was given out so. */
void scratch_clear(void);

/* The same bytes in a block of exactly their size, so that the address sanitizer sees each read past the end. */
struct span scratch_exact(struct span s);

/* A span with a literal's bytes, embedded NULs included. */
#define BYTES(literal) ((struct span){literal, sizeof(literal) - 1})

/* Whether the span holds this text. */
#define assert_span(got, text)                                                                                         \
    cr_expect(span_eq(got, span_of(text)), "got '%.*s', not '%s'", (int)(got).n, (got).p, text)

/* What makes one INVITE transaction differ from another. */
struct leg {
    const char *call_id;
    unsigned cseq;
    const char *branch;  /* caller's Via branch */
    const char *sent_by; /* caller's */
    const char *tm;      /* Via branch of Kamailio without its index */
};

/* Number i of as many calls as are needed. */
struct leg call_make(unsigned i);

/* A request as the caller sent it, without body. */
char *sip_request(const struct leg *c, const char *method);
/* The INVITE as Kamailio sent it on the branch with this index (tm's text, like "0" or "01"). */
char *sip_sent_on(const struct leg *c, const char *index);

/* base64 of a text, in scratch memory. */
char *base64_of(const char *text);
/* A cancel event of that leg, without its closing brace. */
char *cancel_event(const struct leg *c);

/* What Kamailio reports, without frame: a branch as it was sent, with the INVITE as received or NULL; a stray. `more`
 * are further fields, as ",\"at\":1". In scratch memory. */
char *branch_text(const char *sent, const char *req, const char *more);
char *stray_text(int64_t k, const char *msg, const char *more);
/* The event of a CANCEL that the script has sent to all nodes, with that time. */
char *told_text(const char *msg, const char *all);

/* An array of test vectors out of proto/examples; the caller derefs it. */
json_t *vectors(const char *file);
/* The payload of one vector: of its "message", "text" or "base64". */
struct span vector_payload(json_t *vector);

#endif
