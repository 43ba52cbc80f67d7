/* kamsyncctl doctor: what kamsyncd says (proto/control.md), and what is wrong in a kamailio.cfg. */
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "kamailio_cfg.h"
#include "show.h"
#include "text.h"

#define CFG_MAX ((size_t)16 << 20)

/* The rest of the file, NUL-terminated, which the caller frees. */
static char *read_all(FILE *file)
{
    struct buf b = {0};

    do {
        if (b.size - b.n < 4096) {
            b.size = 2 * b.size + 65536;
            b.p = grow(b.p, b.size);
        }
        b.n += fread(b.p + b.n, 1, b.size - b.n - 1, file);
    } while (!feof(file) && !ferror(file) && b.n < CFG_MAX);
    b.p[b.n] = '\0';
    return b.p;
}

static void become(char *const argv[], int out)
{
    dup2(out, STDOUT_FILENO);
    execvp(argv[0], argv);
    fprintf(stderr, "kamsyncctl: cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* What a program prints until it ends, which the caller frees, and whether it has ended well. NULL: it was not run. */
static char *run(char *const argv[], bool *well)
{
    int ends[2], status = 0;
    char *text;
    FILE *in;
    pid_t pid;

    fflush(stdout);
    if (pipe(ends) < 0 || (pid = fork()) < 0)
        return NULL;
    if (pid == 0)
        become(argv, ends[1]);
    close(ends[1]);
    in = fdopen(ends[0], "r");
    text = in ? read_all(in) : NULL;
    if (in)
        fclose(in);
    *well = waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return text;
}

static bool is_taken(const char *path)
{
    char *const check[] = {"kamailio", "-c", "-f", (char *)path, NULL};
    bool well = false;

    free(run(check, &well));
    return well;
}

/* What Kamailio makes of that file, which the caller frees; NULL: it does not take it. Kamailio 6 prints it all, takes
 * its end for an error, and then ends without writing what it still has in its buffer: so without one, and whether the
 * file is good is asked again. */
static char *print_cfg(const char *path)
{
    char *const print[] = {"stdbuf", "-o0", "kamailio", "--cfg-print", "-f", (char *)path, NULL};
    bool well = false;
    char *text = run(print, &well);

    if (!text || well || (*text && is_taken(path)))
        return text;
    free(text);
    return NULL;
}

/* Adds what is wrong in that file to the answer; false, and said, if it cannot be read. */
static bool add_cfg(const char *path, json_t *answer)
{
    FILE *file = fopen(path, "re");
    char *plain = file ? read_all(file) : NULL, *text = plain ? print_cfg(path) : NULL;
    const json_t *own = json_array_get(json_object_get(answer, "nodes"), 0);

    if (file)
        fclose(file);
    else
        complain(path, ": ", strerror(errno));
    if (text) {
        kamailio_cfg_checks(&(struct kamailio_cfg){path, text, plain},
                            (int)json_integer_value(json_object_get(own, "node")), json_object_get(answer, "findings"));
        json_array_append_new(json_object_get(answer, "looked_at"), json_string("kamailio.cfg"));
    } else if (plain) {
        complain("kamailio --cfg-print does not take ", path, ": try kamailio -c");
    }
    free(plain);
    free(text);
    return text;
}

int command_doctor(const struct options *o)
{
    json_t *answer;
    int worst = DOCTOR_ERRORS;

    if (ask_command(o, &answer) != STATUS_FINE)
        return DOCTOR_ERRORS;
    if (!o->kamailio || add_cfg(o->kamailio, answer))
        worst = doctor_worst(answer);
    if (o->json)
        show_json(answer, false, stdout);
    else
        show_doctor(answer, stdout);
    json_decref(answer);
    return worst;
}
