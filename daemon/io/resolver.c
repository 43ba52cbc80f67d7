#include "resolver.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 128 /* then those that nobody waits for are forgotten; Sentinels may name others each time */

struct resolved_name {
    uv_getaddrinfo_t lookup;
    struct resolver *of; /* NULL: gone during the look-up */
    struct resolved_name *next;
    bool looking_up, answering;
    struct asker *waiting, *answered; /* the latter: as of the look-up that has just ended */
    struct addresses known;
    char host[];
};

struct resolver {
    uv_loop_t *loop;
    struct resolved_name *names;
    size_t count;
};

struct resolver *resolver_new(uv_loop_t *loop)
{
    struct resolver *r = calloc(1, sizeof(*r));

    if (r)
        r->loop = loop;
    return r;
}

/* Those that are not being looked up, nor answered at this moment. */
static void forget_names(struct resolver *r)
{
    struct resolved_name **at = &r->names;

    while (*at) {
        struct resolved_name *n = *at;

        if (n->looking_up || n->answering) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        r->count--;
        free(n);
    }
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    forget_names(r);
    for (struct resolved_name *n = r->names; n; n = n->next) {
        n->of = NULL;
        uv_cancel((uv_req_t *)&n->lookup); /* works unless it has begun */
    }
    free(r);
}

static struct resolved_name *find(const struct resolver *r, const char *host)
{
    for (struct resolved_name *n = r->names; n; n = n->next)
        if (strcmp(n->host, host) == 0)
            return n;
    return NULL;
}

static struct resolved_name *add(struct resolver *r, const char *host)
{
    struct resolved_name *n;

    if (r->count >= NAMES_MAX)
        forget_names(r);
    n = calloc(1, sizeof(*n) + strlen(host) + 1);
    if (!n)
        return NULL;
    memcpy(n->host, host, strlen(host) + 1);
    n->of = r;
    n->next = r->names;
    r->names = n;
    r->count++;
    return n;
}

static void keep(struct addresses *known, const struct addrinfo *a)
{
    known->count = 0;
    for (; a && known->count < ADDRESSES_MAX; a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, known->ip[known->count], sizeof(known->ip[0]), NULL, 0,
                        NI_NUMERICHOST) == 0)
            known->count++;
}

/* Who asks again from within done() waits for the next look-up. */
static void on_answer(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct resolved_name *n = lookup->data;

    n->looking_up = false;
    if (status == 0)
        keep(&n->known, found);
    uv_freeaddrinfo(found);
    if (!n->of) {
        free(n);
        return;
    }
    n->answered = n->waiting;
    n->waiting = NULL;
    n->answering = true;
    while (n->answered) {
        struct asker *a = n->answered;

        resolver_leave(a);
        a->done(a, status);
    }
    n->answering = false;
}

static int look_up(struct resolved_name *n)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int rc;

    n->lookup.data = n;
    rc = uv_getaddrinfo(n->of->loop, &n->lookup, on_answer, n->host, NULL, &hints);
    n->looking_up = rc == 0;
    return rc;
}

int resolver_ask(struct resolver *r, const char *host, struct asker *a)
{
    struct resolved_name *n = find(r, host);
    int rc;

    if (!n)
        n = add(r, host);
    if (!n)
        return UV_ENOMEM;
    rc = n->looking_up ? 0 : look_up(n);
    if (rc < 0)
        return rc;
    a->name = n;
    a->next = n->waiting;
    n->waiting = a;
    return 0;
}

static bool take_out(struct asker **list, struct asker *a)
{
    while (*list && *list != a)
        list = &(*list)->next;
    if (!*list)
        return false;
    *list = a->next;
    return true;
}

void resolver_leave(struct asker *a)
{
    if (a->name && !take_out(&a->name->waiting, a))
        take_out(&a->name->answered, a);
    a->name = NULL;
}

const struct addresses *resolver_known(const struct resolver *r, const char *host)
{
    const struct resolved_name *n = find(r, host);

    return n && n->known.count ? &n->known : NULL;
}
