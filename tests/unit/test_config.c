/* The configuration file: what is wrong is said with its file and option. */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"

TestSuite(config, .fini = no_leaks);

#define SECRET "0123456789abcdef"

/* A file with this text, gone with the test's end. */
static char *file_with(const char *text)
{
    static int count;
    char *path = scratch("/tmp/kamsync-test-%d-%d", (int)getpid(), count++);
    FILE *f = fopen(path, "w");

    cr_assert_not_null(f);
    fputs(text, f);
    cr_assert(fclose(f) == 0 && chmod(path, 0600) == 0);
    return path;
}

static int read_text(struct config *c, const char *text, char **why)
{
    char buffer[512] = "", *path = file_with(text);
    int rc = config_read(c, path, buffer, sizeof(buffer));

    unlink(path);
    *why = scratch("%s", buffer);
    cr_expect((rc == 0) == (buffer[0] == '\0'), "'%s': %d '%s'", text, rc, buffer);
    cr_expect(rc == 0 || strstr(buffer, path) || strstr(buffer, "secret_file") || strstr(buffer, "password_file"),
              "the file is not named: '%s'", buffer);
    return rc;
}

Test(config, defaults)
{
    char why[128] = "";
    struct config c;

    cr_assert(config_read(&c, NULL, why, sizeof(why)) == 0, "%s", why);
    cr_expect_str_eq(c.kamailio, "127.0.0.1:8448");
    cr_expect_str_eq(c.store, "memory://");
    cr_expect_str_eq(c.cluster, "kamsync");
    cr_expect_str_eq(c.log_level, "info");
    cr_expect_str_eq(c.secret, "");
    cr_expect(*c.name, "the host's name");
    cr_expect(c.heartbeat_ms == 1000 && c.node_ttl_ms == 3000 && c.tx_ttl_s == 300 && !c.clustered);
    cr_expect(c.call_max_s == 43200 && c.ended_ttl_s == 300 && c.cdr_max == 100000 && c.redis.cdr_max == 100000);
    cr_expect(c.kamailio_addr.ss_family == AF_INET);
    config_clear(&c);
    config_clear(&c); /* again: no harm */
}

Test(config, all_that_can_be_said)
{
    char *secret = file_with(SECRET "\nmore\n"), *old = file_with("fedcba9876543210\r\n"), *password = file_with("pw"),
         *why;
    struct config c;

    cr_assert(
        read_text(
            &c,
            scratch("# comment\n[kamsync]\nkamailio = [::1]:9000\nstore = redis://db.example:6380/3\nname = ams1\n"
                    "secret_file = %s\nold_secret_file=%s\nlog_level = debug\nredis_user = u\n"
                    "redis_password_file = %s\nredis_timeout_ms = 100\nheartbeat_ms = 60000\nnode_ttl_ms = 300000\n"
                    "lookup_ms = 0\nstore_wait_ms = 290\ntx_ttl_s = 10\ndone_ttl_s = 3600\ntx_max_s = 60\n"
                    "call_max_s = 604800\nended_ttl_s = 32\ncdr_max = 0\n",
                    secret, old, password),
            &why) == 0,
        "%s", why);
    cr_expect_str_eq(c.secret, SECRET);
    cr_expect_str_eq(c.old_secret, "fedcba9876543210");
    cr_expect_str_eq(c.redis_password, "pw");
    cr_expect_str_eq(c.redis.login.password, "pw");
    cr_expect_str_eq(c.redis.login.user, "u");
    cr_expect_str_eq(c.redis.name.hosts[0].name, "db.example");
    cr_expect(c.clustered && c.redis.name.hosts[0].port == 6380 && c.redis.name.db == 3 && c.redis.timeout_ms == 100);
    cr_expect(c.kamailio_addr.ss_family == AF_INET6);
    cr_expect(ntohs(((struct sockaddr_in6 *)&c.kamailio_addr)->sin6_port) == 9000);
    cr_expect(c.lookup_ms == 0 && c.tx_max_s == 60);
    cr_expect(c.call_max_s == 604800 && c.ended_ttl_s == 32 && c.cdr_max == 0 && c.redis.cdr_max == 0);
    config_clear(&c);
    unlink(secret);
    unlink(old);
    unlink(password);
}

/* What proves is the secret itself only in the cluster that has no name of its own. */
Test(config, each_cluster_proves_in_its_own_way)
{
    static const char *const names[] = {"kamsync", "a", "a.b_c-D9", "12345678901234567890123456789012"};
    char *secret = file_with(SECRET), *why, *seen[COUNT(names)];
    struct config c;

    for (size_t i = 0; i < COUNT(names); i++) {
        cr_assert(read_text(&c,
                            scratch("cluster = %s\nsecret_file = %s\nold_secret_file = %s\n", names[i], secret, secret),
                            &why) == 0,
                  "%s", why);
        cr_expect_str_eq(c.secret, c.old_secret);
        cr_expect((strcmp(c.secret, SECRET) == 0) == (i == 0), "%s: %s", names[i], c.secret);
        seen[i] = scratch("%s", c.secret);
        for (size_t k = 0; k < i; k++)
            cr_expect_str_neq(seen[i], seen[k], "%s and %s", names[i], names[k]);
        config_clear(&c);
    }
    cr_assert(read_text(&c, "cluster = a\n", &why) == 0, "%s", why);
    cr_expect_str_eq(c.secret, "", "without a secret there is none");
    config_clear(&c);
    unlink(secret);
}

Test(config, bad_values_are_refused_by_name)
{
    static const struct {
        const char *text, *option;
    } cases[] = {
        {"what = 1\n", "'what'"},
        {"Kamailio = 127.0.0.1:1\n", "'Kamailio'"},
        {"[other]\nname = x\n", "[other]"},
        {"name x\n", "line 1"},
        {"name = x\nstore\n", "line 2"},
        {"[kamsync\n", "line 1"},
        {"cluster = \n", "cluster"},
        {"cluster = a:b\n", "cluster"},
        {"cluster = a*\n", "cluster"},
        {"cluster = a b\n", "cluster"},
        {"cluster = a{b}\n", "cluster"},
        {"cluster = a/1\n", "cluster"},
        {"cluster = \xc3\xa4\n", "cluster"},
        {"cluster = 123456789012345678901234567890123\n", "cluster"},
        {"site = a b\n", "site"},
        {"site = 123456789012345678901234567890123\n", "site"},
        {"heartbeat_ms = 99\n", "heartbeat_ms"},
        {"heartbeat_ms = 60001\n", "heartbeat_ms"},
        {"heartbeat_ms = \n", "heartbeat_ms"},
        {"heartbeat_ms = 1s\n", "heartbeat_ms"},
        {"heartbeat_ms = 1000.5\n", "heartbeat_ms"},
        {"heartbeat_ms = 1e3\n", "heartbeat_ms"},
        {"heartbeat_ms = -1000\n", "heartbeat_ms"},
        {"heartbeat_ms = 99999999999999999999\n", "heartbeat_ms"},
        {"heartbeat_ms = 0x3e8\n", "heartbeat_ms"},
        {"node_ttl_ms = 299\n", "node_ttl_ms"},
        {"heartbeat_ms = 1000\nnode_ttl_ms = 1999\n", "node_ttl_ms"},
        {"lookup_ms = 281\n", "lookup_ms"},
        {"lookup_ms = -1\n", "lookup_ms"},
        {"store_wait_ms = 9\n", "store_wait_ms"},
        {"tx_ttl_s = 9\n", "tx_ttl_s"},
        {"done_ttl_s = 4\n", "done_ttl_s"},
        {"tx_max_s = 59\n", "tx_max_s"},
        {"call_max_s = 59\n", "call_max_s"},
        {"call_max_s = 604801\n", "call_max_s"},
        {"ended_ttl_s = 31\n", "ended_ttl_s"},
        {"ended_ttl_s = 86401\n", "ended_ttl_s"},
        {"cdr_max = -1\n", "cdr_max"},
        {"cdr_max = 100000001\n", "cdr_max"},
        {"redis_timeout_ms = 99\n", "redis_timeout_ms"},
        {"log_level = loud\n", "log_level"},
        {"log_level = \n", "log_level"},
        {"log_format = xml\n", "log_format"},
        {"hep = homer:9060\n", "hep"},
        {"hep = 9060\n", "hep"},
        {"hep_id = -1\n", "hep_id"},
        {"hep_id = 4294967296\n", "hep_id"},
        {"kamailio = localhost:8448\n", "kamailio"},
        {"kamailio = 127.0.0.1\n", "kamailio"},
        {"kamailio = 127.0.0.1:0\n", "kamailio"},
        {"kamailio = 127.0.0.1:65536\n", "kamailio"},
        {"kamailio = 127.0.0.1:8448x\n", "kamailio"},
        {"kamailio = ::1:8448\n", "kamailio"},
        {"kamailio = [::1:8448\n", "kamailio"},
        {"kamailio = \n", "kamailio"},
        {"store = \n", "store"},
        {"store = memory\n", "store"},
        {"store = http://x\n", "store"},
        {"store = redis://\n", "store"},
        {"store = redis://h:0\n", "store"},
        {"store = redis://h:99999\n", "store"},
        {"store = redis://h:1x\n", "store"},
        {"store = redis://h/x\n", "store"},
        {"store = redis://h/-1\n", "store"},
        {"store = redis://h:4294967297\n", "store"},
        {"store = redis://h/4294967296\n", "store"},
        {"kamailio = 127.0.0.1:4294967297\n", "kamailio"},
        {"store = redis://[::1\n", "store"},
        {"store = redis://h\n", "secret_file"},
        {"store = redis://u@h\n", "redis_password_file"},
        {"store = redis://h\nredis_user = u\n", "redis_password_file"},
        {"store = redis://u:p@h\nredis_user = u\n", "redis_user"},
        {"store = redis://:p@h\nredis_password_file = /nonexistent/x\n", "redis_password_file"},
        {"secret_file = /nonexistent/x\n", "secret_file"},
        {"old_secret_file = /nonexistent/x\n", "old_secret_file"},
        {"redis_password_file = /nonexistent/x\n", "redis_password_file"},
        {"store = sentinel://h/m\nsentinel_user = u\n", "sentinel_password_file"},
        {"store = redis://h\nsentinel_password_file = /nonexistent/x\n", "sentinel_password_file"},
        {"store = sentinel://h/m\nsecret_file =\n", "secret_file"},
        {"store = sentinel://h\n", "store"},
        {"store_near = redis://h\n", "store_near is for a store like"},
        {"store = redis://h\nstore_near = sentinel://h/m\n", "store_near names one replica"},
        {"store = redis://h\nstore_near = h:1\n", "store_near: it begins with no known word"},
        {"store = redis://h/1\nstore_near = redis://h:1/2\n", "database 2, and store 1"},
        {"store = redis://h\nstore_near = redis://u@h:1\n",
         "store_near has a user and no password: set near_password_file"},
        {"store = redis://h\nnear_user = u\n", "store_near, which is not set"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config c;
        char *why;
        int rc = read_text(&c, cases[i].text, &why);

        cr_expect(rc == -1, "'%s' was taken", cases[i].text);
        cr_expect(rc == 0 || strstr(why, cases[i].option), "'%s': '%s'", cases[i].text, why);
        if (rc == 0)
            config_clear(&c);
    }
}

/* A secret file with this text under this option. */
static void expect_secret(const char *option, const char *text, bool good)
{
    struct config c;
    char *path = file_with(text), *why;
    int rc = read_text(&c, scratch("%s = %s\n", option, path), &why);

    cr_expect((rc == 0) == good, "%s '%.40s': %s", option, text, rc == 0 ? "taken" : why);
    cr_expect(rc == 0 || (strstr(why, option) && strstr(why, path)), "neither option nor file: '%s'", why);
    cr_expect(rc == 0 || !strstr(why, SECRET), "the secret itself stands in the error");
    if (rc == 0)
        config_clear(&c);
    unlink(path);
}

Test(config, secrets)
{
    char *longest = scratch("%0256d", 7), *longer = scratch("%0257d", 7);

    expect_secret("secret_file", SECRET, true);
    expect_secret("secret_file", SECRET "\n", true);
    expect_secret("secret_file", longest, true);
    expect_secret("secret_file", scratch("%s\r\n", longest), true);
    expect_secret("secret_file", "", false);
    expect_secret("secret_file", "\n" SECRET, false);
    expect_secret("secret_file", "0123456789abcde", false);
    expect_secret("secret_file", "0123456789 abcdef", false);
    expect_secret("secret_file", SECRET "\x01", false);
    expect_secret("secret_file", SECRET "\xe9", false);
    expect_secret("secret_file", longer, false);
    expect_secret("redis_password_file", "short", true);
    expect_secret("redis_password_file", "", false);
}

/* It proves all handovers, so nobody else on the host may read it. */
Test(config, what_all_may_read_is_no_secret)
{
    static const char *const options[] = {"secret_file", "old_secret_file", "redis_password_file",
                                          "store = sentinel://h/m\nsentinel_password_file"};
    static const mode_t modes[] = {0604, 0644, 0602, 0777};

    for (size_t i = 0; i < COUNT(options) * COUNT(modes); i++) {
        char *path = file_with(SECRET), *why;
        struct config c;

        cr_assert(chmod(path, modes[i % COUNT(modes)]) == 0);
        cr_expect(read_text(&c, scratch("%s = %s\n", options[i / COUNT(modes)], path), &why) == -1);
        cr_expect(strstr(why, path) && strstr(why, "open to all users"), "%s", why);
        unlink(path);
    }
}

/* A password in the URL makes the whole file a secret. */
Test(config, password_in_a_file_that_all_may_read)
{
    char why[512] = "", *secret = file_with(SECRET),
         *path = file_with(scratch("store = redis://u:pass%%40word@h\nsecret_file = %s\n", secret));
    struct config c;

    cr_assert(config_read(&c, path, why, sizeof(why)) == 0, "%s", why);
    cr_expect_str_eq(c.redis.name.user, "u");
    cr_expect_str_eq(c.redis.name.password, "pass@word");
    config_clear(&c);
    cr_assert(chmod(path, 0644) == 0);
    cr_expect(config_read(&c, path, why, sizeof(why)) == -1);
    cr_expect(strstr(why, path) && strstr(why, "open to all users") && !strstr(why, "word@"), "%s", why);
    unlink(path);
    unlink(secret);
}

/* It goes the same way as the new one. */
Test(config, old_secret_is_held_to_the_same_rules)
{
    expect_secret("old_secret_file", SECRET, true);
    expect_secret("old_secret_file", SECRET "\xe9", false);
    expect_secret("old_secret_file", "0123456789 abcdef", false);
}

Test(config, file_that_cannot_be_read)
{
    char why[256] = "";
    struct config c;

    cr_expect(config_read(&c, "/nonexistent/kamsync.conf", why, sizeof(why)) == -1);
    cr_expect(strstr(why, "/nonexistent/kamsync.conf"), "%s", why);
}

Test(config, directory_is_no_file)
{
    char why[256] = "";
    struct config c;
    int rc = config_read(&c, "/tmp", why, sizeof(why));

    cr_expect(rc == -1 && strstr(why, "/tmp"), "%d '%s'", rc, why);
    if (rc == 0)
        config_clear(&c);
}

Test(config, reload)
{
    static const struct {
        const char *text, *restart;
    } cases[] = {
        {"", NULL},
        {"name = other\nlog_level = debug\nheartbeat_ms = 500\nlookup_ms = 1\n", NULL},
        {"kamailio = 127.0.0.1:9000\n", "kamailio"},
        {"redis_user = x\n", "redis_user"},
        {"redis_timeout_ms = 2000\n", "redis_timeout_ms"},
        {"call_max_s = 60\nended_ttl_s = 60\n", NULL},
        {"cdr_max = 1\n", "cdr_max"},
    };
    struct config old, fresh;
    char *why;

    cr_assert(read_text(&old, "", &why) == 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *option;

        cr_assert(read_text(&fresh, cases[i].text, &why) == 0, "%s", why);
        option = config_needs_restart(&old, &fresh);
        cr_expect_str_eq(option ? option : "none", cases[i].restart ? cases[i].restart : "none");
        config_clear(&fresh);
    }
    config_clear(&old);
}

Test(config, help_names_every_option)
{
    static const char *const names[] = {"kamailio",        "store",         "name",       "secret_file",
                                        "old_secret_file", "log_level",     "redis_user", "heartbeat_ms",
                                        "node_ttl_ms",     "store_wait_ms", "tx_max_s",   "redis_timeout_ms",
                                        "call_max_s",      "ended_ttl_s",   "cdr_max"};
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);

    config_help(out);
    fclose(out);
    for (size_t i = 0; i < COUNT(names); i++)
        cr_expect(strstr(text, scratch("  %s ", names[i])), "%s", names[i]);
    free(text);
}

/* A pipe to which nobody writes would keep a reload waiting for ever. (Found by fuzzing: a secret's file named its own
 * process' pipe.) */
Test(config, pipe_is_no_file, .timeout = 5)
{
    char *path = file_with(""), *why, said[512] = "";
    struct config c;

    unlink(path);
    cr_assert(mkfifo(path, 0600) == 0);
    cr_expect(read_text(&c, scratch("secret_file = %s\n", path), &why) == -1);
    cr_expect(strstr(why, "secret_file") && strstr(why, "not a regular file"), "'%s'", why);
    cr_expect(config_read(&c, path, said, sizeof(said)) == -1);
    cr_expect(strstr(said, path) && strstr(said, "not a regular file"), "'%s'", said);
    unlink(path);
}
