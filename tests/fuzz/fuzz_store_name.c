/* The name of a store: what is taken is within its bounds, and neither an error nor what is shown has the password. */
#include "fuzz.h"
#include "io/store_name.h"

static void check_hosts(const struct store_name *n)
{
    for (size_t i = 0; i < n->count; i++) {
        must(*n->hosts[i].name && strlen(n->hosts[i].name) < sizeof(n->hosts[i].name));
        must(is_printable(n->hosts[i].name));
        must(n->hosts[i].port > 0 && n->hosts[i].port < 65536);
    }
}

static void check(const struct store_name *n)
{
    must(n->count <= STORE_HOSTS_MAX && n->db >= 0 && (n->kind != STORE_CLUSTER || !n->db));
    must((n->kind == STORE_SENTINEL) == (*n->master != '\0'));
    must(n->kind != STORE_REDIS || n->count == !*n->path);
    must(n->kind != STORE_MEMORY || (!n->count && !*n->path));
    check_hosts(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct store_name n;
    char why[600] = "", shown[600];
    char *url = span_dup((struct span){(const char *)data, size});

    must(url);
    if (store_name_read(&n, url, why, sizeof(why)) == 0) {
        check(&n);
        must(*n.path || !strchr(store_name_show(shown, sizeof(shown), url), '@'));
    } else {
        must(*why && strlen(why) < sizeof(why));
    }
    free(url);
    return 0;
}
