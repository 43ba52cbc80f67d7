#include "readiness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define LOOK_MS 1000
#define SETTLE_MS 5000 /* without Redis a node would never settle */

/* A file of the present time. 0 or errno. O_NONBLOCK: a pipe must not block the daemon. */
static int make(const char *path)
{
    int fd;

    if (utimensat(AT_FDCWD, path, NULL, 0) == 0)
        return 0;
    if (errno != ENOENT)
        return errno;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int take_away(const char *path)
{
    return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

void readiness_start(struct readiness *r, const char *ready_file, const char *control)
{
    const char *beside = *ready_file ? ready_file : control;
    int n = snprintf(r->drain_file, sizeof(r->drain_file), "%s.drained", beside);

    snprintf(r->file, sizeof(r->file), "%s", ready_file);
    if (!*beside || n >= (int)sizeof(r->drain_file))
        *r->drain_file = '\0';
    r->drained = *r->drain_file && access(r->drain_file, F_OK) == 0;
    if (r->drained)
        log_printf(LOG_LEVEL_WARN, "this node is drained since before this start ('%s'): kamsyncctl undrain ends that",
                   r->drain_file);
    readiness_show(r, false, 0);
}

void readiness_drain(struct readiness *r, bool drained)
{
    int rc = !*r->drain_file ? 0 : drained ? make(r->drain_file) : take_away(r->drain_file);

    r->drained = drained;
    if (rc)
        log_printf(LOG_LEVEL_ERROR, "drain file '%s': %s: a restart will not know that this node is %s", r->drain_file,
                   strerror(rc), drained ? "drained" : "no longer drained");
}

void readiness_see(struct readiness *r, const struct engine_status *s, int64_t now)
{
    if (!s->up) {
        r->up_ms = 0;
        r->settled = false;
        return;
    }
    if (!r->up_ms)
        r->up_ms = now;
    r->settled = r->settled || s->settled || now - r->up_ms >= SETTLE_MS;
}

const char *readiness_lack(const struct readiness *r, const struct engine_status *s, bool stopping)
{
    if (stopping)
        return "kamsyncd stops";
    if (r->drained)
        return "drained";
    if (!s->up)
        return s->link ? "kamailio hangs" : "kamailio away";
    return r->settled ? NULL : "just back";
}

void readiness_show(struct readiness *r, bool wanted, int64_t now)
{
    int rc;

    if (!*r->file || (wanted == r->wanted && now < r->look_ms))
        return;
    r->wanted = wanted;
    r->look_ms = now + LOOK_MS;
    rc = wanted ? make(r->file) : take_away(r->file);
    if (rc && rc != r->failed)
        log_printf(LOG_LEVEL_ERROR, "ready_file '%s': %s; trying again every second", r->file, strerror(rc));
    r->failed = rc;
    if (rc || wanted == r->ready)
        return;
    r->ready = wanted;
    log_printf(LOG_LEVEL_INFO, "this node is %s for new calls", wanted ? "ready" : "not ready");
}
