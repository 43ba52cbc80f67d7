/* A caller and a gateway in one process, on two sockets in two namespaces: as cheap as it gets, so that what is
 * measured is the proxy between them, and with one clock, so that a message's way from one to the other can be timed.
 *
 *     phones KIND CALLS RATE CALLER_NS CALLER_IP GATEWAY_NS GATEWAY_IP ANYCAST_IP [MARK]
 *
 * KIND call: INVITE, 180, 200, ACK, BYE. KIND cancel: INVITE, 180, CANCEL, 487; the CANCEL leaves with the firewall
 * mark MARK, by which it may be routed to another node than the INVITE. KIND cancel-ack: so does the ACK. KIND try: as
 * call, but none begins any more once anything was repeated to us. KIND stay: as call, but nobody hangs up. We repeat
 * nothing ourselves: what we would have is counted as late. Prints one JSON object. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CALLER_PORT 5090
#define SIP_PORT 5060
#define RING_US 20000  /* from 180 to 200 */
#define HOLD_US 50000  /* from the 200 or 180 to BYE or CANCEL */
#define LATE_US 500000 /* T1: an INVITE or CANCEL is repeated then */
#define END_US 4000000 /* the last calls may take so long */
#define TRY_US 1000000 /* or only so long, in a try, since to be late is enough to fail */
#define BURST 64       /* messages read before timers have their turn */
#define BUFFER 8 << 20

struct call {
    int64_t invited, ringing, cancelled, arrived; /* µs; arrived: the CANCEL at the gateway */
    bool at_gateway, answered, acked, ended, hung_up;
    char reply[900];  /* the INVITE's headers that its replies copy, as the gateway got them */
    char dialog[900]; /* R-URI, routes and To with tag, of ACK and BYE */
    char to[160], uri[160];
};

/* Calls whose next step is due after the same time each, so they come in order. */
struct queue {
    uint32_t *numbers;
    int64_t *due;
    size_t first, count;
};

static struct call *calls;
static struct queue rings, holds;
static size_t total, begun, over, repeats;
static int caller, gateway, mark;
static bool cancels, ack_astray, stays, tries;
static const char *caller_ip, *gateway_ip, *anycast_ip, *run;
static struct sockaddr_in anycast;

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- sockets ---- */

static int open_in(const char *ns, const char *ip, int port)
{
    char path[200];
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd, sock, size = BUFFER;

    snprintf(path, sizeof(path), "/var/run/netns/%s", ns);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        die(path);
    close(fd);
    sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, ip, &addr.sin_addr);
    setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    if (bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        die(ip);
    return sock;
}

static void send_to(int sock, const char *text, int len)
{
    if (sendto(sock, text, (size_t)len, 0, (struct sockaddr *)&anycast, sizeof(anycast)) < 0)
        die("sendto");
}

static void later(struct queue *q, size_t number, int64_t due)
{
    size_t at = q->first + q->count++;

    q->numbers[at] = (uint32_t)number;
    q->due[at] = due;
}

/* ---- what is read in a message ---- */

static size_t number_of(const char *msg)
{
    const char *id = strstr(msg, "\r\nCall-ID: ");
    const char *dash = id ? strchr(id, '@') : NULL;

    while (dash && dash[-1] >= '0' && dash[-1] <= '9')
        dash--;
    return dash ? (size_t)strtoul(dash, NULL, 10) : SIZE_MAX;
}

static bool is_of(const char *msg, const char *method)
{
    const char *cseq = strstr(msg, "\r\nCSeq: ");
    const char *word = cseq ? strchr(cseq + 8, ' ') : NULL;

    return word && strncmp(word + 1, method, strlen(method)) == 0;
}

/* Copies the lines that begin with the name to the end of out. */
static char *copy_lines(char *out, const char *end, const char *msg, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = strstr(msg, "\r\n"); p && p[2] != '\r'; p = strstr(p + 2, "\r\n")) {
        const char *stop = strstr(p + 2, "\r\n");

        if (!stop || strncmp(p + 2, name, n) != 0 || stop + 2 - (p + 2) >= end - out)
            continue;
        memcpy(out, p + 2, (size_t)(stop - p));
        out += stop - p;
    }
    *out = '\0';
    return out;
}

/* ---- caller ---- */

static const char sdp[] =
    "v=0\r\no=- 3905212 3905212 IN IP4 198.51.100.11\r\ns=-\r\nc=IN IP4 198.51.100.11\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 9 8 0 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    "a=ptime:20\r\na=sendrecv\r\n";

static void request(size_t i, const char *method, const char *uri, int cseq, int branch, const char *lines,
                    const char *body)
{
    char text[4000];
    int len = snprintf(text, sizeof(text),
                       "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s:%d;branch=z9hG4bK%s.%zu.%d;rport\r\nMax-Forwards: 70\r\n"
                       "%sFrom: \"Caller\" <sip:caller@example.com>;tag=%s.%zu\r\nCall-ID: %s-%zu@bench\r\n"
                       "CSeq: %d %s\r\nContact: <sip:caller@%s:%d>\r\nUser-Agent: kamsync bench\r\n"
                       "%sContent-Length: %zu\r\n\r\n%s",
                       method, uri, caller_ip, CALLER_PORT, run, i, branch, lines, run, i, run, i, cseq, method,
                       caller_ip, CALLER_PORT, *body ? "Content-Type: application/sdp\r\n" : "", strlen(body), body);

    send_to(caller, text, len);
}

static void invite(size_t i, const char *method)
{
    char uri[80], to[120];

    snprintf(uri, sizeof(uri), "sip:callee@%s", anycast_ip);
    snprintf(to, sizeof(to), "To: <sip:callee@example.com>\r\n");
    request(i, method, uri, 1, 1, to, strcmp(method, "INVITE") == 0 ? sdp : "");
}

/* R-URI and routes of the dialog, from its 2xx. */
static void learn_dialog(struct call *c, const char *msg)
{
    char lines[800], *end = lines + sizeof(lines), *out = c->dialog;
    const char *contact = strstr(msg, "\r\nContact: <"), *p = lines;

    sscanf(contact ? contact + 12 : "", "%159[^>]", c->uri);
    copy_lines(lines, end, msg, "Record-Route: "); /* one of them, or two that are alike: order does not matter */
    for (; (p = strstr(p, "Record-Route: ")) != NULL; p += 14) {
        size_t n = strcspn(p, "\n") + 1;

        out += sprintf(out, "%.*s", (int)(n - 7), p + 7);
    }
    copy_lines(out, c->dialog + sizeof(c->dialog), msg, "To: ");
}

static void on_answer(size_t i, const char *msg, int64_t now)
{
    struct call *c = &calls[i];

    if (c->answered) {
        repeats++;
        return;
    }
    c->answered = true;
    learn_dialog(c, msg);
    request(i, "ACK", c->uri, 1, 2, c->dialog, "");
    later(&holds, i, now + HOLD_US);
}

/* What is sent from here on leaves with the mark, or without. */
static void set_mark(int value)
{
    if (mark)
        setsockopt(caller, SOL_SOCKET, SO_MARK, &value, sizeof(value));
}

static void on_reply(size_t i, const char *msg, int64_t now)
{
    struct call *c = &calls[i];
    char to[160];
    int code = atoi(msg + 8);

    if (is_of(msg, "INVITE") && code == 180 && !c->ringing) {
        c->ringing = now;
        if (cancels)
            later(&holds, i, now + HOLD_US);
    } else if (is_of(msg, "INVITE") && code == 200) {
        on_answer(i, msg, now);
    } else if (is_of(msg, "INVITE") && code >= 300) {
        copy_lines(to, to + sizeof(to), msg, "To: ");
        set_mark(ack_astray ? mark : 0);
        request(i, "ACK", "sip:callee@192.0.2.1", 1, 1, to, "");
        set_mark(0);
        over += !c->ended;
        c->ended = true;
    } else if (is_of(msg, "BYE") && code == 200) {
        over += !c->ended;
        c->ended = true;
    }
}

static void hang_up(size_t i, int64_t now)
{
    if (stays) {
        over++;
        return;
    }
    if (!cancels) {
        request(i, "BYE", calls[i].uri, 2, 3, calls[i].dialog, "");
        return;
    }
    calls[i].cancelled = now;
    set_mark(mark);
    invite(i, "CANCEL");
    set_mark(0);
}

/* ---- gateway ---- */

static void respond(const char *status, const char *headers, const char *more)
{
    char text[2400];
    int len = snprintf(text, sizeof(text), "SIP/2.0 %s\r\n%s%sContent-Length: 0\r\n\r\n", status, headers, more);

    send_to(gateway, text, len);
}

/* The headers that each response to this request repeats. */
static void copy_headers(char *out, size_t size, const char *msg, size_t i)
{
    static const char *const names[] = {"Via: ", "Record-Route: ", "From: ", "Call-ID: ", "CSeq: ", "To: "};
    char *end = out + size;

    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
        out = copy_lines(out, end, msg, names[n]);
    if (!strstr(strstr(msg, "\r\nTo: "), ";tag=gw") && end - out > 30)
        sprintf(out - 2, ";tag=gw%zu\r\n", i);
}

static void on_invite(size_t i, const char *msg, int64_t now)
{
    struct call *c = &calls[i];
    char contact[80];

    if (c->at_gateway) {
        repeats++;
        return;
    }
    c->at_gateway = true;
    copy_headers(c->reply, sizeof(c->reply), msg, i);
    snprintf(contact, sizeof(contact), "Contact: <sip:callee@%s:%d>\r\n", gateway_ip, SIP_PORT);
    respond("180 Ringing", c->reply, contact);
    if (!cancels)
        later(&rings, i, now + RING_US);
}

static void on_request(size_t i, const char *msg, int64_t now)
{
    struct call *c = &calls[i];
    char headers[900];

    if (strncmp(msg, "INVITE", 6) == 0) {
        on_invite(i, msg, now);
    } else if (strncmp(msg, "ACK", 3) != 0) {
        bool again = strncmp(msg, "CANCEL", 6) == 0 ? c->arrived != 0 : c->hung_up;

        copy_headers(headers, sizeof(headers), msg, i);
        respond("200 OK", headers, "");
        repeats += again;
        if (strncmp(msg, "CANCEL", 6) == 0 && !again) {
            c->arrived = now;
            respond("487 Request Terminated", c->reply, "");
        }
        c->hung_up = c->hung_up || !cancels;
    }
}

static void answer(size_t i)
{
    char contact[80];

    snprintf(contact, sizeof(contact), "Contact: <sip:callee@%s:%d>\r\n", gateway_ip, SIP_PORT);
    respond("200 OK", calls[i].reply, contact);
}

/* ---- the loop ---- */

static void read_some(int sock)
{
    char msg[8192];
    ssize_t n;

    for (int k = 0; k < BURST && (n = recv(sock, msg, sizeof(msg) - 1, 0)) > 0; k++) {
        int64_t now = now_us();
        size_t i;

        msg[n] = '\0';
        i = number_of(msg);
        if (i >= total || !strstr(msg, run))
            continue;
        if (sock == gateway)
            on_request(i, msg, now);
        else
            on_reply(i, msg, now);
    }
}

static size_t take_due(struct queue *q, int64_t now)
{
    if (!q->count || q->due[q->first] > now)
        return SIZE_MAX;
    q->count--;
    return q->numbers[q->first++];
}

static void work(int64_t start, double rate)
{
    int64_t now = now_us();
    size_t i;

    for (int k = 0; k < BURST && begun < total && now >= start + (int64_t)((double)begun * 1e6 / rate); k++) {
        calls[begun].invited = now;
        invite(begun++, "INVITE");
    }
    while ((i = take_due(&rings, now)) != SIZE_MAX)
        answer(i);
    while ((i = take_due(&holds, now)) != SIZE_MAX)
        hang_up(i, now);
}

static void live(double rate)
{
    struct pollfd fds[] = {{caller, POLLIN, 0}, {gateway, POLLIN, 0}};
    int64_t start = now_us(), end = start + (int64_t)((double)total * 1e6 / rate) + (tries ? TRY_US : END_US);
    const struct timespec tick = {0, 200000};

    while (over < total && now_us() < end) {
        work(start, rate);
        ppoll(fds, 2, &tick, NULL);
        read_some(gateway);
        read_some(caller);
        if (tries && repeats && total > begun) {
            total = begun;
            end = now_us() + TRY_US;
        }
    }
    while (ppoll(fds, 2, &(struct timespec){0, 100000000}, NULL) > 0) { /* the last ACKs */
        read_some(gateway);
        read_some(caller);
    }
}

/* ---- the figures ---- */

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_times(const char *name, bool cancel)
{
    int64_t *times = calloc(total + 1, sizeof(*times));
    size_t n = 0;

    for (size_t i = 0; times && i < total; i++) {
        int64_t from = cancel ? calls[i].cancelled : calls[i].invited,
                to = cancel ? calls[i].arrived : calls[i].ringing;

        if (from && to)
            times[n++] = to - from;
    }
    if (n) {
        qsort(times, n, sizeof(*times), ascending);
        printf(", \"%s\": {\"n\": %zu, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}", name, n,
               (double)times[n / 2] / 1e3, (double)times[n * 9 / 10] / 1e3, (double)times[n * 99 / 100] / 1e3,
               (double)times[n - 1] / 1e3);
    }
    free(times);
}

static size_t count_late(void)
{
    size_t late = 0;

    for (size_t i = 0; i < total; i++) {
        const struct call *c = &calls[i];

        late += !c->ringing || c->ringing - c->invited > LATE_US ||
                (c->cancelled && (!c->arrived || c->arrived - c->cancelled > LATE_US));
    }
    return late;
}

static bool make_room(struct queue *q)
{
    q->numbers = calloc(total, sizeof(*q->numbers));
    q->due = calloc(total, sizeof(*q->due));
    return q->numbers && q->due;
}

static void set_up(char **argv)
{
    tries = strcmp(argv[1], "try") == 0;
    stays = strcmp(argv[1], "stay") == 0;
    ack_astray = strcmp(argv[1], "cancel-ack") == 0;
    cancels = ack_astray || strcmp(argv[1], "cancel") == 0;
    total = strtoul(argv[2], NULL, 10);
    caller_ip = argv[5];
    gateway_ip = argv[7];
    anycast_ip = argv[8];
    anycast = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(SIP_PORT)};
    inet_pton(AF_INET, anycast_ip, &anycast.sin_addr);
    calls = calloc(total, sizeof(*calls));
    if (!calls || !make_room(&rings) || !make_room(&holds))
        die("memory");
    caller = open_in(argv[4], caller_ip, CALLER_PORT);
    gateway = open_in(argv[6], gateway_ip, SIP_PORT);
}

int main(int argc, char **argv)
{
    char name[40];

    if (argc < 9) {
        fprintf(stderr, "phones KIND CALLS RATE CALLER_NS CALLER_IP GATEWAY_NS GATEWAY_IP ANYCAST_IP [MARK]\n");
        return 2;
    }
    snprintf(name, sizeof(name), "p%llx", (unsigned long long)now_us());
    run = name;
    mark = argc > 9 ? atoi(argv[9]) : 0;
    set_up(argv);
    live(atof(argv[3]));
    printf("{\"calls\": %zu, \"done\": %zu, \"late\": %zu, \"repeats\": %zu", total, over, count_late(), repeats);
    print_times("setup_ms", false);
    print_times("cancel_ms", true);
    printf("}\n");
    return 0;
}
