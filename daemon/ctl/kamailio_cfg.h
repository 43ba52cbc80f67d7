/* What may be wrong in a Kamailio configuration, for `doctor --kamailio FILE`: a row each in kamailio_cfg.c. Pure. */
#ifndef KAMSYNCCTL_KAMAILIO_CFG_H
#define KAMSYNCCTL_KAMAILIO_CFG_H

#include "finding.h"

struct kamailio_cfg {
    const char *path;
    const char *text;  /* as Kamailio reads it, includes and #!ifdefs carried out (kamailio --cfg-print) */
    const char *plain; /* the file itself */
};

/* Adds what is wrong, for that node. */
void kamailio_cfg_checks(const struct kamailio_cfg *c, int node, json_t *found);

#endif
