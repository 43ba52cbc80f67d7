/* sofia_agent IP PORT udp|tcp: a phone by Sofia-SIP, as FreeSWITCH has it. It rings; "answer" or "reject" on its
 * standard input says what next. For lab/agents.py, which compiles it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sofia-sip/nua.h>
#include <sofia-sip/sip_status.h>
#include <sofia-sip/su_wait.h>

#define SDP "v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n"

struct phone {
    nua_handle_t *call;
    char sdp[200];
};

static void on_event(nua_event_t event, int status, const char *phrase, nua_t *nua, nua_magic_t *magic,
                     nua_handle_t *call, nua_hmagic_t *context, const sip_t *sip, tagi_t tags[])
{
    struct phone *phone = (struct phone *)magic;

    (void)status, (void)phrase, (void)nua, (void)context, (void)sip, (void)tags;
    if (event != nua_i_invite)
        return;
    phone->call = call;
    nua_respond(call, SIP_180_RINGING, TAG_END());
}

static int on_command(su_root_magic_t *root, su_wait_t *wait, su_wakeup_arg_t *arg)
{
    struct phone *phone = (struct phone *)arg;
    char line[100] = "";
    ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);

    (void)root, (void)wait;
    if (got > 0 && strncmp(line, "answer", 6) == 0)
        nua_respond(phone->call, SIP_200_OK, SIPTAG_CONTENT_TYPE_STR("application/sdp"), SIPTAG_PAYLOAD_STR(phone->sdp),
                    TAG_END());
    else if (got > 0)
        nua_respond(phone->call, SIP_486_BUSY_HERE, TAG_END());
    return 0;
}

int main(int argc, char **argv)
{
    struct phone phone = {0};
    su_wait_t wait[1];
    su_root_t *root;
    char url[100];

    if (argc != 4)
        return 2;
    snprintf(phone.sdp, sizeof phone.sdp, SDP, argv[1], argv[1]);
    snprintf(url, sizeof url, "sip:%s:%s;transport=%s", argv[1], argv[2], argv[3]);
    su_init();
    root = su_root_create(NULL);
    su_wait_create(wait, STDIN_FILENO, SU_WAIT_IN);
    su_root_register(root, wait, on_command, (su_wakeup_arg_t *)&phone, 0);
    if (!nua_create(root, on_event, (nua_magic_t *)&phone, NUTAG_URL(url), NUTAG_MEDIA_ENABLE(0), TAG_END()))
        return 1;
    su_root_run(root);
    return 0;
}
