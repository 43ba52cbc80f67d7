/* kamsyncctl cdr --export: the archive of ended calls as a file for billing, each entry once.
 *
 *     ask for what comes after the position ▶ append to FILE, fsync ▶ FILE.position ▶ ask …
 *
 * The position is written after the output, so nothing is missed. If the program ends between the two, the last line of
 * FILE has the newer position, and a line without its end is taken back: so nothing is there twice, unless somebody has
 * moved FILE away in that moment. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ask.h"
#include "export_line.h"
#include "show.h"
#include "value.h"

#define BATCH 1000
#define WAIT_MS 1000

struct export
{
    const struct options *o;
    char position[PATH_MAX], fresh[PATH_MAX]; /* files beside the output */
    bool begun;
    struct cdr_id at; /* all up to this entry is in the output, if begun */
    int64_t gaps;     /* since the position file was made */
    bool gap;         /* in this run */
};

static volatile sig_atomic_t ending;

static void on_end(int number)
{
    (void)number;
    ending = 1;
}

/* The end waits for the batch that is being written. */
static void catch_ends(void)
{
    struct sigaction action = {.sa_handler = on_end};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int failed(const char *path, const char *what)
{
    complain("", path, what);
    return STATUS_NO;
}

static int failed_by_system(const char *path)
{
    char why[160];

    snprintf(why, sizeof(why), ": %s", strerror(errno));
    return failed(path, why);
}

/* ---- where to begin ---- */

/* The descriptor stays open, and with it the lock, until the program ends. */
static int lock(const char *path)
{
    char name[PATH_MAX];
    int fd;

    snprintf(name, sizeof(name), "%s.lock", path);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return failed_by_system(name);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return failed(path, ": another kamsyncctl exports to it");
    return STATUS_FINE;
}

static int read_position(struct export *x)
{
    FILE *f = fopen(x->position, "r");
    char line[128] = "", id[64];
    bool read;

    if (!f)
        return errno == ENOENT ? STATUS_FINE : failed_by_system(x->position);
    read = fgets(line, sizeof(line), f) && sscanf(line, "%63s %" SCNd64, id, &x->gaps) == 2 &&
           cdr_id_read(&x->at, span_of(id));
    fclose(f);
    x->begun = read;
    return read ? STATUS_FINE : failed(x->position, " is no position: remove it to export the whole archive again");
}

/* The end of the output, with its last line; 0, or -1. */
static int read_end(int fd, off_t size, char *end, size_t *n)
{
    size_t want = (size_t)(size < EXPORT_LINE_MAX ? size : EXPORT_LINE_MAX);
    ssize_t got = pread(fd, end, want, size - (off_t)want);

    *n = want;
    return got == (ssize_t)want ? 0 : -1;
}

/* Takes a line without its end back, and reads the id of the last one. */
static int resume(struct export *x, int fd, off_t size, char *end)
{
    size_t n;
    char *last;
    struct cdr_id id;

    if (read_end(fd, size, end, &n) < 0)
        return failed_by_system(x->o->export);
    for (last = end + n; last > end && last[-1] != '\n';)
        last--;
    size -= end + n - last;
    if (ftruncate(fd, size) < 0)
        return failed_by_system(x->o->export);
    n = (size_t)(last - end);
    if (!n && size)
        return failed(x->o->export, ": its last line is too long for an export");
    if (!export_last_id(end, n, x->o->csv, &id))
        return size ? failed(x->o->export, ": its last line is no entry in this format") : STATUS_FINE;
    if (!x->begun || cdr_id_compare(id, x->at) > 0)
        x->at = id;
    x->begun = x->begun || id.ms;
    return STATUS_FINE;
}

static int look_at_output(struct export *x)
{
    int fd = open(x->o->export, O_RDWR | O_CLOEXEC), status;
    struct stat st;
    char *end;

    if (fd < 0)
        return errno == ENOENT ? STATUS_FINE : failed_by_system(x->o->export);
    end = grow(NULL, EXPORT_LINE_MAX);
    if (fstat(fd, &st) < 0)
        status = failed_by_system(x->o->export);
    else if (!S_ISREG(st.st_mode))
        status = failed(x->o->export, " is no file");
    else
        status = resume(x, fd, st.st_size, end);
    free(end);
    close(fd);
    return status;
}

/* ---- a batch ---- */

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno != EINTR)
            return -1;
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return 0;
}

/* Opened anew each time: whoever rotates the output only moves it away. */
static int append(const struct export *x, const struct buf *lines)
{
    int fd = open(x->o->export, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    struct buf head = {0};
    struct stat st;
    bool ok = fd >= 0 && fstat(fd, &st) == 0;

    if (ok && x->o->csv && st.st_size == 0)
        export_head(&head);
    ok = ok && write_all(fd, head.p, head.n) == 0 && write_all(fd, lines->p, lines->n) == 0 && fsync(fd) == 0;
    buf_free(&head);
    if (fd >= 0 && close(fd) < 0)
        ok = false;
    return ok ? STATUS_FINE : failed_by_system(x->o->export);
}

static int save_position(const struct export *x)
{
    FILE *f = fopen(x->fresh, "w");
    char at[CDR_ID_SIZE];
    bool ok = f != NULL;

    ok = ok && fprintf(f, "%s %" PRId64 "\n", cdr_id_write(at, x->at), x->gaps) > 0;
    ok = ok && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f && fclose(f) < 0)
        ok = false;
    ok = ok && rename(x->fresh, x->position) == 0;
    return ok ? STATUS_FINE : failed_by_system(x->position);
}

/* The entry at the position is no longer in the archive: what came after it may have been trimmed, too. */
static void report_gap(struct export *x, struct cdr_id next)
{
    struct buf b = {0};
    char from[CDR_ID_SIZE], to[CDR_ID_SIZE];

    x->gap = true;
    x->gaps++;
    buf_printf(&b, "kamsyncctl: a gap in ");
    buf_safe(&b, span_of(x->o->export));
    buf_printf(&b, ": the archive no longer has entries after %s and before %s", cdr_id_write(from, x->at),
               cdr_id_write(to, next));
    buf_printf(&b, ": calls that ended from ");
    value_date(&b, (int64_t)x->at.ms);
    buf_printf(&b, " to ");
    value_date(&b, (int64_t)next.ms);
    buf_printf(&b, " may be missing\n");
    buf_put(&b, stderr);
}

/* Ids in a Redis Cluster have a bucket. Those of two stores say nothing of each other's order. */
static bool is_of_another_store(const struct export *x, struct cdr_id id)
{
    return x->begun && (id.bucket < 0) != (x->at.bucket < 0);
}

/* With one archive the entry at the position comes first as long as it is there. With several kamsyncd says it: what
 * was removed may be in another one. */
static bool lacks_some(const struct export *x, const json_t *answer, struct cdr_id first)
{
    if (!x->begun)
        return false;
    return first.bucket < 0 ? cdr_id_compare(first, x->at) > 0 : json_is_true(json_object_get(answer, "gap"));
}

/* Adds its line and moves the position there, unless the export has it. */
static void put_row(struct export *x, struct buf *lines, const json_t *row, struct cdr_id id)
{
    if (x->begun && cdr_id_compare(id, x->at) <= 0)
        return;
    export_line(lines, row, x->o->csv);
    x->at = id;
    x->begun = true;
}

static int put_rows(struct export *x, const json_t *answer)
{
    const json_t *list = json_object_get(answer, "cdr");
    struct buf lines = {0};
    int status = STATUS_FINE;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *text = json_string_value(json_object_get(row, "id"));
        struct cdr_id id;

        if (!text || !cdr_id_read(&id, span_of(text)))
            continue;
        if (is_of_another_store(x, id)) {
            status = failed(x->o->export, ": it is from another store, with ids of another kind: export to a new file");
            break;
        }
        if (i == 0 && lacks_some(x, answer, id))
            report_gap(x, id);
        put_row(x, &lines, row, id);
    }
    if (status == STATUS_FINE && lines.n)
        status = append(x, &lines);
    if (status == STATUS_FINE && lines.n)
        status = save_position(x);
    buf_free(&lines);
    return status;
}

/* Where to ask from: with one archive the entry at the position comes once more, see lacks_some(). */
static struct cdr_id position(const struct export *x)
{
    if (!x->begun)
        return (struct cdr_id){0, 0, -1};
    return x->at.bucket < 0 ? cdr_id_before(x->at) : x->at;
}

static int batch(struct export *x, const struct options *o, size_t *got)
{
    json_t *request = json_pack("{s:s, s:i}", "cmd", o->command, "count", BATCH), *answer;
    char after[CDR_ID_SIZE];
    int status;

    *got = 0;
    json_object_set_new(request, "after", json_string(cdr_id_write(after, position(x))));
    status = ask(o, request, &answer);
    if (status != STATUS_FINE)
        return status;
    *got = json_array_size(json_object_get(answer, "cdr"));
    status = put_rows(x, answer);
    json_decref(answer);
    return status == STATUS_FINE ? STATUS_FINE : STATUS_UNWRITTEN;
}

/* kamsyncd may restart; a full disk is for whoever started this program. */
static int go_on(struct export *x)
{
    struct options again = *x->o;
    size_t got = BATCH;
    int status = STATUS_FINE;

    while (!ending && status != STATUS_UNWRITTEN && (x->o->follow || got == BATCH)) {
        status = batch(x, &again, &got);
        if (status != STATUS_FINE && !x->o->follow)
            break;
        again.quiet = status != STATUS_FINE;
        if (got < BATCH && x->o->follow && !ending)
            wait_ms(WAIT_MS);
    }
    return status;
}

int command_export(const struct options *o)
{
    struct export x = {.o = o};
    int status;

    if (strlen(o->export) + sizeof(".position.new") > PATH_MAX)
        return failed(o->export, ": this name is too long");
    snprintf(x.position, sizeof(x.position), "%s.position", o->export);
    snprintf(x.fresh, sizeof(x.fresh), "%s.position.new", o->export);
    catch_ends();
    status = lock(o->export);
    status = status == STATUS_FINE ? read_position(&x) : status;
    status = status == STATUS_FINE ? look_at_output(&x) : status;
    status = status == STATUS_FINE ? go_on(&x) : status;
    if (ending && status != STATUS_UNWRITTEN)
        status = STATUS_FINE;
    return status != STATUS_FINE ? STATUS_NO : x.gap ? STATUS_GAP : STATUS_FINE;
}
