/* conf_man TEMPLATE: prints the man page of the settings, with the table of options (config.c) in the line @OPTIONS@.
 */
#include <stdio.h>
#include <string.h>

#include "config.h"

int main(int argc, char **argv)
{
    char line[512];
    FILE *in = argc == 2 ? fopen(argv[1], "r") : NULL;

    if (!in) {
        perror(argc == 2 ? argv[1] : "conf_man TEMPLATE");
        return 1;
    }
    while (fgets(line, sizeof(line), in)) {
        if (strcmp(line, "@OPTIONS@\n") == 0)
            config_man(stdout);
        else
            fputs(line, stdout);
    }
    fclose(in);
    return ferror(stdout) != 0;
}
