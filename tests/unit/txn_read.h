/* Transactions and branches straight of their events, read as owner.c does. */
#ifndef KAMSYNC_TEST_TXN_READ_H
#define KAMSYNC_TEST_TXN_READ_H

#include "sip.h"
#include "txn.h"

static inline int txn_read(struct txn **out, const struct event *ev, int64_t now)
{
    struct sip_id id;
    struct sip_sent sent;
    int rc = sip_read_sent(&sent, ev->sent);

    if (rc == 0)
        rc = sip_read_id(&id, ev->req);
    return rc != 0 ? rc : txn_begin(out, ev, &id, &sent, now);
}

static inline int branch_read(struct txn *t, const struct event *ev, int64_t now)
{
    struct sip_sent sent;
    int rc = sip_read_sent(&sent, ev->sent);

    return rc != 0 ? rc : txn_add_branch(t, ev, &sent, now);
}

#endif
