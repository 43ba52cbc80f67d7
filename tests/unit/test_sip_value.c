/* Values of Via, From, To and CSeq: what is plain is read by a few searches, and libre finds the same. */
#include "helper.h"
#include "sip_value.h"

TestSuite(sip_value, .fini = no_leaks);

/* Each is true when the value is plain; then both ways must agree. */
static bool plain_hop(struct span value)
{
    struct sip_hop plain, any;

    if (!sip_plain_hop(&plain, value))
        return false;
    cr_expect(sip_any_hop(&any, value) && span_eq(plain.sent_by, any.sent_by) && span_eq(plain.branch, any.branch),
              "Via '%.*s'", (int)value.n, value.p);
    return true;
}

static bool plain_party(struct span value)
{
    struct sip_party plain, any;

    if (!sip_plain_party(&plain, value))
        return false;
    cr_expect(sip_any_party(&any, value) && span_eq(plain.uri, any.uri) && span_eq(plain.tag, any.tag), "From '%.*s'",
              (int)value.n, value.p);
    return true;
}

static bool plain_sequence(struct span value)
{
    struct sip_sequence plain, any;

    if (!sip_plain_sequence(&plain, value))
        return false;
    cr_expect(sip_any_sequence(&any, value) && plain.number == any.number && span_eq(plain.method, any.method),
              "CSeq '%.*s'", (int)value.n, value.p);
    return true;
}

struct kind {
    bool (*is_plain)(struct span value);
    const char *plain[12], *other[28];
};

static const struct kind kinds[] = {
    {plain_hop,
     {"SIP/2.0/UDP 198.51.100.9:5060;branch=z9hG4bK-1", "SIP/2.0/TCP h;branch=b", "SIP/2.0/UDP h;rport;branch=b;i=1",
      "SIP/2.0/WSS df7jal23ls0d.invalid;Branch=b", "SIP/2.0/UDP [2001:db8::9]:5060;branch=b=;branch=c",
      "SIP/2.0/UDP h;branch;branch=;branch=b", "SIP/2.0/UDP h;;xbranch=a;branch=b;"},
     {"",
      "SIP/2.0/UDP h",
      "SIP/2.0/UDP h;branch=",
      "SIP/2.0/UDP h;rport",
      "SIP/2.0/UDP  h;branch=b",
      "SIP/2.0/UDP h ;branch=b",
      "SIP/2.0/UDP h; branch=b",
      "SIP/2.0/UDP h;branch =b",
      "SIP/2.0/UDP h;branch= b",
      "SIP/2.0/UDP\th;branch=b",
      "SIP / 2.0 / UDP h;branch=b",
      "sip/2.0/udp h;branch=b",
      "SIP/2.0/UDP :1;branch=b",
      "SIP/2.0/TLS-SCTP h;branch=b",
      "SIP/2.0/UDP h;x=\";branch=a\";branch=b",
      "SIP/2.0/UDP h;branch=\"b\"",
      "SIP/2.0/ h;branch=b",
      "SIP/2.0/UDP ;branch=b",
      "SIP/2.0/UDPh;branch=b",
      "SIP/2.0/UDP h;branch=b\xc3\xa4"}},
    {plain_party,
     {"<sip:a@x>", "<sip:a@x>;tag=1", "\"A B\" <sip:a@x>;tag=1", "Alice Smith <sips:a@x;transport=tls>;x=y;tag=a.b=",
      "\"\"<sip:x>;TAG=1", "\"b@y;tag=2\"  <sip:a:p@[2001:db8::1]:5061?x=y>;tag=1", "<tel:0123;phone-context=x>",
      "<sip:a@x>;tag;tag=;tag=1;tag=2", "a;b:c@d <sip:%61@x>;xtag=2"},
     {"",
      "sip:a@x;tag=1",
      "<>",
      "<sip:>",
      "<sip:a@>",
      "<:a@x>",
      "<a>",
      "< sip:a@x>",
      "<sip:a@x >;tag=1",
      "<sip:a@x> ;tag=1",
      "<sip:a@x>; tag=1",
      "<sip:a@x>;tag =1",
      "<sip:a@x>tag=1",
      "<sip:a@x>;tag=\"1\"",
      "<sip:a@x",
      "\"A <sip:a@x>;tag=1",
      "\"A\\\"\" <sip:a@x>;tag=1",
      "\"A\" B <sip:a@x>",
      "<tel:+49123>",
      "A\tB <sip:a@x>",
      "\xc3\x84 <sip:a@x>",
      "A \"B\" <sip:a@x>"}},
    {plain_sequence,
     {"1 INVITE", "0 A", "999999999 CANCEL", "007 ACK", "1 x/1"},
     {"", "1", "1 ", " 1 A", "1  A", "1\tA", "A", "A 1", "4294967295 ACK", "1 A B", "1 A ", "-1 A", "1 \xc3\xa4"}},
};

Test(sip_value, what_most_user_agents_write_is_plain)
{
    for (const struct kind *k = kinds; k < kinds + COUNT(kinds); k++)
        for (const char *const *text = k->plain; *text; text++)
            cr_expect(k->is_plain(scratch_exact(span_of(*text))), "%s", *text);
}

/* Which is not to say that it is wrong. */
Test(sip_value, all_else_is_left_to_libre)
{
    for (const struct kind *k = kinds; k < kinds + COUNT(kinds); k++)
        for (const char *const *text = k->other; *text; text++)
            cr_expect(!k->is_plain(scratch_exact(span_of(*text))), "%s", *text);
}

static void expect_same_with_any_byte(const struct kind *k, const char *text)
{
    size_t n = strlen(text);
    char *changed = scratch("%s", text), *longer = scratch("x%s", text);

    for (size_t at = 0; at < n; at++)
        for (int byte = 0; byte < 256; byte++) {
            memcpy(longer, text, at);
            longer[at] = changed[at] = (char)byte;
            memcpy(longer + at + 1, text + at, n - at);
            k->is_plain((struct span){changed, n});
            k->is_plain((struct span){longer, n + 1});
            changed[at] = text[at];
        }
}

Test(sip_value, with_any_byte_in_another_place_or_added_both_agree)
{
    for (const struct kind *k = kinds; k < kinds + COUNT(kinds); k++)
        for (const char *const *text = k->plain; *text; text++)
            expect_same_with_any_byte(k, *text);
}

Test(sip_value, every_beginning_and_end_is_read_alike)
{
    for (const struct kind *k = kinds; k < kinds + COUNT(kinds); k++)
        for (const char *const *text = k->plain; *text; text++)
            for (size_t n = 0; n < strlen(*text); n++) {
                k->is_plain(scratch_exact((struct span){*text, n}));
                k->is_plain(scratch_exact(span_of(*text + n)));
            }
}
