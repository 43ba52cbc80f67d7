/* kamsyncd: keeps Kamailio's transactions for the whole anycast cluster. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "core/base/hash.h"
#include "daemon.h"

#define DEFAULT_PATH "/etc/kamsync/kamsyncd.conf"
#define SERVICE_USER "kamsync" /* as in kamsyncd.service */

static void usage(FILE *out)
{
    fprintf(
        out,
        "Usage: kamsyncd [-c FILE] [--check [--user NAME] | --help | --version]\n\n"
        "Runs beside one Kamailio node, talks to it over evapi, and keeps its INVITE transactions in Redis, so that\n"
        "a CANCEL, an ACK or a reply which reaches another node of the anycast cluster finds its way.\n\n"
        "  -c, --config FILE   read the settings from FILE (default: " DEFAULT_PATH ")\n"
        "      --check         only check the settings: 0 when they are good, else 1 and what is wrong\n"
        "      --user NAME     as root, check as this user, who may read less (default: " SERVICE_USER
        ", if there is one)\n"
        "  -h, --help          this text\n"
        "  -V, --version       the version\n\n"
        "Signals: SIGTERM, SIGINT: write what is unwritten and end (twice: end now). SIGHUP: read the settings\n"
        "again; when they are wrong the old ones stay. SIGUSR1: log the status and all counters. SIGUSR2: drain\n"
        "this node (see ready_file), and again: no longer.\n\n"
        "Settings, one 'option = value' a line, # for comments:\n");
    config_help(out);
}

/* Root reads every file, so it becomes the user that the service runs as. 0, or -1 with what is wrong on stderr. */
static int become(const char *name)
{
    const struct passwd *user = getpwnam(name);

    if (!user) {
        fprintf(stderr, "kamsyncd: there is no user '%s'\n", name);
        return -1;
    }
    if (geteuid() == user->pw_uid)
        return 0;
    if (initgroups(name, user->pw_gid) == 0 && setgid(user->pw_gid) == 0 && setuid(user->pw_uid) == 0)
        return 0;
    fprintf(stderr, "kamsyncd: cannot check as user '%s': %s\n", name, strerror(errno));
    return -1;
}

static int check_only(const char *path, const char *user)
{
    struct config c;
    char why[512];

    if (!user && geteuid() == 0 && getpwnam(SERVICE_USER))
        user = SERVICE_USER;
    if (user && become(user) < 0)
        return 1;
    if (config_read(&c, path, why, sizeof(why)) < 0) {
        fprintf(stderr, "kamsyncd: %s\n", why);
        return 1;
    }
    printf("%s: good%s%s\n", path, user ? ", read as user " : "", user ? user : "");
    config_clear(&c);
    return 0;
}

static int seed_hashes(void)
{
    unsigned char seed[HASH_SEED_BYTES];
    int rc = uv_random(NULL, NULL, seed, sizeof(seed), 0, NULL);

    if (rc == 0)
        hash_seed(seed);
    else
        fprintf(stderr, "kamsyncd: no random numbers: %s\n", uv_strerror(rc));
    return rc;
}

static int run(const char *path)
{
    struct config c;
    char why[512];

    if (config_read(&c, path, why, sizeof(why)) < 0) {
        fprintf(stderr, "kamsyncd: %s\n", why);
        return 1;
    }
    return seed_hashes() < 0 ? 1 : daemon_run(&c, path);
}

struct options {
    const char *path, *user; /* user: NULL unless given */
    bool check;
};

/* -1, or the exit status: there is no more to do. */
static int take_option(struct options *o, int opt)
{
    switch (opt) {
    case 'c':
        o->path = optarg;
        return -1;
    case 'k':
        o->check = true;
        return -1;
    case 'u':
        o->user = optarg;
        return -1;
    case 'h':
        usage(stdout);
        return 0;
    case 'V':
        puts("kamsyncd " KAMSYNC_VERSION);
        return 0;
    default:
        fprintf(stderr, "Try 'kamsyncd --help'.\n");
        return 2;
    }
}

static int read_options(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
                                          {"user", required_argument, NULL, 'u'},   {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0}};
    int opt, done = -1;

    while (done < 0 && (opt = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1)
        done = take_option(o, opt);
    if (done >= 0)
        return done;
    if (optind < argc) {
        fprintf(stderr, "kamsyncd: unexpected '%s'. Try 'kamsyncd --help'.\n", argv[optind]);
        return 2;
    }
    if (o->user && !o->check) {
        fprintf(stderr, "kamsyncd: --user is for --check only. Try 'kamsyncd --help'.\n");
        return 2;
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct options o = {.path = DEFAULT_PATH};
    int done = read_options(&o, argc, argv);

    if (done >= 0)
        return done;
    return o.check ? check_only(o.path, o.user) : run(o.path);
}
