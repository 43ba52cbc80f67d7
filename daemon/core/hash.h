/* uthash, told to report a failed allocation instead of ending the process: after HASH_ADD*, look whether
 * the element's hh.tbl is NULL. */
#ifndef KAMSYNC_HASH_H
#define KAMSYNC_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#endif
