#include "commands.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "base64.h"
#include "client.h"
#include "show.h"
#include "value.h"

#define FOLLOW_MS 1000
#define FOLLOW_COUNT 1000 /* limit of one answer; if reached, the next question follows at once */

void complain(const char *text, const char *about, const char *rest)
{
    struct buf b = {0};

    buf_printf(&b, "kamsyncctl: %s", text);
    buf_safe(&b, span_of(about));
    buf_printf(&b, "%s\n", rest);
    buf_put(&b, stderr);
}

static json_t *request_of(const char *command)
{
    return json_pack("{s:s}", "cmd", command);
}

/* A command line may hold bytes that JSON cannot: these are written as kamsyncd writes them. */
static void set_text(json_t *request, const char *name, const char *text)
{
    json_t *value = text ? json_string(text) : NULL;
    char *base64 = text && !value ? base64_text(span_of(text)) : NULL;

    if (base64)
        value = json_pack("{s:s}", "base64", base64);
    free(base64);
    if (value)
        json_object_set_new(request, name, value);
}

static void set_number(json_t *request, const char *name, int64_t number)
{
    json_object_set_new(request, name, json_integer(number));
}

/* Prints the reason for the failure in one line; kamsyncd's text may quote SIP. */
static int refuse(const struct options *o, const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    struct buf b = {0};

    if (o->quiet)
        return STATUS_NO;
    if (o->json)
        show_json(answer, o->watch_ms || o->follow, stdout);
    buf_printf(&b, "kamsyncctl: ");
    if (json_string_length(error))
        value_any(&b, error);
    else
        buf_printf(&b, "kamsyncd refused '%s' and did not say why: its log may", o->command);
    buf_printf(&b, "\n");
    buf_put(&b, stderr);
    return STATUS_NO;
}

int ask(const struct options *o, json_t *request, json_t **answer)
{
    struct buf why = {0};
    bool fits = client_fits(request);
    int status = STATUS_FINE;

    *answer = fits ? client_ask(o->socket, request, &why) : NULL;
    json_decref(request);
    if (!fits) {
        complain("this text is too long for a request (4,096 bytes): see 'kamsyncctl --help'", "", "");
        status = STATUS_USAGE;
    } else if (!*answer) {
        if (!o->quiet)
            fprintf(stderr, "kamsyncctl: %.*s\n", (int)why.n, why.p);
        status = STATUS_NO;
    } else if (!json_is_true(json_object_get(*answer, "ok"))) {
        status = refuse(o, *answer);
        json_decref(*answer);
        *answer = NULL;
    }
    buf_free(&why);
    return status;
}

int ask_command(const struct options *o, json_t **answer)
{
    return ask(o, request_of(o->command), answer);
}

/* Output for people goes to stdout before the warning about silent nodes goes to stderr. */
static void warn_silent(const json_t *answer)
{
    fflush(stdout);
    show_silent(answer, stderr);
}

static int ask_and_show(const struct options *o, void (*show)(const json_t *answer, FILE *out))
{
    json_t *request = request_of(o->command), *answer;
    int status;

    set_text(request, "call_id", o->call_id);
    status = ask(o, request, &answer);
    if (status != STATUS_FINE)
        return status;
    if (o->json)
        show_json(answer, false, stdout);
    else
        show(answer, stdout);
    warn_silent(answer);
    json_decref(answer);
    return STATUS_FINE;
}

int command_status(const struct options *o)
{
    return ask_and_show(o, show_status);
}

int command_nodes(const struct options *o)
{
    return ask_and_show(o, show_nodes);
}

int command_tx(const struct options *o)
{
    return ask_and_show(o, show_tx);
}

int command_trace(const struct options *o)
{
    return ask_and_show(o, show_trace);
}

int command_key(const struct options *o)
{
    return ask_and_show(o, show_key);
}

/* Requests and answers of orders are short. */
static int order(const struct options *o, json_t *request, const char *done)
{
    json_t *answer;
    int status = ask(o, request, &answer);

    if (status != STATUS_FINE)
        return status;
    if (o->json)
        show_json(answer, false, stdout);
    else
        puts(done);
    json_decref(answer);
    return STATUS_FINE;
}

int command_drain(const struct options *o)
{
    struct options question = *o;
    json_t *request;

    if (o->progress) {
        question.command = "evacuation";
        return ask_and_show(&question, show_evacuation);
    }
    request = request_of(o->command);
    if (o->evacuate)
        json_object_set_new(request, "evacuate", json_true());
    return order(o, request,
                 o->evacuate ? "drained, and its calls go to the other nodes: 'kamsyncctl drain --status' shows how far"
                             : "drained: this node should get no new calls");
}

int command_undrain(const struct options *o)
{
    return order(o, request_of(o->command), "no longer drained");
}

int command_reload(const struct options *o)
{
    return order(o, request_of(o->command), "settings read again");
}

/* The calls were found, so a missing trace only causes an error message, which ask() prints. */
static void show_with_trace(const struct options *o, const json_t *calls)
{
    json_t *request = request_of("trace"), *trace;

    set_text(request, "call_id", o->call_id);
    ask(o, request, &trace);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        if (i > 0)
            putchar('\n');
        show_call(json_array_get(calls, i), trace, stdout);
    }
    json_decref(trace);
}

int command_call(const struct options *o)
{
    json_t *request = request_of("call"), *answer, *calls;
    int status;

    set_text(request, "call_id", o->call_id);
    status = ask(o, request, &answer);
    if (status != STATUS_FINE)
        return status;
    calls = json_object_get(answer, "calls");
    if (o->json)
        show_json(answer, false, stdout);
    else if (json_array_size(calls))
        show_with_trace(o, calls);
    warn_silent(answer);
    if (!json_array_size(calls)) {
        complain("no call with the Call-ID '", o->call_id, "' is known: 'kamsyncctl cdr' has those that ended");
        status = STATUS_NO;
    }
    json_decref(answer);
    return status;
}

/* The terminal was not changed, so there is nothing to restore. */
static void on_interrupt(int number)
{
    (void)number;
    _exit(STATUS_FINE);
}

static void end_by_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigaction(SIGINT, &action, NULL);
}

void wait_ms(int64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

static int64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* As many lines as fit on the screen, if no limit is given. */
static int64_t fitting_limit(const struct options *o)
{
    const int others = 4; /* the two heads, the total, and the cursor's line */
    struct winsize size;

    if (o->limit || !o->watch_ms || o->json || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row)
        return o->limit;
    return size.ws_row > others ? size.ws_row - others : 1;
}

static json_t *calls_request(const struct options *o)
{
    json_t *request = request_of(o->command);
    int64_t limit = fitting_limit(o);

    if (o->node)
        set_number(request, "node", o->node);
    if (limit)
        set_number(request, "limit", limit);
    set_text(request, "state", o->state);
    set_text(request, "caller", o->caller);
    set_text(request, "callee", o->callee);
    return request;
}

/* Like top in a terminal, otherwise one block below the other. */
static void put_watch_head(const struct options *o, bool first)
{
    struct buf b = {0};

    if (isatty(STDOUT_FILENO))
        fputs("\033[H\033[2J", stdout);
    else if (!first)
        fputc('\n', stdout);
    buf_printf(&b, "kamsyncctl calls, ");
    value_date(&b, wall_ms());
    buf_printf(&b, ", every ");
    value_duration(&b, o->watch_ms);
    buf_printf(&b, "\n");
    buf_put(&b, stdout);
}

static int calls_once(const struct options *o, bool first)
{
    json_t *answer;
    int status = ask(o, calls_request(o), &answer);

    if (status != STATUS_FINE)
        return status;
    if (o->json)
        show_json(answer, o->watch_ms > 0, stdout);
    else {
        if (o->watch_ms)
            put_watch_head(o, first);
        show_calls(answer, wall_ms(), stdout);
    }
    warn_silent(answer);
    json_decref(answer);
    return STATUS_FINE;
}

/* Waits for a daemon that restarts, and prints only the first error about that. */
int command_calls(const struct options *o)
{
    struct options again = *o;
    int status;

    if (o->watch_ms)
        end_by_interrupt();
    status = calls_once(o, true);
    while (o->watch_ms && status == STATUS_FINE && !ferror(stdout)) {
        wait_ms(o->watch_ms);
        again.quiet = calls_once(&again, false) != STATUS_FINE;
    }
    return status;
}

/* The position of `cdr -f`. */
struct place {
    json_t *after; /* id of the newest call seen; NULL: none yet */
    bool heads;    /* have been printed */
};

static json_t *cdr_request(const struct options *o, const struct place *at, int64_t count)
{
    json_t *request = request_of(o->command);

    if (count >= 0)
        set_number(request, "count", count);
    if (at->after)
        json_object_set(request, "after", at->after);
    return request;
}

static void put_cdr(const struct options *o, const json_t *answer, struct place *at)
{
    const json_t *list = json_object_get(answer, "cdr");

    if (!o->json)
        show_cdr(list, !at->heads, stdout);
    else if (!o->follow)
        show_json(answer, false, stdout);
    else
        for (size_t i = 0; i < json_array_size(list); i++)
            show_json(json_array_get(list, i), true, stdout);
    at->heads = true;
}

/* Asks for up to count calls after the place, or for the newest, and moves the place on. */
static int cdr_once(const struct options *o, struct place *at, int64_t count, bool show, size_t *got)
{
    json_t *answer, *list, *id;
    int status = ask(o, cdr_request(o, at, count), &answer);

    *got = 0;
    if (status != STATUS_FINE)
        return status;
    list = json_object_get(answer, "cdr");
    *got = json_array_size(list);
    id = *got ? json_object_get(json_array_get(list, *got - 1), "id") : NULL;
    if (json_is_string(id)) {
        json_decref(at->after);
        at->after = json_incref(id);
    }
    if (show)
        put_cdr(o, answer, at);
    fflush(stdout);
    json_decref(answer);
    return STATUS_FINE;
}

static void follow(const struct options *o, struct place *at)
{
    struct options again = *o;
    size_t got = 0;

    while (!ferror(stdout)) {
        if (got < FOLLOW_COUNT)
            wait_ms(FOLLOW_MS);
        again.quiet = cdr_once(&again, at, FOLLOW_COUNT, true, &got) != STATUS_FINE;
    }
}

/* Even if no calls are wanted, asks for the newest: those after it are new. */
int command_cdr(const struct options *o)
{
    bool none = o->count == 0;
    struct place at = {NULL, false};
    size_t got;
    int status;

    if (o->export)
        return command_export(o);
    if (o->follow)
        end_by_interrupt();
    status = cdr_once(o, &at, none ? 1 : o->count, !none, &got);
    if (o->follow && status == STATUS_FINE)
        follow(o, &at);
    json_decref(at.after);
    return status;
}
