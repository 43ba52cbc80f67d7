/* What kamsyncctl doctor finds: what is wrong, and what to write or do then. Each check is a row of one of three
 * tables: cluster/checks.c (this node's Kamailio, and the others), io/store_checks.c (Redis), daemon/doctor.c (this
 * host). A check that the log tells of, too, has its words from there. */
#ifndef KAMSYNC_FINDING_H
#define KAMSYNC_FINDING_H

#include <jansson.h>

enum severity { SEVERITY_ADVICE, SEVERITY_WARNING, SEVERITY_ERROR };

struct finding {
    char what[512], write[400];
};

/* Both as with printf(). */
#define FINDING(f, what_fmt, ...) snprintf((f)->what, sizeof((f)->what), what_fmt, ##__VA_ARGS__)
#define WRITE(f, write_fmt, ...) snprintf((f)->write, sizeof((f)->write), write_fmt, ##__VA_ARGS__)

/* As proto/control.md has it, of this node (0: it has no id yet). */
json_t *finding_json(int node, const char *check, enum severity severity, const struct finding *f);

#endif
