/* Feeds the files of a corpus to a target, without libFuzzer: so that what once crashed is an ordinary test. */
#include <dirent.h>

#include "fuzz.h"

static void feed(const char *path)
{
    FILE *f = fopen(path, "re");
    char *data = malloc(1 << 20);
    size_t n = f && data ? fread(data, 1, 1 << 20, f) : 0;
    struct span s = exact((struct span){data, n});

    must(f && data);
    fclose(f);
    free(data);
    LLVMFuzzerTestOneInput((const uint8_t *)s.p, s.n);
    exact_free(s);
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    int files = 0;

    while (folder && (entry = readdir(folder)) != NULL) {
        char *path = text_of("%s/%s", argv[1], entry->d_name);

        if (*entry->d_name != '.') {
            fprintf(stderr, "%s\n", path);
            feed(path);
            files++;
        }
        free(path);
    }
    if (folder)
        closedir(folder);
    fprintf(stderr, "%d files\n", files);
    return files ? EXIT_SUCCESS : EXIT_FAILURE;
}
