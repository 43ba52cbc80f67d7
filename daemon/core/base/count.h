/* How many elements an array has (not a pointer). */
#ifndef KAMSYNC_COUNT_H
#define KAMSYNC_COUNT_H

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
