#include "kamailio_cfg.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "count.h"
#include "text.h"

/* ---- reading ---- */

/* Without comments, which are blank instead; the lines of the preprocessor begin with #!, and stay. The caller frees
 * it.
 */
static char *without_comments(const char *text)
{
    size_t n = strlen(text);
    char *out = grow(NULL, n + 1), quote = '\0', end = '\0'; /* end: of the comment, '\n' or '*' */

    memcpy(out, text, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (end == '*' && out[i] == '*' && out[i + 1] == '/') {
            out[i] = out[i + 1] = ' ';
            end = '\0';
        } else if (end == '\n' && out[i] == '\n') {
            end = '\0';
        } else if (end) {
            out[i] = out[i] == '\n' ? '\n' : ' ';
        } else if (quote) {
            i += out[i] == '\\' && out[i + 1];
            quote = out[i] == quote ? '\0' : quote;
        } else if (out[i] == '"' || out[i] == '\'') {
            quote = out[i];
        } else if (out[i] == '/' && out[i + 1] == '*') {
            out[i] = ' ';
            end = '*';
        } else if ((out[i] == '#' && out[i + 1] != '!') || (out[i] == '/' && out[i + 1] == '/')) {
            out[i] = ' ';
            end = '\n';
        }
    }
    return out;
}

static const char *skip(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* Behind these words, with blanks between them as one likes, at the beginning of a line; NULL: there is no such line.
 */
static const char *find_line(const char *text, const char *const words[], size_t count)
{
    for (const char *line = text; line; line = strchr(line, '\n')) {
        const char *p = line = *line == '\n' ? line + 1 : line;
        size_t i = 0;

        for (p += strspn(p, " \t"); i < count && strncmp(p, words[i], strlen(words[i])) == 0; i++)
            p = skip(p + strlen(words[i]));
        if (i == count)
            return p;
    }
    return NULL;
}

#define FIND(text, ...) find_line(text, (const char *const[]){__VA_ARGS__}, COUNT(((const char *const[]){__VA_ARGS__})))

static bool loads(const char *text, const char *module)
{
    char quoted[64];

    snprintf(quoted, sizeof(quoted), "\"%s.so\"", module);
    if (FIND(text, "loadmodule", quoted))
        return true;
    snprintf(quoted, sizeof(quoted), "\"%s\"", module);
    return FIND(text, "loadmodule", quoted) != NULL;
}

/* The statements of request_route; its end is a } that stands first in its line. "" without one. */
static struct span request_route(const char *text)
{
    const char *body = FIND(text, "request_route", "{"), *end;

    body = body ? body : FIND(text, "route", "{");
    if (!body || *body == '}')
        return (struct span){"", 0};
    end = strstr(body, "\n}");
    return (struct span){body, end ? (size_t)(end - body) : strlen(body)};
}

/* The value of KAMSYNC_SIP, if it is a plain text. */
static struct span own_address(const char *text)
{
    const char *p = FIND(text, "#!define", "KAMSYNC_SIP", "\"");

    return (struct span){p, p ? strcspn(p, "\"\n") : 0};
}

/* ---- the table ---- */

static bool does_not_include(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    char *plain = without_comments(c->plain);
    bool written = strstr(plain, "kamsync.cfg") != NULL;

    free(plain);
    FINDING(f, "%s: kamsync.cfg is not in force%s", c->path,
            written ? ": its include_file line stands within an #!ifdef that is off" : "");
    WRITE(f, "%s",
          written ? "put the line outside of it, or define what it asks for: kamailio --cfg-print shows what is "
                    "left of the file"
                  : "include_file \"kamsync.cfg\" below the last loadmodule");
    return !FIND(text, "route[KAMSYNC_REQUEST]");
}

static bool does_not_call(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    struct span body = request_route(text);
    const char *call = body.n ? strstr(body.p, "route(KAMSYNC_REQUEST)") : NULL;

    FINDING(f, "%s: request_route does not call kamsync", c->path);
    WRITE(f, "route(KAMSYNC_REQUEST); as its first line");
    return !call || call >= body.p + body.n;
}

/* force_rport() shall stand above, and log lines may. */
static bool calls_late(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    struct span body = request_route(text);
    const char *call = body.n ? strstr(body.p, "route(KAMSYNC_REQUEST)") : NULL, *p = skip(body.p);

    while (strncmp(p, "force_rport()", 13) == 0 || strncmp(p, "xlog(", 5) == 0 || strncmp(p, "xinfo(", 6) == 0)
        p = skip(p + strcspn(p, ";") + 1);
    FINDING(f,
            "%s: other statements stand above route(KAMSYNC_REQUEST), where what another node hands over seems to come "
            "from that node",
            c->path);
    WRITE(f, "route(KAMSYNC_REQUEST); as the first line of request_route; only force_rport() belongs above it");
    return call && call < body.p + body.n && p != call;
}

static bool hides_topology(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    FINDING(f, "%s: it loads topoh or topos, which change what one node hands to another: no proof of it verifies",
            c->path);
    WRITE(f, "hide the topology on a proxy of its own, before or behind these nodes");
    return loads(text, "topoh") || loads(text, "topos");
}

static bool has_no_id(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    const char *id = FIND(text, "server_id", "=");

    FINDING(f, "%s: no server_id, or 0", c->path);
    WRITE(f, "server_id=1, and another number on each node");
    return !id || (*id == '0' && !isdigit((unsigned char)id[1]));
}

static bool has_no_address(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    struct span sip = own_address(text);

    FINDING(f, "%s: KAMSYNC_SIP is not defined, so that the others are told 127.0.0.1:5060", c->path);
    WRITE(f, "#!define KAMSYNC_SIP \"<this node's own address>:5060\" above the include_file line");
    return !FIND(text, "#!define", "KAMSYNC_SIP") || (sip.n && strncmp(sip.p, "127.0.0.1:5060", sip.n) == 0);
}

/* The first socket is that of what Kamailio sends by itself. */
static bool has_own_socket_first(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    const char *first = FIND(text, "listen", "="), *second = first ? FIND(first, "listen", "=") : NULL;
    struct span own = own_address(text);

    if (first && strncmp(first, "udp:", 4) == 0)
        first += 4;
    FINDING(f,
            "%s: the node's own address is the first listen line: what Kamailio sends by itself leaves from there, and "
            "only this node can get the answer",
            c->path);
    WRITE(f, "put the listen line of the anycast address first");
    return second && own.n && strncmp(first, own.p, own.n) == 0;
}

static bool has_dialogs(const struct kamailio_cfg *c, const char *text, struct finding *f)
{
    FINDING(f, "%s: it loads dialog, and requests within a call may come to another node than its dialog", c->path);
    WRITE(f, "#!define KAMSYNC_DIALOG_OWNER above the include_file line, and what kamailio-cfg/README.md says of it");
    return loads(text, "dialog") && !FIND(text, "#!define", "KAMSYNC_DIALOG_OWNER");
}

static const struct {
    const char *name;
    enum severity severity;
    bool (*wrong)(const struct kamailio_cfg *c, const char *text, struct finding *f); /* text: without comments */
    bool alone; /* the others ask about what is there */
} checks[] = {
    {"cfg_include", SEVERITY_ERROR, does_not_include, true},
    {"cfg_request", SEVERITY_ERROR, does_not_call, false},
    {"cfg_first", SEVERITY_ADVICE, calls_late, false},
    {"cfg_topology", SEVERITY_ERROR, hides_topology, false},
    {"cfg_server_id", SEVERITY_ERROR, has_no_id, false},
    {"cfg_sip", SEVERITY_ERROR, has_no_address, false},
    {"cfg_listen", SEVERITY_WARNING, has_own_socket_first, false},
    {"cfg_dialog", SEVERITY_ADVICE, has_dialogs, false},
};

void kamailio_cfg_checks(const struct kamailio_cfg *c, int node, json_t *found)
{
    char *text = without_comments(c->text);
    struct finding f;
    bool alone = false;

    for (size_t i = 0; i < COUNT(checks) && !alone; i++) {
        if (!checks[i].wrong(c, text, &f))
            continue;
        json_array_append_new(found, finding_json(node, checks[i].name, checks[i].severity, &f));
        alone = checks[i].alone;
    }
    free(text);
}
