#include "oom.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/hmac.h>
#include <stdlib.h>

struct mbuf;
struct sip_msg; /* libre's; its headers and jansson's do not go together */

static unsigned left; /* allocations until one fails, 0: none does */
static bool on, for_ever, failed;

void oom_begin(unsigned n, bool ever)
{
    left = n;
    for_ever = ever;
    failed = false;
    on = n > 0;
}

bool oom_end(void)
{
    on = false;
    return failed;
}

static bool refuse(void)
{
    if (!on || (failed && !for_ever) || (!failed && --left > 0))
        return false;
    failed = true;
    return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
json_t *__real_json_loadb(const char *text, size_t n, size_t flags, json_error_t *err);
struct mbuf *__real_mbuf_alloc(size_t n);
int __real_sip_msg_decode(struct sip_msg **msg, struct mbuf *mb);
unsigned char *__real_HMAC(const EVP_MD *md, const void *key, int key_len, const unsigned char *data, size_t n,
                           unsigned char *out, unsigned int *out_len);

void *__wrap_malloc(size_t n)
{
    return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return refuse() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refuse() ? NULL : __real_realloc(p, n);
}

struct mbuf *__wrap_mbuf_alloc(size_t n)
{
    return refuse() ? NULL : __real_mbuf_alloc(n);
}

int __wrap_sip_msg_decode(struct sip_msg **msg, struct mbuf *mb)
{
    return refuse() ? ENOMEM : __real_sip_msg_decode(msg, mb);
}

unsigned char *__wrap_HMAC(const EVP_MD *md, const void *key, int key_len, const unsigned char *data, size_t n,
                           unsigned char *out, unsigned int *out_len)
{
    return refuse() ? NULL : __real_HMAC(md, key, key_len, data, n, out, out_len);
}

/* jansson 2.14's lexer does not survive memory that is short while a token grows (its issue 362), so reading fails as a
 * whole or not at all. */
json_t *__wrap_json_loadb(const char *text, size_t n, size_t flags, json_error_t *err)
{
    bool was_on = on;
    json_t *json = NULL;

    if (refuse()) {
        if (err)
            *err = (json_error_t){.text = "memory is short"};
        return NULL;
    }
    on = false;
    json = __real_json_loadb(text, n, flags, err);
    on = was_on;
    return json;
}

void oom_setup(void)
{
    json_object_seed(1); /* else jansson draws its seed at a moment of its own choice */
    json_set_alloc_funcs(__wrap_malloc, free);
}

unsigned oom_run(void (*scenario)(void *arg, bool *good), void *arg)
{
    unsigned n = 0;

    for (int ever = 0; ever < 2; ever++) {
        bool failed, good;

        n = 0;
        do {
            good = false;
            oom_begin(++n, ever);
            scenario(arg, &good);
            failed = oom_end();
            cr_assert(n < 5000);
        } while (failed);
        cr_expect(good, "with all memory that it wants it must end well");
        cr_expect(n > 1, "no allocation was seen");
    }
    return n;
}
