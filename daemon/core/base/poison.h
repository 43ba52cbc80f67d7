/* Bytes that nobody may read or write any more, though their block is kept: the address sanitizer reports whoever does.
 * In other builds nothing happens. */
#ifndef KAMSYNC_POISON_H
#define KAMSYNC_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) /* gcc */
#define POISON_WORKS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_WORKS
#endif
#endif

#ifdef POISON_WORKS
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#endif
