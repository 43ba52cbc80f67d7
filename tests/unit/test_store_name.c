/* The name of a store: its forms, and what an error says. */
#include "io/store_name.h"

#include <stdio.h>

#include "helper.h"

TestSuite(store_name, .fini = no_leaks);

static struct store_name name;

static int read_name(const char *url, char **why)
{
    char buffer[600] = "";
    int rc = store_name_read(&name, url, buffer, sizeof(buffer));

    *why = scratch("%s", buffer);
    return rc;
}

/* The parts as one text: kind, TLS, login, hosts, master, path, database. */
static char *parts(void)
{
    char hosts[STORE_HOSTS_MAX * 280] = "";
    size_t n = 0;

    for (size_t i = 0; i < name.count; i++)
        n += (size_t)snprintf(hosts + n, sizeof(hosts) - n, "%s%s|%d", i ? "," : "", name.hosts[i].name,
                              name.hosts[i].port);
    return scratch("%d%s <%s> <%s> [%s] %s%s /%d", name.kind, name.tls ? "s" : "", name.user, name.password, hosts,
                   name.master, name.path, name.db);
}

Test(store_name, forms)
{
    static const struct {
        const char *url, *parts;
    } cases[] = {
        {"memory://", "0 <> <> []  /0"},
        {"redis://h", "1 <> <> [h|6379]  /0"},
        {"redis://h/", "1 <> <> [h|6379]  /0"},
        {"redis://db-1.example.com:6380/3", "1 <> <> [db-1.example.com|6380]  /3"},
        {"redis://192.0.2.1:1", "1 <> <> [192.0.2.1|1]  /0"},
        {"redis://[2001:db8::1]", "1 <> <> [2001:db8::1|6379]  /0"},
        {"redis://[2001:db8::1]:6380/1", "1 <> <> [2001:db8::1|6380]  /1"},
        {"redis://:p@h", "1 <> <p> [h|6379]  /0"},
        {"redis://u@h", "1 <u> <> [h|6379]  /0"},
        {"redis://u:p@h:2/4", "1 <u> <p> [h|2]  /4"},
        {"redis://u:p:q@h", "1 <u> <p:q> [h|6379]  /0"},
        {"redis://%75%40:%2f%25%3A%20%c3%A4@h", "1 <u@> </%: \xc3\xa4> [h|6379]  /0"},
        {"rediss://u:p@h", "1s <u> <p> [h|6379]  /0"},
        {"unix:///run/redis/redis.sock", "1 <> <> [] /run/redis/redis.sock /0"},
        {"sentinel://a/m", "2 <> <> [a|26379] m /0"},
        {"sentinel://a:1,b,[::1]:3/my-master.1_x/2", "2 <> <> [a|1,b|26379,::1|3] my-master.1_x /2"},
        {"sentinel://u:p@a,b/m", "2 <u> <p> [a|26379,b|26379] m /0"},
        {"cluster://a,b:1", "3 <> <> [a|6379,b|1]  /0"},
        {"cluster://u:p@[::1]:3/", "3 <u> <p> [::1|3]  /0"},
        {"rediss+cluster://:p@a", "3s <> <p> [a|6379]  /0"},
        {"rediss+sentinel://:p@a,b,c/m", "2s <> <p> [a|26379,b|26379,c|26379] m /0"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char *why;

        cr_assert(read_name(cases[i].url, &why) == 0, "%s: %s", cases[i].url, why);
        cr_expect_str_eq(parts(), cases[i].parts, "%s: %s", cases[i].url, parts());
    }
}

/* Each error names the part, and shows how it is written rightly. */
Test(store_name, what_is_wrong)
{
    static const struct {
        const char *url, *part, *right;
    } cases[] = {
        {"", "no known word", "redis://192.0.2.100:6379"},
        {"memory", "no known word", "memory://"},
        {"h:6379", "no known word", "redis://192.0.2.100:6379"},
        {"http://h", "no known word", "rediss+sentinel://"},
        {"REDIS://h", "no known word", "redis://"},
        {"valkey://h", "no known word", "redis://"},
        {"redis:/h", "no known word", "redis://"},
        {"memory://x", "name 'x' must be empty", "memory://"},
        {"redis://", "host is missing", "redis://192.0.2.100:6379"},
        {"redis:///1", "host is missing", "redis://192.0.2.100:6379"},
        {"redis://u:p@", "host is missing", "redis://192.0.2.100:6379"},
        {"redis://a b", "host 'a b'", "redis://192.0.2.100:6379"},
        {"redis://a,b", "host 'a,b' is a list", "sentinel://"},
        {"redis://::1", "host '::1' has several colons", "[2001:db8::1]:6379"},
        {"redis://2001:db8::1:6379", "brackets", "[2001:db8::1]:6379"},
        {"redis://[::1", "host '[::1' lacks the ']'", "[2001:db8::1]:6379"},
        {"redis://[h]", "host 'h' stands in brackets", "[2001:db8::1]"},
        {"redis://[]", "stands in brackets", "[2001:db8::1]"},
        {"redis://[::1]x", "port 'x'", "redis://192.0.2.100:6379"},
        {"redis://h:", "port must be", "redis://192.0.2.100:6379"},
        {"redis://h:0", "port '0'", "from 1 to 65535"},
        {"redis://h:65536", "port '65536'", "from 1 to 65535"},
        {"redis://h:4294967297", "port '4294967297'", "from 1 to 65535"},
        {"redis://h:1x", "port '1x'", "from 1 to 65535"},
        {"redis://h:-1", "port '-1'", "from 1 to 65535"},
        {"redis://h/x", "database 'x'", "number"},
        {"redis://h/-1", "database '-1'", "number"},
        {"redis://h/1/", "database '1/'", "number"},
        {"redis://h/4294967296", "database '4294967296'", "number"},
        {"redis://h/99999999999999999999", "database '99999999999999999999'", "number"},
        {"redis://h?db=1", "end '?db=1' must go", "redis://192.0.2.100:6379"},
        {"redis://h/1#x", "end '#x' must go", "redis://192.0.2.100:6379"},
        {"rediss://", "host is missing", "rediss://redis.example.com:6379"},
        {"unix://", "path must begin with '/'", "unix:///run/redis/redis.sock"},
        {"unix://run/redis.sock", "path 'run/redis.sock'", "unix:///run/redis/redis.sock"},
        {"unix:///run/redis.sock?db=1", "end '?db=1'", "unix:///run/redis/redis.sock"},
        {"sentinel://a,b", "name behind the hosts", "sentinel://192.0.2.1,192.0.2.2,192.0.2.3/mymaster"},
        {"sentinel://a,b/", "name behind the hosts", "/mymaster"},
        {"sentinel://a,b/my master", "name behind the hosts, by which Sentinels know the master, 'my master'",
         "/mymaster"},
        {"sentinel:///m", "host is missing", "sentinel://192.0.2.1"},
        {"sentinel://a,,b/m", "host is missing", "sentinel://192.0.2.1"},
        {"sentinel://a,/m", "host is missing", "sentinel://192.0.2.1"},
        {"sentinel://a;b/m", "host 'a;b'", "sentinel://192.0.2.1"},
        {"sentinel://a:1:2/m", "several colons", "sentinel://192.0.2.1"},
        {"sentinel://a/m/x", "database 'x'", "number"},
        {"sentinel://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17/m", "list of hosts", "longer than 16"},
        {"rediss+sentinel://a", "name behind the hosts", "rediss+sentinel://s1.example.com"},
        {"cluster://", "host is missing", "cluster://192.0.2.1"},
        {"rediss+cluster://a,,b", "host is missing", "rediss+cluster://r1.example.com"},
        {"cluster://a/1", "path '/1'", "one database"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char *why;

        cr_expect(read_name(cases[i].url, &why) < 0, "'%s' was taken: %s", cases[i].url, parts());
        cr_expect(strstr(why, cases[i].part) && strstr(why, cases[i].right), "'%s': '%s'", cases[i].url, why);
    }
}

/* A password that is written wrongly ends up in another part, so no part is shown once there is one. */
Test(store_name, no_error_shows_a_password)
{
    static const struct {
        const char *url, *part;
    } cases[] = {
        {"redis://u:Geheim/Wort@h", "%2F"},
        {"redis://u:Geheim@Wort@h", "%40"},
        {"redis://u:Geheim?Wort@h", "%3F"},
        {"redis://u:Geheim#Wort@h", "%23"},
        {"redis://u:Geheim%Wort@h", "%25"},
        {"redis://u:Geheim%0aWort@h", "password"},
        {"redis://u:Geheim%00Wort@h", "%25"},
        {"redis://Geheim%4:Wort@h", "user"},
        {"redis://Geheim:Wort@h:x", "port"},
        {"redis://Geheim:Wort@h/x", "database"},
        {"u:GeheimWort@h:6379", "no known word"},
        {"redis:Geheim://Wort@h", "no known word"},
        {"sentinel://u:Geheim,Wort@h", "name behind the hosts"},
        {"sentinel://h/GeheimWort@x", "%2F"},
        {"redis://:GeheimWort@[h", "host"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char *why;

        cr_expect(read_name(cases[i].url, &why) < 0, "'%s' was taken: %s", cases[i].url, parts());
        cr_expect(strstr(why, cases[i].part), "'%s': '%s'", cases[i].url, why);
        cr_expect(!strstr(why, "Geheim") && !strstr(why, "Wort"), "'%s': '%s'", cases[i].url, why);
    }
}

Test(store_name, bounds)
{
    char *why, *longest = scratch("redis://%0256d:%0256d@h", 7, 7), *host = scratch("redis://%0255d:1", 7);

    cr_expect(read_name(longest, &why) == 0 && strlen(name.user) == 256 && strlen(name.password) == 256, "%s", why);
    cr_expect(read_name(scratch("redis://u:%0257d@h", 7), &why) < 0 && strstr(why, "password"), "%s", why);
    cr_expect(read_name(scratch("redis://%0257d:p@h", 7), &why) < 0 && strstr(why, "user"), "%s", why);
    cr_expect(read_name(host, &why) == 0 && strlen(name.hosts[0].name) == 255, "%s", why);
    cr_expect(read_name(scratch("redis://%0256d:1", 7), &why) < 0 && strstr(why, "host"), "%s", why);
    cr_expect(read_name(scratch("unix:///%0102d", 7), &why) == 0 && strlen(name.path) == 103, "%s", why);
    cr_expect(read_name(scratch("unix:///%0103d", 7), &why) < 0 && strstr(why, "path"), "%s", why);
    cr_expect(read_name(scratch("sentinel://h/%063d", 7), &why) == 0 && strlen(name.master) == 63, "%s", why);
    cr_expect(read_name(scratch("sentinel://h/%064d", 7), &why) < 0 && strstr(why, "63"), "%s", why);
}

Test(store_name, shown_without_user_and_password)
{
    char shown[100];

    cr_expect_str_eq(store_name_show(shown, sizeof(shown), "redis://u:p@h:1/2"), "redis://h:1/2");
    cr_expect_str_eq(store_name_show(shown, sizeof(shown), "sentinel://u:p@a,b/m"), "sentinel://a,b/m");
    cr_expect_str_eq(store_name_show(shown, sizeof(shown), "unix:///run/x"), "unix:///run/x");
    cr_expect_str_eq(store_name_show(shown, sizeof(shown), "unix:///run/a@b/c%d"), "unix:///run/a@b/c%d");
    cr_expect_str_eq(store_name_show(shown, sizeof(shown), "memory://"), "memory://");
}
