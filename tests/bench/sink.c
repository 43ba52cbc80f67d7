/* The least that a daemon between evapi and Redis can do, to be measured as the floor under kamsyncd: it reads how many
 * events there were (floor.cfg), gives Redis a SET of a record's size for each, in one pipeline, and waits for the
 * answers. It looks at nothing, keeps nothing, and acknowledges nothing.
 *
 *     sink EVAPI-PORT REDIS-ADDRESS REDIS-PORT */
#include <arpa/inet.h>
#include <hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD 1159 /* bytes, as ingest.py's */

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

/* Kamailio may still be starting. */
static int connected(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
    int fd;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int tries = 0; tries < 100; tries++) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        must(fd >= 0, "socket");
        if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
            return fd;
        close(fd);
        usleep(100000);
    }
    must(0, "connect");
    return -1;
}

static void put(redisContext *redis, int count)
{
    static char record[RECORD];
    static unsigned number;
    redisReply *reply;

    memset(record, 'x', sizeof(record));
    for (int i = 0; i < count; i++)
        redisAppendCommand(redis, "SET floor:%u %b PX 300000", ++number % 10000, record, sizeof(record));
    for (int i = 0; i < count; i++) {
        must(redisGetReply(redis, (void **)&reply) == REDIS_OK, "Redis");
        freeReplyObject(reply);
    }
}

/* "<length>:<how many>," one after the other; what is cut off waits for the next read. */
static size_t take(redisContext *redis, char *text, size_t n)
{
    char *comma, *at = text;

    for (; (comma = memchr(at, ',', n - (size_t)(at - text))) != NULL; at = comma + 1) {
        char *colon = memchr(at, ':', (size_t)(comma - at));

        must(colon != NULL, "netstring");
        put(redis, atoi(colon + 1));
    }
    n -= (size_t)(at - text);
    memmove(text, at, n);
    return n;
}

int main(int argc, char **argv)
{
    char text[4096];
    redisContext *redis;
    size_t kept = 0;
    ssize_t n;
    int fd;

    must(argc == 4, "sink EVAPI-PORT REDIS-ADDRESS REDIS-PORT");
    fd = connected(atoi(argv[1]));
    redis = redisConnect(argv[2], atoi(argv[3]));
    must(redis && !redis->err, "Redis");
    while ((n = read(fd, text + kept, sizeof(text) - kept)) > 0)
        kept = take(redis, text, kept + (size_t)n);
    redisFree(redis);
    close(fd);
    return 0;
}
