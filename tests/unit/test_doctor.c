/* kamsyncctl doctor: each row of the tables finds what it is for, and nothing is found where all is well. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "fake.h"
#include "frame.h"
#include "kamailio_cfg.h"
#include "nodes.h"
#include "show.h"

TestSuite(doctor, .fini = no_leaks);

/* ---- the core ---- */

static void beat_at(struct fake *f, int id, const char *sip, const char *secret, int version)
{
    struct node n = {.id = id, .name = "x", .inc = "9.9", .beat = f->now, .up = true, .version = version};
    char *record;

    snprintf(n.sip, sizeof(n.sip), "%s", sip);
    record = node_record(&n, secret);
    engine_node(f->e, span_of(record), f->now);
    engine_nodes_read(f->e, true, f->now);
    free(record);
}

/* Two nodes that are well. */
static struct fake *well(void)
{
    struct fake *f = fake_ready();

    beat_at(f, 2, "192.0.2.2:5060", f->conf.secret, NODE_VERSION);
    fake_turn(f);
    return f;
}

/* The answer, with node 2's part, if that is not NULL. */
static json_t *asked(struct fake *f, const char *part)
{
    fake_forget(f);
    fake_ask(f, 7, "{\"cmd\":\"doctor\"}");
    if (part)
        fake_message(f, scratch("{\"t\":\"answer\",\"node\":2,\"token\":%lld,\"a\":%s}",
                                (long long)fake_int(fake_tell(f, 0), "token"), part));
    if (!fake_answered(f))
        fake_pass(f, 200);
    cr_assert_not_null(fake_answered(f));
    return fake_answered(f);
}

/* "check,check": what was found, the worst first. */
static const char *names(const json_t *found)
{
    static char all[400];
    size_t n = 0;

    *all = '\0';
    for (size_t i = 0; i < json_array_size(found); i++)
        n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n ? "," : "",
                              fake_text(json_array_get(found, i), "check"));
    return all;
}

#define WELL2 "{\"facts\":{\"node\":2,\"name\":\"x\",\"wall\":%lld},\"findings\":[%s]}"

static const char *part_of_2(struct fake *f, int64_t ahead, const char *findings)
{
    return scratch(WELL2, (long long)(FAKE_EPOCH + f->now + ahead), findings);
}

static void expect(struct fake *f, const char *part, const char *found)
{
    cr_expect_str_eq(names(json_object_get(asked(f, part), "findings")), found);
}

Test(doctor, all_is_well)
{
    struct fake *f = well();
    json_t *a = asked(f, part_of_2(f, 40, ""));

    cr_expect_str_eq(names(json_object_get(a, "findings")), "");
    cr_expect(json_array_size(json_object_get(a, "nodes")) == 2 && json_array_size(json_object_get(a, "silent")) == 0);
    cr_expect(fake_int(json_array_get(json_object_get(a, "nodes"), 1), "ahead_ms") == 40);
    cr_expect(json_array_size(json_object_get(a, "looked_at")) == 18);
    fake_free(f);
}

Test(doctor, another_node_is_asked)
{
    struct fake *f = well();

    fake_forget(f);
    fake_message(f, "{\"t\":\"ask\",\"from\":2,\"token\":8,\"q\":{\"cmd\":\"doctor\"}}");
    cr_assert(f->tell_count == 1 && f->tells[0].node == 2);
    cr_expect(json_array_size(json_object_get(json_object_get(fake_tell(f, 0), "a"), "findings")) == 0);
    cr_expect(fake_int(json_object_get(json_object_get(fake_tell(f, 0), "a"), "facts"), "node") == 1);
    fake_free(f);
}

Test(doctor, silent_and_lost_nodes)
{
    struct fake *f = well();

    expect(f, NULL, "silent");
    for (int i = 0; i < 10; i++) {
        engine_nodes_read(f->e, true, f->now);
        fake_pass(f, 1000);
    }
    expect(f, NULL, "nodes");
    fake_free(f);
}

Test(doctor, clocks)
{
    static const struct {
        int64_t ahead;
        const char *found;
    } rows[] = {{2000, ""}, {-2000, ""}, {2001, "clock"}, {-7000, "clock"}};
    struct fake *f = well();

    for (size_t i = 0; i < COUNT(rows); i++)
        expect(f, part_of_2(f, rows[i].ahead, ""), rows[i].found);
    cr_expect(strstr(fake_text(json_array_get(json_object_get(fake_answered(f), "findings"), 0), "what"),
                     "is 7 s behind that of node 1"));
    fake_free(f);
}

#define SAID(node, severity, check)                                                                                    \
    "{\"nodes\":[" node "],\"severity\":\"" severity "\",\"check\":\"" check "\",\"what\":\"w\",\"write\":\"x\"}"

Test(doctor, findings_are_sorted_and_merged)
{
    struct fake *f = well();
    const char *said =
        SAID("2", "advice", "a") "," SAID("2", "error", "e") "," SAID("3", "error", "e") "," SAID("2", "warning", "w");
    json_t *found = json_object_get(asked(f, part_of_2(f, 0, said)), "findings");

    cr_expect_str_eq(names(found), "e,w,a");
    cr_expect(json_array_size(json_object_get(json_array_get(found, 0), "nodes")) == 2);
    fake_free(f);
}

Test(doctor, answers_that_make_no_sense)
{
    static const char *const parts[] = {"{}", "[]", "{\"findings\":3,\"facts\":[]}", "{\"findings\":[1,null,{}]}"};
    struct fake *f = well();

    for (size_t i = 0; i < COUNT(parts); i++)
        cr_expect(json_is_true(json_object_get(asked(f, parts[i]), "ok")));
    fake_free(f);
}

/* A hello that is refused ends the connection. */
static void refused_hello(struct fake *f, const char *proof)
{
    char *frame;
    size_t len;

    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    frame = frame_make(span_of(scratch("{\"t\":\"hello\",\"node\":1,\"inc\":\"100.1\",\"sip\":\"192.0.2.1:5060\","
                                       "\"nonce\":\"1.2\",\"proof\":\"%s\"}",
                                       proof)),
                       &len);
    cr_assert(engine_link_data(f->e, frame, len, f->now) == -EPERM);
    free(frame);
    engine_link_down(f->e, f->now);
    fake_turn(f);
}

Test(doctor, kamailio_is_away)
{
    struct fake *f = fake_new();

    expect(f, NULL, "evapi");
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    expect(f, NULL, "script");
    fake_hello(f, 0, "100.1");
    expect(f, NULL, "hello");
    refused_hello(f, "none");
    expect(f, NULL, "keys");
    fake_pass(f, 11000);
    expect(f, NULL, "evapi");
    refused_hello(f, scratch("%064d", 0));
    expect(f, NULL, "stranger");
    engine_link_up(f->e, "tag-1", f->now);
    fake_turn(f);
    fake_hello(f, 1, "100.1");
    expect(f, NULL, "");
    fake_free(f);
}

Test(doctor, kamailio_hangs)
{
    struct fake *f = well();

    f->conf.hang_ms = 1500;
    cr_assert(engine_configure(f->e, &f->conf, f->now) == 0);
    f->deaf = true;
    for (int i = 0; i < 50; i++) {
        beat_at(f, 2, "192.0.2.2:5060", f->conf.secret, NODE_VERSION);
        fake_pass(f, 100);
    }
    expect(f, part_of_2(f, 0, ""), "kamailio,hangs");
    fake_free(f);
}

Test(doctor, what_other_nodes_are)
{
    struct fake *f = well();

    beat_at(f, 2, "192.0.2.2:5060", "the secret of another cluster", NODE_VERSION);
    fake_pass(f, 1);
    f->now++;
    beat_at(f, 2, "192.0.2.2:5060", "the secret of another cluster", NODE_VERSION);
    expect(f, part_of_2(f, 0, ""), "secret");
    f->now++;
    beat_at(f, 2, "192.0.2.2:5060", f->conf.secret, NODE_VERSION + 1);
    expect(f, part_of_2(f, 0, ""), "version");
    f->now++;
    beat_at(f, 2, "192.0.2.2:5060", f->conf.secret, NODE_VERSION);
    expect(f, part_of_2(f, 0, ""), "");
    beat_at(f, 1, "192.0.2.66:5060", f->conf.secret, NODE_VERSION);
    expect(f, part_of_2(f, 0, ""), "server_id");
    fake_pass(f, 11000);
    cr_expect(!strstr(names(json_object_get(asked(f, NULL), "findings")), "server_id"));
    fake_free(f);
}

Test(doctor, address_at_its_default)
{
    struct fake *f = well();

    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello_at(f, 1, "100.1", "127.0.0.1:5060");
    fake_turn(f);
    expect(f, part_of_2(f, 0, ""), "address");
    fake_free(f);
}

Test(doctor, invites_that_leave_from_the_nodes_own_address)
{
    struct fake *f = well();
    struct leg c = call_make(1);
    char *event = branch_text(sip_sent_on(&c, "0"), sip_request(&c, "INVITE"), "");

    fake_say(f, "{\"t\":\"events\",\"n\":%lld}%s", (long long)++f->events, event);
    expect(f, part_of_2(f, 0, ""), "");
    engine_link_down(f->e, f->now);
    engine_link_up(f->e, "tag-2", f->now);
    fake_hello_at(f, 1, "100.1", "192.0.2.10:5060"); /* as in the event */
    fake_say(f, "{\"t\":\"events\",\"n\":1}%s", event);
    expect(f, part_of_2(f, 0, ""), "legs");
    fake_pass(f, 700000);
    cr_expect(!strstr(names(json_object_get(asked(f, NULL), "findings")), "legs"));
    fake_free(f);
}

Test(doctor, counters_that_grow)
{
    struct fake *f = well();

    fake_say(f, "{\"t\":\"events\",\"n\":%lld}{\"t\":\"shed\",\"count\":3}", (long long)++f->events);
    cr_assert(engine_counters(f->e)->events_shed == 3, "%d", (int)engine_counters(f->e)->events_shed);
    expect(f, part_of_2(f, 0, ""), "events_shed");
    cr_expect(strstr(fake_text(json_array_get(json_object_get(fake_answered(f), "findings"), 0), "what"), ", to 3"));
    fake_free(f);
}

Test(doctor, messages_that_are_not_understood)
{
    struct fake *f = well();

    fake_say(f, "call 1 has ended");
    expect(f, part_of_2(f, 0, ""), "frames");
    fake_free(f);
}

Test(doctor, text_that_is_no_utf8)
{
    struct finding f = {"caf\xc3", "r\xc3\xa9"};
    json_t *json = finding_json(1, "x", SEVERITY_ADVICE, &f);

    cr_expect_str_eq(fake_text(json, "what"), "caf?");
    cr_expect_str_eq(fake_text(json, "write"), "r\xc3\xa9");
    json_decref(json);
}

/* ---- Redis ---- */

static const struct redis_conf near = {.name = {.hosts = {{"127.0.0.1", 6379}}}, .login = {"", ""}};
static const struct redis_conf path = {.name = {.path = "/run/redis"}, .login = {"", ""}};
static const struct redis_conf tls = {.name = {.tls = true, .hosts = {{"192.0.2.9", 6379}}}, .login = {"u", "p"}};
static const struct redis_conf both = {
    .name = {.hosts = {{"127.0.0.1", 6379}}}, .login = {"", ""}, .near = {.count = 1, .hosts = {{"192.0.2.8", 6380}}}};
static const struct redis_conf far = {.name = {.hosts = {{"192.0.2.9", 6379}}}, .login = {"", ""}};

#define GOOD_NEAR .conf = &both, .ready = true, .info = true, .policy = "noeviction", .used = 1, .aof = 1
#define GOOD .conf = &near, .ready = true, .info = true, .policy = "noeviction", .used = 1, .limit = 0, .aof = 1

Test(doctor, redis)
{
    static const struct {
        struct store_facts facts;
        const char *found, *word;
    } rows[] = {
        {{GOOD}, "", ""},
        {{.conf = NULL}, "", ""},
        {{.conf = &near, .trouble = "connection refused"}, "redis", "connection refused"},
        {{.conf = &near, .trouble = "AUTH refused: WRONGPASS"}, "redis", "redis_password_file"},
        {{.conf = &near, .trouble = "PING refused: ERR max number of clients reached"}, "redis", "CLIENT LIST"},
        {{.conf = &near, .trouble = "DENIED Redis is running in protected mode"}, "redis", "protected-mode"},
        {{.conf = &near, .trouble = "PING refused: LOADING Redis is loading"}, "redis", "reads its file"},
        {{GOOD, .refused = "READONLY You can't", .refused_ms = 99000}, "redis_refuses", "primary"},
        {{GOOD, .refused = "MISCONF Redis is", .refused_ms = 99000}, "redis_refuses", "disk"},
        {{GOOD, .refused = "FOO", .refused_ms = 99000}, "redis_refuses", "see Redis' log"},
        {{GOOD, .cut_off_ms = 99000}, "redis_announcements", "client-output-buffer-limit"},
        {{GOOD, .cut_off_ms = 1}, "", ""},
        {{GOOD, .refused = "READONLY You can't", .refused_ms = 1}, "", ""},
        {{GOOD, .refused = "NOPERM this user", .refused_ms = 99000}, "redis_rights", "NOPERM"},
        {{GOOD, .missing = "+xadd +hset"}, "redis_rights", "ACL SETUSER default +xadd +hset"},
        {{GOOD, .layout = "2"}, "redis_layout", "of layout 2, and this node's of layout 1"},
        {{.conf = &near, .ready = true, .policy = "allkeys-lru", .aof = 1}, "redis_policy", "allkeys-lru"},
        {{.conf = &near, .ready = true, .used = 81 << 20, .limit = 100 << 20, .aof = 1},
         "redis_memory",
         "81 of 100 MB"},
        {{.conf = &near, .ready = true, .used = 80 << 20, .limit = 100 << 20, .aof = 1}, "", ""},
        {{GOOD, .disk_fails = true}, "redis_disk", "MISCONF"},
        {{.conf = &near, .ready = true, .info = true}, "redis_archive", "appendonly yes"},
        {{.conf = &far, .ready = true, .aof = 1}, "redis_password,redis_tls", "clear text"},
        {{.conf = &tls, .ready = true, .aof = 1}, "", ""},
        {{.conf = &path, .ready = true, .aof = 1}, "", ""},
        {{.conf = &path}, "redis", "/run/redis"},
        {{GOOD_NEAR, .near = {.trouble = "refused"}}, "near", "192.0.2.8:6380) is away: refused"},
        {{GOOD_NEAR, .near = {.ready = true}}, "", ""},
        {{GOOD_NEAR, .near = {.ready = true, .refused = "NOPERM x"}}, "near_refuses", "refuses: NOPERM x"},
        {{GOOD_NEAR, .near = {.ready = true, .looked = true, .lag_ms = 4999}}, "", ""},
        {{GOOD_NEAR, .near = {.ready = true, .looked = true, .lag_ms = 7000}}, "near_behind", "7 s behind"},
        {{GOOD_NEAR, .near = {.ready = true, .looked = true, .lag_ms = -1}}, "near_behind", "REPLICAOF"},
        {{.conf = &near, .ready = true, .aof = -1, .info_error = "NOPERM"}, "redis_info", "cannot be seen: NOPERM"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *found = json_array();
        char *text;

        store_checks(&rows[i].facts, 100000, 1, found);
        text = json_dumps(found, 0);
        cr_expect_str_eq(names(found), rows[i].found);
        cr_expect(strstr(text, rows[i].word), "%s is not in %s", rows[i].word, text);
        free(text);
        json_decref(found);
    }
}

/* ---- this host ---- */

static void write_file(const char *folder, const char *name, const char *text)
{
    FILE *file = fopen(scratch("%s/%s", folder, name), "w");

    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue\n"
#define V4(address, state) "   0: " address " 00000000:0000 " state " 00000000:00000000 00:00000000 00000000\n"
#define V6(address, state)                                                                                             \
    "   0: " address " 00000000000000000000000000000000:0000 " state " 00000000:00000000 00:00000000 00000000\n"

/* As the kernel has them, on a host whose bytes go that way: the address is 192.0.2.11, evapi's port 8448. */
static struct sockaddr_storage evapi_here(void)
{
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(8448), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage out = {0};

    memcpy(&out, &at, sizeof(at));
    return out;
}

Test(doctor, this_host)
{
    static const struct {
        const char *tcp, *tcp6, *udp, *udp6, *sip, *found;
    } rows[] = {
        {V4("0100007F:2100", "0A"), "", V4("0B0200C0:13C4", "07"), "", "192.0.2.11:5060", ""},
        {V4("0100007F:2100", "0A"), "", V4("00000000:13C4", "07"), "", "192.0.2.11:5060", ""},
        {V4("00000000:2100", "0A"), "", V4("0B0200C0:13C4", "07"), "", "192.0.2.11:5060", "evapi_open"},
        {V4("00000000:2100", "01"), "", V4("0B0200C0:13C4", "07"), "", "192.0.2.11:5060", ""},
        {V4("00000000:2101", "0A"), "", V4("0B0200C0:13C4", "07"), "", "192.0.2.11:5060", ""},
        {"", V6("00000000000000000000000000000000:2100", "0A"), V4("0B0200C0:13C4", "07"), "", "192.0.2.11:5060",
         "evapi_open"},
        {"", V6("0000000000000000FFFF00000100007F:2100", "0A"), V4("0B0200C0:13C4", "07"), "", "192.0.2.11:5060", ""},
        {"", "", V4("0B0200C0:13C5", "07"), "", "192.0.2.11:5060", "listen"},
        {"", "", V4("0C0200C0:13C4", "07"), "", "192.0.2.11:5060", "listen"},
        {"", "", V4("0C0200C0:13C4", "07"), "", "", ""},
        {"", "", V4("0C0200C0:13C4", "07"), "", "127.0.0.1:5060", ""},
        {"", "", "", V6("B80D0120000000000000000011000000:13C4", "07"), "[2001:db8::11]:5060", ""},
        {"", "", "", V6("B80D0120000000000000000012000000:13C4", "07"), "[2001:db8::11]:5060", "listen"},
    };
    struct sockaddr_storage evapi = evapi_here();
    char folder[] = "/tmp/doctorXXXXXX";

    cr_assert_not_null(mkdtemp(folder));
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct host h = {&evapi, rows[i].sip, folder};
        json_t *found = json_array();

        write_file(folder, "tcp", scratch(HEAD "%s", rows[i].tcp));
        write_file(folder, "tcp6", scratch(HEAD "%s", rows[i].tcp6));
        write_file(folder, "udp", scratch(HEAD "%s", rows[i].udp));
        write_file(folder, "udp6", scratch(HEAD "%s", rows[i].udp6));
        host_checks(&h, 1, found);
        cr_expect(strcmp(names(found), rows[i].found) == 0, "row %zu: %s", i, names(found));
        json_decref(found);
    }
    for (size_t i = 0; i < 4; i++)
        unlink(scratch("%s/%s", folder, (const char *[]){"tcp", "tcp6", "udp", "udp6"}[i]));
    rmdir(folder);
}

Test(doctor, a_host_that_shows_nothing)
{
    struct sockaddr_storage evapi = evapi_here();
    json_t *found = json_array();

    host_checks(&(struct host){&evapi, "192.0.2.11:5060", "/nowhere"}, 1, found);
    cr_expect_str_eq(names(found), "");
    json_decref(found);
}

/* ---- kamailio.cfg ---- */

#define ID "server_id=1\n"
#define SIP "#!define KAMSYNC_SIP \"192.0.2.11:5060\"\n"
#define LISTEN "listen=udp:198.51.100.1:5060\nlisten=udp:192.0.2.11:5060\n"
#define OURS "route[KAMSYNC_REQUEST] {\n}\n"
#define ROUTE "request_route {\n\troute(KAMSYNC_REQUEST);\n}\n"

Test(doctor, kamailio_cfg)
{
    static const struct {
        const char *text, *plain, *found;
    } rows[] = {
        {ID SIP LISTEN OURS ROUTE, "", ""},
        {ID SIP LISTEN OURS "request_route{ # first\n  /* of all */ force_rport(); route(KAMSYNC_REQUEST);\n}\n", "",
         ""},
        {ID SIP LISTEN "request_route {\n}\n", "include_file \"kamsync.cfg\"\n", "cfg_include"},
        {ID SIP LISTEN "# route[KAMSYNC_REQUEST] {\n" ROUTE, "", "cfg_include"},
        {ID SIP LISTEN OURS
         "request_route {\n\t# route(KAMSYNC_REQUEST);\n}\nroute[X] {\n route(KAMSYNC_REQUEST);\n}\n",
         "", "cfg_request"},
        {ID SIP LISTEN OURS "request_route {\n\tif (x) exit;\n\troute(KAMSYNC_REQUEST);\n}\n", "", "cfg_first"},
        {ID SIP LISTEN "loadmodule \"topos.so\"\n" OURS ROUTE, "", "cfg_topology"},
        {ID SIP LISTEN "\tloadmodule \"topoh\"\n" OURS ROUTE, "", "cfg_topology"},
        {SIP LISTEN OURS ROUTE, "", "cfg_server_id"},
        {"server_id = 0\n" SIP LISTEN OURS ROUTE, "", "cfg_server_id"},
        {ID LISTEN OURS ROUTE, "", "cfg_sip"},
        {ID SIP "listen=192.0.2.11:5060\n" LISTEN OURS ROUTE, "", "cfg_listen"},
        {ID SIP LISTEN "loadmodule \"dialog.so\"\n" OURS ROUTE, "", "cfg_dialog"},
        {ID SIP LISTEN "loadmodule \"dialog.so\"\n#!define KAMSYNC_DIALOG_OWNER\n" OURS ROUTE, "", ""},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *found = json_array();

        kamailio_cfg_checks(&(struct kamailio_cfg){"k.cfg", rows[i].text, rows[i].plain}, 1, found);
        cr_expect(strcmp(names(found), rows[i].found) == 0, "row %zu: %s", i, names(found));
        json_decref(found);
    }
}

Test(doctor, an_include_that_is_off_is_named)
{
    json_t *found = json_array();

    kamailio_cfg_checks(&(struct kamailio_cfg){"k.cfg", ID, "#!ifdef X\ninclude_file \"kamsync.cfg\"\n#!endif\n"}, 1,
                        found);
    cr_expect(strstr(fake_text(json_array_get(found, 0), "what"), "within an #!ifdef that is off"));
    json_decref(found);
}
