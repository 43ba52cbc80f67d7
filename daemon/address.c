#include "address.h"

#include <stdio.h>
#include <uv.h>

bool address_read(struct sockaddr_storage *out, const char *text)
{
    char host[64] = "";
    int port = 0, n = 0;

    if ((sscanf(text, "[%63[^]]]:%5d%n", host, &port, &n) == 2 ||
         sscanf(text, "%63[^]:[]:%5d%n", host, &port, &n) == 2) &&
        !text[n] && port > 0 && port < 65536)
        return uv_ip4_addr(host, port, (struct sockaddr_in *)out) == 0 ||
               uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0;
    return false;
}
