/* The commands of kamsyncctl: ask kamsyncd, print to stdout, errors to stderr. The returned value is the program's exit
 * status. */
#ifndef KAMSYNCCTL_COMMANDS_H
#define KAMSYNCCTL_COMMANDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { STATUS_FINE, STATUS_NO, STATUS_USAGE, STATUS_GAP, STATUS_UNWRITTEN /* no exit status */ };

/* The command line, from which all strings are borrowed. NULL and 0 mean "not given" unless stated otherwise. */
struct options {
    const char *socket;
    bool json;
    const char *command; /* its name, also in the protocol */
    const char *call_id;
    int64_t node;
    const char *state, *caller, *callee;
    int64_t limit;
    int64_t watch_ms;
    int64_t count; /* of `cdr`; -1 when not given */
    bool follow;
    const char *export;      /* of `cdr`: the file */
    bool csv;                /* its format; else JSON lines */
    bool evacuate, progress; /* of `drain`; progress: --status */
    const char *kamailio;    /* of `doctor`: a kamailio.cfg */
    bool quiet;              /* prints no errors: the first was printed already */
};

/* status, nodes, tx, trace: one question, one answer shown. */
int command_status(const struct options *o);
int command_nodes(const struct options *o);
int command_tx(const struct options *o);
int command_trace(const struct options *o);
int command_key(const struct options *o);

int command_call(const struct options *o);

/* With watch_ms and follow these two end only by ctrl-c, with status 0, or when the first question fails. */
int command_calls(const struct options *o);
int command_cdr(const struct options *o);

/* doctor.c. Its exit status is that of a plugin for monitoring: 0, 1 with warnings, 2 with errors or without kamsyncd.
 */
enum { DOCTOR_ERRORS = 2 };
int command_doctor(const struct options *o);

int command_drain(const struct options *o);
int command_undrain(const struct options *o);
int command_reload(const struct options *o);

/* Asks the command without arguments. With STATUS_FINE the caller derefs the answer; otherwise the error was printed.
 */
int ask_command(const struct options *o, json_t **answer);
/* One line on stderr, "kamsyncctl: ..."; the text comes from this program, `about` from anywhere. */
void complain(const char *text, const char *about, const char *rest);

#endif
