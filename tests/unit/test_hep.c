/* HEP packets: their bounds. What is in them a receiver reads in tests/system/test_hep.py. */
#include "hep/packet.h"

#include <criterion/criterion.h>

#include "helper.h"

#define OTHERS 112 /* all chunks but the texts, with their heads: see sizes */

static unsigned char packet[HEP_PACKET_MAX];

static struct sighting sighting_of(size_t call_id, size_t msg)
{
    static char bytes[2 * HEP_PACKET_MAX];

    return (struct sighting){
        .call_id = {bytes, call_id}, .from = "udp:192.0.2.1:5060", .to = "192.0.2.2:5060", .bytes = {bytes, msg}};
}

static size_t length(size_t call_id, size_t msg)
{
    const struct hep_agent agent = {1, "", ""};
    struct sighting s = sighting_of(call_id, msg);
    size_t n = hep_packet(packet, &agent, &s, 0);

    cr_expect(!n || (memcmp(packet, "HEP3", 4) == 0 && n == (size_t)packet[4] * 256 + packet[5]));
    return n;
}

Test(hep, sizes)
{
    size_t least = length(0, 0);

    cr_expect(least > 0 && least <= OTHERS);
    cr_expect(length(20, 1000) == least + 1020);
    cr_expect(length(0, HEP_PACKET_MAX - least) == HEP_PACKET_MAX);
    cr_expect(length(HEP_PACKET_MAX - least, 0) == HEP_PACKET_MAX);
}

Test(hep, too_long)
{
    size_t least = length(0, 0);

    cr_expect(length(0, HEP_PACKET_MAX - least + 1) == 0);
    cr_expect(length(HEP_PACKET_MAX - least + 1, 0) == 0);
    cr_expect(length(40000, 40000) == 0);
    cr_expect(length(2 * HEP_PACKET_MAX, 2 * HEP_PACKET_MAX) == 0);
}

Test(hep, odd_addresses)
{
    static const char *const odd[] = {
        "",        ":",       "udp:",     "udp:1",  "1.2.3.4:0", "udp:[::1:5060", "[::1]:99999",
        "unix:/x", "a.b:c:d", "udp:udp:", "::::::", "[]:5",      "999.1.1.1:5"};
    const struct hep_agent agent = {1, "", ""};
    struct sighting s = sighting_of(1, 1);
    size_t least = length(1, 1);

    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        s.from = s.to = odd[i];
        cr_expect(hep_packet(packet, &agent, &s, 0) == least, "%s", odd[i]);
    }
}
