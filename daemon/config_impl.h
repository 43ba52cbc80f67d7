/* What config.c and config_shown.c share. */
#ifndef KAMSYNC_CONFIG_IMPL_H
#define KAMSYNC_CONFIG_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

enum kind { KIND_TEXT, KIND_NUMBER };

struct option {
    const char *name;
    enum kind kind;
    size_t at; /* its place in struct config */
    const char *fallback;
    int64_t min, max; /* of a number */
    bool reload;      /* SIGHUP may change it */
    const char *help;
};

extern const struct option config_options[];
extern const size_t config_option_count;

#endif
