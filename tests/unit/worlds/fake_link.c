/* Kamailio's hello. */
#include "fake.h"
#include "hello.h"

void fake_hello(struct fake *f, int node, const char *inc)
{
    fake_hello_at(f, node, inc, scratch("192.0.2.%d:5060", node));
}

void fake_hello_at(struct fake *f, int node, const char *inc, const char *sip)
{
    char text[HELLO_MAX];

    hello_write(text, f->conf.secret, f->tag ? f->tag : "", node, inc, sip);
    fake_say(f, "%s", text);
}
