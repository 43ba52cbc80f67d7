/* What other kamsyncds say over the store, and proofs: only what a peer made is believed. */
#include "base64.h"
#include "handover.h"
#include "world.h"

#define SECRET "0123456789abcdef"

/* Whoever changes a byte of a proven message has none. */
static void check_proof(struct span msg, struct input *in)
{
    struct handover h = {1, "100.1", "owner", "udp:198.51.100.9:5060", "udp:192.0.2.10:5060", 2, "1.1"};
    char *base64 = handover_make(&h, msg, SECRET), *text;
    size_t at = input_byte(in) * 256 + input_byte(in);
    struct span s = {0};

    must(!base64 == !(msg.n && memchr(msg.p, '\n', msg.n)));
    if (!base64)
        return;
    text = base64_bytes(span_of(base64), &s.n);
    s.p = text;
    must(text && handover_proven(s, SECRET) && !handover_proven(s, "0123456789abcdeF"));
    text[at % s.n] ^= 1 + input_byte(in) % 255;
    must(!handover_proven(s, SECRET));
    free(text);
    free(base64);
}

/* A peer's handover reaches Kamailio; its length decides whether it fits. */
static void check_relayed(struct world *w, struct span msg)
{
    struct handover h = {1, "100.1", "owner", "udp:198.51.100.9:5060", "udp:192.0.2.10:5060", 2, "1.1"};
    char *base64 = handover_make(&h, msg, SECRET), *text;
    uint64_t before = engine_counters(w->e)->relayed_in;

    if (!base64)
        return;
    text = text_of("{\"t\":\"handover\",\"msg\":\"%s\"}", base64);
    engine_message(w->e, span_of(text), w->now);
    must(engine_counters(w->e)->relayed_in == before + 1);
    free(text);
    free(base64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct world *w = world_ready(false);
    struct span msg;

    world_ask(w, "{\"cmd\":\"calls\"}", 0);
    world_ask(w, "{\"cmd\":\"tx\",\"call_id\":\"c\"}", 1);
    for (int i = 0; i < 8 && in.n; i++) {
        struct span text = exact(input_chunk(&in));

        engine_message(w->e, text, w->now);
        handover_proven(text, SECRET);
        exact_free(text);
        world_turn(w);
    }
    msg = exact((struct span){(const char *)in.p, in.n});
    check_proof(msg, &in);
    check_relayed(w, msg);
    exact_free(msg);
    world_wait(w);
    must(w->answered[0] == 1 && w->answered[1] == 1);
    world_free(w);
    return 0;
}
