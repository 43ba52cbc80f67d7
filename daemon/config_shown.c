/* The table of options as --help and the man page show it. */
#include "config_impl.h"

void config_help(FILE *out)
{
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *o = &config_options[i];

        fprintf(out, "  %-20s %s\n%22s(default: %s%s)\n", o->name, o->help, "", *o->fallback ? o->fallback : "empty",
                o->reload ? "" : "; a change needs a restart");
    }
}

/* Text as roff takes it. */
static void print_roff(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\\' || *text == '-')
            fprintf(out, "\\%c", *text == '-' ? '-' : 'e');
        else if (*text == '\'')
            fputs("\\(aq", out);
        else
            fputc(*text, out);
    }
}

static void print_man(FILE *out, const struct option *o)
{
    fprintf(out, ".TP\n.B %s\n", o->name);
    print_roff(out, o->help);
    fputs(".\n.br\nDefault: \\fI", out);
    print_roff(out, *o->fallback ? o->fallback : "empty");
    fputs("\\fR", out);
    if (o->kind == KIND_NUMBER)
        fprintf(out, ", from %lld to %lld", (long long)o->min, (long long)o->max);
    fprintf(out, ".%s\n", o->reload ? "" : "\nA change needs a restart.");
}

void config_man(FILE *out)
{
    for (size_t i = 0; i < config_option_count; i++)
        print_man(out, &config_options[i]);
}
