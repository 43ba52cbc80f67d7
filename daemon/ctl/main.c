/* kamsyncctl: queries this host's kamsyncd (proto/control.md), and gives it orders. */
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "commands.h"
#include "count.h"
#include "text.h"

#define DEFAULT_SOCKET "/run/kamsync/control.sock"
struct command {
    const char *name;
    bool call_id; /* needs one */
    const char *args;
    const char *help;
    int (*run)(const struct options *o);
};

static const struct command commands[] = {
    {"status", false, "", "this node: Kamailio, store, numbers, counters", command_status},
    {"nodes", false, "", "all nodes, and which of them are alive", command_nodes},
    {"calls", false, "[FILTER...] [--watch [SECONDS]]", "calls that are going on, on all nodes", command_calls},
    {"call", true, "CALL-ID", "all about one call, as a timeline", command_call},
    {"tx", true, "CALL-ID", "its INVITE transactions: owner, state, branches", command_tx},
    {"cdr", false, "[-n COUNT] [-f] [--export FILE [--csv]]", "calls that have ended, oldest first", command_cdr},
    {"trace", true, "CALL-ID", "what was decided about each stray of a call, and why", command_trace},
    {"key", true, "CALL-ID", "names of its records in Redis, for redis-cli", command_key},
    {"doctor", false, "[--kamailio FILE]", "what is wrong on any node, and what to write", command_doctor},
    {"drain", false, "[--evacuate | --status]", "ask for no new calls on this node (see ready_file)", command_drain},
    {"undrain", false, "", "take new calls again", command_undrain},
    {"reload", false, "", "read the settings again", command_reload},
};

/* Letters above 255 have no short form. */
enum {
    OPT_JSON = 256,
    OPT_NODE,
    OPT_STATE,
    OPT_CALLER,
    OPT_CALLEE,
    OPT_LIMIT,
    OPT_WATCH,
    OPT_EXPORT,
    OPT_CSV,
    OPT_EVACUATE,
    OPT_STATUS,
    OPT_KAMAILIO
};

struct flag {
    const char *name;
    int letter;
    int has_arg;
    const char *command; /* the only command with it; NULL: all have it */
    const char *shown, *help;
};

static const struct flag flags[] = {
    {"node", OPT_NODE, required_argument, "calls", "--node N", "of node N only"},
    {"state", OPT_STATE, required_argument, "calls", "--state STATE", "trying, ringing, answered or ended only"},
    {"caller", OPT_CALLER, required_argument, "calls", "--caller TEXT", "whose caller's URI has TEXT in it"},
    {"callee", OPT_CALLEE, required_argument, "calls", "--callee TEXT", "whose callee's URI has TEXT in it"},
    {"limit", OPT_LIMIT, required_argument, "calls", "--limit N", "at most N (default: 100)"},
    {"watch", OPT_WATCH, optional_argument, "calls", "--watch [SECONDS]", "again and again (default: 2), until ctrl-c"},
    {"count", 'n', required_argument, "cdr", "-n, --count COUNT", "the last COUNT (default: 20)"},
    {"follow", 'f', no_argument, "cdr", "-f, --follow", "and each call that ends from now on, until ctrl-c"},
    {"export", OPT_EXPORT, required_argument, "cdr", "--export FILE",
     "add all that FILE does not have yet to it, as JSON lines;\nwith -f go on"},
    {"csv", OPT_CSV, no_argument, "cdr", "--csv", "as CSV"},
    {"evacuate", OPT_EVACUATE, no_argument, "drain", "--evacuate", "and give its ringing calls to the other nodes"},
    {"status", OPT_STATUS, no_argument, "drain", "--status", "only show how far that is, and what stays"},
    {"kamailio", OPT_KAMAILIO, required_argument, "doctor", "--kamailio FILE", "look into that kamailio.cfg, too"},
    {"socket", 's', required_argument, NULL, "-s, --socket PATH",
     "kamsyncd's control socket (default: $KAMSYNC_SOCKET, or\n" DEFAULT_SOCKET ")"},
    {"json", OPT_JSON, no_argument, NULL, "    --json", "the answer as JSON; with --watch and -f in lines"},
    {"help", 'h', no_argument, NULL, "-h, --help", "this text"},
    {"version", 'V', no_argument, NULL, "-V, --version", "the version"},
};

/* The command line as read so far. */
struct reading {
    struct options options;
    const struct flag *given[COUNT(flags)]; /* those of only one command, each once */
    bool failed;
};

static bool wrong(struct reading *r, const char *text, const char *about, const char *rest)
{
    complain(text, about, rest);
    r->failed = true;
    return false;
}

#define SEE_HELP ": see 'kamsyncctl --help'"

/* Help texts may have a second line, which is put below the first. */
static void put_row(FILE *out, const char *name, const char *help)
{
    const char *second = strchr(help, '\n');
    int n = second ? (int)(second - help) : (int)strlen(help);

    fprintf(out, "  %-23s  %.*s\n", name, n, help);
    if (second)
        fprintf(out, "  %-23s  %s\n", "", second + 1);
}

static void put_flags(FILE *out, const char *title, const char *command)
{
    fprintf(out, "\n%s:\n", title);
    for (size_t i = 0; i < COUNT(flags); i++)
        if (command ? flags[i].command && strcmp(flags[i].command, command) == 0 : !flags[i].command)
            put_row(out, flags[i].shown, flags[i].help);
}

static void usage(FILE *out)
{
    fputs("Usage: kamsyncctl [OPTION...] COMMAND\n\n"
          "Asks the kamsyncd of this host what it knows of the calls on all nodes.\n\nCommands:\n",
          out);
    for (size_t i = 0; i < COUNT(commands); i++) {
        char name[64];

        snprintf(name, sizeof(name), "%s %s", commands[i].name, commands[i].args);
        if (strlen(name) > 23)
            fprintf(out, "  %s\n", name);
        put_row(out, strlen(name) > 23 ? "" : name, commands[i].help);
    }
    put_flags(out, "Filters and options of calls", "calls");
    put_flags(out, "Options of cdr", "cdr");
    put_flags(out, "Options of drain", "drain");
    put_flags(out, "Options of doctor", "doctor");
    put_flags(out, "Options of all", NULL);
    fputs("\nA CALL-ID that begins with '-' stands behind '--'. Exit status: 0 fine, 1 kamsyncd refused or is not "
          "there,\n"
          "2 wrong usage, 3 an export has a gap. doctor: 0 all is well, 1 warnings, 2 errors, or no kamsyncd.\n",
          out);
}

static int64_t read_number(struct reading *r, const char *name, const char *text, int64_t max)
{
    long long number;
    char *end;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (!errno && *text >= '0' && *text <= '9' && !*end && number <= max)
        return number;
    wrong(r, name, text, "' is no whole number that is possible here" SEE_HELP);
    return 0;
}

static int64_t read_above_0(struct reading *r, const char *name, const char *text, int64_t max)
{
    int64_t number = read_number(r, name, text, max);

    if (number == 0 && !r->failed)
        wrong(r, name, text, "' must be at least 1" SEE_HELP);
    return number;
}

/* Seconds, also fractions, as ms. */
static int64_t read_seconds(struct reading *r, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (*text >= '0' && *text <= '9' && !*end && seconds >= 0.1 && seconds <= 3600)
        return (int64_t)(seconds * 1000);
    wrong(r, "--watch '", text, "' must be from 0.1 to 3600 seconds" SEE_HELP);
    return 0;
}

/* getopt knows only --watch=5: a number in the next word is read here. */
static int64_t read_watch(struct reading *r, int argc, char **argv)
{
    const char *text = optarg;

    if (!text && optind < argc && argv[optind][0] >= '0' && argv[optind][0] <= '9')
        text = argv[optind++];
    return read_seconds(r, text ? text : "2");
}

static const char *read_state(struct reading *r, const char *text)
{
    static const char *const states[] = {"trying", "ringing", "answered", "ended"};

    for (size_t i = 0; i < COUNT(states); i++)
        if (strcmp(text, states[i]) == 0)
            return states[i];
    wrong(r, "--state '", text, "' is none of trying, ringing, answered, ended" SEE_HELP);
    return NULL;
}

static const char *read_socket(struct reading *r, const char *path)
{
    if (!*path || strlen(path) > CLIENT_PATH_MAX)
        wrong(r, "--socket '", path, "' is no path of 1 to 107 bytes" SEE_HELP);
    return path;
}

static const char *read_export(struct reading *r, const char *path)
{
    if (!*path)
        wrong(r, "--export", "", " wants the name of a file" SEE_HELP);
    return path;
}

static void note_flag(struct reading *r, int letter)
{
    for (size_t i = 0; i < COUNT(flags); i++)
        if (flags[i].letter == letter && flags[i].command)
            r->given[i] = &flags[i];
}

static void take_calls_flag(struct reading *r, int letter, int argc, char **argv)
{
    struct options *o = &r->options;

    switch (letter) {
    case OPT_NODE:
        o->node = read_above_0(r, "--node '", optarg, INT32_MAX);
        break;
    case OPT_STATE:
        o->state = read_state(r, optarg);
        break;
    case OPT_CALLER:
        o->caller = optarg;
        break;
    case OPT_CALLEE:
        o->callee = optarg;
        break;
    case OPT_LIMIT:
        o->limit = read_above_0(r, "--limit '", optarg, INT32_MAX);
        break;
    default:
        o->watch_ms = read_watch(r, argc, argv);
    }
}

/* For a short option, argv has the whole group or the previous word; getopt names the letter in optopt. */
static void wrong_flag(struct reading *r, const char *word)
{
    const char letter[] = {'-', (char)optopt, '\0'};

    wrong(r, "unknown option or value: ", optopt && optopt < OPT_JSON ? letter : word, SEE_HELP);
}

static void take_flag(struct reading *r, int letter, int argc, char **argv)
{
    note_flag(r, letter);
    switch (letter) {
    case 's':
        r->options.socket = read_socket(r, optarg);
        break;
    case OPT_JSON:
        r->options.json = true;
        break;
    case 'n':
        r->options.count = read_number(r, "--count '", optarg, INT32_MAX);
        break;
    case 'f':
        r->options.follow = true;
        break;
    case OPT_EXPORT:
        r->options.export = read_export(r, optarg);
        break;
    case OPT_CSV:
        r->options.csv = true;
        break;
    case OPT_EVACUATE:
        r->options.evacuate = true;
        break;
    case OPT_STATUS:
        r->options.progress = true;
        break;
    case OPT_KAMAILIO:
        r->options.kamailio = optarg;
        break;
    case ':':
        wrong(r, "", argv[optind - 1], " wants a value" SEE_HELP);
        break;
    case '?':
        wrong_flag(r, argv[optind - 1]);
        break;
    default:
        take_calls_flag(r, letter, argc, argv);
    }
}

/* Reads all options; true when one was --help or --version, which it has answered. */
static bool read_flags(struct reading *r, int argc, char **argv)
{
    struct option longs[COUNT(flags) + 1] = {0};
    int letter;

    for (size_t i = 0; i < COUNT(flags); i++)
        longs[i] = (struct option){flags[i].name, flags[i].has_arg, NULL, flags[i].letter};
    opterr = 0;
    while (!r->failed && (letter = getopt_long(argc, argv, ":s:hVn:f", longs, NULL)) != -1) {
        if (letter == 'h' || letter == 'V') {
            if (letter == 'h')
                usage(stdout);
            else
                puts("kamsyncctl " KAMSYNC_VERSION);
            return true;
        }
        take_flag(r, letter, argc, argv);
    }
    return false;
}

static const struct command *find_command(struct reading *r, const char *name)
{
    if (!name) {
        wrong(r, "a command is missing", "", SEE_HELP);
        return NULL;
    }
    for (size_t i = 0; i < COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    wrong(r, "unknown command '", name, "'" SEE_HELP);
    return NULL;
}

static bool check_flags(struct reading *r, const struct command *c)
{
    for (size_t i = 0; i < COUNT(flags); i++)
        if (r->given[i] && strcmp(r->given[i]->command, c->name) != 0)
            return wrong(r, "--", r->given[i]->name, " is no option of this command" SEE_HELP);
    if (r->options.csv && !r->options.export)
        return wrong(r, "--csv", "", " is for --export only" SEE_HELP);
    if (r->options.export && (r->options.count >= 0 || r->options.json))
        return wrong(r, "--export", "", " goes without -n and --json" SEE_HELP);
    return true;
}

/* The command and its Call-ID, the only words besides the options. */
static const struct command *read_words(struct reading *r, char **words)
{
    const struct command *c = find_command(r, words[0]);
    const char *surplus = NULL;

    if (!c || !check_flags(r, c))
        return NULL;
    r->options.command = c->name;
    if (c->call_id)
        r->options.call_id = words[1];
    if (c->call_id && (!words[1] || !*words[1]))
        wrong(r, "a CALL-ID is missing behind ", c->name, SEE_HELP);
    else
        surplus = words[c->call_id ? 2 : 1];
    if (surplus)
        wrong(r, "too much: '", surplus, "'" SEE_HELP);
    return r->failed ? NULL : c;
}

static const char *default_socket(struct reading *r)
{
    const char *path = getenv("KAMSYNC_SOCKET");

    return path && *path ? read_socket(r, path) : DEFAULT_SOCKET;
}

/* A full disk is no success. */
static int close_stdout(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "kamsyncctl: cannot write: %s\n", strerror(errno));
    return STATUS_NO;
}

int main(int argc, char **argv)
{
    struct reading r = {.options = {.count = -1}};
    const struct command *c;

    setlocale(LC_CTYPE, "");
    text_set_utf8(strcmp(nl_langinfo(CODESET), "UTF-8") == 0);
    if (read_flags(&r, argc, argv))
        return close_stdout(STATUS_FINE);
    c = r.failed ? NULL : read_words(&r, argv + optind);
    if (!r.failed && !r.options.socket)
        r.options.socket = default_socket(&r);
    if (!c || r.failed)
        return STATUS_USAGE;
    return close_stdout(c->run(&r.options));
}
