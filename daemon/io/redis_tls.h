/* TLS to Redis and to its Sentinels, by hiredis' own (hiredis_ssl, which is in hiredis 1.0 and later) with a session of
 * ours: hiredis itself does not check whether a certificate is for the host that was meant. */
#ifndef KAMSYNC_REDIS_TLS_H
#define KAMSYNC_REDIS_TLS_H

#include <hiredis/async.h>

#include "store.h"

struct redis_tls;  /* what all connections of a store share: CAs, and our own certificate */
struct redis_peer; /* one connection's session */

/* NULL with why: a file that is not as it should be, or this kamsyncd was built without TLS. */
struct redis_tls *redis_tls_new(const struct redis_tls_conf *conf, char *why, size_t size);
void redis_tls_free(struct redis_tls *t);
/* Reads files that have changed since, for connections that begin from now on. 1: it has; 0: none has changed; or
 * -EINVAL with why: what was read before stays, until a file changes again. */
int redis_tls_renew(struct redis_tls *t, char *why, size_t size);

/* Begins TLS on a connection that has just been made; its certificate must be for the configured server name, or else
 * for this host. NULL: memory is short. */
struct redis_peer *redis_tls_start(const struct redis_tls *t, redisAsyncContext *ac, const char *host);
/* False: it has failed at once, and the connection must be ended. */
bool redis_tls_begun(const struct redis_peer *peer);
/* What is wrong with the other side, in plain words; NULL: nothing that is known here. ended: it has ended the
 * connection before it answered anything. */
const char *redis_tls_error(const struct redis_peer *peer, bool ended);
void redis_tls_end(struct redis_peer *peer);

#endif
