#include "finding.h"

#include <stdio.h>

#include "ascii.h"

/* What was cut, or came from outside, may be no UTF-8, which JSON cannot hold. */
static json_t *text_json(const char *text)
{
    json_t *json = json_string(text);
    char plain[sizeof(struct finding)];

    if (json)
        return json;
    snprintf(plain, sizeof(plain), "%s", text);
    ascii_clean(plain);
    return json_string(plain);
}

json_t *finding_json(int node, const char *check, enum severity severity, const struct finding *f)
{
    static const char *const names[] = {
        [SEVERITY_ADVICE] = "advice", [SEVERITY_WARNING] = "warning", [SEVERITY_ERROR] = "error"};

    return json_pack("{s:[i],s:s,s:s,s:o,s:o}", "nodes", node, "severity", names[severity], "check", check, "what",
                     text_json(f->what), "write", text_json(f->write));
}
