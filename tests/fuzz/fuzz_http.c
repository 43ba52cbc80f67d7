/* A URL, as a stranger on the HTTP port writes it: what is decoded stays within its bounds, and whatever question comes
 * of it, the engine answers it once. */
#include "http/routes.h"
#include "world.h"

static void check(const struct url *u, const char *text)
{
    const char *end = u->text + sizeof(u->text);

    must(u->path.n > 0 && *text == '/' && u->count <= URL_ARGUMENTS);
    must(u->path.p >= u->text && u->path.p + u->path.n < end && !memchr(u->path.p, 0, u->path.n));
    for (size_t i = 0; i < u->count; i++) {
        struct span name = u->arguments[i].name, value = u->arguments[i].value;

        must(name.p >= u->text && name.p + name.n < end && !(name.n && memchr(name.p, 0, name.n)));
        must(!value.p || (value.p >= u->text && value.p + value.n < end && !(value.n && memchr(value.p, 0, value.n))));
    }
}

static void ask(const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    struct world *w = world_ready(false);

    must(text && route_rows(request) >= 0 && route_rows(request) <= 1000);
    world_ask(w, text, 0);
    world_wait(w);
    must(w->answered[0] == 1);
    world_free(w);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = span_dup((struct span){(const char *)data, size});
    struct url u;
    const struct route *r;
    const char *error = NULL;
    json_t *request = NULL;

    must(text);
    if (url_read(&u, text) == 0) {
        check(&u, text);
        r = route_find(&u);
        if (r && r->kind == ROUTE_QUESTION)
            must((request = route_request(r, &u, &error)) || *error);
    }
    if (request)
        ask(request);
    json_decref(request);
    free(text);
    return 0;
}
