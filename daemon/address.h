/* Numeric addresses with a port, as text. */
#ifndef KAMSYNC_ADDRESS_H
#define KAMSYNC_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Reads "192.0.2.1:5060" or "[2001:db8::1]:5060". */
bool address_read(struct sockaddr_storage *out, const char *text);

#endif
