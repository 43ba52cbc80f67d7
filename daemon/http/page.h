/* The page for people: files in the folder page, which the build puts into kamsyncd (embed.py). A new file is one word
 * in daemon/meson.build. */
#ifndef KAMSYNC_PAGE_H
#define KAMSYNC_PAGE_H

#include <stddef.h>

struct page {
    const char *path, *type;
    const char *p;
    size_t n;
};

extern const struct page page_files[]; /* the last one has no path */

#endif
