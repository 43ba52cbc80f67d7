/* SipHash-1-3 (Aumasson and Bernstein), which Python and Rust use for the same reason. */
#include "hash.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

static uint64_t key[2];

struct sip_state {
    uint64_t a, b, c, d;
};

static uint64_t rotl(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(struct sip_state *s)
{
    s->a += s->b;
    s->c += s->d;
    s->b = rotl(s->b, 13) ^ s->a;
    s->d = rotl(s->d, 16) ^ s->c;
    s->a = rotl(s->a, 32);
    s->c += s->b;
    s->a += s->d;
    s->b = rotl(s->b, 17) ^ s->c;
    s->d = rotl(s->d, 21) ^ s->a;
    s->c = rotl(s->c, 32);
}

/* Up to eight bytes as a little-endian word. */
static uint64_t word(const unsigned char *p, size_t n)
{
    uint64_t w = 0;

    memcpy(&w, p, n);
    return le64toh(w);
}

static void take(struct sip_state *s, uint64_t w)
{
    s->d ^= w;
    sip_round(s);
    s->a ^= w;
}

void hash_seed(const unsigned char seed[HASH_SEED_BYTES])
{
    key[0] = word(seed, 8);
    key[1] = word(seed + 8, 8);
}

unsigned hash_bytes(const void *p, size_t n)
{
    struct sip_state s = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
                          key[1] ^ 0x7465646279746573};
    const unsigned char *at = p;
    size_t left = n;

    for (; left >= 8; at += 8, left -= 8)
        take(&s, word(at, 8));
    take(&s, (left ? word(at, left) : 0) | (uint64_t)n << 56);
    s.c ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return (unsigned)(s.a ^ s.b ^ s.c ^ s.d);
}
