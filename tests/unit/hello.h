/* Kamailio's hello: the answer to kamsyncd's, of which it has the tag, with its proof. */
#ifndef KAMSYNC_TEST_HELLO_H
#define KAMSYNC_TEST_HELLO_H

#include <stdio.h>

#include "proof.h"

#define HELLO_MAX 512

static inline void hello_write(char out[HELLO_MAX], const char *secret, const char *tag, int node, const char *inc,
                               const char *sip)
{
    char text[HELLO_MAX], *proof;

    snprintf(text, sizeof(text), "%s nonce-1 %d %s %s", tag, node, inc, sip);
    proof = proof_make(span_of("hello kamailio"), span_of(text), secret);
    snprintf(out, HELLO_MAX,
             "{\"t\":\"hello\",\"node\":%d,\"inc\":\"%s\",\"sip\":\"%s\",\"nonce\":\"nonce-1\",\"proof\":\"%s\"}", node,
             inc, sip, proof ? proof : "none");
    free(proof);
}

#endif
