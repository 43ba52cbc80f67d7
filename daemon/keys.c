#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/link/proof.h"
#include "log.h"

/* An existing file, or link, is neither followed nor written to. */
static int open_new(const char *path)
{
    if (unlink(path) < 0 && errno != ENOENT)
        return -1;
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int write_text(int fd, const char *text)
{
    size_t n = strlen(text);
    ssize_t done = fd < 0 ? -1 : write(fd, text, n);

    if (done >= 0 && (size_t)done < n)
        errno = ENOSPC;
    return done == (ssize_t)n && fchmod(fd, 0640) == 0 ? 0 : -errno;
}

static int replace(const char *path, const char *text)
{
    char *fresh = malloc(strlen(path) + sizeof(".new"));
    int fd, rc;

    if (!fresh)
        return -ENOMEM;
    sprintf(fresh, "%s.new", path);
    fd = open_new(fresh);
    rc = write_text(fd, text);
    if (fd >= 0)
        close(fd);
    if (rc == 0 && rename(fresh, path) < 0)
        rc = -errno;
    free(fresh);
    return rc;
}

bool keys_write(const char *path, const char *secret, const char *old_secret)
{
    char *key = proof_key(secret), *old_key = proof_key(old_secret);
    char *text = key && old_key ? malloc(strlen(key) + strlen(old_key) + 3) : NULL;
    int rc = -ENOMEM;

    if (text) {
        sprintf(text, "%s\n%s\n", key, old_key);
        rc = replace(path, text);
    }
    free(key);
    free(old_key);
    free(text);
    if (rc < 0)
        log_printf(LOG_LEVEL_ERROR, "keys_file '%s': %s", path, strerror(-rc));
    return rc == 0;
}
