/* The number of elements of an array (not of a pointer's target). */
#ifndef KAMSYNC_COUNT_H
#define KAMSYNC_COUNT_H

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
