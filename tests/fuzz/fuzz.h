/* What the fuzz targets share. A target is LLVMFuzzerTestOneInput(): libFuzzer calls it (./dev fuzz), or replay.c does,
 * with the files of the corpus (meson test).
 *
 * A target crashes on what must not be: a sanitizer's finding, or a must() that does not hold. */
#ifndef KAMSYNC_FUZZ_H
#define KAMSYNC_FUZZ_H

#include <stdint.h>
#include <stdio.h>

#include "count.h"
#include "span.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #condition);                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The input, taken from its beginning; past its end there are zeros, and empty chunks. */
struct input {
    const uint8_t *p;
    size_t n;
};

unsigned input_byte(struct input *in);
/* Two bytes that say how long it is (the low one first), and the bytes; cut where the input ends. */
struct span input_chunk(struct input *in);
/* The same as text: ended by a NUL, and by any NUL inside. The caller frees it. */
char *input_text(struct input *in);

/* The bytes in a block of exactly their size, so that the address sanitizer sees each read past the end; the caller
 * frees it. */
struct span exact(struct span s);
void exact_free(struct span s);

/* Whether all bytes are printable ASCII without blanks and quotes, or blanks as well. */
bool is_graphic(const char *text);
bool is_printable(const char *text);
/* asprintf() that ends the program when memory is short. */
__attribute__((format(printf, 1, 2))) char *text_of(const char *fmt, ...);

#endif
