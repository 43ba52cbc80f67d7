/* kamsyncctl against a hostile kamsyncd: its real socket code reads the input as the answer, and every command prints
 * it. What is printed is text for a terminal: no control characters but line feeds, and valid UTF-8 (or ASCII). */
#include <sys/socket.h>
#include <unistd.h>

#include "commands.h"
#include "fuzz.h"
#include "text.h"

static struct span answer;
static int far_end;

/* In place of the kernel's: whoever connects finds the answer waiting, and then the end. */
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t n);

int __wrap_socket(int domain, int type, int protocol)
{
    int pair[2];

    must(socketpair(domain, type, protocol, pair) == 0);
    far_end = pair[1];
    return pair[0];
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t n)
{
    (void)fd;
    (void)to;
    (void)n;
    must(send(far_end, answer.p, answer.n, MSG_NOSIGNAL) == (ssize_t)answer.n);
    return close(far_end);
}

/* The length of the UTF-8 character at p, 0 when it is none. */
static size_t utf8(const unsigned char *p, size_t n)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;

    if (len > n || (p[0] == 0xE0 && len && p[1] < 0xA0) || (p[0] == 0xED && len && p[1] > 0x9F))
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

static void check(const char *s, size_t n, bool is_utf8)
{
    const unsigned char *p = (const unsigned char *)s;

    for (size_t len; n > 0; p += len, n -= len) {
        len = utf8(p, n);
        must(len && (len == 1 || is_utf8));
        must(*p == '\n' || (*p >= 0x20 && *p != 0x7F));
        must(len != 2 || *p != 0xC2 || p[1] >= 0xA0);                                 /* C1 controls */
        must(len != 3 || p[0] != 0xE2 || p[1] != 0x80 || p[2] < 0xAA || p[2] > 0xAE); /* turning text around */
    }
}

static const struct {
    const char *name;
    int (*run)(const struct options *o);
} commands[] = {{"status", command_status}, {"nodes", command_nodes}, {"tx", command_tx},
                {"trace", command_trace},   {"call", command_call},   {"calls", command_calls},
                {"cdr", command_cdr},       {"drain", command_drain}, {"reload", command_reload}};

/* Both streams go into memory, the same for all commands. */
static FILE *page;
static char *text;
static size_t text_n;

static int run(unsigned which, bool json)
{
    struct options o = {.socket = "/run/x", .json = json, .call_id = "c0\xff@x", .count = -1};
    FILE *out = stdout, *err = stderr;
    int status;

    if (!page)
        page = open_memstream(&text, &text_n);
    must(page);
    rewind(page);
    stdout = stderr = page;
    o.command = commands[which].name;
    status = commands[which].run(&o);
    stdout = out;
    stderr = err;
    fflush(page); /* sets the text and its length */
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    unsigned kind = input_byte(&in);

    answer = (struct span){(const char *)in.p, in.n < 65536 ? in.n : 65536};
    text_set_utf8(kind & 1);
    for (unsigned i = 0; i < COUNT(commands); i++) {
        int status = run(i, kind & 2);

        must(status == STATUS_FINE || (status == STATUS_NO && text_n > 0));
        check(text, text_n, kind & 1);
    }
    return 0;
}
