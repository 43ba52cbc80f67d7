/* Text that may be from anywhere, for a line of a log or for JSON. */
#ifndef KAMSYNC_ASCII_H
#define KAMSYNC_ASCII_H

/* Puts a '?' in the place of each byte that is not printable ASCII. */
static inline void ascii_clean(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

#endif
