/* The configuration file, and a secret's file: what is accepted is within its bounds, and is kept by a reload. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"

#define CONFIG_FD 100
#define SECRET_FD 101
#define CONFIG_PATH "/proc/self/fd/100"

/* The text up to the first NUL byte is the configuration, the rest what a secret's file holds. A configuration names it
 * as /proc/self/fd/101. */
static void put_file(int number, const char *p, size_t n)
{
    int fd = memfd_create("fuzz", 0);

    must(fd >= 0 && dup2(fd, number) == number && fchmod(fd, 0600) == 0);
    must(write(number, p, n) == (ssize_t)n);
    close(fd);
}

static void check_secret(const char *secret)
{
    must(!*secret || (strlen(secret) >= 16 && strlen(secret) <= 256 && is_printable(secret)));
}

static void check(const struct config *c)
{
    must(c->kamailio && c->store && c->control && c->ready_file && c->log_level);
    must(*c->name && strlen(c->name) < 64 && is_printable(c->name));
    must(c->kamailio_addr.ss_family == AF_INET || c->kamailio_addr.ss_family == AF_INET6);
    must(c->node_ttl_ms >= 2 * c->heartbeat_ms && c->heartbeat_ms >= 100 && c->hang_ms >= 200);
    must(c->lookup_ms <= 280 && c->store_wait_ms <= 290 && c->tx_ttl_s >= 10 && c->done_ttl_s >= 5);
    must(c->cdr_max >= 0 && c->redis.cdr_max == c->cdr_max && c->takeover >> 1 == 0 && c->claim_strict >> 1 == 0);
    check_secret(c->secret);
    check_secret(c->old_secret);
    if (!c->clustered)
        return;
    must(*c->secret && (c->redis.name.count > 0) == !*c->redis.name.path);
    must(*c->redis_password || *c->redis.name.password || !(*c->redis_user || *c->redis.name.user));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    struct config c, again;
    char why[512] = "";

    put_file(CONFIG_FD, (const char *)data, n);
    put_file(SECRET_FD, (const char *)data + n + (end != NULL), size - n - (end != NULL));
    if (config_read(&c, CONFIG_PATH, why, sizeof(why)) == 0) {
        check(&c);
        must(config_read(&again, CONFIG_PATH, why, sizeof(why)) == 0);
        must(!config_needs_restart(&c, &again));
        config_clear(&again);
        config_clear(&c);
    } else {
        must(*why && strlen(why) < sizeof(why));
    }
    close(CONFIG_FD);
    close(SECRET_FD);
    return 0;
}
