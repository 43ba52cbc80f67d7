/* Sends what the engine shows of handovers and takeovers to a HEP server, such as HOMER, over UDP. Never blocks. */
#ifndef KAMSYNC_HEP_H
#define KAMSYNC_HEP_H

#include <sys/socket.h>

#include "packet.h"

struct hep;

/* 0 and *out, or a negative errno. The agent's texts are copied; its id 0 stands for the node's. */
int hep_new(struct hep **out, const struct sockaddr *to, const struct hep_agent *agent);
/* True: sent, as far as that can be known. now: ms of any clock; us: since 1970. */
bool hep_send(struct hep *h, const struct sighting *s, int64_t now, int64_t us);
/* NULL is allowed. */
void hep_free(struct hep *h);

#endif
