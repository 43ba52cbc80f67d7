/* What commands.c has for the commands in files of their own. */
#ifndef KAMSYNCCTL_ASK_H
#define KAMSYNCCTL_ASK_H

#include <jansson.h>

#include "commands.h"

/* Asks, and frees the request. With STATUS_FINE the caller derefs the answer; otherwise the error was printed. */
int ask(const struct options *o, json_t *request, json_t **answer);
void wait_ms(int64_t ms);

/* `cdr --export`. */
int command_export(const struct options *o);

#endif
